//! What has to hold for the demo to have proven anything. Pure.

use jiff::SignedDuration;
use job_model::VerdictStatus;

use super::changes::Changes;
use super::dropped_table::DroppedTable;
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
    match &report.dropped_table {
        Some(dropped) => brought_back(dropped, &mut problems),
        None if setting.database().is_some() => problems.push("no table was dropped and brought back".to_owned()),
        None => {}
    }
    restored(report, setting, &mut problems);
    problems
}

/// The table is back as it was in the second before, and nothing that came later.
fn brought_back(dropped: &DroppedTable, problems: &mut Vec<String>) {
    let DroppedTable { table, restored_to, dropped_at, .. } = dropped;
    let lost = dropped_at.duration_since(*restored_to);
    if lost.is_negative() || lost > SignedDuration::from_secs(1) {
        problems.push(format!("`{table}` was dropped at {dropped_at}, and {restored_to} is not the second before"));
    }
    if !dropped.window.iter().any(|interval| interval.from < *restored_to && *restored_to <= interval.to) {
        problems.push(format!("{restored_to} is not in what was told to be restorable"));
    }
    if dropped.rows_before == 0 || dropped.rows_restored != dropped.rows_before {
        problems
            .push(format!("`{table}` had {} rows and came back with {}", dropped.rows_before, dropped.rows_restored));
    } else if !dropped.rows_are_equal {
        problems.push(format!("`{table}` or the table that was written to afterwards came back with other rows"));
    }
    if dropped.later_rows == 0 || dropped.later_rows_restored > 0 {
        problems.push(format!(
            "{} of {} rows that were written after {restored_to} are in the restored server",
            dropped.later_rows_restored, dropped.later_rows
        ));
    }
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

#[cfg(test)]
mod tests {
    use job_model::RestorableInterval;

    use super::*;

    fn proven() -> DroppedTable {
        let at = |text: &str| text.parse().unwrap();
        DroppedTable {
            table: "invoices",
            recovery_point: "arn:aws:backup:ap-northeast-1:000000000000:recovery-point:x".parse().unwrap(),
            dropped_at: at("2026-11-21T10:00:07.2Z"),
            restored_to: at("2026-11-21T10:00:07Z"),
            window: vec![RestorableInterval {
                from: at("2026-11-21T10:00:01Z"),
                to: at("2026-11-21T10:00:08Z"),
                from_position: "0/1".to_owned(),
                to_position: "0/2".to_owned(),
            }],
            job: String::new(),
            rows_before: 5050,
            rows_restored: 5050,
            rows_are_equal: true,
            later_rows: 50,
            later_rows_restored: 0,
            rto_ms: 1,
            rto_phases: Vec::new(),
            rpo_ms: 200,
        }
    }

    fn problems_of(change: impl FnOnce(&mut DroppedTable)) -> Vec<String> {
        let (mut dropped, mut problems) = (proven(), Vec::new());
        change(&mut dropped);
        brought_back(&dropped, &mut problems);
        problems
    }

    #[test]
    fn a_table_is_back_when_all_of_it_is_and_nothing_that_came_later() {
        assert_eq!(problems_of(|_| {}), Vec::<String>::new());
        for (change, named) in [
            ((|d| d.restored_to -= SignedDuration::from_secs(2)) as fn(&mut DroppedTable), "not the second before"),
            (|d| d.restored_to += SignedDuration::from_secs(1), "not the second before"),
            (|d| d.window.clear(), "restorable"),
            (|d| d.window[0].from = d.restored_to, "restorable"),
            (|d| d.rows_restored -= 1, "5050 rows and came back with 5049"),
            (|d| (d.rows_before, d.rows_restored) = (0, 0), "0 rows"),
            (|d| d.rows_are_equal = false, "other rows"),
            (|d| d.later_rows_restored = 1, "1 of 50 rows"),
            (|d| d.later_rows = 0, "0 of 0 rows"),
        ] {
            let problems = problems_of(change);
            assert!(problems.iter().any(|problem| problem.contains(named)), "{named}: {problems:?}");
        }
    }
}
