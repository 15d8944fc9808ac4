//! What a physical recovery point says of itself: `driver` in its `holdfast/recovery-point.json`.

use std::collections::BTreeMap;

use driver_api::DriverError;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The version of this shape.
pub const FORMAT: u32 = 1;

/// The first major version that can send only the blocks that changed since a backup.
pub const INCREMENTAL_SINCE: u32 = 17;

/// A tablespace. Its files stand in `data/pg_tblspc/<oid>`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tablespace {
    /// Its object id.
    pub oid: u32,
    /// Where it lay on the server's machine.
    pub location: String,
}

/// How the capture read the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// A data directory at rest.
    Offline,
    /// The replication protocol.
    Stream,
    /// Files of a running server.
    Files,
}

/// Facts of a physical capture.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PhysicalFacts {
    /// [`FORMAT`].
    pub format: u32,
    /// Always `postgresql`.
    pub engine: String,
    /// Always `physical`.
    pub kind: String,
    /// How it was read.
    pub source: Source,
    /// The server's major version: only this one can run the data directory.
    pub major_version: u32,
    /// The server's full version where it told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_version: Option<String>,
    /// Stands for the cluster for ever; standbys and restored servers have the same.
    pub system_identifier: String,
    /// The timeline of the backup.
    pub timeline: u32,
    /// Where the log must be replayed from; none for a data directory at rest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_lsn: Option<String>,
    /// Until where it must be replayed before the data is consistent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_lsn: Option<String>,
    /// When the backup began, by the server's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_time: Option<Timestamp>,
    /// When the backup had ended, by the server's clock: the earliest instant it can be rolled forward to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_time: Option<Timestamp>,
    /// Bytes of a segment of the log.
    pub wal_segment_bytes: u64,
    /// Whether pages have checksums.
    pub data_checksums: bool,
    /// Pages whose checksums were wrong, also when read again.
    pub damaged_pages: u64,
    /// Tablespaces.
    pub tablespaces: Vec<Tablespace>,
    /// Settings a server must not undercut to replay this log.
    pub settings: BTreeMap<String, String>,
    /// The role that owns the cluster; the check logs in as it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub superuser: Option<String>,
    /// The file beside `recovery-point.json` with the row counts at capture; none where nothing was counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub census: Option<String>,
}

impl PhysicalFacts {
    /// The cluster's id, for manifests of versions that have it in theirs: those that take incremental backups.
    #[must_use]
    pub fn manifest_system(&self) -> Option<&str> {
        (self.major_version >= INCREMENTAL_SINCE).then_some(&*self.system_identifier)
    }

    /// The facts in a recovery point's description.
    ///
    /// # Errors
    /// [`DriverError::NotOurs`] when they are not there or not understood.
    pub fn read(description: &serde_json::Value) -> Result<Self, DriverError> {
        let driver = description.get("driver").cloned().unwrap_or_default();
        let facts: Self =
            serde_json::from_value(driver).map_err(|e| DriverError::NotOurs { problem: format!("its facts: {e}") })?;
        if facts.format != FORMAT || facts.engine != "postgresql" || facts.kind != "physical" {
            let problem = format!("it is `{}` `{}` of format {}", facts.engine, facts.kind, facts.format);
            return Err(DriverError::NotOurs { problem });
        }
        Ok(facts)
    }
}
