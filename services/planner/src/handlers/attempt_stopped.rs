//! `attempt-stopped`: the worker did as it was told.

use job_events::AttemptStopped;
use job_model::{JobEvent, StopCause};

use crate::decide::{Step, attempt, ends};

pub(crate) fn handle(step: &mut Step<'_>, fact: &AttemptStopped) {
    let Some(mut row) = attempt::current(step, &fact.attempt) else { return };
    let cause = row.stopping.map_or(StopCause::Requested, |(reason, _)| reason.into());
    if step.advance(&mut row, JobEvent::Stopped { cause }) {
        row.job.progress = fact.progress;
        ends::keep_ended(step, row);
    }
}
