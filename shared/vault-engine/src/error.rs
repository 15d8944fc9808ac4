//! What can go wrong with a vault, in the words of the person who must mend it.

use std::error::Error;

use driver_api::{ReadError, WriteError};
use jiff::Timestamp;
use job_model::FailureCode;
use vault_format::Id;

use crate::store::StoreError;

/// Why a vault could not do what it was asked to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VaultError {
    /// No such key in the worker's configuration.
    #[error("no key profile `{name}` in this worker's configuration; add `[keys.{name}]`")]
    KeyProfileUnknown {
        /// The name in the order.
        name: String,
    },
    /// The secret could not be had.
    #[error("secret of profile `{name}` cannot be read: {problem}")]
    KeyUnreadable {
        /// The profile.
        name: String,
        /// What is wrong and how to mend it; never the secret.
        problem: String,
    },
    /// The location is not one the engine can use.
    #[error("vault location `{location}` cannot be used: {problem}")]
    BadLocation {
        /// The location.
        location: String,
        /// What is wrong and how to mend it.
        problem: String,
    },
    /// Nothing there.
    #[error("no vault at `{location}`; mount its store or correct the location")]
    NotFound {
        /// The location.
        location: String,
    },
    /// Something else is there.
    #[error("`{location}` is not empty ({found}); choose another location for the new vault")]
    LocationTaken {
        /// The location.
        location: String,
        /// What is there.
        found: String,
    },
    /// The secret opens none of the vault's keys.
    #[error("key profile `{profile}` does not open the vault at `{location}`; correct the profile's secret")]
    WrongKey {
        /// The location.
        location: String,
        /// The profile.
        profile: String,
    },
    /// Another repository than expected.
    #[error("`{location}` holds repository `{found}`, not `{expected}`; put the vault's own repository back in place")]
    NotTheSame {
        /// The location.
        location: String,
        /// What the planner knows.
        expected: String,
        /// What is there.
        found: String,
    },
    /// A file of the vault is damaged.
    #[error("{what} is damaged: {problem}")]
    Damaged {
        /// Which file.
        what: String,
        /// How it shows.
        problem: String,
    },
    /// No such snapshot.
    #[error("no snapshot `{id}` in the vault")]
    SnapshotMissing {
        /// Its id.
        id: Id,
    },
    /// A snapshot is not what it should be.
    #[error("snapshot `{id}` has tree `{found}`, not `{expected}`; treat its vault as tampered with")]
    SnapshotDiffers {
        /// Its id.
        id: Id,
        /// The tree it should have.
        expected: Id,
        /// The tree it has.
        found: Id,
    },
    /// Somebody has the vault for himself.
    #[error(
        "vault is locked by process {pid} on `{hostname}` since {since}; wait for it, or run `restic unlock` if it is gone"
    )]
    Locked {
        /// Their machine.
        hostname: String,
        /// Their process.
        pid: u32,
        /// When they last said that they are alive.
        since: Timestamp,
    },
    /// Our own lock could not be kept.
    #[error("the lock on the vault was lost; nothing was committed")]
    LockLost,
    /// What a new snapshot relied on went while it was made.
    #[error(
        "what the snapshot relies on was pruned meanwhile: {what}; nothing was committed, the next attempt stores it"
    )]
    Pruned {
        /// What is gone.
        what: String,
    },
    /// The index changed faster than it could be read.
    #[error("the vault's index was replaced {tries} times while it was read; nothing was changed, try again")]
    IndexInMotion {
        /// How often it was begun.
        tries: u32,
    },
    /// Somebody else follows the stream now.
    #[error("stream `{stream}` was taken over by a follower of epoch {found}, ours is {ours}; nothing was changed")]
    Superseded {
        /// The recovery point it belongs to.
        stream: String,
        /// Epoch of this follower.
        ours: u64,
        /// Epoch of the other.
        found: u64,
    },
    /// The snapshot is protected by what stands in the vault itself.
    #[error("snapshot `{snapshot}` is not deleted: {reason}")]
    Protected {
        /// Its id.
        snapshot: Id,
        /// What protects it.
        reason: crate::KeepReason,
    },
    /// A protection cannot be added or taken back.
    #[error("what protects the vault's recovery points stays as it is: {problem}")]
    KeepRefused {
        /// Why.
        problem: String,
    },
    /// What protects recovery points was tampered with or lost.
    #[error(
        "what protects the vault's recovery points is not as it was written, so nothing is deleted: {problem}; bring \
         `holdfast/keep` back from a copy of the store"
    )]
    KeepBroken {
        /// How it shows.
        problem: String,
    },
    /// The secret that is to be taken away is the one in use.
    #[error("key `{id}` opened the vault and stays; open it with another secret to revoke this one")]
    KeyInUse {
        /// Its id.
        id: Id,
    },
    /// Asked to stop.
    #[error("stopped on request")]
    Stopped,
    /// The store failed.
    #[error("{action}")]
    Store {
        /// What was tried, as a verb phrase.
        action: String,
        /// The store's answer.
        #[source]
        source: StoreError,
    },
    /// An earlier upload failed; the writer takes nothing any more.
    #[error("an earlier write to the vault failed: {problem}")]
    WriterFailed {
        /// The first failure with its causes.
        problem: String,
        /// Its code.
        code: FailureCode,
    },
    /// A format could not be written.
    #[error("{what} cannot be encoded")]
    Encode {
        /// What.
        what: &'static str,
        /// Why.
        #[source]
        source: vault_format::FormatError,
    },
}

