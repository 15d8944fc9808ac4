//! The permanent slot: made, looked at, dropped.

use serde::{Deserialize, Serialize};

use super::FollowError;
use crate::connection::{Connection, Mode};
use crate::error::PgError;
use crate::server::{Credentials, ServerAddress};
use crate::wal::Lsn;

/// How a slot fares, in PostgreSQL's words (`pg_replication_slots.wal_status`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotHealth {
    /// `reserved`, `extended`, `unreserved` or `lost`; empty while it is not known.
    pub wal_status: String,
    /// Bytes the server may still write before the slot is in danger; none where `max_slot_wal_keep_size` sets no limit.
    pub safe_wal_size: Option<i64>,
    /// Bytes of log that the server keeps for it.
    pub retained_bytes: u64,
}

impl SlotHealth {
    /// Whether somebody must be told: the server keeps more for the slot than it wants to, or has given up.
    #[must_use]
    pub fn is_in_danger(&self) -> bool {
        matches!(self.wal_status.as_str(), "extended" | "unreserved" | "lost")
            || self.safe_wal_size.is_some_and(|left| left < 0)
    }
}

/// The name of the slot of a resource: `holdfast_` and the resource's key.
#[must_use]
pub fn slot_name(resource_key: &str) -> String {
    let key = resource_key.bytes().filter(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'_');
    // PostgreSQL takes 63 bytes.
    std::iter::once("holdfast_".to_owned()).chain(key.take(54).map(|byte| char::from(byte).to_string())).collect()
}

/// A slot that can be streamed from.
pub(super) struct Slot {
    /// The server keeps its log from here.
    pub(super) restart: Lsn,
    /// Why it had to be made anew, where one that was lost stood in its place.
    pub(super) lost: Option<String>,
}

/// Finds the slot, or makes it with the log reserved from now on. A lost one is dropped and made anew.
pub(super) fn ensure(sql: &mut Connection, name: &str) -> Result<Slot, FollowError> {
    let quoted = quote(name);
    let found = sql.query(&format!(
        "SELECT active_pid, restart_lsn, coalesce(wal_status, '') FROM pg_catalog.pg_replication_slots \
         WHERE slot_name = {quoted}"
    ))?;
    let mut lost = None;
    if !found.is_empty() {
        if let Some(process) = found.value(0, 0) {
            return Err(FollowError::SlotActive { slot: name.to_owned(), process: process.to_owned() });
        }
        match (found.value(0, 1), found.value(0, 2)) {
            (Some(restart), status) if status != Some("lost") => {
                let restart = restart.parse().map_err(|_| unexpected("restart_lsn"))?;
                return Ok(Slot { restart, lost: None });
            }
            (_, status) => {
                lost = Some(if status == Some("lost") {
                    "the slot was lost: the server wrote more than `max_slot_wal_keep_size` while nobody received it"
                        .to_owned()
                } else {
                    "the slot had nothing reserved".to_owned()
                });
                sql.query(&format!("SELECT pg_catalog.pg_drop_replication_slot({quoted})"))?;
            }
        }
    }
    let made = sql.query(&format!("SELECT lsn FROM pg_catalog.pg_create_physical_replication_slot({quoted}, true)"))?;
    let restart = made.single()?.parse().map_err(|_| unexpected("lsn"))?;
    Ok(Slot { restart, lost })
}

/// How the slot fares.
pub(super) fn health(sql: &mut Connection, name: &str) -> Result<SlotHealth, PgError> {
    let rows = sql.query(&format!(
        "SELECT coalesce(wal_status, ''), safe_wal_size, \
         coalesce(pg_catalog.pg_wal_lsn_diff(CASE WHEN pg_catalog.pg_is_in_recovery() \
         THEN pg_catalog.pg_last_wal_receive_lsn() ELSE pg_catalog.pg_current_wal_lsn() END, restart_lsn), 0)::bigint \
         FROM pg_catalog.pg_replication_slots WHERE slot_name = {}",
        quote(name)
    ))?;
    if rows.is_empty() {
        return Ok(SlotHealth { wal_status: "lost".to_owned(), ..SlotHealth::default() });
    }
    Ok(SlotHealth {
        wal_status: rows.value(0, 0).unwrap_or_default().to_owned(),
        safe_wal_size: rows.value(0, 1).and_then(|text| text.parse().ok()),
        retained_bytes: rows.parse::<i64>(0, 2)?.unsigned_abs(),
    })
}

/// Gives the slot back, so that the server keeps no log for it any more. What is gone already is no error.
///
/// # Errors
/// When the server refuses, for example while somebody streams from it.
pub fn drop_slot(sql: &mut Connection, name: &str) -> Result<(), PgError> {
    let quoted = quote(name);
    sql.query(&format!(
        "SELECT pg_catalog.pg_drop_replication_slot(slot_name) FROM pg_catalog.pg_replication_slots \
         WHERE slot_name = {quoted}"
    ))?;
    Ok(())
}

/// Makes the slot where there is none, so that the server keeps its log from now on for whoever follows. One that is in use
/// or lost is left as it is.
///
/// # Errors
/// When the server cannot be followed: no right, no slot free, `wal_level` too low; or when it does not answer.
pub fn reserve(server: &ServerAddress, credentials: &Credentials, database: &str, name: &str) -> Result<(), PgError> {
    let mut sql = Connection::open(server, credentials, Mode::Database(database))?;
    if sql.query("SELECT pg_catalog.current_setting('wal_level')")?.single()? == "minimal" {
        let problem = "`wal_level` is `minimal`; set it to `replica` at the server and restart it".to_owned();
        return Err(PgError::NotReady { problem });
    }
    let quoted = quote(name);
    let found = sql.query(&format!("SELECT 1 FROM pg_catalog.pg_replication_slots WHERE slot_name = {quoted}"))?;
    if found.is_empty() {
        sql.query(&format!("SELECT pg_catalog.pg_create_physical_replication_slot({quoted}, true)"))?;
    }
    Ok(())
}

/// Gives the slot back to a server that is logged in to for that.
///
/// # Errors
/// When the server does not answer or refuses, for example while somebody streams from the slot.
pub fn give_back(server: &ServerAddress, credentials: &Credentials, database: &str, name: &str) -> Result<(), PgError> {
    drop_slot(&mut Connection::open(server, credentials, Mode::Database(database))?, name)
}

pub(super) fn quote(name: &str) -> String {
    format!("'{}'", name.replace('\'', "''"))
}

fn unexpected(column: &str) -> FollowError {
    FollowError::Server(PgError::Unexpected { problem: format!("`{column}` is no log position") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slots_name_is_one_postgresql_takes() {
        assert_eq!(slot_name("0a1b-2c"), "holdfast_0a1b2c");
        assert!(slot_name(&"f".repeat(100)).len() <= 63);
    }

    #[test]
    fn danger_is_what_the_server_says_and_what_it_lacks() {
        let health = |wal_status: &str, safe_wal_size| SlotHealth {
            wal_status: wal_status.to_owned(),
            safe_wal_size,
            retained_bytes: 0,
        };
        assert!(!health("reserved", None).is_in_danger());
        assert!(!health("reserved", Some(1)).is_in_danger());
        for (status, left) in [("extended", None), ("unreserved", Some(5)), ("lost", None), ("reserved", Some(-1))] {
            assert!(health(status, left).is_in_danger(), "{status} {left:?}");
        }
    }
}
