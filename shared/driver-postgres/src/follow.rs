//! Follows a server: receives its log over a permanent replication slot and acknowledges only what is durable in the
//! vault.
//!
//! What comes in becomes a piece in the vault a fraction of a second later, and what the server hears of is the end of
//! the last piece that the vault has acknowledged. The server keeps everything after it, so that a worker that dies loses
//! nothing, and neither does one whose machine burns: its successor rebuilds its state from the vault and asks the server
//! for the rest. The files in the spool are a cache of what is in pieces, so that a whole segment need not be read back to
//! be taken up in the snapshot.
//!
//! A server that cannot be streamed from puts its log into a directory with `holdfast-wal push`, see [`LogSource`]. There,
//! what is durable is removed in place of being acknowledged; all else is the same.

mod archiver;
mod beat;
mod claim;
mod collect;
mod elsewhere;
mod error;
mod judge;
mod origin;
mod receive;
mod run;
mod shelf;
mod slot;
mod tail;

use std::path::PathBuf;
use std::time::Duration;

use driver_api::{Control, StreamStore};
use jiff::{SignedDuration, Timestamp};

use crate::priority::Priority;
use crate::server::{Credentials, ServerAddress};
use crate::wal::Lsn;

pub(crate) use run::path_of;

pub use beat::{KnownBeat, known_beat};
pub use claim::give_back_archive;
pub use error::FollowError;
pub use origin::{LogSource, reserve_archive};
pub use slot::{SlotHealth, drop_slot, give_back, reserve, slot_name};

/// How a server is followed.
#[derive(Clone, Debug)]
pub struct FollowSettings {
    /// The server.
    pub server: ServerAddress,
    /// Where the log comes from.
    pub log: LogSource,
    /// Who logs in; needs REPLICATION where the server sends the log.
    pub credentials: Credentials,
    /// The database that heartbeats are written in.
    pub database: String,
    /// The slot; see [`slot_name`]. Where the log comes from an archive, the name under which its directory is taken.
    pub slot: String,
    /// A directory of this follower alone. It is emptied.
    pub spool: PathBuf,
    /// Longest time that bytes wait for more before they go to the vault.
    pub gather: Duration,
    /// So many bytes of whole segments are taken up in the snapshot at once.
    pub commit_bytes: u64,
    /// A whole segment waits no longer than this for others.
    pub commit_after: Duration,
    /// How often a heartbeat is written.
    pub heartbeat: Duration,
    /// What the compression of whole segments leaves to a server on this machine.
    pub beside_server: Priority,
    /// A segment that is missing in an archive for so long while later ones are there is a gap.
    pub missing_after: Duration,
}

impl FollowSettings {
    /// With the usual times and amounts.
    #[must_use]
    pub fn new(
        server: ServerAddress,
        credentials: Credentials,
        database: String,
        slot: String,
        spool: PathBuf,
    ) -> Self {
        Self {
            server,
            log: LogSource::Slot,
            credentials,
            database,
            slot,
            spool,
            gather: Duration::from_millis(500),
            commit_bytes: 64 << 20,
            commit_after: Duration::from_secs(300),
            heartbeat: Duration::from_secs(1),
            beside_server: Priority::Low,
            missing_after: Duration::from_secs(60),
        }
    }
}

/// What is kept: the log below is dropped with the next commit.
pub type KeepFrom<'a> = &'a (dyn Fn() -> Option<Lsn> + Sync);

/// Where a follower is.
#[derive(Clone, Debug, PartialEq)]
pub struct FollowStatus {
    /// The cluster's own id.
    pub system_id: String,
    /// The timeline that is followed.
    pub timeline: u32,
    /// The end of what is durable in the vault: what the server was told.
    pub durable: Lsn,
    /// The end of the server's log, as far as it has said.
    pub server_end: Lsn,
    /// Time of the latest commit that is durable.
    pub last_commit: Option<Timestamp>,
    /// How long the newest bytes took from the server's hand, or from when they were in the archive, until they were durable.
    pub delay: SignedDuration,
    /// How the slot fares.
    pub slot: SlotHealth,
    /// Segments received since the start.
    pub segments: u64,
    /// Bytes received since the start.
    pub bytes: u64,
    /// The log is without a hole from here on. A base backup that began before is of no use for what comes now.
    pub since: Lsn,
    /// Why no heartbeat can be written; an idle database then has a window that stands still.
    pub no_heartbeat: Option<String>,
    /// What somebody must know of the archive that the log comes from: the server cannot archive, or files stay there.
    pub notice: Option<String>,
}

impl FollowStatus {
    /// Bytes of the server's log that are not durable yet.
    #[must_use]
    pub const fn lag_bytes(&self) -> u64 {
        self.server_end.0.saturating_sub(self.durable.0)
    }
}

/// What a follower works with.
pub struct Follower<'a> {
    /// How.
    pub settings: &'a FollowSettings,
    /// Where to.
    pub store: &'a dyn StreamStore,
    /// Stops it.
    pub control: &'a dyn Control,
    /// Tells the time.
    pub now: &'a (dyn Fn() -> Timestamp + Sync),
    /// What is kept; asked at each commit.
    pub keep_from: KeepFrom<'a>,
    /// Hears where it is, about every second and after each commit.
    pub watch: &'a (dyn Fn(&FollowStatus) + Sync),
}

impl std::fmt::Debug for Follower<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Follower").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Follower<'_> {
    /// Follows until it is stopped or something fails. May be called again at once, by this process or another: it goes
    /// on where the vault ends.
    ///
    /// # Errors
    /// [`FollowError`]; nothing that was acknowledged is lost.
    pub fn run(&self) -> Result<(), FollowError> {
        run::run(self)
    }
}
