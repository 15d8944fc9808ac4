//! Prune removes what nobody needs and nothing else, whatever else goes on. The names of these tests are in the table on
//! the crate's front page.

use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use driver_api::{Chunking, NoControl, SnapshotReader};
use jiff::SignedDuration;
use vault_engine::{
    CheckOptions, Committed, CopyRequest, PruneOptions, PruneReport, Surroundings, Vault, VaultError, WaitingReason,
    copy_snapshot,
};
use vault_format::{Id, LockFile, LockPurpose, NodeKind, Tree};

use crate::locking::put_lock_file;
use crate::support::{
    Files, Workshop, capture, content, data_nodes, files, input, node, read_file, read_files, surroundings, write_files,
};

fn without_grace() -> PruneOptions<'static> {
    PruneOptions { grace: Duration::ZERO, ..PruneOptions::new(&NoControl) }
}

fn prune(vault: &Vault) -> PruneReport {
    vault.prune(&without_grace()).unwrap()
}

/// A vault with two recovery points that share nothing, the first of which is forgotten.
fn half_forgotten(workshop: &Workshop) -> (Vault, Committed, Files, Committed, Files) {
    let vault = workshop.create("v");
    let (one, two) = (files(&[("a", content(1, 3 << 20))]), files(&[("b", content(2, 3 << 20))]));
    let (first, second) = (capture(&vault, &one), capture(&vault, &two));
    assert!(vault.forget(first.snapshot_id).unwrap());
    (vault, first, one, second, two)
}

fn is_sound(vault: &Vault) -> bool {
    let report = vault.check(&CheckOptions { read_data: true, control: &NoControl }).unwrap();
    report.is_sound() && report.snapshots_affected.is_empty()
}

fn packs(workshop: &Workshop) -> Vec<PathBuf> {
    workshop.files("v", "data")
}

/// Our own documents are no trouble to other tools.
fn all_agree(workshop: &Workshop) {
    workshop.restic_agrees("v");
    workshop.rustic_agrees("v");
}

/// Lets the marks look older to the store.
fn backdate_marks(workshop: &Workshop, by: Duration) {
    for mark in workshop.files("v", "holdfast/marks") {
        let file = fs::File::options().write(true).open(&mark).unwrap();
        file.set_modified(file.metadata().unwrap().modified().unwrap() - by).unwrap();
    }
}

#[test]
fn what_no_snapshot_needs_is_freed_in_two_runs_and_nothing_else() {
    let workshop = Workshop::new();
    let (vault, _, one, second, two) = half_forgotten(&workshop);
    let before = packs(&workshop).len();
    let plan = vault.prune_plan(&without_grace()).unwrap();
    assert!(plan.unreferenced.len() >= 2 && plan.remove.is_empty(), "{plan}");
    assert_eq!(vault.prune_plan(&without_grace()).unwrap().unreferenced, plan.unreferenced, "a plan changes nothing");

    let marked = prune(&vault);
    assert_eq!((marked.packs_marked, marked.packs_removed), (plan.unreferenced.len() as u64, 0));
    assert_eq!(packs(&workshop).len(), before, "nothing goes in the run that finds it");
    all_agree(&workshop);
    let swept = prune(&vault);
    assert_eq!(swept.packs_removed, marked.packs_marked);
    assert_eq!(swept.bytes_freed, plan.bytes_marked());
    assert_eq!(packs(&workshop).len(), before - plan.unreferenced.len());
    all_agree(&workshop);
    assert!(is_sound(&vault));
    assert_eq!(read_files(&vault, second.snapshot_id).unwrap(), two);

    let last = prune(&vault);
    assert!(!last.did_anything() && last.plan.is_empty(), "{last:?}");
    assert_eq!(workshop.files("v", "holdfast/marks").len(), 0);
    assert!(workshop.files("v", "locks").is_empty());
    // What went is stored again when somebody has it.
    assert!(capture(&vault, &one).stats.bytes_new >= 3 << 20);
}

