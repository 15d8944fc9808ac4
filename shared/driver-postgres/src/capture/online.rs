//! A running server: what it is, what it allows, and which way it is read.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use driver_api::{Capture, CaptureRequest, Control, DriverError, Probe, Reading};
use job_model::ChangeMethod;

use super::{Store, label, stream};
use crate::census::{Census, Taker};
use crate::connection::{Connection, Mode};
use crate::error::PgError;
use crate::facts::{FORMAT, INCREMENTAL_SINCE, PhysicalFacts, Source, Tablespace};
use crate::page::PAGE_BYTES;
use crate::priority::Priority;
use crate::server::{Credentials, Location, LogFrom, Method};
use crate::settings::PostgresSettings;
use crate::wal::Lsn;

/// Settings of a server that one which replays its log must not undercut.
const SETTINGS_KEPT: &str = "'max_connections', 'max_worker_processes', 'max_wal_senders', 'max_prepared_transactions', \
     'max_locks_per_transaction', 'shared_preload_libraries', 'server_encoding', 'wal_level', 'track_commit_timestamp'";

/// The oldest version with today's backup functions.
const OLDEST_VERSION: u32 = 15;

/// A server that can be captured.
pub(super) struct Online<'a> {
    pub(super) location: &'a Location,
    pub(super) credentials: Credentials,
    pub(super) queries: Connection,
    pub(super) facts: PhysicalFacts,
    /// Its data directory where this process can read it.
    local: Option<PathBuf>,
    pub(super) size_bytes: u64,
    /// Whether the server knows which blocks changed since a backup.
    summarizes_wal: bool,
}

pub(super) fn run(
    settings: &PostgresSettings,
    request: &CaptureRequest<'_>,
    location: &Location,
) -> Result<Capture, DriverError> {
    let online = Online::open(settings, location)?;
    let is_here = online.local.is_some() || location.server.is_here();
    let priority = if is_here { settings.beside_server } else { Priority::Normal };
    priority.run(|| capture(settings, priority, request, location, online))
}

fn capture(
    settings: &PostgresSettings,
    priority: Priority,
    request: &CaptureRequest<'_>,
    location: &Location,
    mut online: Online<'_>,
) -> Result<Capture, DriverError> {
    let local = match (location.method, online.local.take()) {
        (Method::Stream, _) => None,
        (Method::Files, None) => {
            return Err(PgError::NotReady {
                problem:
                    "the server's data directory cannot be read here; run a worker on its machine as root or as its \
                          user, or use `method=stream`"
                        .to_owned(),
            }
            .into());
        }
        (_, local) => local,
    };
    // Pages of a server without checksums cannot be judged.
    let store = Store::new(request, settings, priority, online.facts.data_checksums, 0);
    let mut reading = Reading::live(ChangeMethod::FullRead);
    if location.method != Method::Files && online.summarizes_wal && request.parent.is_some() {
        match stream::begin_incremental(settings, request, &mut online)? {
            Ok(begun) => {
                reading.method = ChangeMethod::LogSummary;
                online.facts.source = Source::Stream;
                return stream::run(settings, store, online, begun, reading);
            }
            Err(why) => {
                tracing::warn!(why, "blocks that changed cannot be told, so all is read");
                reading.fallback = Some(why);
            }
        }
    }
    match local {
        Some(data) => label::run(settings, store, online, &data, reading),
        None => {
            let begun = stream::begin_full(settings, request, &mut online)?;
            stream::run(settings, store, online, begun, reading)
        }
    }
}

