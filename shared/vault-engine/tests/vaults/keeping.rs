//! What protects recovery points stands in the vault and decides, whatever is ordered.

use std::fs;

use driver_api::NoControl;
use jiff::{SignedDuration, Timestamp};
use job_model::{FailureCode, RecoveryPointId};
use vault_engine::{
    Committed, KeepEntry, PruneOptions, Surroundings, Vault, VaultError, VaultLockEntry, recovery_point_tag,
};

use crate::support::{Workshop, capture_tagged, content, files, read_files, surroundings};

fn point(n: u8) -> RecoveryPointId {
    format!("0000000{n}-0000-4000-8000-000000000000").parse().unwrap()
}

fn capture_point(vault: &Vault, n: u8) -> Committed {
    capture_tagged(vault, &files(&[("a", content(n.into(), 100_000))]), &[&recovery_point_tag(point(n))])
}

fn in_days(days: i64) -> Timestamp {
    surroundings().now() + SignedDuration::from_hours(24 * days)
}

fn minimum(days: u32) -> KeepEntry {
    KeepEntry::Lock(VaultLockEntry {
        min_retention_days: Some(days),
        max_retention_days: None,
        fixed_from: Some("2026-01-01T00:00:00Z".parse().unwrap()),
    })
}

fn is_protected(result: &Result<bool, VaultError>) -> bool {
    matches!(result, Err(error @ VaultError::Protected { .. }) if error.failure_code() == FailureCode::RecoveryPointProtected)
}

#[test]
fn an_order_deletes_nothing_that_is_locked_held_or_retained_and_everything_else() {
    let workshop = Workshop::new();
    let vault = workshop.create("v");
    let points: Vec<_> = (1..=4).map(|n| capture_point(&vault, n)).collect();
    vault.protect(&KeepEntry::Retain { recovery_point: point(1), until: in_days(2) }).unwrap();
    vault.protect(&KeepEntry::Hold { hold: "case".to_owned(), recovery_points: [point(2)].into() }).unwrap();
    assert!(is_protected(&vault.forget(points[0].snapshot_id)));
    assert!(is_protected(&vault.forget(points[1].snapshot_id)));
    assert!(vault.forget(points[2].snapshot_id).unwrap());
    vault.protect(&minimum(1)).unwrap();
    let refused = vault.forget(points[3].snapshot_id).unwrap_err().to_string();
    assert!(refused.contains("lock keeps it until") && refused.contains(&points[3].snapshot_id.to_hex()), "{refused}");
    vault.protect(&KeepEntry::Release { hold: "case".to_owned() }).unwrap();
    assert!(is_protected(&vault.forget(points[1].snapshot_id)), "the vault's minimum holds for it as well");
    assert_eq!(vault.keep().unwrap().entries, 4);
    assert_eq!(vault.snapshots().unwrap().readable.len(), 3);
    workshop.restic_agrees("v");
    workshop.rustic_agrees("v");
}

#[test]
fn a_clock_that_is_ahead_ends_no_protection() {
    let workshop = Workshop::new();
    let vault = workshop.create("v");
    let kept = capture_point(&vault, 1);
    vault.protect(&KeepEntry::Retain { recovery_point: point(1), until: in_days(2) }).unwrap();
    vault.protect(&minimum(2)).unwrap();
    let ahead = Surroundings::new(|| in_days(30));
    let later = Vault::open(&workshop.access("v"), &workshop.profiles, &ahead).unwrap();
    assert!(is_protected(&later.forget(kept.snapshot_id)));
}

#[test]
fn what_protects_is_never_taken_back_and_the_same_twice_is_once() {
    let workshop = Workshop::new();
    let vault = workshop.create("v");
    let retain = |days| KeepEntry::Retain { recovery_point: point(1), until: in_days(days) };
    let long = retain(20);
    vault.protect(&long).unwrap();
    assert_eq!(vault.protect(&long).unwrap().entries, 1);
    assert!(matches!(vault.protect(&retain(10)), Err(VaultError::KeepRefused { .. })));
    vault.protect(&minimum(7)).unwrap();
    for weaker in [minimum(6), KeepEntry::Unlock] {
        assert!(matches!(vault.protect(&weaker), Err(VaultError::KeepRefused { .. })), "{weaker:?}");
    }
    assert_eq!(vault.protect(&minimum(8)).unwrap().entries, 3);
}

