//! `snapshot-captured`: a recovery point is durable in its vault.

use job_events::{BaseOutcome, SnapshotCaptured};
use job_model::{JobEvent, MessageCategory};

use crate::decide::points::{self, Made, exceptions_message};
use crate::decide::{Step, attempt, continuous, ends, explain};
use crate::state::JobRow;

pub(crate) fn handle(step: &mut Step<'_>, fact: &SnapshotCaptured) {
    let Some(mut row) = attempt::current(step, &fact.attempt) else { return };
    let moved = step.advance(&mut row, JobEvent::Succeeded);
    if !moved && !row.job.state.is_terminal() {
        return;
    }
    let made = Made {
        snapshot_id: fact.snapshot_id.clone(),
        summary: fact.summary.clone(),
        traceparent: step.traceparent.clone(),
    };
    match &fact.base {
        Some(BaseOutcome::Base) if row.continuous.is_some() => continuous::record_base(step, &mut row, made),
        _ => points::record(step, &mut row, made),
    };
    if !moved {
        // The job was given up before; what is durable is in the catalogue now, and the job stays as it ended.
        return step.keep(row);
    }
    row.job.progress = fact.progress;
    row.job.phases = fact.phases.clone();
    if fact.summary.exception_count > 0 {
        explain(&mut row.job, MessageCategory::Issues, exceptions_message(&fact.summary));
    } else if let Some(why) = fallback(fact, &row) {
        explain(&mut row.job, MessageCategory::Issues, why);
    } else {
        row.job.message_category = MessageCategory::Success;
        row.job.status_message = fact.summary.reading.as_ref().and_then(points::untracked_message);
    }
    ends::keep_ended(step, row);
}

/// What is said of a snapshot whose rule asks for more.
fn fallback(fact: &SnapshotCaptured, row: &JobRow) -> Option<String> {
    match &fact.base {
        Some(BaseOutcome::FellBack { reason }) => {
            Some(format!("Enabling continuous backup failed: {reason}; a snapshot was made instead"))
        }
        _ => row.fallback.clone(),
    }
}
