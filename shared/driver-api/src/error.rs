//! What can go wrong in a driver, in the words of the person who must mend it.

use std::io;

use job_model::FailureCode;

use crate::{ReadError, WriteError};

/// Why a driver could not do its work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DriverError {
    /// The resource is not where the registry says.
    #[error("resource `{location}` is not there; register it with its new place or bring it back")]
    NotFound {
        /// Where it should be.
        location: String,
    },
    /// The location is not one this driver can use.
    #[error("location `{location}` cannot be used: {problem}")]
    BadLocation {
        /// The location.
        location: String,
        /// What is wrong and how to mend it.
        problem: String,
    },
    /// The operating system refused or failed.
    #[error("{action} `{path}`")]
    Io {
        /// What was tried, as a verb phrase: `open`, `set owner of`.
        action: &'static str,
        /// On what.
        path: String,
        /// The operating system's answer.
        #[source]
        source: io::Error,
    },
    /// The target has something already and the policy does not allow to touch it.
    #[error("target `{path}` exists already; choose another target or an overwrite policy")]
    TargetExists {
        /// The target.
        path: String,
    },
    /// An entry of the recovery point would leave the target.
    #[error("entry `{path}` would leave the target: {problem}; nothing of it was written")]
    Escape {
        /// The entry.
        path: String,
        /// How.
        problem: String,
    },
    /// A quiesce hook failed and its policy is to fail.
    #[error("hook `{hook}` failed: {problem}")]
    Hook {
        /// Its name in the configuration.
        hook: String,
        /// What happened.
        problem: String,
    },
    /// The recovery point's own description cannot be read.
    #[error("recovery point is not one of this driver: {problem}")]
    NotOurs {
        /// What is missing or wrong.
        problem: String,
    },
    /// The service that holds the resource refused or failed.
    #[error("{problem}")]
    Service {
        /// The code for facts, scripts and alerts.
        code: FailureCode,
        /// What happened and how to mend it.
        problem: String,
        /// The service's own words.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// The vault could not take it.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The vault could not give it.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Asked to stop.
    #[error("stopped on request")]
    Stopped,
}

/// On which side of the work the operating system spoke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// A resource is read.
    Source,
    /// A target is written.
    Target,
}

impl DriverError {
    /// The code for facts, scripts and alerts. Where the vault itself failed, the vault engine knows better: ask it first.
    #[must_use]
    pub fn failure_code(&self, side: Side) -> FailureCode {
        match (self, side) {
            (Self::NotFound { .. }, Side::Source) => FailureCode::ResourceNotFound,
            (Self::BadLocation { .. }, Side::Source) => FailureCode::ResourceLocationInvalid,
            (Self::NotFound { .. } | Self::BadLocation { .. }, Side::Target) => FailureCode::TargetInvalid,
            (Self::Io { source, .. }, _) => io_code(source, side),
            (Self::TargetExists { .. }, _) => FailureCode::TargetExists,
            (Self::Service { code, .. }, _) => *code,
            (Self::Escape { .. }, _) => FailureCode::TargetEscape,
            (Self::Hook { .. }, _) => FailureCode::HookFailed,
            (Self::NotOurs { .. }, _) => FailureCode::VaultDamaged,
            (Self::Write(WriteError::Source(source)), _) => io_code(source, Side::Source),
            (Self::Read(ReadError::Sink(source)), _) => io_code(source, Side::Target),
            (Self::Read(ReadError::Missing { .. } | ReadError::Damaged { .. }), _) => FailureCode::VaultDamaged,
            (Self::Write(WriteError::Vault(_)) | Self::Read(ReadError::Vault(_)), _) => FailureCode::VaultUnreachable,
            (Self::Stopped | Self::Write(WriteError::Stopped) | Self::Read(ReadError::Stopped), _) => {
                FailureCode::LeaseLost
            }
        }
    }

    /// Whether the work ended because it was told to.
    #[must_use]
    pub const fn is_stop(&self) -> bool {
        matches!(self, Self::Stopped | Self::Write(WriteError::Stopped) | Self::Read(ReadError::Stopped))
    }
}

fn io_code(error: &io::Error, side: Side) -> FailureCode {
    match (error.kind(), side) {
        (io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded, _) => FailureCode::NoSpace,
        (io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem, _) => FailureCode::PermissionDenied,
        (io::ErrorKind::NotFound, Side::Source) => FailureCode::ResourceNotFound,
        (_, Side::Source) => FailureCode::SourceReadFailed,
        (_, Side::Target) => FailureCode::TargetWriteFailed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn io(kind: io::ErrorKind) -> DriverError {
        DriverError::Io { action: "open", path: "/x".to_owned(), source: kind.into() }
    }

    #[test]
    fn the_operating_systems_answer_decides_and_then_the_side() {
        for (kind, side, code) in [
            (io::ErrorKind::StorageFull, Side::Target, FailureCode::NoSpace),
            (io::ErrorKind::PermissionDenied, Side::Source, FailureCode::PermissionDenied),
            (io::ErrorKind::ReadOnlyFilesystem, Side::Target, FailureCode::PermissionDenied),
            (io::ErrorKind::NotFound, Side::Source, FailureCode::ResourceNotFound),
            (io::ErrorKind::TimedOut, Side::Source, FailureCode::SourceReadFailed),
            (io::ErrorKind::TimedOut, Side::Target, FailureCode::TargetWriteFailed),
        ] {
            assert_eq!(io(kind).failure_code(side), code, "{kind:?} {side:?}");
        }
        let sink = DriverError::Read(ReadError::Sink(io::ErrorKind::StorageFull.into()));
        assert_eq!(sink.failure_code(Side::Target), FailureCode::NoSpace);
    }

    #[test]
    fn a_stop_is_a_stop_wherever_it_was_noticed() {
        assert!(DriverError::Stopped.is_stop());
        assert!(DriverError::Write(WriteError::Stopped).is_stop());
        assert!(!io(io::ErrorKind::Other).is_stop());
    }
}
