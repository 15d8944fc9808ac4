//! `recovery-point-copied`: a recovery point is durable in another vault too.

use job_events::{Disposition, RecoveryPointCopied};
use job_model::{FailureCode, JobDetail, JobEvent, MessageCategory};

use crate::decide::points::{self, Made};
use crate::decide::{Step, attempt, cold, ends, explain};

pub(crate) fn handle(step: &mut Step<'_>, fact: &RecoveryPointCopied) {
    let Some(mut row) = attempt::current(step, &fact.attempt) else { return };
    if let JobDetail::Maintenance { recovery_point: Some(point), .. } = row.job.detail.clone() {
        return cold::copied(step, row, &point, fact);
    }
    let JobDetail::Copy { source_recovery_point, .. } = &row.job.detail else { return };
    // The source cannot be deleted while the copy is open; only after a planner was rebuilt can it be unknown here.
    let Some(source) = step.state.points.get(source_recovery_point).map(|source| source.point.clone()) else { return };
    // A continuous recovery point may have had another full capture since the copy began.
    let bases = step.state.continuous.get(source_recovery_point).map(|row| row.bases.clone()).unwrap_or_default();
    let mut source = source;
    if let Some(base) = bases.into_iter().find(|base| base.summary.tree_id == fact.tree_id) {
        source.summary = base.summary;
    }
    if source.summary.tree_id != fact.tree_id {
        let text = format!("the copy has tree `{}` and its source `{}`", fact.tree_id, source.summary.tree_id);
        return attempt::failed(step, row, FailureCode::SnapshotDiffers.as_str(), &text, Disposition::Fail);
    }
    let moved = step.advance(&mut row, JobEvent::Succeeded);
    if !moved && !row.job.state.is_terminal() {
        return;
    }
    let made = Made {
        snapshot_id: fact.snapshot_id.clone(),
        summary: source.summary.clone(),
        traceparent: step.traceparent.clone(),
    };
    points::record(step, &mut row, made);
    if !moved {
        // The job was given up before; what is durable is in the catalogue now, and the job stays as it ended.
        return step.keep(row);
    }
    row.job.progress = fact.progress;
    row.job.phases = fact.phases.clone();
    row.job.message_category = MessageCategory::Success;
    row.job.status_message = None;
    if source.summary.exception_count > 0 {
        let text = format!("the source is incomplete: {}", points::exceptions_message(&source.summary));
        explain(&mut row.job, MessageCategory::Issues, text);
    }
    ends::keep_ended(step, row);
}