#[test]
fn the_grace_period_is_over_when_both_clocks_say_so() {
    let workshop = Workshop::new();
    let (vault, ..) = half_forgotten(&workshop);
    let day = PruneOptions::new(&NoControl);
    assert!(vault.prune(&day).unwrap().packs_marked > 0);
    let waits = |vault: &Vault| {
        let report = vault.prune(&day).unwrap();
        assert_eq!(report.packs_removed, 0);
        assert!(report.plan.waiting.iter().all(|pack| matches!(pack.reason, WaitingReason::Grace { .. })));
        assert!(!report.plan.waiting.is_empty());
    };
    waits(&vault);
    let ahead = Surroundings::new(|| surroundings().now() + SignedDuration::from_hours(25));
    let later = Vault::open(&workshop.access("v"), &workshop.profiles, &ahead).unwrap();
    waits(&later);
    backdate_marks(&workshop, Duration::from_secs(25 * 3600));
    waits(&vault);
    assert!(later.prune(&day).unwrap().packs_removed > 0);
    all_agree(&workshop);
}

#[test]
fn a_writer_that_began_before_the_mark_keeps_what_it_relied_on() {
    let workshop = Workshop::new();
    let (vault, _, one, second, two) = half_forgotten(&workshop);
    let writing = workshop.open("v");
    let writer = writing.writer(&NoControl).unwrap();
    let root = write_files(&writer, &one);
    assert_eq!(writer.stats().blobs_new, 0, "all of it is in packs that nobody refers to");
    assert!(prune(&vault).packs_marked > 0);
    let waiting = prune(&vault);
    assert_eq!(waiting.packs_removed, 0);
    let works =
        |reason: &WaitingReason| matches!(reason, WaitingReason::HolderWorks { pid, .. } if *pid == std::process::id());
    assert!(waiting.plan.waiting.iter().all(|pack| works(&pack.reason)), "{:?}", waiting.plan.waiting);
    let committed = writer.commit(input(root, &[])).unwrap();
    all_agree(&workshop);
    assert_eq!(prune(&vault).packs_removed, 0);
    assert!(is_sound(&vault));
    assert_eq!(read_files(&vault, committed.snapshot_id).unwrap(), one);
    assert_eq!(read_files(&vault, second.snapshot_id).unwrap(), two);
}

#[test]
fn a_mark_of_packs_that_came_back_says_nothing_about_the_next_time() {
    let workshop = Workshop::new();
    let (vault, _, one, ..) = half_forgotten(&workshop);
    let day = PruneOptions::new(&NoControl);
    let writer = vault.writer(&NoControl).unwrap();
    let root = write_files(&writer, &one);
    assert!(vault.prune(&day).unwrap().packs_marked > 0);
    let committed = writer.commit(input(root, &[])).unwrap();
    backdate_marks(&workshop, Duration::from_secs(48 * 3600));
    vault.forget(committed.snapshot_id).unwrap();
    let ahead = Surroundings::new(|| surroundings().now() + SignedDuration::from_hours(48));
    let later = Vault::open(&workshop.access("v"), &workshop.profiles, &ahead).unwrap();
    assert_eq!(later.prune(&day).unwrap().packs_removed, 0);
    assert_eq!(later.prune(&day).unwrap().packs_removed, 0, "their grace has begun anew");
}

#[test]
fn a_writer_that_begins_after_the_mark_relies_on_nothing_that_is_marked() {
    let workshop = Workshop::new();
    let (vault, _, one, ..) = half_forgotten(&workshop);
    assert!(prune(&vault).packs_marked > 0);
    let again = capture(&vault, &one);
    assert!(again.stats.bytes_new >= 3 << 20);
    assert!(prune(&vault).packs_removed > 0);
    assert_eq!(read_files(&vault, again.snapshot_id).unwrap(), one);
    all_agree(&workshop);
}

