//! Where the log comes from: a server's replication slot, or the directory that it archives to.

use std::fs::File;
use std::path::{Path, PathBuf};

use super::archiver::{self, Archiver};
use super::claim::claim;
use super::collect::{Collector, list, refused};
use super::receive::{Identity, Receiver, history, identify};
use super::slot::{self, Slot};
use super::{FollowError, FollowSettings, Follower};
use crate::archive::SegmentHeader;
use crate::connection::{Connection, Mode};
use crate::error::PgError;
use crate::ledger::{NewHistory, Stored, StreamFacts};
use crate::server::{Credentials, ServerAddress};
use crate::wal::{Lsn, Segment, SegmentSize};

/// Where the log comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum LogSource {
    /// The server sends it over a replication slot.
    #[default]
    Slot,
    /// `holdfast-wal push` puts it into this directory, as the server's `archive_command`.
    Archive(PathBuf),
}

/// What a server is, as far as following it needs to know.
pub(super) struct Server {
    pub(super) identity: Identity,
    /// Whether timeline and end in there are the server's own words of now.
    pub(super) is_heard: bool,
    pub(super) version: String,
    pub(super) size: SegmentSize,
    pub(super) replication: Option<Connection>,
}

/// All that a life begins with.
pub(super) struct Origin {
    pub(super) server: Server,
    /// For heartbeats; none where the server archives and does not answer.
    pub(super) sql: Option<Connection>,
    pub(super) slot: Slot,
    pub(super) histories: Vec<NewHistory>,
}

/// Looks at the server and makes sure that it keeps its log for us.
pub(super) fn open(follower: &Follower<'_>, stored: &Stored) -> Result<Origin, FollowError> {
    let settings = follower.settings;
    match &settings.log {
        LogSource::Archive(directory) => open_archive(settings, directory, stored.facts.as_ref()),
        LogSource::Slot => {
            let mut sql = connect(settings)?;
            let mut server = look_at(settings, &mut sql)?;
            refuse_other(stored.facts.as_ref(), &server.identity.system_id, server.size)?;
            let slot = slot::ensure(&mut sql, &settings.slot)?;
            let mut histories = Vec::new();
            if let Some(connection) = &mut server.replication
                && server.identity.timeline > 1
            {
                let timeline = server.identity.timeline;
                histories.push(NewHistory { timeline, text: history(connection, timeline)? });
            }
            Ok(Origin { server, sql: Some(sql), slot, histories })
        }
    }
}

pub(super) fn connect(settings: &FollowSettings) -> Result<Connection, PgError> {
    Connection::open(&settings.server, &settings.credentials, Mode::Database(&settings.database))
}

/// Another cluster's log is never mixed in.
fn refuse_other(facts: Option<&StreamFacts>, found: &str, size: SegmentSize) -> Result<(), FollowError> {
    match facts {
        Some(facts) if facts.system_id != found || facts.segment_size != size => {
            Err(FollowError::OtherCluster { expected: facts.system_id.clone(), found: found.to_owned() })
        }
        _ => Ok(()),
    }
}

fn look_at(settings: &FollowSettings, sql: &mut Connection) -> Result<Server, FollowError> {
    let rows = sql.query(
        "SELECT pg_catalog.current_setting('wal_level'), \
         (SELECT setting FROM pg_catalog.pg_settings WHERE name = 'wal_segment_size')",
    )?;
    if rows.single()? == "minimal" {
        let problem = "`wal_level` is `minimal`; set it to `replica` at the server and restart it".to_owned();
        return Err(PgError::NotReady { problem }.into());
    }
    let size = SegmentSize::try_from(rows.parse::<u64>(0, 1)?)
        .map_err(|error| PgError::Unexpected { problem: error.to_string() })?;
    let version = sql.parameter("server_version").unwrap_or_default().to_owned();
    let mut replication = Connection::open(&settings.server, &settings.credentials, Mode::Replication)?;
    let identity = identify(&mut replication)?;
    Ok(Server { identity, is_heard: true, version, size, replication: Some(replication) })
}

