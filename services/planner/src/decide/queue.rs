//! Turns: which jobs get their order now. At most one open order per subject, and (AWS's quota) one open backup and one
//! open copy per resource; the others wait in CREATED.

use std::collections::BTreeSet;

use job_events::OrderBody;
use job_model::{Arn, Job, JobDetail, JobEvent, JobId, JobKind, JobState, MessageCategory, RestoreTarget};

use crate::decide::orders::{NoOrder, newest_in, order_of, subject_of, task};
use crate::decide::{Out, Step, ends, explain};

/// Issues the orders of all jobs whose turn it is.
pub(crate) fn issue(step: &mut Step<'_>) {
    // A job that fails here may make others (a sandbox to remove), so go on until nothing moves.
    while issue_once(step) {}
}

fn issue_once(step: &mut Step<'_>) -> bool {
    let mut taken = BTreeSet::new();
    for row in step.state.open_jobs() {
        if row.job.state != JobState::Created {
            taken.extend(lanes(step, &row.job));
        }
    }
    // The bus still has the order of a job that was given up: its subject is free once that order is taken away.
    for row in step.state.to_withdraw() {
        taken.extend(lanes(step, &row.job));
    }
    let waiting: Vec<JobId> =
        step.state.open_jobs().iter().filter(|row| row.job.state == JobState::Created).map(|row| row.job.id).collect();
    let mut failed_any = false;
    for id in waiting {
        let Some(row) = step.state.job(id) else { continue };
        if row.job.not_before.is_some_and(|at| at > step.now) {
            continue;
        }
        let lanes = lanes(step, &row.job);
        if row.job.not_before.is_some() {
            // Its time has come; from here on it waits for its turn, not for the clock.
            let mut row = row.clone();
            row.job.not_before = None;
            step.keep(row);
        }
        if lanes.iter().any(|lane| taken.contains(lane)) {
            continue;
        }
        let Some(row) = step.state.job(id) else { continue };
        match order_of(step, row) {
            Ok(body) => {
                taken.extend(lanes);
                send(step, id, body);
            }
            Err(NoOrder::Wait(why)) => note(step, id, why),
            Err(NoOrder::Never(why)) => {
                give_up(step, id, why);
                failed_any = true;
            }
        }
    }
    failed_any
}

/// What a job may not share with another one whose order is out.
fn lanes(step: &Step<'_>, job: &Job) -> Vec<(JobKind, String, String)> {
    let subject = subject_of(step, job);
    // Restores and removals of sandboxes share a queue, and so the subject.
    let kind = match &job.detail {
        JobDetail::Maintenance { restore_job_id: Some(_), .. } => JobKind::Restore,
        _ => job.kind,
    };
    // A resource has one open copy in all regions, other subjects are taken in their region.
    let place = if kind == JobKind::Copy { String::new() } else { job.region.to_string() };
    let mut lanes = vec![(kind, place.clone(), subject.to_string())];
    if let JobDetail::Restore { target: RestoreTarget::Location { url }, .. } = &job.detail {
        lanes.push((kind, place, url.trim_end_matches('/').to_owned()));
    }
    lanes
}

fn send(step: &mut Step<'_>, id: JobId, body: OrderBody) {
    let Some(mut row) = step.state.job(id).cloned() else { return };
    if !step.advance(&mut row, JobEvent::Ordered) {
        return;
    }
    row.issued_at = Some(step.now);
    row.first_issued_at = row.first_issued_at.or(Some(step.now));
    row.heard_at = None;
    row.reissued = 0;
    row.job.not_before = None;
    if row.job.attempt == 1 {
        row.job.status_message = None;
    }
    row.uses = used_points(step, &row.job);
    let traceparent = row.job.traceparent.clone();
    step.keep(row);
    step.out.push(Out::Order { body: Box::new(body), traceparent });
}

/// The recovery points that must stay while the job is open.
fn used_points(step: &Step<'_>, job: &Job) -> Vec<Arn> {
    match &job.detail {
        JobDetail::Backup { vault, .. } => {
            newest_in(step, &job.resource, vault).map(|row| row.point.arn.clone()).into_iter().collect()
        }
        JobDetail::Copy { source_recovery_point, .. } => vec![source_recovery_point.clone()],
        JobDetail::Restore { recovery_point, .. } | JobDetail::Verification { recovery_point, .. } => {
            vec![recovery_point.clone()]
        }
        JobDetail::Maintenance { task, recovery_point: Some(point), .. }
            if task == task::MOVE_TO_COLD || task == task::FORGET_WARM =>
        {
            vec![point.clone()]
        }
        JobDetail::Maintenance { .. } => Vec::new(),
    }
}

/// Says why a job waits, once.
fn note(step: &mut Step<'_>, id: JobId, why: String) {
    let Some(mut row) = step.state.job(id).cloned() else { return };
    if row.job.status_message.as_deref() != Some(why.as_str()) {
        row.job.status_message = Some(why);
        step.keep(row);
    }
}

fn give_up(step: &mut Step<'_>, id: JobId, why: String) {
    let Some(mut row) = step.state.job(id).cloned() else { return };
    explain(&mut row.job, MessageCategory::Failure, why);
    if step.advance(&mut row, JobEvent::FailedForGood) {
        ends::keep_ended(step, row);
    }
}
