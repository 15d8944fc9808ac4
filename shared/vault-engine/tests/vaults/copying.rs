//! Copies into another vault under another key.

use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};

use driver_api::{Control, NoControl};
use job_model::{Progress, RecoveryPointId, VaultAccess};
use vault_engine::{Copied, CopyRequest, Vault, VaultError, copy_snapshot, recovery_point_tag};
use vault_format::Id;

use crate::support::{Workshop, capture, content, files, read_directory, read_files, succeeded, surroundings};

fn other_vault(workshop: &Workshop) -> Vault {
    let access = VaultAccess { key_profile: "other".to_owned(), ..workshop.access("copy") };
    Vault::create(&access, &workshop.profiles, &surroundings()).unwrap()
}

fn tag() -> String {
    recovery_point_tag("0199f0a8-0000-7000-8000-000000000001".parse::<RecoveryPointId>().unwrap())
}

fn copy(from: &Vault, to: &Vault, id: Id, tree: Id, control: &dyn Control) -> Result<Copied, VaultError> {
    copy_snapshot(&CopyRequest {
        source: from,
        snapshot_id: id,
        expected_tree: tree,
        destination: to,
        tags: vec![tag()],
        parallelism: 2,
        control,
    })
}

#[test]
fn a_copy_under_another_key_is_whole_and_restic_agrees() {
    let workshop = Workshop::new();
    let (from, to) = (workshop.create("v"), other_vault(&workshop));
    let wanted = files(&[("a", content(1, 25 << 20)), ("b", vec![0; 3 << 20]), ("c", b"c".to_vec())]);
    let committed = capture(&from, &wanted);
    let copied = copy(&from, &to, committed.snapshot_id, committed.tree_id, &NoControl).unwrap();
    assert_eq!(to.snapshot(copied.snapshot_id).unwrap().tree, committed.tree_id);
    assert_eq!(copied.stats.bytes_stored, committed.stats.bytes_stored, "what is compressed stays so");
    assert_eq!(read_files(&to, copied.snapshot_id).unwrap(), wanted);
    succeeded(&workshop.restic_with("copy", "other", &["check", "--read-data"]));
    let target = workshop.dir.path().join("restored");
    let arguments = ["restore", &copied.snapshot_id.to_hex(), "--target", target.to_str().unwrap()];
    succeeded(&workshop.restic_with("copy", "other", &arguments));
    assert_eq!(read_directory(&target.join("data")), wanted);

    let again = copy(&from, &to, committed.snapshot_id, committed.tree_id, &NoControl).unwrap();
    assert_eq!((again.snapshot_id, again.already_there), (copied.snapshot_id, true));
    assert_eq!(to.snapshots().unwrap().readable.len(), 1);
}

/// Stops after so many bytes.
struct StopsAfter(u64, AtomicU64);

impl Control for StopsAfter {
    fn is_stopped(&self) -> bool {
        self.1.load(Ordering::Relaxed) >= self.0
    }

    fn advance(&self, difference: Progress) {
        self.1.fetch_add(difference.bytes_stored, Ordering::Relaxed);
    }
}

#[test]
fn a_copy_that_was_stopped_commits_nothing_and_only_what_is_missing_follows() {
    let workshop = Workshop::new();
    let (from, to) = (workshop.create("v"), other_vault(&workshop));
    let wanted = files(&[("a", content(1, 30 << 20)), ("b", content(2, 30 << 20))]);
    let committed = capture(&from, &wanted);
    let stops = StopsAfter(10 << 20, AtomicU64::new(0));
    let stopped = copy(&from, &to, committed.snapshot_id, committed.tree_id, &stops);
    assert!(matches!(stopped, Err(VaultError::Stopped)), "{stopped:?}");
    assert!(to.snapshots().unwrap().readable.is_empty());

    // The other vault has half of it from elsewhere.
    capture(&to, &files(&[("a", content(1, 30 << 20))]));
    let copied = copy(&from, &to, committed.snapshot_id, committed.tree_id, &NoControl).unwrap();
    assert!((30 << 20..31 << 20).contains(&copied.stats.bytes_new), "{:?}", copied.stats);
    assert_eq!(read_files(&to, copied.snapshot_id).unwrap(), wanted);
    succeeded(&workshop.restic_with("copy", "other", &["check", "--read-data"]));
}

#[test]
fn a_source_that_is_not_what_was_captured_is_refused() {
    let workshop = Workshop::new();
    let (from, to) = (workshop.create("v"), other_vault(&workshop));
    let one = capture(&from, &files(&[("a", content(1, 1000))]));
    let two = capture(&from, &files(&[("a", content(2, 1000))]));
    let refused = copy(&from, &to, one.snapshot_id, two.tree_id, &NoControl).unwrap_err();
    assert!(matches!(refused, VaultError::SnapshotDiffers { .. }));
    copy(&from, &to, one.snapshot_id, one.tree_id, &NoControl).unwrap();
    // The same recovery point cannot have two contents.
    let refused = copy(&from, &to, two.snapshot_id, two.tree_id, &NoControl).unwrap_err();
    assert!(matches!(refused, VaultError::SnapshotDiffers { .. }));
    let missing = copy(&from, &to, Id::of(b"none"), one.tree_id, &NoControl).unwrap_err();
    assert!(matches!(missing, VaultError::SnapshotMissing { .. }));
}

#[test]
fn damage_in_the_source_is_not_copied() {
    let workshop = Workshop::new();
    let (from, to) = (workshop.create("v"), other_vault(&workshop));
    let committed = capture(&from, &files(&[("a", content(1, 3 << 20))]));
    let pack = workshop.files("v", "data").remove(0);
    let mut bytes = fs::read(&pack).unwrap();
    bytes[5000] ^= 0x10;
    fs::write(&pack, bytes).unwrap();
    let refused = copy(&from, &to, committed.snapshot_id, committed.tree_id, &NoControl).unwrap_err();
    let name = pack.file_name().unwrap().to_str().unwrap();
    assert!(matches!(&refused, VaultError::Damaged { what, .. } if what.contains(name)), "{refused}");
    assert!(to.snapshots().unwrap().readable.is_empty());
    succeeded(&workshop.restic_with("copy", "other", &["check"]));
}
