//! `verdict-reached`: whether a recovery point is proven. The sandbox goes after its validation window.

use job_events::VerdictReached;
use job_model::{JobEvent, JobKind, MessageCategory, VerdictStatus};

use crate::decide::{Step, attempt, ends, explain};

pub(crate) fn handle(step: &mut Step<'_>, fact: &VerdictReached) {
    // The verifier also judges restores that failed; those have no verification job, and the verdict names the restore.
    step.state.retain_soon();
    ends::judge(step, fact.restore_job_id, &fact.verdict);
    if let Some(mut row) = attempt::current(step, &fact.attempt).filter(|row| row.job.kind == JobKind::Verification)
        && step.advance(&mut row, JobEvent::Succeeded)
    {
        row.job.progress = fact.progress;
        row.job.phases = fact.rto_phases.clone();
        // The check was done; what it found is the verdict.
        let category = match fact.verdict.status {
            VerdictStatus::Successful => MessageCategory::Success,
            VerdictStatus::Failed => MessageCategory::Issues,
        };
        explain(&mut row.job, category, fact.verdict.message.clone());
        ends::keep_ended(step, row);
    }
    let restored = step.state.job(fact.restore_job_id).is_some_and(|row| row.job.state.is_terminal());
    if restored {
        ends::remove_sandbox(step, fact.restore_job_id);
    }
}
