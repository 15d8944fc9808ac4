//! `recovery-point-restored`: a recovery point lies somewhere; a restore test goes on with the check.

use job_events::RecoveryPointRestored;
use job_model::{JobDetail, JobEvent, MessageCategory, Severity};

use crate::decide::{Step, attempt, ends, explain};

pub(crate) fn handle(step: &mut Step<'_>, fact: &RecoveryPointRestored) {
    let Some(mut row) = attempt::current(step, &fact.attempt) else { return };
    if !step.advance(&mut row, JobEvent::Succeeded) {
        return;
    }
    if let JobDetail::Restore { created_location, recovery_point, .. } = &mut row.job.detail {
        *created_location = Some(fact.location.clone());
        if let Some(mut point) = step.state.points.get(recovery_point).cloned() {
            point.point.last_restored_at = Some(step.now);
            step.state.points.put(recovery_point.clone(), point);
        }
    }
    row.job.progress = fact.progress;
    row.job.phases = fact.phases.clone();
    row.job.message_category = MessageCategory::Success;
    row.job.status_message = None;
    let issues: Vec<_> = fact.findings.iter().filter(|finding| finding.severity > Severity::Note).collect();
    if let Some(first) = issues.first() {
        let text = format!("restored with {} issues, first `{}`: {}", issues.len(), first.subject, first.message);
        explain(&mut row.job, MessageCategory::Issues, text);
    }
    ends::keep_ended(step, row);
}