#[test]
fn packs_of_a_writer_that_works_are_not_taken_for_leftovers() {
    let workshop = Workshop::new();
    let vault = workshop.create("v");
    let writer = vault.writer(&NoControl).unwrap();
    let wanted = files(&[("a", content(1, 40 << 20))]);
    let root = write_files(&writer, &wanted);
    while packs(&workshop).is_empty() {
        thread::yield_now();
    }
    assert!(prune(&vault).packs_marked > 0, "they are in no index yet");
    assert_eq!(prune(&vault).packs_removed, 0);
    let committed = writer.commit(input(root, &[])).unwrap();
    assert_eq!(prune(&vault).packs_removed, 0);
    assert_eq!(read_files(&vault, committed.snapshot_id).unwrap(), wanted);
    all_agree(&workshop);
}

#[test]
fn leftovers_of_a_writer_that_died_go() {
    let workshop = Workshop::new();
    let vault = workshop.create("v");
    let kept = files(&[("b", content(2, 1 << 20))]);
    let committed = capture(&vault, &kept);
    let before = packs(&workshop);
    let index: Vec<_> = workshop.files("v", "index");
    let lost = capture(&vault, &files(&[("a", content(1, 20 << 20))]));
    vault.forget(lost.snapshot_id).unwrap();
    for path in workshop.files("v", "index").into_iter().filter(|path| !index.contains(path)) {
        fs::remove_file(path).unwrap();
    }
    prune(&vault);
    assert!(prune(&vault).packs_removed > 0);
    assert_eq!(packs(&workshop), before);
    assert_eq!(read_files(&vault, committed.snapshot_id).unwrap(), kept);
}

#[test]
fn a_restore_reads_to_its_end_what_is_forgotten_and_pruned_meanwhile() {
    let workshop = Workshop::new();
    let vault = workshop.create("v");
    let wanted = files(&[("a", content(1, 3 << 20))]);
    let committed = capture(&vault, &wanted);
    let reading = workshop.open("v");
    let reader = reading.reader(committed.snapshot_id).unwrap();
    assert!(vault.forget(committed.snapshot_id).unwrap());
    assert!(prune(&vault).packs_marked > 0);
    assert_eq!(prune(&vault).packs_removed, 0);
    let nodes = data_nodes(&reader).unwrap();
    assert_eq!(read_file(&reader, &nodes[0]).unwrap(), wanted[&b"a"[..]]);
    drop(reader);
    assert!(prune(&vault).packs_removed > 0);
    assert!(packs(&workshop).is_empty());
}

#[test]
fn copies_go_on_beside_a_prune_of_either_vault() {
    let workshop = Workshop::new();
    let (vault, _, one, second, two) = half_forgotten(&workshop);
    let other = workshop.create("w");
    let stale = capture(&other, &two);
    other.forget(stale.snapshot_id).unwrap();
    let pruning = workshop.open("v");
    let copied = thread::scope(|scope| {
        let pruner = scope.spawn(|| {
            for _ in 0..5 {
                for vault in [&pruning, &other] {
                    vault.prune(&without_grace()).unwrap();
                }
            }
        });
        let destination = workshop.open("w");
        let copied = copy_snapshot(&CopyRequest {
            source: &vault,
            snapshot_id: second.snapshot_id,
            expected_tree: second.tree_id,
            destination: &destination,
            tags: Vec::new(),
            parallelism: 2,
            control: &NoControl,
        });
        pruner.join().unwrap();
        copied.unwrap()
    });
    for _ in 0..2 {
        prune(&other);
    }
    assert_eq!(read_files(&other, copied.snapshot_id).unwrap(), two);
    assert!(is_sound(&other) && is_sound(&vault));
    workshop.restic_agrees("w");
    drop(one);
}

