//! What readers of the AWS Backup API derive from a job: whose it is, how far it is, how its validation and its clean-up
//! stand.

use crate::{Arn, Job, JobDetail, JobState, ValidationStatus, VerdictStatus};

/// What a restore test's job says when what it restored could not be removed.
pub const SANDBOX_STAYS: &str = "what the restore test restored could not be removed; see the job that tried";

impl Job {
    /// Whose it is: the account of the vault (or recovery point) it is about.
    #[must_use]
    pub fn account(&self) -> &str {
        self.home().account()
    }

    /// The vault it is counted for; for checks and the removal of a sandbox the recovery point, which has the same
    /// account.
    #[must_use]
    pub fn home(&self) -> &Arn {
        match &self.detail {
            JobDetail::Backup { vault, .. } | JobDetail::Restore { vault, .. } => vault,
            JobDetail::Copy { source_vault, .. } => source_vault,
            JobDetail::Verification { recovery_point, .. } => recovery_point,
            JobDetail::Maintenance { vault, recovery_point, .. } => {
                vault.as_ref().or(recovery_point.as_ref()).unwrap_or(&self.resource)
            }
        }
    }

    /// How much is done, 0 to 100. What is under way is never 100.
    #[must_use]
    pub fn percent_done(&self) -> u8 {
        match self.state {
            JobState::Completed | JobState::Partial => 100,
            JobState::Created | JobState::Pending => 0,
            _ => {
                let total = self.progress.bytes_total.unwrap_or(0);
                let percent = self.progress.bytes_done.saturating_mul(100).checked_div(total).unwrap_or(0);
                u8::try_from(percent.min(99)).unwrap_or(99)
            }
        }
    }

    /// How the validation of a restore test's restore stands, with the reason; none for other jobs and before the
    /// restore ended.
    #[must_use]
    pub fn validation(&self) -> Option<(ValidationStatus, Option<&str>)> {
        let JobDetail::Restore { test_run: Some(_), verdict, validation, .. } = &self.detail else { return None };
        let outside = validation.as_ref().map(|outside| (outside.status, outside.message.as_deref()));
        let built_in = verdict.as_ref().map(|verdict| {
            let status = match verdict.status {
                VerdictStatus::Successful => ValidationStatus::Successful,
                VerdictStatus::Failed => ValidationStatus::Failed,
            };
            (status, Some(verdict.message.as_str()))
        });
        match (built_in, outside) {
            // From outside a verdict is lowered and never raised.
            (Some((ValidationStatus::Failed, message)), _) => Some((ValidationStatus::Failed, message)),
            (Some(_) | None, Some((ValidationStatus::Failed, message))) => Some((ValidationStatus::Failed, message)),
            (Some(_), Some((ValidationStatus::TimedOut, message))) => Some((ValidationStatus::TimedOut, message)),
            (Some(built_in), _) => Some(built_in),
            (None, Some(outside)) => Some(outside),
            (None, None) => self.state.is_terminal().then_some((ValidationStatus::Validating, None)),
        }
    }

    /// How the removal of what a restore test restored stands, in AWS's words: `DELETING`, `SUCCESSFUL` or `FAILED`;
    /// none while it is to stay. The message of a failure is the job's.
    #[must_use]
    pub fn deletion_status(&self) -> Option<&'static str> {
        let JobDetail::Restore { test_run: Some(_), verdict, sandbox_removed, .. } = &self.detail else { return None };
        match sandbox_removed {
            Some(true) => Some("SUCCESSFUL"),
            _ if self.status_message.as_deref() == Some(SANDBOX_STAYS) => Some("FAILED"),
            _ => verdict.as_ref().map(|_| "DELETING"),
        }
    }
}
