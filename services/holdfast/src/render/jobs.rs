//! One job, one recovery point, one run of a restore test: all that is known.

use jiff::Timestamp;
use job_events::TestRun;
use job_model::{
    Continuous, Finding, Job, JobState, PhaseTiming, RecoveryPoint, SourceView, StorageClass, Verdict, VerdictStatus,
};

use super::{bytes, count, millis, moment};
use crate::names::{short_name, vault_name};
use crate::rpo::Rpo;

/// A state as AWS writes it.
#[must_use]
pub(crate) const fn job_state(state: JobState) -> &'static str {
    match state {
        JobState::Created => "CREATED",
        JobState::Pending => "PENDING",
        JobState::Running => "RUNNING",
        JobState::Aborting => "ABORTING",
        JobState::Aborted => "ABORTED",
        JobState::Completed => "COMPLETED",
        JobState::Failed => "FAILED",
        JobState::Expired => "EXPIRED",
        JobState::Partial => "PARTIAL",
    }
}

/// Lines of `label: value` with aligned values.
pub(super) struct Sheet {
    pub(super) text: String,
}

impl Sheet {
    pub(super) const fn new() -> Self {
        Self { text: String::new() }
    }

    pub(super) fn line(&mut self, label: &str, value: impl AsRef<str>) {
        self.text.push_str(&format!("{label:<16}{}\n", value.as_ref()));
    }

    pub(super) fn some(&mut self, label: &str, value: Option<impl AsRef<str>>) {
        if let Some(value) = value {
            self.line(label, value);
        }
    }
}

fn phases(phases: &[PhaseTiming]) -> Option<String> {
    if phases.is_empty() {
        return None;
    }
    Some(phases.iter().map(|p| format!("{} {}", p.phase, millis(p.duration_ms))).collect::<Vec<_>>().join(", "))
}

pub(super) fn word<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_value(value).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default()
}

/// The trace id of a W3C `traceparent`.
#[must_use]
pub(crate) fn trace_id(traceparent: &str) -> Option<&str> {
    traceparent.split('-').nth(1).filter(|id| id.len() == 32)
}

/// One job.
#[must_use]
pub(crate) fn job_detail(job: &Job) -> String {
    let mut sheet = Sheet::new();
    sheet.line("job", job.id.to_string());
    sheet.line("kind", word(&job.kind));
    sheet.line("state", job_state(job.state));
    sheet.some("message", job.status_message.as_ref());
    sheet.line("resource", job.resource.as_str());
    sheet.line("region", job.region.as_str());
    sheet.some("rule", job.created_by.as_ref().map(|c| format!("{} (plan {})", c.rule_name, c.plan_id)));
    sheet.some("follows", job.parent.map(|p| p.to_string()));
    sheet.line("scheduled", moment(job.scheduled_at));
    sheet.some("started", job.started_at.map(moment));
    sheet.some("ended", job.ended_at.map(moment));
    sheet.line("attempt", job.attempt.to_string());
    sheet.some("not before", job.not_before.filter(|_| !job.state.is_terminal()).map(moment));
    sheet.line(
        "bytes",
        format!(
            "{} of {}; read {}, new {}, stored {}",
            bytes(job.progress.bytes_done),
            job.progress.bytes_total.map_or_else(|| "?".to_owned(), bytes),
            bytes(job.progress.bytes_read),
            bytes(job.progress.bytes_new),
            bytes(job.progress.bytes_stored)
        ),
    );
    sheet.line("items", count(job.progress.items_done));
    sheet.some("waits for", job.progress.waits_for.filter(|_| !job.state.is_terminal()).map(|it| it.to_string()));
    sheet.some("phases", phases(&job.phases));
    sheet.some("trace", job.traceparent.as_deref().and_then(trace_id));
    sheet.text
}

/// One recovery point.
#[must_use]
pub(crate) fn recovery_point_detail(
    point: &RecoveryPoint,
    kept_because: &[String],
    delete_at: Option<Timestamp>,
    rpo: &[Rpo],
) -> String {
    let mut sheet = Sheet::new();
    sheet.line("recovery point", point.arn.as_str());
    sheet.line("resource", point.resource.as_str());
    sheet.line("vault", point.vault.as_str());
    sheet.line("storage class", word(&point.storage_class));
    if point.storage_class == StorageClass::Warm {
        sheet.some("moves to cold", point.move_to_cold_at().map(|at| format!("after {}", moment(at))));
    }
    sheet.line("snapshot", &point.snapshot_id);
    sheet.line("status", word(&point.status));
    sheet.some("message", point.status_message.as_ref());
    sheet.some("copied from", point.copied_from.as_ref().map(job_model::Arn::as_str));
    if let Some(continuous) = &point.continuous {
        window(&mut sheet, continuous);
    }
    sheet.line("created", moment(point.created_at));
    sheet.line("captured until", moment(point.summary.capture_ended_at));
    sheet.line("consistency", word(&point.summary.consistency));
    sheet.line("changes found by", &point.summary.change_detection);
    if let Some(reading) = &point.summary.reading {
        sheet.line("read", format!("{} from {}", bytes(reading.bytes_read), source_view(reading.view)));
        sheet.some("held", reading.held_bytes.map(bytes));
        sheet.some("not tracked", reading.fallback.as_ref());
    }
    sheet.line("size", format!("{} in {} items", bytes(point.summary.size_bytes), count(point.summary.items)));
    sheet.line(
        "kept because",
        if kept_because.is_empty() { "nothing keeps it".to_owned() } else { kept_because.join("; ") },
    );
    sheet.line("deleted", delete_at.map_or_else(|| "never by itself".to_owned(), |at| format!("after {}", moment(at))));
    sheet.some("last test", point.last_verdict.as_ref().map(verdict));
    for age in rpo {
        sheet.line("RPO now", rpo_line(age));
    }
    sheet.some("trace", point.traceparent.as_deref().and_then(trace_id));
    if point.summary.exception_count > 0 {
        sheet.line("exceptions", count(point.summary.exception_count));
        for e in &point.summary.exceptions {
            sheet.line("", format!("{}: {} ({})", e.path, e.message, word(&e.kind)));
        }
    }
    sheet.text
}