impl VaultError {
    /// The code for facts, scripts and alerts.
    #[must_use]
    pub fn failure_code(&self) -> FailureCode {
        match self {
            Self::KeyProfileUnknown { .. } => FailureCode::KeyProfileUnknown,
            Self::KeyUnreadable { .. } => FailureCode::KeyUnreadable,
            Self::BadLocation { .. } | Self::NotFound { .. } => FailureCode::VaultNotFound,
            Self::LocationTaken { .. } => FailureCode::VaultLocationTaken,
            Self::WrongKey { .. } | Self::KeyInUse { .. } => FailureCode::VaultWrongKey,
            Self::NotTheSame { .. } => FailureCode::VaultNotTheSame,
            Self::Damaged { .. } => FailureCode::VaultDamaged,
            Self::Protected { .. } | Self::KeepRefused { .. } => FailureCode::RecoveryPointProtected,
            Self::KeepBroken { .. } => FailureCode::VaultDamaged,
            Self::SnapshotMissing { .. } => FailureCode::SnapshotMissing,
            Self::SnapshotDiffers { .. } => FailureCode::SnapshotDiffers,
            Self::Locked { .. } | Self::LockLost | Self::Pruned { .. } | Self::IndexInMotion { .. } => {
                FailureCode::VaultUnreachable
            }
            Self::Stopped | Self::Superseded { .. } => FailureCode::LeaseLost,
            Self::Store { source, .. } => source.failure_code(),
            Self::WriterFailed { code, .. } => *code,
            Self::Encode { .. } => FailureCode::Internal,
        }
    }

    /// The code of an error a driver got from this engine, where it is one.
    #[must_use]
    pub fn code_behind(error: &(dyn Error + 'static)) -> Option<FailureCode> {
        let mut next = Some(error);
        while let Some(current) = next {
            if let Some(vault) = current.downcast_ref::<Self>() {
                return Some(vault.failure_code());
            }
            if let Some(ReadError::Missing { .. } | ReadError::Damaged { .. }) = current.downcast_ref::<ReadError>() {
                return Some(FailureCode::VaultDamaged);
            }
            next = current.source();
        }
        None
    }
}

impl VaultError {
    /// What a reader met, in the vault's own words; `what` says what was read where the error does not.
    pub(crate) fn of_read(error: ReadError, what: impl FnOnce() -> String) -> Self {
        match error {
            ReadError::Stopped => Self::Stopped,
            ReadError::Damaged { what, problem } => Self::Damaged { what, problem },
            ReadError::Vault(source) => match source.downcast::<Self>() {
                Ok(vault) => *vault,
                Err(other) => Self::Damaged { what: what(), problem: chain(other.as_ref()) },
            },
            other => Self::Damaged { what: what(), problem: chain(&other) },
        }
    }
}

impl From<VaultError> for WriteError {
    fn from(error: VaultError) -> Self {
        match error {
            VaultError::Stopped => Self::Stopped,
            other => Self::Vault(Box::new(other)),
        }
    }
}

impl From<VaultError> for ReadError {
    fn from(error: VaultError) -> Self {
        match error {
            VaultError::Stopped => Self::Stopped,
            VaultError::Damaged { what, problem } => Self::Damaged { what, problem },
            other => Self::Vault(Box::new(other)),
        }
    }
}

/// An error with its causes in one line, for places that keep text only.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
