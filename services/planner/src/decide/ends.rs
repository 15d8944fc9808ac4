//! What follows from the end of a job.

use job_model::{
    Arn, Job, JobDetail, JobId, JobKind, JobState, MessageCategory, RecoveryPointStatus, ValidationStatus, Vault,
    VaultState, Verdict, VerdictStatus,
};

use crate::decide::orders::task;
use crate::decide::runs::{after, new_job};
use crate::decide::{Step, cold, explain, keeping};
use crate::state::JobRow;

/// Puts a job that moved and, if it ended, does what follows.
pub(crate) fn keep_ended(step: &mut Step<'_>, row: JobRow) {
    let ended = row.clone();
    step.keep(row);
    if ended.job.state.is_terminal() {
        after_end(step, &ended);
    }
}

fn after_end(step: &mut Step<'_>, row: &JobRow) {
    let job = &row.job;
    let done = matches!(job.state, JobState::Completed | JobState::Partial);
    match &job.detail {
        JobDetail::Restore { test_run: Some(_), .. } if done => verify(step, row),
        JobDetail::Restore { test_run: Some(_), recovery_point, .. } => {
            // A test that somebody stopped says nothing of the recovery point; one that failed did not prove it.
            if job.state != JobState::Aborted {
                let verdict = unproven(step, job, recovery_point, "the restore");
                judge(step, job.id, &verdict);
            }
            remove_sandbox(step, job.id);
        }
        JobDetail::Verification { restore_job_id, recovery_point, .. } if !done => {
            let verdict =
                Verdict { restore_job_id: Some(*restore_job_id), ..unproven(step, job, recovery_point, "the check") };
            judge(step, *restore_job_id, &verdict);
            remove_sandbox(step, *restore_job_id);
        }
        JobDetail::Maintenance { task, vault, recovery_point, restore_job_id } if !done => {
            let why = job.status_message.clone().unwrap_or_else(|| job.state.as_str().to_owned());
            match task.as_str() {
                task::CREATE_VAULT => {
                    if let Some(vault) = vault.as_ref().and_then(|arn| step.state.vaults.get(arn)).cloned() {
                        let failed = Vault { state: VaultState::Failed, state_message: Some(why), ..vault };
                        step.state.vaults.put(failed.access.arn.clone(), failed);
                    }
                }
                task::DELETE_RECOVERY_POINT => {
                    if let Some(mut point) = recovery_point.as_ref().and_then(|arn| step.state.points.get(arn)).cloned()
                    {
                        point.point.status = RecoveryPointStatus::Expired;
                        point.point.status_message = Some(format!("could not be deleted: {why}"));
                        point.delete_not_before = Some(after(step.now, step.settings.delete_retry));
                        step.state.points.put(point.point.arn.clone(), point);
                    }
                }
                task::CREATE_COLD_TIER => {
                    if let Some(vault) = vault.as_ref().and_then(|arn| step.state.vaults.get(arn)).cloned() {
                        let text = format!("its cold repository could not be made: {why}");
                        let told = Vault { state_message: Some(text), ..vault };
                        step.state.vaults.put(told.access.arn.clone(), told);
                    }
                }
                task::PROTECT_VAULT | task::PROTECT_COLD_TIER => {
                    if let Some(vault) = vault {
                        keeping::given_up(step, vault, task);
                    }
                }
                task::MOVE_TO_COLD | task::FORGET_WARM => {
                    if let Some(point) = recovery_point {
                        cold::given_up(step, point);
                    }
                }
                task::REMOVE_SANDBOX => {
                    if let Some(restore) = *restore_job_id {
                        sandbox_is(step, restore, false);
                    }
                }
                _ => {}
            }
        }
        _ => {}
    }
}

/// After a restore test's restore: the check.
fn verify(step: &mut Step<'_>, row: &JobRow) {
    let JobDetail::Restore { recovery_point, test_run: Some(test_run), .. } = &row.job.detail else { return };
    let id = JobId::new(row.job.id.derive("verify"));
    if step.state.job(id).is_some() {
        return;
    }
    let detail = JobDetail::Verification {
        restore_job_id: row.job.id,
        test_run: *test_run,
        recovery_point: recovery_point.clone(),
    };
    let resource = row.job.resource.clone();
    let mut job = new_job(step, id, JobKind::Verification, resource, row.job.region.clone(), detail);
    job.resource_type = row.job.resource_type;
    job.parent = Some(row.job.id);
    job.traceparent = row.job.traceparent.clone().or(job.traceparent);
    let mut verification = JobRow::new(job);
    verification.uses = vec![recovery_point.clone()];
    step.create(verification);
}

