//! `attempt-progressed`: how far a job is.

use job_events::AttemptProgressed;
use job_model::JobEvent;

use crate::decide::{Step, attempt};

pub(crate) fn handle(step: &mut Step<'_>, fact: &AttemptProgressed) {
    let Some(mut row) = attempt::current(step, &fact.attempt) else { return };
    if step.advance(&mut row, JobEvent::Progressed) {
        row.job.progress = fact.progress;
        step.keep(row);
    }
}
