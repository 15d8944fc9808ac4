//! `attempt-started`: a worker has the order.

use job_events::AttemptStarted;
use job_model::JobEvent;

use crate::decide::{Step, attempt};

pub(crate) fn handle(step: &mut Step<'_>, fact: &AttemptStarted) {
    let Some(mut row) = attempt::current(step, &fact.attempt) else { return };
    if step.advance(&mut row, JobEvent::Started) {
        step.keep(row);
    }
}