/// Whether a server can be captured.
pub(crate) fn probe(settings: &PostgresSettings, location: &Location) -> Result<Probe, DriverError> {
    let online = Online::open(settings, location)?;
    let mut warnings = Vec::new();
    if !online.facts.data_checksums {
        warnings.push(super::offline::no_checksums());
    }
    if online.facts.source == Source::Stream && location.method == Method::Auto {
        warnings.push(
            "the data directory cannot be read here, so the backup comes over one connection; a worker on the server's \
             machine is faster"
                .to_owned(),
        );
    }
    if online.facts.major_version >= INCREMENTAL_SINCE && !online.summarizes_wal {
        warnings.push(
            "`summarize_wal` is off, so every capture reads the whole server; turn it on and reload the configuration"
                .to_owned(),
        );
    }
    Ok(Probe { size_bytes: Some(online.size_bytes), warnings })
}

impl<'a> Online<'a> {
    fn open(settings: &PostgresSettings, location: &'a Location) -> Result<Self, PgError> {
        let credentials = settings.credentials(&location.profile)?;
        let mut queries = Connection::open(&location.server, &credentials, Mode::Database(location.first_database()))?;
        let major_version = queries.major_version().unwrap_or_default();
        if major_version < OLDEST_VERSION {
            let problem =
                format!("the server has version {major_version}; versions from {OLDEST_VERSION} on can be captured");
            return Err(PgError::NotReady { problem });
        }
        let rows = queries.query(
            "SELECT (SELECT rolsuper OR rolreplication FROM pg_roles WHERE rolname = current_user), \
             current_setting('wal_level'), current_setting('max_wal_senders'), current_setting('block_size'), \
             current_setting('data_checksums'), (SELECT system_identifier FROM pg_control_system()), \
             (SELECT timeline_id FROM pg_control_checkpoint()), \
             (SELECT rolname FROM pg_roles WHERE oid = 10), pg_is_in_recovery()",
        )?;
        let refuse = |problem: String| Err(PgError::NotReady { problem });
        // The files of a server that archives its log are read without replication.
        let needs_replication = location.log == LogFrom::Slot || location.method == Method::Stream;
        if rows.value(0, 0) != Some("t") && needs_replication {
            let user = &credentials.user;
            return Err(PgError::Login {
                problem: format!(
                    "the role `{user}` may not replicate; give it the right: `ALTER ROLE {user} REPLICATION`"
                ),
            });
        }
        if rows.value(0, 1) == Some("minimal") {
            return refuse("`wal_level` is `minimal`; set it to `replica` and restart the server".to_owned());
        }
        if rows.value(0, 2) == Some("0") && location.method != Method::Files && needs_replication {
            return refuse("`max_wal_senders` is 0; raise it and restart the server".to_owned());
        }
        if rows.value(0, 3) != Some(&PAGE_BYTES.to_string()) {
            return refuse(format!("its pages have {} bytes instead of {PAGE_BYTES}", rows.value(0, 3).unwrap_or("?")));
        }
        let kept = queries.query(&format!("SELECT name, setting FROM pg_settings WHERE name IN ({SETTINGS_KEPT})"))?;
        let kept = kept.iter().filter_map(|row| Some((row.first()?.clone()?, row.get(1)?.clone()?)));
        let kept: BTreeMap<_, _> = kept.collect();
        let segment = queries.query("SELECT setting FROM pg_settings WHERE name = 'wal_segment_size'")?;
        let size = queries.query("SELECT coalesce(sum(pg_tablespace_size(oid)), 0)::bigint FROM pg_tablespace");
        let local = local_data_directory(&mut queries);
        let facts = PhysicalFacts {
            format: FORMAT,
            engine: "postgresql".to_owned(),
            kind: "physical".to_owned(),
            source: if local.is_some() && location.method != Method::Stream { Source::Files } else { Source::Stream },
            major_version,
            server_version: queries.parameter("server_version").map(str::to_owned),
            system_identifier: rows.parse(0, 5)?,
            timeline: rows.parse(0, 6)?,
            start_lsn: None,
            stop_lsn: None,
            start_time: None,
            stop_time: None,
            wal_segment_bytes: segment.parse(0, 0)?,
            data_checksums: rows.value(0, 4) == Some("on"),
            damaged_pages: 0,
            tablespaces: Vec::new(),
            settings: kept,
            superuser: rows.value(0, 7).map(str::to_owned),
            census: None,
        };
        // The setting is not known to older servers.
        let summaries = queries.query("SELECT current_setting('summarize_wal', true)")?;
        let summarizes_wal = summaries.value(0, 0) == Some("on");
        // Sizes need rights that a backup does not.
        let size_bytes = size.and_then(|size| size.parse(0, 0)).unwrap_or(0);
        Ok(Self { location, credentials, queries, facts, local, size_bytes, summarizes_wal })
    }