#[test]
fn captures_forgets_and_prunes_in_a_heap_lose_nothing_that_was_committed() {
    let workshop = Workshop::new();
    workshop.create("v");
    let captured = thread::scope(|scope| {
        let workers: Vec<_> = (0..3_u64)
            .map(|worker| {
                let vault = workshop.open("v");
                scope.spawn(move || {
                    let mut kept: Vec<(Id, Files)> = Vec::new();
                    for round in 0..4 {
                        // Shared content, so that packs of the forgotten are wanted again and again.
                        let wanted = files(&[("a", content(round % 2, 1 << 20)), ("b", content(worker + 10, 1 << 18))]);
                        let committed = capture(&vault, &wanted);
                        if let Some((old, _)) = kept.pop() {
                            vault.forget(old).unwrap();
                        }
                        kept.push((committed.snapshot_id, wanted));
                    }
                    kept
                })
            })
            .collect();
        let pruners: Vec<_> = (0..2)
            .map(|_| {
                let vault = workshop.open("v");
                scope.spawn(move || {
                    for _ in 0..10 {
                        match vault.prune(&without_grace()) {
                            Ok(_) | Err(VaultError::Locked { .. }) => {}
                            Err(other) => panic!("{other:?}"),
                        }
                    }
                })
            })
            .collect();
        pruners.into_iter().for_each(|pruner| pruner.join().unwrap());
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect::<Vec<_>>()
    });
    let vault = workshop.open("v");
    for _ in 0..2 {
        prune(&vault);
    }
    for (id, wanted) in captured {
        assert_eq!(read_files(&vault, id).unwrap(), wanted);
    }
    assert!(is_sound(&vault));
    all_agree(&workshop);
}

#[test]
fn a_check_beside_a_prune_finds_nothing() {
    let workshop = Workshop::new();
    let (vault, ..) = half_forgotten(&workshop);
    let checking = workshop.open("v");
    thread::scope(|scope| {
        let pruner = scope.spawn(|| (0..5).for_each(|_| drop(prune(&vault))));
        while !pruner.is_finished() {
            assert!(is_sound(&checking));
        }
        pruner.join().unwrap();
    });
    assert!(is_sound(&checking));
}

#[test]
fn of_two_prunes_one_waits_outside() {
    let workshop = Workshop::new();
    let (vault, ..) = half_forgotten(&workshop);
    let holdfast = Some(LockPurpose { holder: "ab".repeat(32), operation: "prune".to_owned() });
    let (hostname, username) = ("elsewhere".to_owned(), String::new());
    let lock = LockFile { time: surroundings().now(), exclusive: false, hostname, username, pid: 77, holdfast };
    put_lock_file(&workshop, &lock);
    let refused = vault.prune(&without_grace()).unwrap_err();
    assert!(matches!(refused, VaultError::Locked { pid: 77, .. }), "{refused:?}");
    workshop.restic("v", &["unlock", "--remove-all"]);
    assert!(prune(&vault).packs_marked > 0);
}

#[test]
fn nothing_leaves_the_index_while_a_restic_works() {
    let workshop = Workshop::new();
    let (vault, ..) = half_forgotten(&workshop);
    let index = workshop.files("v", "index");
    let (hostname, username) = ("elsewhere".to_owned(), String::new());
    let lock = LockFile { time: surroundings().now(), exclusive: false, hostname, username, pid: 77, holdfast: None };
    put_lock_file(&workshop, &lock);
    let report = prune(&vault);
    assert!(!report.did_anything());
    assert_eq!(report.plan.held_up_by, ["process 77 on `elsewhere`"]);
    assert_eq!(workshop.files("v", "index"), index);
    workshop.restic("v", &["unlock", "--remove-all"]);
    put_lock_file(&workshop, &LockFile { exclusive: true, ..lock });
    assert!(matches!(vault.prune(&without_grace()), Err(VaultError::Locked { .. })));
    assert!(matches!(vault.prune_plan(&without_grace()), Err(VaultError::Locked { .. })));
}