/// The verdict where the verifier reached none: not proven.
fn unproven(step: &Step<'_>, job: &Job, point: &Arn, what: &str) -> Verdict {
    let why = job.status_message.as_deref().unwrap_or("no reason is known");
    let age = step.state.points.get(point).map(|row| step.now.duration_since(row.point.summary.capture_ended_at));
    let rpo_ms = age.and_then(|age| u64::try_from(age.as_millis()).ok()).unwrap_or_default();
    Verdict {
        status: VerdictStatus::Failed,
        message: format!("{what} ended {} without a verdict: {why}", job.state.as_str()),
        judged_at: step.now,
        restore_job_id: Some(job.id),
        rto_ms: 0,
        rpo_ms,
    }
}

/// A verdict that somebody outside does not agree with.
pub(crate) fn lowered(before: &Verdict, message: Option<&str>, now: jiff::Timestamp) -> Verdict {
    Verdict {
        status: VerdictStatus::Failed,
        message: format!("found wrong from outside: {}", message.unwrap_or("no reason was given")),
        judged_at: now.max(before.judged_at),
        ..before.clone()
    }
}

/// What a restore test restored goes now: both who checks it and who validates it outside have spoken.
pub(crate) fn hasten_removal(step: &mut Step<'_>, restore: JobId) {
    let id = JobId::new(restore.derive("remove-sandbox"));
    let Some(mut row) = step.state.job(id).cloned() else { return };
    if row.job.state == JobState::Created && row.job.not_before.is_some() {
        row.job.not_before = None;
        step.keep(row);
    }
}

/// Writes a verdict to the restore job and the recovery point. An older verdict never replaces a newer one.
pub(crate) fn judge(step: &mut Step<'_>, restore: JobId, verdict: &Verdict) {
    let Some(mut row) = step.state.job(restore).cloned() else { return };
    let JobDetail::Restore { recovery_point, verdict: slot, validation, .. } = &mut row.job.detail else { return };
    let point = recovery_point.clone();
    // What somebody outside found wrong before stays wrong, whatever the check says now.
    let found_wrong = validation.as_ref().filter(|outside| outside.status == ValidationStatus::Failed);
    let verdict = match found_wrong {
        Some(outside) if verdict.status == VerdictStatus::Successful => {
            &lowered(verdict, outside.message.as_deref(), step.now)
        }
        _ => verdict,
    };
    if slot.as_ref().is_none_or(|before| before.judged_at <= verdict.judged_at) {
        *slot = Some(verdict.clone());
        step.keep(row);
    }
    let Some(mut point) = step.state.points.get(&point).cloned() else { return };
    if point.point.last_verdict.as_ref().is_none_or(|before| before.judged_at <= verdict.judged_at) {
        point.point.last_verdict = Some(verdict.clone());
        step.state.points.put(point.point.arn.clone(), point);
    }
}

/// Has what a restore test restored removed, after its validation window. Where no order was ever issued there is
/// nothing to remove.
pub(crate) fn remove_sandbox(step: &mut Step<'_>, restore: JobId) {
    let Some(row) = step.state.job(restore).cloned() else { return };
    let JobDetail::Restore { recovery_point, sandbox_removed, .. } = &row.job.detail else { return };
    if *sandbox_removed == Some(true) {
        return;
    }
    if row.first_issued_at.is_none() {
        return sandbox_is(step, restore, true);
    }
    let id = JobId::new(restore.derive("remove-sandbox"));
    if step.state.job(id).is_some() {
        return;
    }
    let detail = JobDetail::Maintenance {
        vault: None,
        task: task::REMOVE_SANDBOX.to_owned(),
        recovery_point: Some(recovery_point.clone()),
        restore_job_id: Some(restore),
    };
    let resource = row.job.resource.clone();
    let mut job = new_job(step, id, JobKind::Maintenance, resource, row.job.region.clone(), detail);
    job.resource_type = row.job.resource_type;
    job.parent = Some(restore);
    job.traceparent = row.job.traceparent.clone().or(job.traceparent);
    // A failed restore leaves nothing to look at.
    let awaited = !matches!(
        &row.job.detail,
        JobDetail::Restore { validation: Some(outside), .. } if outside.status != ValidationStatus::Validating
    );
    if awaited && row.job.state == JobState::Completed && row.validation_window_hours > 0 {
        let window = jiff::SignedDuration::from_hours(i64::from(row.validation_window_hours));
        job.not_before = Some(after(step.now, window));
    }
    step.create(JobRow::new(job));
}

/// Remembers whether a sandbox is gone.
pub(crate) fn sandbox_is(step: &mut Step<'_>, restore: JobId, removed: bool) {
    let Some(mut row) = step.state.job(restore).cloned() else { return };
    if let JobDetail::Restore { sandbox_removed, .. } = &mut row.job.detail {
        *sandbox_removed = Some(removed);
    }
    if !removed && row.job.state == JobState::Completed {
        explain(&mut row.job, MessageCategory::Issues, job_model::SANDBOX_STAYS);
    }
    step.keep(row);
}
