//! From findings to a verdict: pure.

use jiff::Timestamp;
use job_events::FAILING_SEVERITY;
use job_model::{Finding, FindingKind, JobId, PhaseTiming, Severity, Verdict, VerdictStatus};

/// Findings that a fact carries at most; the worst come first.
const FINDINGS_MAX: usize = 50;

/// What was measured while a restore was verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Measured {
    /// When the restore order was issued.
    pub(crate) restore_ordered_at: Timestamp,
    /// Phases of the restore, as its worker timed them.
    pub(crate) restore_phases: Vec<PhaseTiming>,
    /// When the verifier began.
    pub(crate) verify_started_at: Timestamp,
    /// When the vault was open and the check began.
    pub(crate) check_started_at: Timestamp,
    /// When the first piece of content was read back right; none when nothing was.
    pub(crate) first_correct_read_at: Option<Timestamp>,
    /// When the check ended: the instant of the verdict.
    pub(crate) ended_at: Timestamp,
    /// When the capture ended.
    pub(crate) capture_ended_at: Timestamp,
    /// Bytes compared.
    pub(crate) bytes: u64,
    /// Entries compared.
    pub(crate) items: u64,
    /// Phases from the restore to the first correct read, where it needs more than the files; see
    /// [`driver_api::Check::rto_phases`].
    pub(crate) rto_phases: Vec<PhaseTiming>,
    /// What was compared with what; none where it is every entry with what was captured.
    pub(crate) compared: Option<String>,
}

/// A verdict with all that belongs to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Judgement {
    /// The conclusion.
    pub(crate) verdict: Verdict,
    /// The worst findings first, at most 50.
    pub(crate) findings: Vec<Finding>,
    /// Phases that add up to the RTO.
    pub(crate) rto_phases: Vec<PhaseTiming>,
}

/// What the exceptions of a capture say of its recovery point.
pub(crate) fn capture_finding(exception_count: u64) -> Option<Finding> {
    let entries = if exception_count == 1 { "entry was" } else { "entries were" };
    (exception_count > 0).then(|| Finding {
        kind: FindingKind::CaptureIncomplete,
        severity: Severity::Failure,
        subject: String::new(),
        message: format!("{exception_count} {entries} not captured as they should be; the recovery point lists them"),
    })
}

/// Judges a restore by what the checks saw. One failing finding makes the verdict FAILED; warnings and notes do not.
pub(crate) fn judge(mut findings: Vec<Finding>, measured: &Measured, restore_job_id: JobId) -> Judgement {
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    let failing = findings.iter().filter(|finding| finding.severity >= FAILING_SEVERITY).count();
    let (rto_ms, rto_phases) = rto(measured);
    let status = if failing == 0 { VerdictStatus::Successful } else { VerdictStatus::Failed };
    let message = match findings.first() {
        Some(worst) if failing > 0 => failed_message(worst, failing, &findings),
        _ => successful_message(measured, findings.len()),
    };
    findings.truncate(FINDINGS_MAX);
    let verdict = Verdict {
        status,
        message,
        judged_at: measured.ended_at,
        restore_job_id: Some(restore_job_id),
        rto_ms,
        rpo_ms: milliseconds(measured.capture_ended_at, measured.ended_at),
    };
    Judgement { verdict, findings, rto_phases }
}

/// The verdict on a resource of which nothing was restored, or whose restore gave nothing to check.
pub(crate) fn unproven(finding: &Finding, restore_job_id: Option<JobId>, now: Timestamp) -> Verdict {
    Verdict {
        status: VerdictStatus::Failed,
        message: finding.message.clone(),
        judged_at: now,
        restore_job_id,
        rto_ms: 0,
        rpo_ms: 0,
    }
}

fn failed_message(worst: &Finding, failing: usize, findings: &[Finding]) -> String {
    let incomplete = findings.iter().find(|f| f.kind == FindingKind::CaptureIncomplete);
    let subject = if worst.subject.is_empty() { String::new() } else { format!("`{}`: ", worst.subject) };
    let mut message = format!("{subject}{}", worst.message);
    if failing > 1 {
        message = format!("{message} (and {} more)", failing - 1);
    }
    match incomplete {
        Some(incomplete) if incomplete.message != worst.message => format!("{message}; {}", incomplete.message),
        _ => message,
    }
}

fn successful_message(measured: &Measured, remarks: usize) -> String {
    let Measured { items, bytes, compared, .. } = measured;
    let captured = || format!("{items} entries with {bytes} bytes are as they were captured");
    let equal = compared.clone().unwrap_or_else(captured);
    if remarks == 0 { equal } else { format!("{equal}, with {remarks} remarks") }
}

/// The RTO and its phases, which add up to it. Without a correct read there is none, and it is zero.
fn rto(measured: &Measured) -> (u64, Vec<PhaseTiming>) {
    let restored_ms: u64 = measured.restore_phases.iter().map(|phase| phase.duration_ms).sum();
    let waited_ms = milliseconds(measured.restore_ordered_at, measured.verify_started_at).saturating_sub(restored_ms);
    let mut phases = vec![phase("wait", waited_ms)];
    phases.extend(measured.restore_phases.iter().cloned());
    phases.push(phase("check-open", milliseconds(measured.verify_started_at, measured.check_started_at)));
    let Some(read_at) = measured.first_correct_read_at else { return (0, phases) };
    if measured.rto_phases.is_empty() {
        phases.push(phase("check-first-read", milliseconds(measured.check_started_at, read_at)));
    } else {
        phases.extend(measured.rto_phases.iter().cloned());
    }
    (phases.iter().map(|phase| phase.duration_ms).sum(), phases)
}

fn phase(name: &str, duration_ms: u64) -> PhaseTiming {
    PhaseTiming { phase: name.to_owned(), duration_ms }
}

/// Milliseconds from one instant to another; zero where a clock went back.
fn milliseconds(from: Timestamp, to: Timestamp) -> u64 {
    u64::try_from(to.duration_since(from).as_millis()).unwrap_or(0)
}

#[cfg(test)]
mod tests;
