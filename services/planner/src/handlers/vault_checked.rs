//! `vault-checked`: what a check of a vault saw. A vault with damage is a job that FAILED: nobody reads the message of a
//! job that COMPLETED.

use job_events::VaultChecked;
use job_model::{FailureCode, JobDetail, JobEvent, MessageCategory, Severity};

use crate::decide::{Step, attempt, ends, explain, scrubbing};

pub(crate) fn handle(step: &mut Step<'_>, fact: &VaultChecked) {
    let Some(mut row) = attempt::current(step, &fact.attempt) else { return };
    let failures = fact.findings.iter().filter(|finding| finding.severity == Severity::Failure).count();
    let event = if failures > 0 { JobEvent::FailedForGood } else { JobEvent::Succeeded };
    if !step.advance(&mut row, event) {
        return;
    }
    let damaged = match row.job.detail.clone() {
        JobDetail::Maintenance { vault: Some(vault), task, .. } => scrubbing::note(step, &vault, &task, fact),
        _ => Vec::new(),
    };
    row.job.progress.bytes_read = fact.bytes_read;
    row.job.progress.bytes_done = fact.bytes_read;
    row.job.progress.items_done = fact.snapshots;
    let mut seen = format!("{} snapshots, {} packs, {} bytes read", fact.snapshots, fact.packs_read, fact.bytes_read);
    if let Some(coverage) = &fact.coverage {
        seen = format!("{seen}, {} of {} packs read by now", coverage.packs_covered, coverage.packs);
    }
    if let Some(first) = damaged.first() {
        let count = fact.recovery_points_damaged;
        seen = format!("{count} recovery points cannot be restored whole, first `{first}`; {seen}");
    }
    let worst = fact.findings.iter().max_by_key(|finding| finding.severity);
    match worst {
        None => explain(&mut row.job, MessageCategory::Success, seen),
        Some(worst) if failures > 0 => {
            let code = FailureCode::VaultDamaged;
            let text = format!(
                "{code}: {failures} of {} findings are damage, first `{}`: {} ({seen})",
                fact.findings.len(),
                worst.subject,
                worst.message
            );
            explain(&mut row.job, MessageCategory::Failure, text);
        }
        Some(worst) => {
            let text =
                format!("{} findings, first `{}`: {} ({seen})", fact.findings.len(), worst.subject, worst.message);
            explain(&mut row.job, MessageCategory::Issues, text);
        }
    }
    ends::keep_ended(step, row);
}
