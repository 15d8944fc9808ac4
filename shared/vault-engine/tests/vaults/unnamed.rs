//! Snapshots whose packs are in no index: their writer died before it looked at the index for the last time, while a prune
//! took the packs out.

use std::fs;

use driver_api::NoControl;
use vault_engine::{Committed, CopyRequest, Vault, copy_snapshot};

use crate::support::{Files, Workshop, capture, capture_tagged, content, files, read_files};

const TAG: &str = "left";

/// A vault with a recovery point that is whole and one whose packs no index names.
fn left_behind(workshop: &Workshop) -> (Vault, Committed, Files) {
    let vault = workshop.create("v");
    capture(&vault, &files(&[("other", content(1, 90_000))]));
    let others = workshop.files("v", "index");
    let wanted = files(&[("a", content(2, 700_000)), ("b", content(3, 50_000))]);
    let committed = capture_tagged(&vault, &wanted, &[TAG]);
    for index in workshop.files("v", "index").into_iter().filter(|index| !others.contains(index)) {
        fs::remove_file(index).unwrap();
    }
    (workshop.open("v"), committed, wanted)
}

#[test]
fn a_restore_names_the_packs_again_and_restic_finds_them_too() {
    let workshop = Workshop::new();
    let (vault, committed, wanted) = left_behind(&workshop);
    assert_eq!(read_files(&vault, committed.snapshot_id).unwrap(), wanted);
    workshop.restic_agrees("v");
}

#[test]
fn a_copy_names_the_packs_of_its_source_again() {
    let workshop = Workshop::new();
    let (vault, committed, wanted) = left_behind(&workshop);
    let other = workshop.create("other");
    let copied = copy_snapshot(&CopyRequest {
        source: &vault,
        snapshot_id: committed.snapshot_id,
        expected_tree: committed.tree_id,
        destination: &other,
        tags: Vec::new(),
        parallelism: 2,
        control: &NoControl,
    });
    assert_eq!(read_files(&other, copied.unwrap().snapshot_id).unwrap(), wanted);
    workshop.restic_agrees("v");
    workshop.restic_agrees("other");
}

#[test]
fn an_attempt_that_comes_again_relies_on_what_it_left_only_when_it_is_whole() {
    let workshop = Workshop::new();
    let (vault, committed, _) = left_behind(&workshop);
    let found = vault.find_whole_snapshot_by_tag(TAG, &NoControl).unwrap();
    assert_eq!(found.map(|snapshot| snapshot.id), Some(committed.snapshot_id));
    workshop.restic_agrees("v");
}

#[test]
fn what_an_attempt_left_and_nobody_can_restore_goes_before_the_next() {
    let workshop = Workshop::new();
    let vault = workshop.create("v");
    let whole = capture(&vault, &files(&[("other", content(1, 90_000))]));
    let others = workshop.files("v", "data");
    capture_tagged(&vault, &files(&[("a", content(2, 700_000))]), &[TAG]);
    for pack in workshop.files("v", "data").into_iter().filter(|pack| !others.contains(pack)) {
        fs::remove_file(pack).unwrap();
    }
    let vault = workshop.open("v");
    assert_eq!(vault.find_whole_snapshot_by_tag(TAG, &NoControl).unwrap(), None);
    let left: Vec<_> = vault.snapshots().unwrap().readable.into_iter().map(|snapshot| snapshot.id).collect();
    assert_eq!(left, [whole.snapshot_id]);
}
