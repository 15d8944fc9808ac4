//! What the demo found, as a document and as text. Every number comes from a fact or a query.

use std::path::PathBuf;

use jiff::Timestamp;
use job_events::TestRunEntry;
use job_model::{Arn, Job, PhaseTiming, RecoveryPoint, VerdictStatus};
use serde::Serialize;

use super::changes::Changes;
use super::dropped_table::DroppedTable;
use super::working_copy::CopySummary;
use crate::names::{short_name, vault_name};
use crate::render::{Table, bytes, count, job_state, millis, moment, percent, trace_id};

/// The whole.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Report {
    /// Version of the program.
    pub(super) holdfast: &'static str,
    /// Whether everything the demo is for was shown.
    pub(super) proven: bool,
    /// What was not, and why.
    pub(super) problems: Vec<String>,
    pub(super) started_at: Timestamp,
    pub(super) duration_ms: u64,
    /// The directory and how much of it the demo took.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) directory: Option<CopySummary>,
    pub(super) vaults: Vec<VaultLine>,
    /// The two scheduled runs.
    pub(super) runs: Vec<Run>,
    /// Written to both vaults by both runs.
    pub(super) bytes_stored: u64,
    /// What was changed between them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) changes: Option<Changes>,
    /// The table that was dropped and brought back; none without a database.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) dropped_table: Option<DroppedTable>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) restore_test: Option<TestLine>,
    /// Where everything lies; none when it was removed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) kept: Option<Kept>,
}

/// A vault and how to read it without Holdfast.
#[derive(Clone, Debug, Serialize)]
pub(super) struct VaultLine {
    pub(super) name: String,
    pub(super) region: String,
    pub(super) location: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) restic_check: Option<String>,
}

/// One run of the schedule.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Run {
    /// `first` or `second`.
    pub(super) name: &'static str,
    /// One entry for each resource.
    pub(super) cycles: Vec<Cycle>,
}

/// A resource's way through one run: backup and copy.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Cycle {
    pub(super) resource: Arn,
    pub(super) size_bytes: u64,
    pub(super) items: u64,
    /// The trace all of it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) trace_id: Option<String>,
    pub(super) backup: JobLine,
    pub(super) copy: JobLine,
    pub(super) recovery_point: Arn,
    pub(super) copied_recovery_point: Arn,
    pub(super) change_detection: String,
}

/// A job's numbers.
#[derive(Clone, Debug, Serialize)]
pub(super) struct JobLine {
    pub(super) job: String,
    pub(super) state: &'static str,
    pub(super) scheduled_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) duration_ms: Option<u64>,
    pub(super) attempt: u32,
    pub(super) bytes_read: u64,
    pub(super) bytes_new: u64,
    pub(super) bytes_stored: u64,
    pub(super) phases: Vec<PhaseTiming>,
}

/// The restore test.
#[derive(Clone, Debug, Serialize)]
pub(super) struct TestLine {
    pub(super) run: String,
    pub(super) plan: String,
    pub(super) entries: Vec<TestRunEntry>,
}

/// Where everything lies.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Kept {
    pub(super) directory: PathBuf,
    pub(super) vaults: PathBuf,
    pub(super) state: PathBuf,
    pub(super) logs: PathBuf,
    pub(super) report: PathBuf,
}

impl JobLine {
    /// Of an ended job.
    pub(super) fn of(job: &Job) -> Self {
        let duration_ms = job
            .started_at
            .zip(job.ended_at)
            .and_then(|(from, to)| u64::try_from(to.as_millisecond().saturating_sub(from.as_millisecond())).ok());
        Self {
            job: job.id.to_string(),
            state: job_state(job.state),
            scheduled_at: job.scheduled_at,
            duration_ms,
            attempt: job.attempt,
            bytes_read: job.progress.bytes_read,
            bytes_new: job.progress.bytes_new,
            bytes_stored: job.progress.bytes_stored,
            phases: job.phases.clone(),
        }
    }
}

impl Cycle {
    /// Of an ended backup, its copy, and what they made.
    pub(super) fn of(backup: &Job, copy: &Job, point: &RecoveryPoint, copied: &RecoveryPoint) -> Self {
        Self {
            resource: point.resource.clone(),
            size_bytes: point.summary.size_bytes,
            items: point.summary.items,
            trace_id: backup.traceparent.as_deref().and_then(trace_id).map(str::to_owned),
            backup: JobLine::of(backup),
            copy: JobLine::of(copy),
            recovery_point: point.arn.clone(),
            copied_recovery_point: copied.arn.clone(),
            change_detection: point.summary.change_detection.clone(),
        }
    }
}

impl Report {
    /// Adds a run.
    pub(super) fn add(&mut self, run: Run) {
        self.bytes_stored += run.cycles.iter().map(|c| c.backup.bytes_stored + c.copy.bytes_stored).sum::<u64>();
        self.runs.push(run);
    }

