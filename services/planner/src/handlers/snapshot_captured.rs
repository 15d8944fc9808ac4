//! `snapshot-captured`: a recovery point is durable in its vault.

use job_events::SnapshotCaptured;
use job_model::{JobEvent, MessageCategory};

use crate::decide::points::{self, Made, exceptions_message};
use crate::decide::{Step, attempt, ends, explain};

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
    points::record(step, &mut row, made);
    if !moved {
        // The job was given up before; what is durable is in the catalogue now, and the job stays as it ended.
        return step.keep(row);
    }
    row.job.progress = fact.progress;
    row.job.phases = fact.phases.clone();
    if fact.summary.exception_count > 0 {
        explain(&mut row.job, MessageCategory::Issues, exceptions_message(&fact.summary));
    } else if points::wants_continuous(step, &row.job) {
        explain(&mut row.job, MessageCategory::Issues, points::NOT_CONTINUOUS);
    } else {
        row.job.message_category = MessageCategory::Success;
        row.job.status_message = fact.summary.reading.as_ref().and_then(points::untracked_message);
    }
    ends::keep_ended(step, row);
}
