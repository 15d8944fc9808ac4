//! The heartbeat: a commit about every second, so that the window of an idle database moves, and a row that says when it
//! was made, so that a restored server can be asked what it knows.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use parking_lot::Mutex;

use super::archiver;
use super::origin::{LogSource, connect};
use super::slot::{self, SlotHealth};
use super::{FollowError, FollowSettings};
use crate::connection::{Connection, Mode};
use crate::error::PgError;
use crate::server::{Credentials, ServerAddress};
use crate::wal::Lsn;

/// How often the slot, or the archiver, is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How often there is something to do.
const TICK: Duration = Duration::from_millis(50);
/// How long a server that archives is left alone when it did not answer.
const ASK_AGAIN: Duration = Duration::from_secs(5);

/// Makes the table; the role needs CREATE on the database once, or the table made by hand.
const PREPARE: &str = "CREATE SCHEMA IF NOT EXISTS holdfast; \
    CREATE TABLE IF NOT EXISTS holdfast.heartbeat \
    (slot text PRIMARY KEY, beat bigint NOT NULL, written_at timestamptz NOT NULL)";

/// How a heartbeat can be made.
enum Way {
    /// A row in `holdfast.heartbeat`.
    Row,
    /// A transaction that writes nothing but its own end; needs no right.
    Bare,
    /// Not at all.
    None,
}

/// What is known beside the log.
#[derive(Clone, Debug, Default)]
pub(super) struct Pulse {
    /// How the slot fares.
    pub(super) slot: SlotHealth,
    /// Why a heartbeat is less than a row, or missing.
    pub(super) no_heartbeat: Option<String>,
    /// The end of the log of a server that archives it, as it said itself.
    pub(super) end: Option<Lsn>,
    /// What somebody must know of a server that archives.
    pub(super) archiver: Option<String>,
    /// Files that stay in the archive.
    pub(super) staying: Option<String>,
}

/// Beats and looks until it is told to stop. A server that archives need not answer: that is told, and tried again.
pub(super) fn beat(
    sql: Option<Connection>,
    settings: &FollowSettings,
    system_id: &str,
    stop: &AtomicBool,
    pulse: &Mutex<Pulse>,
) -> Result<(), FollowError> {
    let archives = matches!(settings.log, LogSource::Archive(_)).then_some(system_id);
    let mut next = sql;
    while !stop.load(Ordering::Acquire) {
        let opened = next.take().map_or_else(|| connect(settings), Ok);
        let beaten = opened.map_err(FollowError::from).and_then(|sql| {
            let mut heart = Heart::new(sql, &settings.slot, settings.heartbeat, archives)?;
            while !stop.load(Ordering::Acquire) {
                heart.tick(pulse)?;
                thread::sleep(TICK);
            }
            Ok(())
        });
        match beaten {
            Err(FollowError::Server(error)) if archives.is_some() && !matches!(error, PgError::NotReady { .. }) => {
                let mut cause = std::error::Error::source(&error);
                let mut why = error.to_string();
                while let Some(error) = cause {
                    why.push_str(&format!(": {error}"));
                    cause = error.source();
                }
                {
                    let mut pulse = pulse.lock();
                    pulse.no_heartbeat = Some(why);
                    (pulse.end, pulse.archiver) = (None, None);
                }
                let since = Instant::now();
                while !stop.load(Ordering::Acquire) && since.elapsed() < ASK_AGAIN {
                    thread::sleep(TICK);
                }
            }
            other => return other,
        }
    }
    Ok(())
}

/// Beats and looks.
struct Heart<'a> {
    sql: Connection,
    slot: String,
    way: Way,
    every: Duration,
    beaten: Option<Instant>,
    looked: Option<Instant>,
    /// The cluster that archives; none where it streams.
    archives: Option<&'a str>,
    /// Why a heartbeat is less than a row, or missing.
    problem: Option<String>,
}