#[test]
fn entries_of_two_at_once_are_both_kept() {
    let workshop = Workshop::new();
    workshop.create("v");
    std::thread::scope(|scope| {
        for n in 1..=4 {
            let vault = workshop.open("v");
            let retain = KeepEntry::Retain { recovery_point: point(n), until: in_days(2) };
            scope.spawn(move || vault.protect(&retain).unwrap());
        }
    });
    let keep = workshop.open("v").keep().unwrap();
    assert_eq!((keep.entries, keep.retained.len()), (4, 4));
}

#[test]
fn nothing_is_deleted_when_an_entry_is_changed_missing_exchanged_or_taken_from_the_end() {
    let workshop = Workshop::new();
    let vault = workshop.create("v");
    let free = capture_point(&vault, 1);
    for n in 2..=4 {
        vault.protect(&KeepEntry::Retain { recovery_point: point(n), until: in_days(2) }).unwrap();
    }
    // It says in its tag how many entries there are.
    capture_point(&vault, 5);
    let entry = |n: u64| workshop.path("v").join(format!("holdfast/keep/{n:020}"));
    let good: Vec<Vec<u8>> = (1..=3).map(|n| fs::read(entry(n)).unwrap()).collect();
    let refused = |how: &str| {
        let result = vault.forget(free.snapshot_id);
        assert!(matches!(result, Err(VaultError::KeepBroken { .. })), "{how}: {result:?}");
        assert!(vault.prune(&PruneOptions::new(&NoControl)).is_err(), "{how}");
        assert!(read_files(&vault, free.snapshot_id).is_ok(), "{how}");
        (1..=3).for_each(|n| fs::write(entry(n), &good[n as usize - 1]).unwrap());
    };
    let mut changed = good[1].clone();
    changed[40] ^= 1;
    fs::write(entry(2), changed).unwrap();
    refused("changed");
    fs::remove_file(entry(2)).unwrap();
    refused("missing");
    fs::write(entry(2), &good[2]).unwrap();
    refused("exchanged");
    fs::remove_file(entry(3)).unwrap();
    refused("taken from the end");
    (1..=3).for_each(|n| fs::remove_file(entry(n)).unwrap());
    refused("all of them gone");
    assert!(vault.forget(free.snapshot_id).unwrap());
}

#[test]
fn a_prune_does_not_follow_who_removed_a_protected_snapshot_past_us() {
    let workshop = Workshop::new();
    let vault = workshop.create("v");
    let kept = capture_point(&vault, 1);
    vault.protect(&KeepEntry::Hold { hold: "case".to_owned(), recovery_points: [point(1)].into() }).unwrap();
    let path = workshop.path("v").join(format!("snapshots/{}", kept.snapshot_id));
    let snapshot = fs::read(&path).unwrap();
    workshop.restic("v", &["forget", &kept.snapshot_id.to_hex()]);
    let refused = vault.prune(&PruneOptions::new(&NoControl)).unwrap_err().to_string();
    assert!(refused.contains(&point(1).to_string()), "{refused}");
    fs::write(&path, snapshot).unwrap();
    assert!(vault.prune(&PruneOptions::new(&NoControl)).is_ok());
    assert!(read_files(&vault, kept.snapshot_id).is_ok());
}

#[test]
fn a_damaged_snapshot_is_deleted_only_where_nothing_is_protected() {
    let workshop = Workshop::new();
    let vault = workshop.create("v");
    let damaged = capture_point(&vault, 1);
    let path = workshop.path("v").join(format!("snapshots/{}", damaged.snapshot_id));
    fs::write(path, b"rubbish").unwrap();
    vault.protect(&KeepEntry::Hold { hold: "all".to_owned(), recovery_points: [].into() }).unwrap();
    assert!(is_protected(&vault.forget(damaged.snapshot_id)));
    vault.protect(&KeepEntry::Release { hold: "all".to_owned() }).unwrap();
    assert!(vault.forget(damaged.snapshot_id).unwrap());
}
