//! Captures, follows, restores and proves PostgreSQL servers.
//!
//! # How a server is stored
//!
//! `data/` is its data directory as a file tree, tablespaces inside of it at `pg_tblspc/<oid>`, with the segments of the log
//! that it needs: after `restic restore`, a server of the same version starts on it (owner and mode 0700 provided, and with
//! `allow_in_place_tablespaces = on` where there are tablespaces).
//! `backup_manifest` is for `pg_verifybackup`. Files are cut in chunks of whole pages at their places, so that a changed
//! page changes one chunk. `holdfast/postgres-census.json` has what was counted at the source, see [`census`].
//!
//! # How it is read
//!
//! | location | way |
//! |---|---|
//! | `postgresql://…&method=stream` | a base backup over the replication protocol |
//! | `postgresql://…&method=files` | the low-level backup API; files are read in parallel on the server's machine |
//! | `postgresql://…` | files where the data directory can be read here, else the stream |
//! | `file:///…` | a data directory whose server was shut down |
//!
//! From PostgreSQL 17 on a server with `summarize_wal` is asked over the replication protocol only for the blocks that changed
//! since the recovery point before, except with `method=files`; what it does not send is taken over from there.
//!
//! Pages are judged by their checksums while they are read; one that does not add up is read once more. What the server
//! changes meanwhile is in the log. Symbolic links other than `pg_wal` and tablespaces are no part of a cluster and left out.
//!
//! # How it is followed
//!
//! [`follow`] receives the log over a permanent slot and acknowledges what is durable in the vault; [`ledger`] says how it
//! lies there, [`window`] what can be restored from it, and [`archive`] gives it to a server that recovers to an instant.
//! Bytes that a piece of the log has not taken yet are kept by the server, not by us. With `log=archive` in the location the
//! log comes from the directory that the server's `archive_command` fills, whole segments at a time; what is not durable
//! yet is kept there.
//!
//! # Restores and proof
//!
//! Files are restored as those of a tree are, owned by the user that servers run as; of files that are there already, the
//! chunks that differ are written. A server is started on them where that
//! is asked for. The check climbs a ladder, see [`PostgresDriver`], in a sandbox that dies with the verifier.

pub mod archive;
mod capture;
pub mod census;
mod check;
pub mod connection;
mod control_data;
pub mod error;
pub mod facts;
pub mod follow;
pub mod ledger;
pub mod logical;
pub mod options;
mod owner;
pub mod page;
pub mod priority;
mod restore;
mod sandbox;
pub mod selection;
pub mod server;
pub mod settings;
pub mod timeline;
pub mod tool;
pub mod wal;
pub mod window;

use std::path::PathBuf;
use std::sync::Arc;

use driver_api::{Capture, CaptureRequest, Check, CheckRequest, Driver, DriverError, Probe, RestoreRequest, Restored};
use job_model::ResourceType;

pub use restore::forward::Forward;
pub use settings::PostgresSettings;

/// The driver for PostgreSQL servers.
///
/// Its check: every file is what was captured; a server starts, replays its log, is promoted and answers; every B-tree
/// agrees with its table (`amcheck`); row counts and digests are those of the source; foreign keys hold; the user's
/// assertions are true; it shuts down and every page has the right checksum.
#[derive(Clone, Debug, Default)]
pub struct PostgresDriver {
    settings: Arc<PostgresSettings>,
}

impl PostgresDriver {
    /// The driver with a worker's settings.
    #[must_use]
    pub fn new(settings: PostgresSettings) -> Self {
        Self { settings: Arc::new(settings) }
    }

    /// Restores a full capture and rolls it forward, to a server that was promoted there. Goes on where an attempt before
    /// was.
    ///
    /// # Errors
    /// As [`Driver::restore`], and when the server does not reach the instant.
    pub fn restore_to(&self, request: RestoreRequest<'_>, forward: &Forward<'_>) -> Result<Restored, DriverError> {
        restore::forward::run(&self.settings, &request, forward)
    }
}

impl Driver for PostgresDriver {
    fn resource_type(&self) -> ResourceType {
        ResourceType::Rds
    }

    fn probe(&self, location: &str) -> Result<Probe, DriverError> {
        capture::probe(&self.settings, location)
    }

    fn capture(&self, request: CaptureRequest<'_>) -> Result<Capture, DriverError> {
        capture::run(&self.settings, &request)
    }

    fn restore(&self, request: RestoreRequest<'_>) -> Result<Restored, DriverError> {
        restore::run(&self.settings, &request)
    }

    fn staging(&self, request: &RestoreRequest<'_>) -> PathBuf {
        restore::staging(request)
    }

    fn check(&self, request: CheckRequest<'_>) -> Result<Check, DriverError> {
        check::run(&self.settings, &request)
    }
}

fn io_error(action: &'static str, path: impl Into<String>, source: impl Into<std::io::Error>) -> DriverError {
    DriverError::Io { action, path: path.into(), source: source.into() }
}
