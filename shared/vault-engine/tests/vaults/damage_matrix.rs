//! Each kind of file of a vault, damaged in each way: a check names it and says which recovery points it touches, no
//! restore brings anything wrong, and what the source still has heals it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use driver_api::{NoControl, PieceSpan, StreamStore as _};
use job_model::{RecoveryPointId, ResourceType};
use vault_engine::{
    CheckFindingKind, CheckOptions, CheckReport, Committed, KeepEntry, PruneOptions, ScrubOptions, StreamSubject,
    Vault, VaultError, recovery_point_tag,
};
use vault_format::Id;

use crate::support::{Files, Workshop, capture_tagged, content, files, read_files, surroundings};

/// How a file is damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Damage {
    /// A bit is flipped after so many hundredths of the file.
    Flipped(usize),
    /// So many hundredths of the file are left.
    Cut(usize),
    /// The last byte is missing.
    Shortened,
    Emptied,
    Removed,
}

const EVERY: [Damage; 9] = [
    Damage::Flipped(0),
    Damage::Flipped(30),
    Damage::Flipped(65),
    Damage::Flipped(100),
    Damage::Cut(10),
    Damage::Cut(80),
    Damage::Shortened,
    Damage::Emptied,
    Damage::Removed,
];

fn inflict(path: &Path, damage: Damage) {
    let mut bytes = fs::read(path).unwrap();
    let length = bytes.len();
    match damage {
        Damage::Flipped(hundredths) => bytes[((length - 1) * hundredths) / 100] ^= 4,
        Damage::Cut(hundredths) => bytes.truncate(length * hundredths / 100),
        Damage::Shortened => bytes.truncate(length - 1),
        Damage::Emptied => bytes.clear(),
        Damage::Removed => return fs::remove_file(path).unwrap(),
    }
    fs::write(path, bytes).unwrap();
}

fn point(number: u64) -> RecoveryPointId {
    format!("0199f0a8-0000-7000-8000-{number:012x}").parse().unwrap()
}

fn name(path: &Path) -> String {
    path.file_name().unwrap().to_str().unwrap().to_owned()
}

/// A vault with two recovery points that have nothing in common.
struct Pair {
    workshop: Workshop,
    wanted: [Files; 2],
    committed: [Committed; 2],
    /// Every file of the vault as it was written, and those that came with each recovery point.
    whole: BTreeMap<PathBuf, Vec<u8>>,
    came: [Vec<PathBuf>; 2],
}

impl Pair {
    fn new() -> Self {
        let workshop = Workshop::new();
        let vault = workshop.create("v");
        let wanted = [1, 2].map(|seed| files(&[("a", content(seed, 700_000)), ("b", content(seed + 10, 3000))]));
        let mut came = [Vec::new(), Vec::new()];
        let committed = [0, 1].map(|number| {
            let before = workshop.files("v", "");
            let committed = capture_tagged(&vault, &wanted[number], &[&recovery_point_tag(point(number as u64))]);
            came[number] = workshop.files("v", "");
            came[number].retain(|path| !before.contains(path));
            committed
        });
        let mut pair = Self { workshop, wanted, committed, whole: BTreeMap::new(), came };
        pair.keep();
        pair
    }

    /// From here on this is how the vault is put back.
    fn keep(&mut self) {
        let all = self.workshop.files("v", "").into_iter();
        self.whole = all.map(|path| (path.clone(), fs::read(path).unwrap())).collect();
    }

    fn put_back(&self) {
        for path in self.workshop.files("v", "") {
            if !self.whole.contains_key(&path) {
                fs::remove_file(path).unwrap();
            }
        }
        for (path, bytes) in &self.whole {
            if fs::read(path).ok().as_ref() != Some(bytes) {
                fs::write(path, bytes).unwrap();
            }
        }
    }

    /// Files that came with the first recovery point, largest first.
    fn of_first(&self, directory: &str) -> Vec<PathBuf> {
        let directory = self.workshop.path("v").join(directory);
        self.came[0].iter().filter(|path| path.starts_with(&directory)).cloned().collect()
    }

    fn vault(&self) -> Vault {
        self.workshop.open("v")
    }

