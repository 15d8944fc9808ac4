//! What has to hold for the demo to have proven anything. Pure.

use job_model::VerdictStatus;

use super::changes::Changes;
use super::report::{Cycle, Report, Run};
use super::setting::Setting;
use crate::names::short_name;
use crate::render::bytes;

/// What metadata a run may store besides content: trees of directories, the description, the ends of packs.
const METADATA_BYTES: u64 = 1 << 20;
/// Metadata of one entry, generously.
const METADATA_BYTES_PER_ITEM: u64 = 1 << 10;
/// The largest piece that a changed block makes the volume store again.
const VOLUME_PIECE_BYTES: u64 = 1 << 20;
/// The log between the ends of a backup: some segments of 1 MiB.
const DATABASE_LOG_BYTES: u64 = 4 << 20;
/// A changed row's page in the table, and pages of two indexes, generously.
const DATABASE_BYTES_PER_ROW: u64 = 3 * 8192;
/// Places of the volume's file system that a new file touches: superblock, descriptors, bitmaps, inode, directory, data.
const VOLUME_PLACES: u64 = 10;

/// Everything that is not as it should be; empty when all is proven.
pub(super) fn problems(report: &Report, setting: &Setting) -> Vec<String> {
    let mut problems = Vec::new();
    match report.runs.as_slice() {
        [first, second] => {
            for run in [first, second] {
                complete(run, setting, &mut problems);
            }
            if let Some(changes) = &report.changes {
                for cycle in &second.cycles {
                    only_the_difference(cycle, changes, setting, &mut problems);
                }
            }
        }
        runs => problems.push(format!("{} of 2 scheduled runs were seen", runs.len())),
    }
    restored(report, setting, &mut problems);
    problems
}

/// All resources, backup and copy done by the schedule, in one trace.
fn complete(run: &Run, setting: &Setting, problems: &mut Vec<String>) {
    for resource in &setting.resources {
        let Some(cycle) = run.cycles.iter().find(|cycle| cycle.resource == *resource) else {
            problems.push(format!("the {} run has no backup of {}", run.name, short_name(resource)));
            continue;
        };
        for (kind, line) in [("backup", &cycle.backup), ("copy", &cycle.copy)] {
            if line.state != "COMPLETED" {
                problems.push(format!(
                    "the {kind} of {} in the {} run is {}",
                    short_name(resource),
                    run.name,
                    line.state
                ));
            }
        }
        if cycle.trace_id.is_none() {
            problems.push(format!("the {} run of {} has no trace", run.name, short_name(resource)));
        }
    }
}

/// The second run stored and sent no more than the change explains.
fn only_the_difference(cycle: &Cycle, changes: &Changes, setting: &Setting, problems: &mut Vec<String>) {
    let explained = match setting.resources.iter().position(|resource| *resource == cycle.resource) {
        Some(1) => changes.volume_written_bytes + VOLUME_PLACES * VOLUME_PIECE_BYTES,
        Some(2) => DATABASE_LOG_BYTES + changes.rows_changed * DATABASE_BYTES_PER_ROW,
        _ => changes.touched_bytes,
    };
    let allowed = explained + METADATA_BYTES + cycle.items * METADATA_BYTES_PER_ITEM;
    for (what, stored) in [("stored", cycle.backup.bytes_stored), ("sent", cycle.copy.bytes_stored)] {
        if stored > allowed {
            problems.push(format!(
                "the second run of {} {what} {}, but the change explains {} at most",
                short_name(&cycle.resource),
                bytes(stored),
                bytes(allowed)
            ));
        }
    }
}

/// All resources restored from the copy of the second run, with a good verdict.
fn restored(report: &Report, setting: &Setting, problems: &mut Vec<String>) {
    let Some(test) = &report.restore_test else {
        problems.push("no restore test was run".to_owned());
        return;
    };
    let osaka = &setting.vaults[1].access.arn;
    for resource in &setting.resources {
        let name = short_name(resource);
        let Some(entry) = test.entries.iter().find(|entry| entry.resource == *resource) else {
            problems.push(format!("the restore test left {name} out"));
            continue;
        };
        match &entry.verdict {
            Some(verdict) if verdict.status == VerdictStatus::Successful => {}
            Some(verdict) => problems.push(format!("{name} is not restorable: {}", verdict.message)),
            None => problems.push(format!("{name} has no verdict")),
        }
        if entry.vault.as_ref() != Some(osaka) {
            problems.push(format!("{name} was not restored from the vault `{}`", short_name(osaka)));
        }
        let newest = report.runs.last().and_then(|run| run.cycles.iter().find(|cycle| cycle.resource == *resource));
        if newest.map(|cycle| &cycle.copied_recovery_point) != entry.recovery_point.as_ref() {
            problems.push(format!("{name} was not restored from the copy of the second run"));
        }
    }
}