    /// Opens another connection for queries.
    pub(super) fn open_database(
        location: &Location,
        credentials: &Credentials,
        name: &str,
    ) -> Result<Connection, PgError> {
        Connection::open(&location.server, credentials, Mode::Database(name))
    }

    /// The server's clock.
    pub(super) fn now(&mut self) -> Result<jiff::Timestamp, PgError> {
        let sql = "SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')";
        self.queries.query(sql)?.parse(0, 0)
    }

    /// The tablespaces but the two that are part of the data directory.
    pub(super) fn tablespaces(&mut self) -> Result<Vec<Tablespace>, PgError> {
        let rows = self.queries.query(
            "SELECT oid, pg_tablespace_location(oid) FROM pg_tablespace \
             WHERE spcname NOT IN ('pg_default', 'pg_global') ORDER BY oid",
        )?;
        (0..rows.len()).map(|row| Ok(Tablespace { oid: rows.parse(row, 0)?, location: rows.parse(row, 1)? })).collect()
    }
}

/// Begins a census; what goes wrong with it must not keep anybody from having a backup.
pub(super) fn begin_census(
    settings: &PostgresSettings,
    location: &Location,
    credentials: &Credentials,
) -> Option<Taker> {
    if !settings.count_rows {
        return None;
    }
    let open = |name: &str| Online::open_database(location, credentials, name);
    match Taker::begin(&open, location.first_database(), settings.count_bytes_max) {
        Ok(taker) => Some(taker),
        Err(error) => {
            tracing::warn!(error = &error as &dyn std::error::Error, "rows are not counted");
            None
        }
    }
}

/// The census as it is kept, when its first snapshot was taken before the backup's end.
pub(super) fn end_census(taker: Option<Taker>, stop: Lsn, control: &dyn Control) -> Option<Vec<u8>> {
    let taker = taker?;
    if taker.lsn() > stop {
        tracing::warn!(counted_at = %taker.lsn(), %stop, "rows were counted after the backup's end, which proves nothing");
        return None;
    }
    let census: Census = taker.finish(control);
    for reason in &census.left_out {
        tracing::warn!(reason, "not counted");
    }
    Some(census.to_bytes())
}

/// The data directory, where it is this machine's and is really that server's.
fn local_data_directory(queries: &mut Connection) -> Option<PathBuf> {
    let rows = queries.query("SELECT current_setting('data_directory'), pg_postmaster_start_time()").ok()?;
    let data = PathBuf::from(rows.value(0, 0)?);
    // Another machine may have a directory of that name; its server has another process, port or start.
    let pid_file = std::fs::read_to_string(data.join("postmaster.pid")).ok()?;
    let started = pid_file.lines().nth(2)?.trim().parse::<i64>().ok()?;
    let sql = "SELECT extract(epoch FROM pg_postmaster_start_time())::bigint, current_setting('port')";
    let server = queries.query(sql).ok()?;
    let server_started: i64 = server.parse(0, 0).ok()?;
    let same = server_started.abs_diff(started) <= 2
        && pid_file.lines().nth(1).is_some_and(|line| Path::new(line.trim()) == data)
        && pid_file.lines().nth(3).map(str::trim) == server.value(0, 1);
    let readable = std::fs::File::open(data.join("global/pg_control")).is_ok() && data.join("base").read_dir().is_ok();
    (same && readable).then_some(data)
}