#[test]
fn what_others_without_a_lock_relied_on_comes_back() {
    let workshop = Workshop::new();
    let vault = workshop.create("v");
    let wanted = files(&[("a", content(1, 3 << 20))]);
    let committed = capture(&vault, &wanted);
    let path = workshop.path("v").join(format!("snapshots/{}", committed.snapshot_id));
    let snapshot = fs::read(&path).unwrap();
    vault.forget(committed.snapshot_id).unwrap();
    assert!(prune(&vault).packs_marked > 0);
    // As if somebody had begun before and written his snapshot now.
    fs::write(&path, snapshot).unwrap();
    let plan = vault.prune_plan(&without_grace()).unwrap();
    assert!(!plan.restore.is_empty() && plan.remove.is_empty(), "{plan}");
    let report = prune(&vault);
    assert!(report.packs_restored > 0 && report.packs_removed == 0, "{report:?}");
    assert_eq!(read_files(&vault, committed.snapshot_id).unwrap(), wanted);
    all_agree(&workshop);
}

#[test]
fn packs_used_in_part_are_packed_anew_and_only_what_is_needed_is_moved() {
    let workshop = Workshop::new();
    let vault = workshop.create("v");
    // Small files of two captures in common packs.
    let both: Files = (0..40).map(|n| (format!("f{n:02}").into_bytes(), content(n, 100_000))).collect();
    let first = capture(&vault, &both);
    let few: Files = both.iter().take(4).map(|(name, bytes)| (name.clone(), bytes.clone())).collect();
    let second = capture(&vault, &few);
    vault.forget(first.snapshot_id).unwrap();
    let plan = vault.prune_plan(&without_grace()).unwrap();
    assert_eq!(plan.repack.len(), 1, "{plan}");
    let tolerant = PruneOptions { max_unused_percent: 100, ..without_grace() };
    assert!(vault.prune_plan(&PruneOptions { repack_bytes_max: Some(1), ..tolerant }).unwrap().repack.is_empty());
    let report = prune(&vault);
    assert_eq!(report.packs_repacked, 1);
    assert!(report.bytes_repacked < 400_000, "{report:?}");
    all_agree(&workshop);
    assert!(prune(&vault).packs_removed >= 1);
    let bytes: u64 = packs(&workshop).iter().map(|path| path.metadata().unwrap().len()).sum();
    assert!(bytes < 500_000, "{bytes}");
    assert_eq!(read_files(&vault, second.snapshot_id).unwrap(), few);
    all_agree(&workshop);
}

#[test]
fn a_pack_that_cannot_be_read_whole_stays_and_the_others_are_pruned() {
    let workshop = Workshop::new();
    let vault = workshop.create("v");
    let both: Files = (0..10).map(|n| (format!("f{n:02}").into_bytes(), content(n, 100_000))).collect();
    let first = capture(&vault, &both);
    let damaged = workshop.files("v", "data").remove(0);
    let few: Files = both.iter().take(4).map(|(name, bytes)| (name.clone(), bytes.clone())).collect();
    capture(&vault, &few);
    vault.forget(first.snapshot_id).unwrap();
    let mut bytes = fs::read(&damaged).unwrap();
    // The writer fills its packs in the order of the files.
    bytes[100] ^= 1;
    fs::write(&damaged, bytes).unwrap();
    let report = prune(&vault);
    assert_eq!(report.packs_unreadable, [damaged.file_name().unwrap().to_str().unwrap()]);
    prune(&vault);
    assert!(damaged.exists());
}

