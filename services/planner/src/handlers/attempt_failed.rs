//! `attempt-failed`: another attempt, or the end of the job.

use job_events::AttemptFailed;

use crate::decide::{Step, attempt};

pub(crate) fn handle(step: &mut Step<'_>, fact: &AttemptFailed) {
    let Some(mut row) = attempt::current(step, &fact.attempt) else { return };
    row.job.progress = fact.progress;
    attempt::failed(step, row, &fact.code, &fact.message, fact.disposition);
}