/// What a disaster now would cost, with one vault left.
pub(super) fn rpo_line(rpo: &Rpo) -> String {
    let checked = match (rpo.checked_at, rpo.checked_age_ms) {
        (Some(at), Some(age)) => format!("checked {} ({})", millis(age), moment(at)),
        _ => "never checked".to_owned(),
    };
    let restorable = format!("restorable {} ({})", millis(rpo.restorable_age_ms), moment(rpo.restorable_at));
    format!("from {}: {restorable}, {checked}", vault_name(&rpo.vault))
}

/// What can be restored of a continuous recovery point, and how its capture fares.
fn window(sheet: &mut Sheet, continuous: &Continuous) {
    sheet.line("continuous", word(&continuous.state));
    sheet.some("", continuous.message.as_ref());
    if continuous.window.is_empty() {
        sheet.line("restorable", "nothing to a second yet");
    }
    for interval in &continuous.window {
        let positions = format!("({} to {})", interval.from_position, interval.to_position);
        sheet.line("restorable", format!("{} to {} {positions}", interval.from, interval.to));
    }
    for gap in &continuous.gaps {
        sheet.line("gap", format!("{} to {}: {}", gap.from_position, gap.to_position, gap.reason));
    }
    let lag = format!("{}, durable after {} ms", bytes(continuous.lag_bytes), continuous.delay_ms);
    sheet.line("lag", lag);
    sheet.line("full captures", count(continuous.bases));
    sheet.some("reported", continuous.reported_at.map(moment));
    sheet.some("followed until", continuous.stopped_at.map(moment));
}

const fn source_view(view: SourceView) -> &'static str {
    match view {
        SourceView::Live => "the live source",
        SourceView::ReflinkClone => "a reflink clone",
        SourceView::SubvolumeSnapshot => "a snapshot of the subvolume",
        SourceView::LargeFileClones => "reflink clones of large files, the others live",
        SourceView::ServedSnapshot => "a snapshot of whoever serves the volume",
    }
}

fn verdict(verdict: &Verdict) -> String {
    let word = match verdict.status {
        VerdictStatus::Successful => "proven",
        VerdictStatus::Failed => "NOT PROVEN",
    };
    format!(
        "{word} at {}: {} (RTO {}, RPO {})",
        moment(verdict.judged_at),
        verdict.message,
        millis(verdict.rto_ms),
        millis(verdict.rpo_ms)
    )
}

fn finding(finding: &Finding) -> String {
    let about = if finding.subject.is_empty() { "the whole" } else { &finding.subject };
    format!("{}: {about}: {}", word(&finding.severity), finding.message)
}

/// One run of a restore test.
#[must_use]
pub(crate) fn test_run_detail(run: &TestRun) -> String {
    let mut sheet = Sheet::new();
    sheet.line("run", run.id.to_string());
    sheet.line("plan", &run.restore_testing_plan);
    sheet.line("started", moment(run.started_at));
    sheet.line("ended", run.ended_at.map_or_else(|| "not yet".to_owned(), moment));
    for entry in &run.entries {
        sheet.text.push('\n');
        sheet.line("resource", entry.resource.as_str());
        sheet.some("", entry.vault.as_ref().map(|v| format!("from vault {}", vault_name(v))));
        sheet.some("", entry.recovery_point.as_ref().map(|r| format!("recovery point {}", short_name(r))));
        sheet.line("verdict", entry.verdict.as_ref().map_or_else(|| "not yet".to_owned(), verdict));
        sheet.some("RTO by phase", phases(&entry.rto_phases));
        if entry.verdict.is_some() {
            sheet.line("checked", format!("{} in {} items", bytes(entry.bytes_checked), count(entry.items_checked)));
        }
        for f in &entry.findings {
            sheet.line("finding", finding(f));
        }
    }
    sheet.text
}
