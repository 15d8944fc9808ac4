//! Why a follower stops.

use driver_api::{ReadError, WriteError};

use crate::error::PgError;
use crate::ledger::LedgerError;
use crate::wal::{Lsn, WalDamage};

/// Why a follower had to stop. Whether it may simply be started again, see [`FollowError::is_passing`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FollowError {
    /// The server.
    #[error("follow the server")]
    Server(#[from] PgError),
    /// The vault could not take it. The server keeps its log meanwhile.
    #[error("write the log to the vault")]
    Write(#[from] WriteError),
    /// The vault could not give it.
    #[error("read the log in the vault")]
    Read(#[from] ReadError),
    /// What is in the vault makes no sense.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The spool.
    #[error("{action} `{path}`")]
    Spool {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: String,
        /// The operating system's answer.
        #[source]
        source: std::io::Error,
    },
    /// What the server sends is damaged.
    #[error(transparent)]
    Damaged(#[from] WalDamage),
    /// A file in the archive directory that cannot be used, or says that the directory cannot.
    #[error("`{path}`: {problem}")]
    Archive {
        /// The file.
        path: String,
        /// What is wrong with it and how to mend it.
        problem: String,
    },
    /// Somebody else streams from the slot.
    #[error(
        "slot `{slot}` is in use by process {process} of the server; another worker follows it, or an earlier connection has not ended yet"
    )]
    SlotActive {
        /// The slot.
        slot: String,
        /// The server's process.
        process: String,
    },
    /// Another cluster than the one whose log is in the vault.
    #[error(
        "the server is cluster `{found}`, and the vault holds the log of `{expected}`; register the new cluster as a resource of its own, or bring the old one back"
    )]
    OtherCluster {
        /// The one in the vault.
        expected: String,
        /// The server.
        found: String,
    },
    /// The server's log is not the one that was received.
    #[error(
        "the server's log differs from what was received at {at} of timeline {timeline}: it was set back without a new timeline; nothing was overwritten. Take a new base backup under a new recovery point"
    )]
    Diverged {
        /// The timeline.
        timeline: u32,
        /// Where.
        at: Lsn,
    },
    /// The server's log ends before what was received.
    #[error(
        "the server's log ends at {found} of timeline {timeline}, and {have} was received already: it lost what it had promised to keep (`fsync` off?), or it was set back. Take a new base backup under a new recovery point"
    )]
    ServerBehind {
        /// The timeline.
        timeline: u32,
        /// Where the server's log ends.
        found: Lsn,
        /// What is in the vault.
        have: Lsn,
    },
    /// The server is on an older timeline.
    #[error(
        "the server is on timeline {found}, and timeline {have} was followed already: it is the old primary, or was set back; point the resource's location to the new primary"
    )]
    OldTimeline {
        /// The server's.
        found: u32,
        /// The one in the vault.
        have: u32,
    },
}

impl FollowError {
    /// Whether it may go away by itself, so that starting again after a while makes sense.
    #[must_use]
    pub const fn is_passing(&self) -> bool {
        !matches!(
            self,
            Self::OtherCluster { .. }
                | Self::Diverged { .. }
                | Self::ServerBehind { .. }
                | Self::OldTimeline { .. }
                | Self::Archive { .. }
        )
    }

    pub(super) fn spool<'a>(
        action: &'static str,
        path: &'a std::path::Path,
    ) -> impl FnOnce(std::io::Error) -> Self + 'a {
        move |source| Self::Spool { action, path: path.display().to_string(), source }
    }
}
