//! A server that archives its log: whether it is set up for that, and how it does.

use crate::connection::Connection;
use crate::error::PgError;
use crate::wal::{Lsn, SegmentSize};

/// What has to stand in `archive_command`.
const PUSH: &str = "holdfast-wal push";

/// What a server says about its log and its archive.
#[derive(Clone, Debug)]
pub(super) struct Archiver {
    pub(super) system_id: String,
    pub(super) version: String,
    pub(super) size: SegmentSize,
    /// The timeline it writes; none while it is a standby, which knows that late.
    pub(super) timeline: Option<u32>,
    /// The end of its log.
    pub(super) end: Lsn,
    /// What somebody must know of it.
    pub(super) notice: Option<String>,
}

/// Asks a server.
///
/// # Errors
/// [`PgError::NotReady`] with setting, value and mend when it does not archive to us; or when it does not answer.
pub(super) fn ask(sql: &mut Connection, slot: &str) -> Result<Archiver, PgError> {
    let rows = sql.query(
        "SELECT pg_catalog.current_setting('wal_level'), pg_catalog.current_setting('archive_mode'), \
         pg_catalog.current_setting('archive_command'), \
         coalesce(pg_catalog.current_setting('archive_library', true), ''), pg_catalog.pg_is_in_recovery(), \
         (SELECT setting FROM pg_catalog.pg_settings WHERE name = 'archive_timeout'), \
         (SELECT setting FROM pg_catalog.pg_settings WHERE name = 'wal_segment_size'), \
         (SELECT system_identifier FROM pg_catalog.pg_control_system()), \
         CASE WHEN pg_catalog.pg_is_in_recovery() THEN coalesce(pg_catalog.pg_last_wal_replay_lsn(), '0/0') \
         ELSE pg_catalog.pg_current_wal_lsn() END, \
         CASE WHEN NOT pg_catalog.pg_is_in_recovery() \
         THEN pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()) END, \
         (SELECT last_failed_wal FROM pg_catalog.pg_stat_archiver \
         WHERE last_failed_time > coalesce(last_archived_time, '-infinity'))",
    )?;
    let text = |column: usize| rows.value(0, column).unwrap_or_default();
    let setup = Setup {
        wal_level: text(0),
        archive_mode: text(1),
        archive_command: text(2),
        archive_library: text(3),
        is_standby: text(4) == "t",
        archive_timeout: text(5),
    };
    setup.judge().map_err(|problem| PgError::NotReady { problem })?;
    let mut notices = Vec::new();
    if let Some(segment) = rows.value(0, 10) {
        notices.push(format!(
            "the server cannot archive `{segment}` and keeps its log meanwhile; see the server's log for what `{PUSH}` said"
        ));
    }
    notices.extend(setup.notice());
    let (system_id, timeline) = (text(7).to_owned(), text(9).get(..8).and_then(|t| u32::from_str_radix(t, 16).ok()));
    let size = SegmentSize::try_from(rows.parse::<u64>(0, 6)?)
        .map_err(|error| PgError::Unexpected { problem: error.to_string() })?;
    let end = rows.parse(0, 8)?;
    let quoted = super::slot::quote(slot);
    if !sql.query(&format!("SELECT 1 FROM pg_catalog.pg_replication_slots WHERE slot_name = {quoted}"))?.is_empty() {
        notices.push(format!(
            "slot `{slot}` is still there from when the log was streamed, and the server keeps its log for it; drop it with \
             `SELECT pg_drop_replication_slot('{slot}')`"
        ));
    }
    let version = sql.parameter("server_version").unwrap_or_default().to_owned();
    let notice = (!notices.is_empty()).then(|| notices.join("; "));
    Ok(Archiver { system_id, version, size, timeline, end, notice })
}

/// Settings of a server that decide whether it archives.
struct Setup<'a> {
    wal_level: &'a str,
    archive_mode: &'a str,
    archive_command: &'a str,
    archive_library: &'a str,
    archive_timeout: &'a str,
    is_standby: bool,
}

impl Setup<'_> {
    /// Whether its log can come to us.
    fn judge(&self) -> Result<(), String> {
        let Self { wal_level, archive_mode, archive_command, archive_library, is_standby, .. } = *self;
        if wal_level == "minimal" {
            return Err("`wal_level` is `minimal`; set it to `replica` at the server and restart it".to_owned());
        }
        if archive_mode == "off" {
            return Err("`archive_mode` is `off`; set it to `on` at the server and restart it".to_owned());
        }
        if is_standby && archive_mode != "always" {
            return Err(format!(
                "`archive_mode` is `{archive_mode}` and the server is a standby, which archives only with `always`; set it and \
                 restart the server, or let the resource's location point to the primary"
            ));
        }
        if !archive_library.is_empty() {
            return Err(format!(
                "`archive_library` is `{archive_library}`, and `archive_command` counts only where it is empty; empty it at \
                 the server and reload its configuration"
            ));
        }
        if !archive_command.contains(PUSH) {
            // Variables before the program and what follows it may hold secrets, which must not get into messages.
            let program = archive_command.split_whitespace().find(|word| !word.contains('=')).unwrap_or_default();
            return Err(format!(
                "`archive_command` runs `{program}`; set it to `{PUSH} %p %f DIRECTORY` at the server and reload its \
                 configuration"
            ));
        }
        Ok(())
    }

    fn notice(&self) -> Option<String> {
        (self.archive_timeout == "0").then(|| {
            "`archive_timeout` is `0`, so that what a quiet server writes comes only when a segment is full; set it to `60s` \
             at the server and reload its configuration"
                .to_owned()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: Setup<'_> = Setup {
        wal_level: "replica",
        archive_mode: "on",
        archive_command: "/usr/local/bin/holdfast-wal push %p %f /srv/wal",
        archive_library: "",
        archive_timeout: "60",
        is_standby: false,
    };

    #[test]
    fn a_server_that_does_not_archive_to_us_says_setting_value_and_mend() {
        assert_eq!(GOOD.judge(), Ok(()));
        assert_eq!(GOOD.notice(), None);
        let with_secret = Setup { archive_command: "KEY=hidden s3cp %p", ..GOOD }.judge().unwrap_err();
        assert!(with_secret.contains("`s3cp`") && !with_secret.contains("hidden"), "{with_secret}");
        assert_eq!(Setup { archive_mode: "always", is_standby: true, ..GOOD }.judge(), Ok(()));
        for (setup, words) in [
            (Setup { wal_level: "minimal", ..GOOD }, ["`wal_level`", "`minimal`", "restart"]),
            (Setup { archive_mode: "off", ..GOOD }, ["`archive_mode`", "`off`", "restart"]),
            (Setup { is_standby: true, ..GOOD }, ["`archive_mode`", "`on`", "`always`"]),
            (Setup { archive_library: "basic_archive", ..GOOD }, ["`archive_library`", "`basic_archive`", "empty it"]),
            (Setup { archive_command: "cp %p /srv/%f", ..GOOD }, ["`archive_command`", "`cp`", "reload"]),
            (Setup { archive_command: "", ..GOOD }, ["`archive_command`", "``", "holdfast-wal push %p %f DIRECTORY"]),
        ] {
            let problem = setup.judge().unwrap_err();
            assert!(words.iter().all(|word| problem.contains(word)), "{problem}");
        }
        assert!(Setup { archive_timeout: "0", ..GOOD }.notice().unwrap().contains("`archive_timeout`"));
    }
}
