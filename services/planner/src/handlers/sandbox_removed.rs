//! `sandbox-removed`: what a restore test restored is gone.

use job_events::SandboxRemoved;
use job_model::{JobEvent, MessageCategory};

use crate::decide::{Step, attempt, ends};

pub(crate) fn handle(step: &mut Step<'_>, fact: &SandboxRemoved) {
    let Some(mut row) = attempt::current(step, &fact.attempt) else { return };
    ends::sandbox_is(step, fact.restore_job_id, true);
    if step.advance(&mut row, JobEvent::Succeeded) {
        row.job.message_category = MessageCategory::Success;
        row.job.status_message = None;
        ends::keep_ended(step, row);
    }
}
