//! What is damaged is named, and everything else still comes back.

use std::fs;
use std::path::Path;

use driver_api::{NoControl, ReadError};
use vault_engine::{CheckFindingKind, CheckOptions, CheckReport, Vault, VaultError};

use crate::support::{Workshop, capture, content, data_nodes, files, read_file, read_files};

fn check(vault: &Vault, read_data: bool) -> CheckReport {
    vault.check(&CheckOptions { read_data, control: &NoControl }).unwrap()
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 1;
    fs::write(path, bytes).unwrap();
}

fn kinds(report: &CheckReport) -> Vec<CheckFindingKind> {
    let mut kinds: Vec<_> = report.findings.iter().map(|finding| finding.kind).collect();
    kinds.sort();
    kinds.dedup();
    kinds
}

#[test]
fn a_sound_vault_has_no_findings_and_the_counts_add_up() {
    let workshop = Workshop::new();
    let vault = workshop.create("v");
    capture(&vault, &files(&[("a", content(1, 30 << 20)), ("b", vec![])]));
    capture(&vault, &files(&[("a", content(2, 1 << 20))]));
    for read_data in [false, true] {
        let report = check(&vault, read_data);
        assert!(report.is_sound(), "{report:?}");
        let packs = workshop.files("v", "data");
        let bytes: u64 = packs.iter().map(|path| path.metadata().unwrap().len()).sum();
        assert_eq!((report.snapshots, report.packs), (2, packs.len() as u64));
        let read = if read_data { (packs.len() as u64, bytes) } else { (0, 0) };
        assert_eq!((report.packs_read, report.bytes_read), read);
        assert_eq!(report.packs_unreferenced, 0);
    }
}

#[test]
fn a_damaged_index_loses_nothing() {
    let workshop = Workshop::new();
    let vault = workshop.create("v");
    let (one, two) = (files(&[("a", content(1, 2 << 20))]), files(&[("b", content(2, 2 << 20))]));
    let first = capture(&vault, &one);
    let index = workshop.files("v", "index").remove(0);
    let second = capture(&vault, &two);
    flip(&index, 40);
    let vault = workshop.open("v");
    assert_eq!(read_files(&vault, first.snapshot_id).unwrap(), one);
    assert_eq!(read_files(&vault, second.snapshot_id).unwrap(), two);
    let report = check(&vault, true);
    assert_eq!(kinds(&report), [CheckFindingKind::IndexDamaged], "{report:?}");
    assert!(index.ends_with(&report.findings[0].subject), "{report:?}");
    assert!(report.snapshots_affected.is_empty());
    // Nothing relies on packs that restic would not find: the same content is stored again.
    assert!(capture(&vault, &one).stats.bytes_new >= 2 << 20);
    fs::remove_file(index).unwrap();
    workshop.restic_agrees("v");
}

#[test]
fn a_damaged_snapshot_keeps_nobody_from_the_others() {
    let workshop = Workshop::new();
    let vault = workshop.create("v");
    let wanted = files(&[("a", content(1, 1000))]);
    let first = capture(&vault, &wanted);
    let second = capture(&vault, &wanted);
    let path = workshop.path("v").join(format!("snapshots/{}", first.snapshot_id));
    flip(&path, 50);
    let listing = vault.snapshots().unwrap();
    assert_eq!((listing.readable.len(), listing.damaged.len()), (1, 1));
    assert!(path.ends_with(&listing.damaged[0].path));
    let refused = vault.reader(first.snapshot_id).unwrap_err();
    assert!(matches!(&refused, VaultError::Damaged { what, .. } if what.contains(&first.snapshot_id.to_hex())));
    assert_eq!(read_files(&vault, second.snapshot_id).unwrap(), wanted);
    assert_eq!(kinds(&check(&vault, false)), [CheckFindingKind::SnapshotDamaged]);
    fs::write(&path, b"").unwrap();
    assert_eq!(vault.snapshots().unwrap().damaged.len(), 1);
}