impl<'a> Heart<'a> {
    fn new(mut sql: Connection, slot: &str, every: Duration, archives: Option<&'a str>) -> Result<Self, PgError> {
        // A standby that is waited for may be ourselves; and nobody waits for a heartbeat.
        sql.query("SET synchronous_commit = local; SET statement_timeout = '10s'; SET lock_timeout = '5s'")?;
        let mut problem = None;
        let way = if sql.query("SELECT pg_catalog.pg_is_in_recovery()")?.single()? == "t" {
            problem = Some("the server is a standby and takes no writes; follow the primary for a window that moves while it is idle".to_owned());
            Way::None
        } else if sql
            .query("SELECT 1 FROM pg_catalog.pg_tables WHERE schemaname = 'holdfast' AND tablename = 'heartbeat'")?
            .is_empty()
        {
            match sql.query(PREPARE) {
                Ok(_) => Way::Row,
                Err(PgError::Server(error)) => {
                    tracing::info!(%error, "no table for heartbeats; empty transactions do");
                    Way::Bare
                }
                Err(error) => return Err(error),
            }
        } else {
            Way::Row
        };
        Ok(Self { sql, slot: slot.to_owned(), way, every, beaten: None, looked: None, archives, problem })
    }

    fn look(&mut self, pulse: &Mutex<Pulse>) -> Result<(), FollowError> {
        let Some(expected) = self.archives else {
            let health = slot::health(&mut self.sql, &self.slot)?;
            pulse.lock().slot = health;
            return Ok(());
        };
        let said = archiver::ask(&mut self.sql, &self.slot)?;
        if said.system_id != expected {
            return Err(FollowError::OtherCluster { expected: expected.to_owned(), found: said.system_id });
        }
        let mut pulse = pulse.lock();
        (pulse.end, pulse.archiver) = (Some(said.end), said.notice);
        Ok(())
    }

    /// Does what is due.
    fn tick(&mut self, pulse: &Mutex<Pulse>) -> Result<(), FollowError> {
        if self.looked.is_none_or(|at| at.elapsed() >= LOOK_EVERY) {
            self.looked = Some(Instant::now());
            self.look(pulse)?;
        }
        if self.beaten.is_none_or(|at| at.elapsed() >= self.every) {
            self.beaten = Some(Instant::now());
            self.beat()?;
        }
        pulse.lock().no_heartbeat.clone_from(&self.problem);
        Ok(())
    }

    fn beat(&mut self) -> Result<(), PgError> {
        let beat = match self.way {
            Way::None => return Ok(()),
            Way::Row => self.sql.query(&format!(
                "INSERT INTO holdfast.heartbeat AS h VALUES ({}, 1, pg_catalog.clock_timestamp()) \
                 ON CONFLICT (slot) DO UPDATE SET beat = h.beat + 1, written_at = excluded.written_at",
                slot::quote(&self.slot)
            )),
            Way::Bare => self.sql.query("SELECT pg_catalog.pg_current_xact_id()"),
        };
        match beat {
            Ok(_) => self.problem = None,
            // A full disk, a read-only database, a right that was taken away: the log is received all the same.
            Err(PgError::Server(error)) => {
                if matches!(self.way, Way::Row) && error.code == "42501" {
                    self.way = Way::Bare;
                }
                self.problem = Some(error.to_string());
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

/// The heartbeat that a server knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownBeat {
    /// Counts up by one.
    pub beat: u64,
    /// The server's clock when it was written.
    pub written_at: Timestamp,
}

/// Asks a server for the newest heartbeat in its table; none when it has none.
///
/// # Errors
/// When it cannot be asked.
pub fn known_beat(
    server: &ServerAddress,
    credentials: &Credentials,
    database: &str,
    name: &str,
) -> Result<Option<KnownBeat>, PgError> {
    let mut sql = Connection::open(server, credentials, Mode::Database(database))?;
    if sql
        .query("SELECT 1 FROM pg_catalog.pg_tables WHERE schemaname = 'holdfast' AND tablename = 'heartbeat'")?
        .is_empty()
    {
        return Ok(None);
    }
    let rows = sql.query(&format!(
        "SELECT beat, (extract(epoch FROM written_at) * 1000000)::bigint FROM holdfast.heartbeat WHERE slot = {}",
        slot::quote(name)
    ))?;
    if rows.is_empty() {
        return Ok(None);
    }
    let written_at = Timestamp::from_microsecond(rows.parse(0, 1)?)
        .map_err(|error| PgError::Unexpected { problem: format!("`written_at`: {error}") })?;
    Ok(Some(KnownBeat { beat: rows.parse(0, 0)?, written_at }))
}
