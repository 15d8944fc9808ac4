//! Why work ended without a result, from all sides, and what the planner is told of it.

use driver_api::{DriverError, ReadError, Side, WriteError};
use job_events::Disposition;
use job_model::FailureCode;
use order_runner::WorkFailure;
use service_host::error_chain;
use vault_engine::VaultError;

/// Why work ended without a result.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WorkError {
    /// A vault could not do its part.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// A driver could not read a resource.
    #[error(transparent)]
    Source(DriverError),
    /// A driver could not write a target.
    #[error(transparent)]
    Target(DriverError),
    /// The worker itself refuses or fails.
    #[error("{message}")]
    Refused {
        /// The code.
        code: FailureCode,
        /// What is wrong, with the value and the mend.
        message: String,
    },
    /// Told to stop, or the lease is lost.
    #[error("stopped on request")]
    Stopped,
}

impl WorkError {
    /// The worker itself refuses or fails.
    pub fn refused(code: FailureCode, message: impl Into<String>) -> Self {
        Self::Refused { code, message: message.into() }
    }

    /// The code for facts, scripts and alerts. A vault's own word goes before the driver's that met it.
    #[must_use]
    pub fn code(&self) -> FailureCode {
        match self {
            Self::Vault(error) => error.failure_code(),
            Self::Source(error) => driver_code(error, Side::Source),
            Self::Target(error) => driver_code(error, Side::Target),
            Self::Refused { code, .. } => *code,
            Self::Stopped => FailureCode::LeaseLost,
        }
    }

    /// Whether the work ended because it was told to.
    #[must_use]
    pub fn is_stop(&self) -> bool {
        match self {
            Self::Vault(error) => matches!(error, VaultError::Stopped),
            Self::Source(error) | Self::Target(error) => error.is_stop(),
            Self::Refused { .. } => false,
            Self::Stopped => true,
        }
    }
}

fn driver_code(error: &DriverError, side: Side) -> FailureCode {
    VaultError::code_behind(error).unwrap_or_else(|| error.failure_code(side))
}

impl From<ReadError> for WorkError {
    fn from(error: ReadError) -> Self {
        Self::Source(error.into())
    }
}

impl From<WriteError> for WorkError {
    fn from(error: WriteError) -> Self {
        Self::Source(error.into())
    }
}

impl From<WorkError> for WorkFailure {
    fn from(error: WorkError) -> Self {
        let (code, stopped) = (error.code(), error.is_stop());
        let mut message = error_chain(&error);
        // Errors that say how to mend them say it after a semicolon; the others get their code's general mend.
        if !stopped && !message.contains("; ") {
            message.push_str("; ");
            message.push_str(code.mend());
        }
        let disposition = if code.is_retryable() { Disposition::Retry } else { Disposition::Fail };
        Self { code, message, disposition, stopped }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    fn failure(error: impl Into<WorkError>) -> WorkFailure {
        error.into().into()
    }

    #[test]
    fn a_failure_carries_its_causes_and_a_mend() {
        let error = DriverError::Io {
            action: "open",
            path: "/srv/x".to_owned(),
            source: io::Error::from(io::ErrorKind::PermissionDenied),
        };
        let failure = failure(WorkError::Source(error));
        assert_eq!(failure.code, FailureCode::PermissionDenied);
        assert_eq!(failure.disposition, Disposition::Retry);
        assert_eq!(
            failure.message,
            format!("open `/srv/x`: permission denied; {}", FailureCode::PermissionDenied.mend())
        );
    }

    #[test]
    fn a_mend_is_not_said_twice() {
        let text = failure(VaultError::NotFound { location: "file:///v".to_owned() }).message;
        assert_eq!(text, "no vault at `file:///v`; mount its store or correct the location");
    }

    #[test]
    fn the_vaults_own_word_goes_before_the_drivers() {
        let inner = VaultError::WrongKey { location: "file:///v".to_owned(), profile: "main".to_owned() };
        let failure = failure(WorkError::Source(WriteError::from(inner).into()));
        assert_eq!(failure.code, FailureCode::VaultWrongKey);
        assert_eq!(failure.disposition, Disposition::Fail);
        assert!(!failure.stopped);
    }

    #[test]
    fn a_stop_is_marked_wherever_it_was_noticed() {
        for error in [WorkError::Stopped, VaultError::Stopped.into(), WorkError::Target(DriverError::Stopped)] {
            assert!(failure(error).stopped);
        }
    }
}