    /// Whether a recovery point restores; to other bytes it never may.
    fn restores(&self, vault: &Vault, number: usize, context: &str) -> bool {
        let id = self.committed[number].snapshot_id;
        let read = match vault.reader(id) {
            Ok(_) => read_files(vault, id).map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        if let Ok(restored) = &read {
            assert!(*restored == self.wanted[number], "{context}: recovery point {number} restores to something else");
        }
        read.is_ok()
    }

    /// Damages a file in every way, one after the other.
    fn for_each(&self, path: &Path, mut judge: impl FnMut(Damage, &str)) {
        for damage in EVERY {
            inflict(path, damage);
            judge(damage, &format!("{}: {damage:?}", path.display()));
            self.put_back();
        }
    }
}

fn check(vault: &Vault) -> CheckReport {
    vault.check(&CheckOptions { read_data: true, control: &NoControl }).unwrap()
}

/// The findings that name this file.
fn about(report: &CheckReport, path: &Path) -> Vec<CheckFindingKind> {
    let named = report.findings.iter().filter(|finding| finding.subject.contains(&name(path)));
    named.map(|finding| finding.kind).collect()
}

fn prune_all(vault: &Vault) {
    let at_once = PruneOptions { grace: Duration::ZERO, ..PruneOptions::new(&NoControl) };
    for _ in 0..3 {
        vault.prune(&at_once).unwrap();
    }
}

fn scrub(vault: &Vault) {
    vault.scrub(&ScrubOptions { read_bytes: u64::MAX, control: &NoControl }).unwrap();
}

/// Both restore, and nothing is wrong with the vault any more, in restic's eyes neither.
fn assert_healed(pair: &Pair, vault: &Vault, context: &str) {
    for number in [0, 1] {
        assert!(pair.restores(vault, number, context), "{context}: recovery point {number} is not healed");
    }
    let report = check(vault);
    assert!(report.is_sound() && report.snapshots_affected.is_empty(), "{context}: {report:#?}");
}

#[test]
fn a_damaged_configuration_or_only_key_is_named_and_nothing_is_opened() {
    let pair = Pair::new();
    let open = || {
        let access = pair.workshop.access("v");
        Vault::open(&access, &pair.workshop.profiles, &surroundings())
    };
    pair.for_each(&pair.workshop.path("v").join("config"), |damage, context| match open().unwrap_err() {
        VaultError::NotFound { .. } => assert_eq!(damage, Damage::Removed, "{context}"),
        VaultError::Damaged { what, .. } => assert!(what.contains("config"), "{context}: {what}"),
        other => panic!("{context}: {other:?}"),
    });
    let key = pair.workshop.files("v", "keys").remove(0);
    pair.for_each(&key, |damage, context| match open() {
        // What is not part of the secret may be wrong; it opens all the same, and a check tells.
        Ok(vault) => {
            assert!(pair.restores(&vault, 0, context), "{context}");
            assert_eq!(about(&check(&vault), &key), [CheckFindingKind::KeyDamaged], "{context}");
        }
        Err(VaultError::Damaged { what, problem }) if damage == Damage::Removed => {
            assert!(what == "the vault" && problem.contains("keys"), "{context}: {what}: {problem}");
        }
        Err(VaultError::Damaged { what, .. }) => assert!(what.contains(&name(&key)), "{context}: {what}"),
        Err(other) => panic!("{context}: {other:?}"),
    });
    assert_healed(&pair, &pair.vault(), "all put back");
}

#[test]
fn a_damaged_second_key_is_named_and_keeps_nobody_out() {
    let mut pair = Pair::new();
    let added = pair.vault().add_key("other", &pair.workshop.profiles).unwrap();
    pair.keep();
    let path = pair.workshop.path("v").join(format!("keys/{added}"));
    pair.for_each(&path, |damage, context| {
        let vault = pair.vault();
        let report = check(&vault);
        let expected: &[_] = if damage == Damage::Removed { &[] } else { &[CheckFindingKind::KeyDamaged] };
        assert_eq!(about(&report, &path), expected, "{context}: {report:#?}");
        assert!(report.snapshots_affected.is_empty() && pair.restores(&vault, 0, context), "{context}");
        let _ = fs::remove_file(&path);
        vault.add_key("other", &pair.workshop.profiles).unwrap();
        assert_healed(&pair, &vault, context);
    });
}

#[test]
fn a_damaged_index_is_named_and_the_next_prune_makes_it_anew() {
    let pair = Pair::new();
    let index = pair.of_first("index").remove(0);
    pair.for_each(&index, |damage, context| {
        let vault = pair.vault();
        let report = check(&vault);
        if damage == Damage::Removed {
            // Nobody knows that there was one; the packs that it named tell themselves what they hold.
            assert!(report.is_sound() && report.packs_named_again > 0, "{context}: {report:#?}");
            pair.workshop.restic_agrees("v");
        } else {
            assert_eq!(about(&report, &index), [CheckFindingKind::IndexDamaged], "{context}: {report:#?}");
        }
        assert!(report.snapshots_affected.is_empty() && pair.restores(&vault, 0, context), "{context}");
        assert!(pair.restores(&vault, 1, context), "{context}");
        prune_all(&vault);
        assert_healed(&pair, &vault, context);
        pair.workshop.restic_agrees("v");
    });
}

#[test]
fn a_removed_index_is_healed_by_a_capture_of_its_source_as_well() {
    let pair = Pair::new();
    fs::remove_file(pair.of_first("index").remove(0)).unwrap();
    let vault = pair.vault();
    let again = capture_tagged(&vault, &pair.wanted[0], &[]);
    assert!(again.stats.bytes_new > 700_000);
    assert_healed(&pair, &vault, "captured again");
}

#[test]
fn a_damaged_snapshot_is_named_as_affected_and_the_others_restore() {
    let pair = Pair::new();
    let snapshot = pair.of_first("snapshots").remove(0);
    pair.for_each(&snapshot, |damage, context| {
        let vault = pair.vault();
        let report = check(&vault);
        if damage == Damage::Removed {
            // A deletion by hand is no damage to the vault; the planner's ledger and protections tell it.
            assert!(report.is_sound(), "{context}: {report:#?}");
        } else {
            assert_eq!(about(&report, &snapshot), [CheckFindingKind::SnapshotDamaged], "{context}");
            assert_eq!(report.snapshots_affected, [pair.committed[0].snapshot_id], "{context}");
        }
        assert!(!pair.restores(&vault, 0, context) && pair.restores(&vault, 1, context), "{context}");
        // Its source makes another one of the data that is still there.
        let again = capture_tagged(&vault, &pair.wanted[0], &[&recovery_point_tag(point(0))]);
        assert_eq!(again.stats.bytes_new, 0, "{context}");
        assert_eq!(read_files(&vault, again.snapshot_id).unwrap(), pair.wanted[0], "{context}");
        if damage != Damage::Removed {
            vault.forget(pair.committed[0].snapshot_id).unwrap();
        }
        prune_all(&vault);
        assert!(check(&vault).is_sound() && pair.restores(&vault, 1, context), "{context}");
    });
}

#[test]
fn a_protected_recovery_point_whose_snapshot_was_removed_is_missed_by_a_check() {
    let pair = Pair::new();
    let vault = pair.vault();
    vault.protect(&KeepEntry::Hold { hold: "case".to_owned(), recovery_points: [point(0)].into() }).unwrap();
    assert!(check(&vault).is_sound());
    fs::remove_file(pair.of_first("snapshots").remove(0)).unwrap();
    let report = check(&vault);
    assert_eq!(report.recovery_points_affected, [point(0)].into(), "{report:#?}");
    assert!(report.findings.iter().any(|finding| finding.message.contains(&point(0).to_string())), "{report:#?}");
}

#[test]
fn a_damaged_pack_is_named_with_the_recovery_points_it_touches_and_heals_from_the_source() {
    let pair = Pair::new();
    let packs = pair.of_first("data");
    assert_eq!(packs.len(), 2, "one of content and one of trees");
    for (pack, is_content) in packs.iter().zip([true, false]) {
        pair.for_each(pack, |damage, context| {
            let vault = pair.vault();
            let report = check(&vault);
            let kinds = about(&report, pack);
            let expected =
                if damage == Damage::Removed { CheckFindingKind::PackMissing } else { CheckFindingKind::PackDamaged };
            assert!(kinds.contains(&expected), "{context}: {report:#?}");
            // The last bytes of a pack are its header, which a restore does not need.
            let restores = pair.restores(&vault, 0, context);
            let in_header = matches!(damage, Damage::Flipped(100) | Damage::Shortened);
            assert_eq!(restores, in_header, "{context}");
            let affected: &[Id] = if restores { &[] } else { &[pair.committed[0].snapshot_id] };
            assert_eq!(report.snapshots_affected, affected, "{context}: {report:#?}");
            assert_eq!(report.recovery_points_affected.is_empty(), restores, "{context}");
            assert!(pair.restores(&vault, 1, context), "{context}");

            // What shows in a listing the next capture sees by itself; the rest a scrub has to read first.
            if matches!(damage, Damage::Flipped(_)) {
                scrub(&vault);
            }
            let again = capture_tagged(&vault, &pair.wanted[0], &[]);
            assert!(again.stats.bytes_new > if is_content { 700_000 } else { 100 }, "{context}: {:?}", again.stats);
            let met = again.damage.unwrap_or_else(|| panic!("{context}: the capture did not say what it met"));
            assert!(met.packs.len() == 1 && met.packs[0].contains(&name(pack)), "{context}: {met:?}");
            let touched: Vec<_> =
                met.touched.iter().map(|touched| (touched.snapshot, touched.recovery_point, touched.healed)).collect();
            if !restores {
                assert_eq!(touched, [(pair.committed[0].snapshot_id, Some(point(0)), true)], "{context}");
            }
            assert!(pair.restores(&vault, 0, context) && pair.restores(&vault, 1, context), "{context}");
            prune_all(&vault);
            assert_healed(&pair, &vault, context);
            assert!(capture_tagged(&vault, &pair.wanted[0], &[]).damage.is_none(), "{context}");
        });
    }
}

#[test]
fn a_capture_of_another_source_names_the_recovery_points_that_it_cannot_heal() {
    let pair = Pair::new();
    let lost = pair.of_first("data").remove(0);
    fs::remove_file(&lost).unwrap();
    let vault = pair.vault();
    let other = capture_tagged(&vault, &files(&[("c", content(77, 1000))]), &[]);
    let met = other.damage.unwrap();
    let touched: Vec<_> = met.touched.iter().map(|touched| (touched.recovery_point, touched.healed)).collect();
    assert_eq!(touched, [(Some(point(0)), false)], "{met:?}");
    assert!(!pair.restores(&vault, 0, "not healed") && pair.restores(&vault, 1, "spared"));
}

#[test]
fn a_damaged_lock_is_named_while_it_is_young_and_goes_when_it_is_old() {
    let mut pair = Pair::new();
    let vault = pair.vault();
    // A lock as a machine that lost its power leaves it.
    let reader = vault.reader(pair.committed[0].snapshot_id).unwrap();
    let lock = pair.workshop.files("v", "locks").remove(0);
    let bytes = fs::read(&lock).unwrap();
    drop(reader);
    fs::write(&lock, bytes).unwrap();
    pair.keep();
    pair.for_each(&lock, |damage, context| {
        let vault = pair.vault();
        assert!(pair.restores(&vault, 0, context) && pair.restores(&vault, 1, context), "{context}");
        if damage == Damage::Removed {
            return assert!(check(&vault).is_sound(), "{context}");
        }
        let refused = vault.check(&CheckOptions { read_data: false, control: &NoControl }).unwrap_err().to_string();
        assert!(refused.contains(&name(&lock)), "{context}: {refused}");
        let hour_ago = std::time::SystemTime::from(surroundings().now()) - Duration::from_secs(3600);
        fs::File::options().write(true).open(&lock).unwrap().set_modified(hour_ago).unwrap();
        assert_healed(&pair, &vault, context);
        assert!(!lock.exists(), "{context}");
    });
}

#[test]
fn damaged_protections_are_named_delete_nothing_and_harm_no_restore() {
    let mut pair = Pair::new();
    let vault = pair.vault();
    for number in [0, 1] {
        let until = surroundings().now() + jiff::SignedDuration::from_hours(48);
        vault.protect(&KeepEntry::Retain { recovery_point: point(number), until }).unwrap();
    }
    capture_tagged(&vault, &files(&[("c", content(3, 1000))]), &[]);
    pair.keep();
    for entry in [1, 2] {
        let path = pair.workshop.path("v").join(format!("holdfast/keep/{entry:020}"));
        pair.for_each(&path, |damage, context| {
            let vault = pair.vault();
            let report = check(&vault);
            let kinds: Vec<_> = report.findings.iter().map(|finding| finding.kind).collect();
            assert_eq!(kinds, [CheckFindingKind::KeepBroken], "{context}: {report:#?}");
            let named = report.findings[0].message.contains(&name(&path));
            assert!(named || damage == Damage::Removed && entry == 2, "{context}: {report:#?}");
            let refused = vault.forget(pair.committed[0].snapshot_id);
            assert!(matches!(refused, Err(VaultError::KeepBroken { .. })), "{context}: {refused:?}");
            assert!(pair.restores(&vault, 0, context) && pair.restores(&vault, 1, context), "{context}");
        });
    }
    assert_healed(&pair, &pair.vault(), "all put back");
}

#[test]
fn damaged_notes_of_prunes_and_scrubs_are_named_and_the_next_run_replaces_them() {
    let mut pair = Pair::new();
    let vault = pair.vault();
    let gone = capture_tagged(&vault, &files(&[("gone", content(9, 50_000))]), &[]);
    vault.forget(gone.snapshot_id).unwrap();
    vault.prune(&PruneOptions::new(&NoControl)).unwrap();
    scrub(&vault);
    pair.keep();
    for directory in ["holdfast/marks", "holdfast/scrub"] {
        let path = pair.workshop.files("v", directory).remove(0);
        pair.for_each(&path, |damage, context| {
            let vault = pair.vault();
            let report = check(&vault);
            let expected: &[_] = if damage == Damage::Removed { &[] } else { &[CheckFindingKind::NoteDamaged] };
            assert_eq!(about(&report, &path), expected, "{context}: {report:#?}");
            assert!(report.snapshots_affected.is_empty(), "{context}");
            // Nothing is removed on the word of a note that cannot be read.
            let packs = pair.workshop.files("v", "data").len();
            let at_once = PruneOptions { grace: Duration::ZERO, ..PruneOptions::new(&NoControl) };
            let removed = vault.prune(&at_once).unwrap().packs_removed;
            assert_eq!(pair.workshop.files("v", "data").len() as u64 + removed, packs as u64, "{context}");
            assert!(removed == 0 || directory == "holdfast/scrub", "{context}: the marks were gone");
            prune_all(&vault);
            scrub(&vault);
            assert_healed(&pair, &vault, context);
        });
    }
}

#[test]
fn a_damaged_piece_of_a_stream_is_named_with_its_recovery_point_and_not_read() {
    let mut pair = Pair::new();
    let vault = pair.vault();
    let id = point(7);
    let subject = StreamSubject {
        recovery_point_id: id,
        recovery_point: format!("arn:aws:backup:eu-north-1:000000000000:recovery-point:{id}").parse().unwrap(),
        resource: "arn:aws:rds:eu-north-1:000000000000:db:shop".parse().unwrap(),
        resource_type: ResourceType::Rds,
        location: "postgresql://shop".to_owned(),
    };
    let base = vault_engine::stream_base_tag("job");
    capture_tagged(&vault, &files(&[("base", content(5, 1000))]), &[&recovery_point_tag(id), &base]);
    let stream = vault.follow(subject, 1, &NoControl).unwrap();
    let span = PieceSpan { lane: 1, start: 0, end: 5000 };
    stream.append(span, &content(8, 5000)).unwrap();
    pair.keep();
    assert!(check(&vault).is_sound());
    let directory = pair.workshop.path("v").join(format!("holdfast/streams/{id}"));
    let path = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| !name(path).starts_with("epoch"))
        .unwrap();
    pair.for_each(&path, |damage, context| {
        use driver_api::StreamSource as _;
        let vault = pair.vault();
        let report = check(&vault);
        if damage == Damage::Removed {
            // Which pieces there should be is in the stream itself; whoever reads it misses what is between two.
            assert!(vault.stream(id).pieces().unwrap().is_empty(), "{context}");
        } else {
            assert_eq!(about(&report, &path), [CheckFindingKind::PieceDamaged], "{context}: {report:#?}");
            assert_eq!(report.recovery_points_affected, [id].into(), "{context}");
        }
        assert!(vault.stream(id).piece(span).is_err(), "{context}");
        assert!(pair.restores(&vault, 0, context) && pair.restores(&vault, 1, context), "{context}");
    });
}
