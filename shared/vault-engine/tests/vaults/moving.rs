//! A snapshot goes from one repository once it is whole in another.

use std::fs;

use driver_api::NoControl;
use jiff::SignedDuration;
use job_model::{RecoveryPointId, VaultAccess};
use vault_engine::{
    Committed, CopyRequest, KeepEntry, MovedSnapshot, PruneOptions, Vault, VaultError, VaultLockEntry, copy_snapshot,
    recovery_point_tag,
};
use vault_format::Id;

use crate::support::{Workshop, capture_tagged, content, files, read_files, succeeded, surroundings};

fn point() -> RecoveryPointId {
    "0199f0a8-0000-7000-8000-000000000001".parse().unwrap()
}

struct Tiers {
    workshop: Workshop,
    warm: Vault,
    cold: Vault,
    captured: Committed,
}

fn tiers() -> Tiers {
    let workshop = Workshop::new();
    let warm = workshop.create("v");
    let access = VaultAccess { key_profile: "other".to_owned(), ..workshop.access("v-cold") };
    let cold = Vault::create(&access, &workshop.profiles, &surroundings()).unwrap();
    let wanted = files(&[("a", content(1, 3 << 20)), ("b", b"b".to_vec())]);
    let captured = capture_tagged(&warm, &wanted, &[&recovery_point_tag(point())]);
    Tiers { workshop, warm, cold, captured }
}

impl Tiers {
    fn copy(&self) -> Id {
        self.copy_tagged(&recovery_point_tag(point()))
    }

    fn copy_tagged(&self, tag: &str) -> Id {
        let request = CopyRequest {
            source: &self.warm,
            snapshot_id: self.captured.snapshot_id,
            expected_tree: self.captured.tree_id,
            destination: &self.cold,
            tags: vec![tag.to_owned()],
            parallelism: 2,
            control: &NoControl,
        };
        copy_snapshot(&request).unwrap().snapshot_id
    }

    fn forget(&self, other_snapshot: Id) -> Result<bool, VaultError> {
        self.warm.forget_moved(&MovedSnapshot {
            snapshot: self.captured.snapshot_id,
            tree: self.captured.tree_id,
            recovery_point: point(),
            other: &self.cold,
            other_snapshot,
            control: &NoControl,
        })
    }

    fn is_warm(&self) -> bool {
        self.warm.snapshot(self.captured.snapshot_id).is_ok()
    }
}

#[test]
fn a_moved_snapshot_goes_once_it_is_whole_in_the_other_repository() {
    let tiers = tiers();
    let wanted = read_files(&tiers.warm, tiers.captured.snapshot_id).unwrap();
    assert!(matches!(tiers.forget(tiers.captured.snapshot_id), Err(VaultError::SnapshotMissing { .. })));
    assert!(tiers.is_warm(), "there is no copy yet");
    let cold = tiers.copy();
    assert!(tiers.forget(cold).unwrap());
    assert!(!tiers.forget(cold).unwrap(), "the second time nothing is there");
    assert!(!tiers.is_warm());
    let hour = SignedDuration::from_hours(1);
    let later = vault_engine::Surroundings::new(move || surroundings().now() + hour);
    let warm = Vault::open(&tiers.workshop.access("v"), &tiers.workshop.profiles, &later).unwrap();
    warm.prune(&PruneOptions::new(&NoControl)).unwrap();
    assert_eq!(read_files(&tiers.cold, cold).unwrap(), wanted);
    tiers.workshop.restic_agrees("v");
    succeeded(&tiers.workshop.restic_with("v-cold", "other", &["check", "--read-data"]));
}

#[test]
fn a_copy_that_is_not_whole_keeps_the_original() {
    let tiers = tiers();
    let cold = tiers.copy();
    let pack = fs::read_dir(tiers.workshop.path("v-cold").join("data"))
        .unwrap()
        .flat_map(|directory| fs::read_dir(directory.unwrap().path()).unwrap())
        .map(|file| file.unwrap())
        .max_by_key(|file| file.metadata().unwrap().len())
        .unwrap();
    let bytes = fs::read(pack.path()).unwrap();
    fs::remove_file(pack.path()).unwrap();
    fs::write(pack.path(), &bytes[..bytes.len() - 1]).unwrap();
    let refused = tiers.forget(cold).unwrap_err();
    assert!(matches!(refused, VaultError::Damaged { .. }), "{refused}");
    assert!(tiers.is_warm());
    fs::write(pack.path(), &bytes).unwrap();
    assert!(tiers.forget(cold).unwrap());
}

#[test]
fn a_snapshot_of_something_else_is_no_copy() {
    let tiers = tiers();
    let other = capture_tagged(&tiers.cold, &files(&[("c", content(2, 1000))]), &[&recovery_point_tag(point())]);
    assert!(matches!(tiers.forget(other.snapshot_id), Err(VaultError::SnapshotDiffers { .. })));
    let untagged = tiers.copy_tagged("of-nobody");
    assert!(matches!(tiers.forget(untagged), Err(VaultError::Damaged { .. })));
    assert!(tiers.is_warm());
}

#[test]
fn what_the_lock_keeps_is_kept_in_the_other_repository_and_what_a_hold_keeps_does_not_move() {
    let before = surroundings().now();
    let tiers = tiers();
    let lock = VaultLockEntry { min_retention_days: Some(7), max_retention_days: None, fixed_from: None };
    tiers.warm.protect(&KeepEntry::Lock(lock)).unwrap();
    let hold = KeepEntry::Hold { hold: "case".to_owned(), recovery_points: [point()].into() };
    tiers.warm.protect(&hold).unwrap();
    let cold = tiers.copy();
    assert!(matches!(tiers.forget(cold), Err(VaultError::Protected { .. })), "a hold stands");
    tiers.warm.protect(&KeepEntry::Release { hold: "case".to_owned() }).unwrap();
    assert!(matches!(tiers.warm.forget(tiers.captured.snapshot_id), Err(VaultError::Protected { .. })));
    assert!(tiers.forget(cold).unwrap());
    assert!(matches!(tiers.cold.forget(cold), Err(VaultError::Protected { .. })), "the lock's time goes on there");
    let until = tiers.cold.keep().unwrap().retained[&point()];
    assert!(until >= before + SignedDuration::from_hours(7 * 24), "{until}");
    tiers.warm.prune(&PruneOptions::new(&NoControl)).unwrap();
}
