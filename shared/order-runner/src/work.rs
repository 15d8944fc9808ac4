//! What a service brings: how one order is carried out.

use async_trait::async_trait;
use job_events::{Disposition, Fact, OrderBody};
use job_model::FailureCode;

use crate::Attempt;

/// Carries orders out. Must be idempotent: an order may come again after its effect was made, and the work then finds
/// that effect (by the recovery point's id, a tag, a marker) instead of making it twice.
#[async_trait]
pub trait Work: Send + Sync + 'static {
    /// Carries an order out and returns its fact, with [`Attempt::header`] in it. Ends soon after the attempt's control
    /// says stop, and asks [`AttemptControl::guard`](crate::AttemptControl::guard) right before each side effect.
    ///
    /// # Errors
    /// With what the planner and a person need to know.
    async fn run(&self, order: &OrderBody, attempt: &Attempt) -> Result<Fact, WorkFailure>;
}

/// Why an order was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct WorkFailure {
    /// What scripts and alerts go by.
    pub code: FailureCode,
    /// What failed, with its chain of causes and the mend. No secrets.
    pub message: String,
    /// Whether trying again can help.
    pub disposition: Disposition,
    /// The work ended because it was told to stop, not because something failed.
    pub stopped: bool,
}

impl WorkFailure {
    /// A failure whose code says whether trying again can help.
    #[must_use]
    pub fn new(code: FailureCode, message: impl Into<String>) -> Self {
        let disposition = if code.is_retryable() { Disposition::Retry } else { Disposition::Fail };
        Self { code, message: message.into(), disposition, stopped: false }
    }

    /// The work was told to stop, and did.
    #[must_use]
    pub fn stopped() -> Self {
        Self {
            code: FailureCode::Internal,
            message: "stopped as asked".to_owned(),
            disposition: Disposition::Retry,
            stopped: true,
        }
    }
}

impl From<crate::LostLease> for WorkFailure {
    fn from(lost: crate::LostLease) -> Self {
        Self { stopped: true, ..Self::new(FailureCode::LeaseLost, lost.to_string()) }
    }
}