/// The server need not answer: what it is stands in the vault and in its segments.
fn open_archive(
    settings: &FollowSettings,
    directory: &Path,
    facts: Option<&StreamFacts>,
) -> Result<Origin, FollowError> {
    claim(directory, &settings.slot)?;
    let (sql, said) = match connect(settings) {
        Ok(mut sql) => {
            let said = archiver::ask(&mut sql, &settings.slot)?;
            (Some(sql), Some(said))
        }
        Err(error) => {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the server does not answer; its archive is followed"
            );
            (None, None)
        }
    };
    let server = match said {
        Some(Archiver { system_id, version, size, timeline, end, .. }) => {
            let identity = Identity { system_id, timeline: timeline.unwrap_or(1), end };
            Server { identity, is_heard: timeline.is_some(), version, size, replication: None }
        }
        None => match facts {
            Some(facts) => {
                let identity =
                    Identity { system_id: facts.system_id.clone(), timeline: facts.timeline, end: facts.end };
                let version = facts.server_version.clone();
                Server { identity, is_heard: false, version, size: facts.segment_size, replication: None }
            }
            None => of_segments(directory)?,
        },
    };
    refuse_other(facts, &server.identity.system_id, server.size)?;
    let slot = Slot { restart: Lsn(0), lost: None };
    Ok(Origin { server, sql, slot, histories: Vec::new() })
}

/// What the first segment in the directory says about its server.
fn of_segments(directory: &Path) -> Result<Server, FollowError> {
    // Every name of a segment is one of the smallest size too, and in the same order; the header has the real one.
    let smallest = SegmentSize::SMALLEST;
    let shelf = list(directory, smallest)?;
    let Some(first) = shelf.segments.first() else {
        let problem = format!(
            "the server does not answer, and nothing is in its archive `{}` yet: bring it up, and see that its \
             `archive_command` puts its log there",
            directory.display()
        );
        return Err(PgError::NotReady { problem }.into());
    };
    let path = directory.join(first.name(smallest));
    let file = File::open(&path).map_err(FollowError::spool("open", &path))?;
    let header = SegmentHeader::read(&file).map_err(FollowError::spool("read", &path))?;
    let size = header.and_then(|header| Some((header, SegmentSize::try_from(header.segment_bytes).ok()?)));
    let Some((header, size)) = size else {
        return Err(refused(&path, "it does not begin as a segment of a log does; remove it".to_owned()));
    };
    let identity = Identity { system_id: header.system_id.to_string(), timeline: first.timeline, end: Lsn(0) };
    Ok(Server { identity, is_heard: false, version: String::new(), size, replication: None })
}

/// Makes sure, before a base backup, that the server archives its log to a directory and that this follower may take it
/// there: all that comes after the backup's begin is in it then.
///
/// # Errors
/// When the server does not archive, or the directory cannot be used or is another follower's.
pub fn reserve_archive(
    server: &ServerAddress,
    credentials: &Credentials,
    database: &str,
    directory: &Path,
    name: &str,
) -> Result<(), PgError> {
    archiver::ask(&mut Connection::open(server, credentials, Mode::Database(database))?, name)?;
    claim(directory, name).map_err(|error| {
        let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
        PgError::NotReady { problem: format!("{error}{cause}; see the profile's `archive_dir`") }
    })
}

/// What brings the log while a follower lives.
pub(super) enum Bringer<'a> {
    Server(Receiver<'a>),
    Archive(Collector<'a>),
}

impl Bringer<'_> {
    /// Brings it from there on until told to stop.
    pub(super) fn run(self, timeline: u32, from: Lsn) -> Result<(), FollowError> {
        match self {
            Self::Server(receiver) => Ok(receiver.run(timeline, from)?),
            Self::Archive(collector) => collector.run(),
        }
    }
}

/// The segment that a collector takes first; none when nothing was ever taken.
pub(super) fn first_wanted(size: SegmentSize, timeline: u32, end: Lsn) -> Option<Segment> {
    (end > Lsn(0)).then(|| size.segment_at(timeline, end))
}