#[test]
fn a_prune_does_nothing_when_it_cannot_know_what_snapshots_need() {
    let workshop = Workshop::new();
    let (vault, _, _, second, _) = half_forgotten(&workshop);
    let count = packs(&workshop).len();
    let path = workshop.path("v").join(format!("snapshots/{}", second.snapshot_id));
    let good = fs::read(&path).unwrap();
    let mut bad = good.clone();
    bad[50] ^= 1;
    fs::write(&path, bad).unwrap();
    let refused = vault.prune(&without_grace()).unwrap_err().to_string();
    assert!(refused.contains(&second.snapshot_id.to_hex()) && refused.contains("nothing was pruned"), "{refused}");
    fs::write(&path, good).unwrap();
    let index = workshop.files("v", "index").remove(0);
    let mut bytes = fs::read(&index).unwrap();
    bytes[40] ^= 1;
    fs::write(index, bytes).unwrap();
    // What an index says can be read from the packs themselves, unless one of them is damaged too.
    let pack = workshop.files("v", "data").remove(0);
    let good = fs::read(&pack).unwrap();
    fs::write(&pack, &good[..good.len() - 9]).unwrap();
    assert!(matches!(workshop.open("v").prune(&without_grace()), Err(VaultError::Damaged { .. })));
    assert_eq!(packs(&workshop).len(), count);
    fs::write(&pack, good).unwrap();
    assert_eq!(workshop.open("v").prune(&without_grace()).unwrap().indexes_healed, 1);
    let report = workshop.open("v").check(&CheckOptions { read_data: true, control: &NoControl }).unwrap();
    assert!(report.is_sound(), "{report:#?}");
}

#[test]
fn restic_prunes_a_vault_with_marks_of_ours_and_we_go_on() {
    let workshop = Workshop::new();
    let (vault, _, _, second, two) = half_forgotten(&workshop);
    assert!(prune(&vault).packs_marked > 0);
    workshop.restic("v", &["prune"]);
    let report = prune(&vault);
    assert_eq!(report.packs_removed, 0, "restic has removed them");
    assert_eq!(workshop.files("v", "holdfast/marks").len(), 0);
    assert_eq!(read_files(&vault, second.snapshot_id).unwrap(), two);
    all_agree(&workshop);
}

#[test]
fn rustic_and_we_prune_in_turn() {
    let workshop = Workshop::new();
    let (vault, _, _, second, two) = half_forgotten(&workshop);
    let Some(_) = workshop.rustic("v", &["prune", "--keep-delete", "1d"]) else { return };
    prune(&vault);
    prune(&vault);
    assert_eq!(read_files(&vault, second.snapshot_id).unwrap(), two);
    workshop.rustic("v", &["prune", "--instant-delete", "--keep-delete", "0s", "--keep-pack", "0s"]);
    prune(&vault);
    assert_eq!(read_files(&vault, second.snapshot_id).unwrap(), two);
    all_agree(&workshop);
}

#[test]
fn an_unchanged_subtree_that_was_never_written_again_is_kept_too() {
    let workshop = Workshop::new();
    let vault = workshop.create("v");
    let wanted = files(&[("a", content(1, 2 << 20))]);
    let parent = capture(&vault, &wanted);
    let writer = vault.writer(&NoControl).unwrap();
    let reader = vault.reader(parent.snapshot_id).unwrap();
    let NodeKind::Dir { subtree } = reader.tree(&parent.tree_id).unwrap().nodes[0].kind else { panic!("no directory") };
    drop(reader);
    vault.forget(parent.snapshot_id).unwrap();
    assert!(prune(&vault).packs_marked > 0);
    let more = driver_api::CaptureWriter::write_content(&writer, Chunking::ContentDefined, &mut &b"more"[..]).unwrap();
    let file = node(b"more", NodeKind::File { content: more.blobs, size: more.size });
    let root = Tree { nodes: vec![node(b"data", NodeKind::Dir { subtree }), file] };
    let child = writer.commit(input(root, &[])).unwrap();
    prune(&vault);
    prune(&vault);
    assert_eq!(read_files(&vault, child.snapshot_id).unwrap(), wanted);
    all_agree(&workshop);
}