    /// The text for people.
    pub(super) fn text(&self) -> String {
        let mut text = String::from("\nHoldfast demo\n=============\n");
        if let Some(directory) = &self.directory {
            let part = if directory.complete { "all of it" } else { "a part of it (the demo's limit was reached)" };
            text.push_str(&format!(
                "\nProtected: a copy of `{}`: {part}, {} in {} files, as a file tree and as an ext4 volume.\nThe directory itself was only read.\n",
                directory.source.display(),
                bytes(directory.bytes),
                count(directory.files)
            ));
        }
        text.push_str(&self.runs_text());
        if let Some(dropped) = &self.dropped_table {
            text.push_str(&dropped.text());
        }
        text.push_str(&self.test_text());
        text.push_str(&self.place_text());
        let verdict = if self.proven { "Proven" } else { "NOT PROVEN" };
        text.push_str(&format!("\n{verdict} in {}.\n", millis(self.duration_ms)));
        for problem in &self.problems {
            text.push_str(&format!("  - {problem}\n"));
        }
        text
    }

    fn runs_text(&self) -> String {
        if self.runs.is_empty() {
            return String::new();
        }
        let mut table = Table::new(
            &[
                "run",
                "resource",
                "job",
                "state",
                "scheduled",
                ">took",
                ">size",
                ">read",
                ">new",
                ">stored",
                ">of first",
            ],
            "",
        );
        for run in &self.runs {
            for cycle in &run.cycles {
                for (kind, line) in [("backup", &cycle.backup), ("copy", &cycle.copy)] {
                    table.row(vec![
                        run.name.to_owned(),
                        short_name(&cycle.resource),
                        kind.to_owned(),
                        line.state.to_owned(),
                        moment(line.scheduled_at),
                        line.duration_ms.map(millis).unwrap_or_default(),
                        bytes(cycle.size_bytes),
                        bytes(line.bytes_read),
                        bytes(line.bytes_new),
                        bytes(line.bytes_stored),
                        self.share_of_first(run, cycle, kind),
                    ]);
                }
            }
        }
        let mut text = format!(
            "\nBy the schedule, without anybody asking:\n\n{}\nStored in both vaults together: {}.\n",
            table.render(),
            bytes(self.bytes_stored)
        );
        if let Some(changes) = &self.changes {
            text.push_str(&format!(
                "Changed between the runs: {} files got an end, {} added, {} deleted ({} written); {} written into the volume's file system.\n",
                changes.files_changed,
                changes.files_added,
                changes.files_deleted,
                bytes(changes.written_bytes),
                bytes(changes.volume_written_bytes)
            ));
            if changes.rows_changed > 0 {
                text.push_str(&format!(
                    "In the database, {} rows were added or changed.\n",
                    count(changes.rows_changed)
                ));
            }
        }
        for run in &self.runs {
            for cycle in &run.cycles {
                if let Some(trace) = &cycle.trace_id {
                    text.push_str(&format!(
                        "Trace of the {} run of {}: {trace}\n",
                        run.name,
                        short_name(&cycle.resource)
                    ));
                }
            }
        }
        text
    }

    /// What a later run stored, as a share of the first one's.
    fn share_of_first(&self, run: &Run, cycle: &Cycle, kind: &str) -> String {
        let first = self.runs.first().filter(|first| first.name != run.name);
        let Some(first) = first.and_then(|f| f.cycles.iter().find(|c| c.resource == cycle.resource)) else {
            return String::new();
        };
        match kind {
            "backup" => percent(cycle.backup.bytes_stored, first.backup.bytes_stored),
            _ => percent(cycle.copy.bytes_stored, first.copy.bytes_stored),
        }
    }

    fn test_text(&self) -> String {
        let Some(test) = &self.restore_test else { return String::new() };
        let mut table = Table::new(&["resource", "from vault", "verdict", ">RTO", ">RPO", ">checked"], "");
        let mut details = String::new();
        for entry in &test.entries {
            let name = short_name(&entry.resource);
            let verdict = entry.verdict.as_ref();
            let word = verdict.map_or("none", |v| match v.status {
                VerdictStatus::Successful => "proven",
                VerdictStatus::Failed => "FAILED",
            });
            table.row(vec![
                name.clone(),
                entry.vault.as_ref().map(vault_name).unwrap_or_default(),
                word.to_owned(),
                verdict.map(|v| millis(v.rto_ms)).unwrap_or_default(),
                verdict.map(|v| millis(v.rpo_ms)).unwrap_or_default(),
                format!("{} in {} items", bytes(entry.bytes_checked), count(entry.items_checked)),
            ]);
            details.push_str(&format!("RTO of {name} by phase: {}\n", phases(&entry.rto_phases)));
        }
        let mut text = format!("\nRestore test `{}` from the copies:\n\n{}\n{details}", test.plan, table.render());
        for entry in &test.entries {
            for finding in &entry.findings {
                text.push_str(&format!("  {}: {} {}\n", short_name(&entry.resource), finding.subject, finding.message));
            }
        }
        text
    }

    fn place_text(&self) -> String {
        let Some(kept) = &self.kept else {
            return "\nEverything the demo made was removed; `--keep DIR` keeps it.\n".to_owned();
        };
        let mut text = format!(
            "\nKept in `{}`: vaults, keys and state; logs in `{}`, this report in `{}`.\nThe vaults can be read without Holdfast:\n",
            kept.directory.display(),
            kept.logs.display(),
            kept.report.display()
        );
        for command in self.vaults.iter().filter_map(|v| v.restic_check.as_ref()) {
            text.push_str(&format!("  {command}\n"));
        }
        text
    }
}

/// Phases with their times, on one line.
pub(super) fn phases(phases: &[PhaseTiming]) -> String {
    phases.iter().map(|p| format!("{} {}", p.phase, millis(p.duration_ms))).collect::<Vec<_>>().join(", ")
}
