//! Facts: what is known of recovery points, and how restores that the verifier asked for went. Every effect is the same
//! when a fact is told again.

use jiff::Timestamp;
use job_events::{Fact, RequestAccepted, RequestRejected};
use job_model::{Finding, FindingKind, Job, JobDetail, JobState, Severity};
use state_store::{StoreError, Tx};

use crate::runs::{self, Rules};
use crate::store;

/// Handles a fact; facts that are not for the verifier change nothing.
pub(crate) fn handle(tx: &mut Tx<'_>, rules: &Rules, fact: Fact, now: Timestamp) -> Result<(), StoreError> {
    match fact {
        Fact::JobChanged(changed) => job_changed(tx, rules, &changed.job, now),
        Fact::JobNoted(noted) => match &noted.job.detail {
            JobDetail::Restore { test_run: Some(run), verdict: Some(verdict), validation: Some(_), .. } => {
                runs::lowered(tx, *run, &noted.job.resource, verdict)
            }
            _ => Ok(()),
        },
        Fact::VerdictReached(reached) => runs::verdict_reached(tx, rules, reached, now),
        Fact::RequestAccepted(RequestAccepted { request_id, job_id: Some(job_id), .. }) => {
            match store::entry_of_request(tx, &request_id)? {
                Some((run, resource)) => runs::restore_accepted(tx, run, &resource, job_id),
                None => Ok(()),
            }
        }
        Fact::RequestRejected(RequestRejected {
            request_id,
            code,
            field,
            message,
            arn: None,
            creator_request_id: None,
        }) => {
            let Some((run, resource)) = store::entry_of_request(tx, &request_id)? else { return Ok(()) };
            let message = format!("the planner refused the restore: {code} {field}: {message}");
            runs::unproven(
                tx,
                rules,
                run,
                &resource,
                runs::failure(FindingKind::RestoreFailed, &resource, message),
                now,
            )
        }
        other => project(tx, other),
    }
}

/// Keeps the projection of recovery points; other facts change nothing.
pub(crate) fn project(tx: &mut Tx<'_>, fact: Fact) -> Result<(), StoreError> {
    match fact {
        Fact::RecoveryPointCreated(created) => store::put_point(tx, created.recovery_point),
        Fact::RecoveryPointChanged(changed) => store::put_point(tx, changed.recovery_point),
        Fact::RecoveryPointDeleted(deleted) => store::delete_point(tx, &deleted.recovery_point).map(|_was_there| ()),
        _ => Ok(()),
    }
}

/// Follows the jobs of a run. A restore that ended well is followed by its verification, and that by a verdict; any other
/// end leaves the resource unproven.
fn job_changed(tx: &mut Tx<'_>, rules: &Rules, job: &Job, now: Timestamp) -> Result<(), StoreError> {
    let (run, what, kind) = match &job.detail {
        JobDetail::Restore { test_run: Some(run), .. } => {
            runs::restore_accepted(tx, *run, &job.resource, job.id)?;
            (*run, "restore", FindingKind::RestoreFailed)
        }
        JobDetail::Verification { test_run, .. } => (*test_run, "verification", FindingKind::CheckFailed),
        _ => return Ok(()),
    };
    if !matches!(job.state, JobState::Failed | JobState::Aborted | JobState::Expired) {
        return Ok(());
    }
    let reason = job.status_message.as_deref().unwrap_or("the job says no more");
    let finding = Finding {
        kind,
        severity: Severity::Failure,
        subject: job.id.to_string(),
        message: format!("the {what} ended {}: {reason}", job.state.as_str()),
    };
    runs::unproven(tx, rules, run, &job.resource, finding, now)
}