#[test]
fn a_flipped_bit_in_a_pack_is_found_and_only_its_snapshots_are_affected() {
    let workshop = Workshop::new();
    let vault = workshop.create("v");
    let hit = capture(&vault, &files(&[("a", content(1, 2 << 20)), ("z", b"small".to_vec())]));
    let pack = workshop.files("v", "data").remove(0);
    let other = files(&[("b", content(2, 1 << 20))]);
    let spared = capture(&vault, &other);
    flip(&pack, 1000);
    assert!(check(&vault, false).is_sound(), "not seen without reading");
    let report = check(&vault, true);
    assert_eq!(kinds(&report), [CheckFindingKind::PackDamaged, CheckFindingKind::BlobDamaged], "{report:?}");
    assert_eq!(report.snapshots_affected, [hit.snapshot_id]);
    assert_eq!(read_files(&vault, spared.snapshot_id).unwrap(), other);
    let reader = vault.reader(hit.snapshot_id).unwrap();
    let nodes = data_nodes(&reader).unwrap();
    let refused = read_file(&reader, &nodes[0]).unwrap_err();
    let name = pack.file_name().unwrap().to_str().unwrap();
    assert!(matches!(&refused, ReadError::Damaged { what, .. } if what.contains(name)), "{refused}");
    assert_eq!(read_file(&reader, &nodes[1]).unwrap(), b"small");
}

#[test]
fn a_lost_or_cut_off_pack_is_found_without_reading_and_heals_while_the_source_has_the_data() {
    let workshop = Workshop::new();
    let vault = workshop.create("v");
    let wanted = files(&[("a", content(1, 3 << 20))]);
    let committed = capture(&vault, &wanted);
    let pack = workshop.files("v", "data").remove(0);
    let bytes = fs::read(&pack).unwrap();
    fs::write(&pack, &bytes[..bytes.len() / 2]).unwrap();
    let report = check(&vault, false);
    assert_eq!(kinds(&report), [CheckFindingKind::PackDamaged]);
    assert_eq!(report.snapshots_affected, [committed.snapshot_id]);
    fs::remove_file(&pack).unwrap();
    let report = check(&vault, true);
    assert_eq!(kinds(&report), [CheckFindingKind::PackMissing]);
    assert_eq!(report.snapshots_affected, [committed.snapshot_id]);
    assert!(read_files(&vault, committed.snapshot_id).is_err());

    capture(&vault, &wanted);
    assert_eq!(read_files(&vault, committed.snapshot_id).unwrap(), wanted);
    assert!(check(&vault, true).snapshots_affected.is_empty());
}

#[test]
fn packs_of_an_attempt_that_died_are_no_damage_and_are_used_by_the_next_when_indexed() {
    let workshop = Workshop::new();
    let vault = workshop.create("v");
    let wanted = files(&[("a", content(1, 40 << 20))]);
    let committed = capture(&vault, &wanted);
    // As if the process had died between the index and the snapshot.
    fs::remove_file(workshop.path("v").join(format!("snapshots/{}", committed.snapshot_id))).unwrap();
    let again = capture(&vault, &wanted);
    assert_eq!(again.stats.bytes_new, 0);
    // As if it had died before the index.
    for path in workshop.files("v", "index") {
        fs::remove_file(path).unwrap();
    }
    vault.forget(again.snapshot_id).unwrap();
    let report = check(&vault, true);
    assert!(report.is_sound() && report.packs_unreferenced > 0, "{report:?}");
    let last = capture(&vault, &wanted);
    assert_eq!(read_files(&vault, last.snapshot_id).unwrap(), wanted);
    workshop.restic_agrees("v");
}

#[test]
fn a_tree_that_is_lost_names_itself_and_the_snapshot() {
    let workshop = Workshop::new();
    let vault = workshop.create("v");
    let committed = capture(&vault, &files(&[("a", b"x".to_vec())]));
    // The smallest pack holds the content, the larger one the trees.
    fs::remove_file(workshop.files("v", "data").remove(0)).unwrap();
    let report = check(&vault, false);
    assert_eq!(report.snapshots_affected, [committed.snapshot_id]);
    assert!(
        report.findings.iter().any(|finding| finding.kind == CheckFindingKind::TreeDamaged
            && finding.subject.contains(&committed.tree_id.to_hex())),
        "{report:?}"
    );
}

#[test]
fn half_written_files_of_killed_processes_go_after_a_day_and_nothing_else_does() {
    let workshop = Workshop::new();
    let vault = workshop.create("v");
    let unfinished = workshop.path("v").join("tmp");
    let now = std::time::SystemTime::from(crate::support::surroundings().now());
    let hour = std::time::Duration::from_secs(3600);
    for (name, hours) in [("4711-0", 25), ("4711-1", 23), ("somebody's", 1000), ("4711-x", 1000)] {
        fs::write(unfinished.join(name), "half").unwrap();
        fs::File::options().write(true).open(unfinished.join(name)).unwrap().set_modified(now - hour * hours).unwrap();
    }
    capture(&vault, &files(&[("a", b"x".to_vec())]));
    let left: Vec<_> = crate::support::read_directory(&unfinished).into_keys().collect();
    assert_eq!(left, [&b"4711-1"[..], b"4711-x", b"somebody's"]);
}
