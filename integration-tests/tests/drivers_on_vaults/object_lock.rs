//! Goal: what is protected in a vault stays in a bucket that locks objects, whatever somebody with its credentials does.
//! Method: the real protocol with signatures against a server that locks, forgets nothing that is locked, and refuses
//! what S3 refuses; what is locked is compared with the files that came with each capture.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use driver_api::NoControl;
use driver_filesystem::FilesystemDriver;
use integration_tests::s3_store::{Locking, Manner, ObjectLock, S3Store};
use jiff::{SignedDuration, Timestamp};
use job_model::FailureCode;
use vault_engine::{
    CheckFindingKind, KeepEntry, ObjectLockUse, PruneOptions, ScrubOptions, Vault, VaultError, VaultLockEntry,
    recovery_point_tag,
};

use crate::oracle::difference;
use crate::s3::{BUCKET, PATIENCE, Remote, tree};
use crate::source::noise;
use crate::workshop::{Point, capture, copy, examine, now, restore_new, try_capture};

/// A bucket that locks, with a vault `v` in it.
struct Scene {
    remote: Remote,
    vault: Vault,
    source: PathBuf,
}

impl Scene {
    fn new() -> Self {
        Self::with(Locking::On)
    }

    fn with(locking: Locking) -> Self {
        let remote = Remote::with(Manner { locking, demands_checksums: true, ..Manner::default() });
        let vault = remote.workshop.create(&Remote::vault("v", "main"));
        let source = remote.workshop.path("source");
        tree(&source);
        Self { remote, vault, source }
    }

    fn store(&self) -> &S3Store {
        self.remote.store.as_ref().unwrap()
    }

    fn capture(&self, parent: Option<&Point>) -> Point {
        capture(&self.vault, &FilesystemDriver, &self.source, parent)
    }

    /// Files of a vault in the bucket, by their paths in it.
    fn files(&self, vault: &str) -> BTreeSet<String> {
        let root = self.remote.workshop.path("buckets").join(BUCKET).join(vault);
        let mut found = BTreeSet::new();
        let mut open = vec![root.clone()];
        while let Some(directory) = open.pop() {
            for entry in fs::read_dir(directory).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    open.push(path);
                } else {
                    found.insert(path.strip_prefix(&root).unwrap().to_string_lossy().into_owned());
                }
            }
        }
        found
    }

    /// Packs that lie there and did not before.
    fn new_packs(&self, vault: &str, before: &BTreeSet<String>) -> BTreeSet<String> {
        self.files(vault).difference(before).filter(|path| path.starts_with("data/")).cloned().collect()
    }

    /// The locks on the files of a vault.
    fn locks(&self, vault: &str) -> BTreeMap<String, ObjectLock> {
        let locks = self.store().locks().into_iter();
        let prefix = format!("{BUCKET}/{vault}/");
        locks.filter_map(|(object, lock)| Some((object.strip_prefix(&prefix)?.to_owned(), lock))).collect()
    }

    /// What every recovery point of a vault needs.
    fn common(&self, vault: &str) -> BTreeSet<String> {
        let is_common =
            |path: &String| path == "config" || path.starts_with("keys/") || path.starts_with("holdfast/keep/");
        self.files(vault).into_iter().filter(is_common).collect()
    }

    fn object(path: &str) -> String {
        format!("{BUCKET}/v/{path}")
    }
}

fn snapshot(point: &Point) -> String {
    format!("snapshots/{}", point.snapshot)
}

fn lock(days: u32, fixed_from: Option<Timestamp>) -> KeepEntry {
    KeepEntry::Lock(VaultLockEntry { min_retention_days: Some(days), max_retention_days: None, fixed_from })
}

fn hold(name: &str, points: &[&Point]) -> KeepEntry {
    KeepEntry::Hold { hold: name.to_owned(), recovery_points: points.iter().map(|point| point.id).collect() }
}

fn in_days(days: i64) -> Timestamp {
    now() + SignedDuration::from_hours(24 * days)
}

fn paths(locks: &BTreeMap<String, ObjectLock>) -> BTreeSet<String> {
    locks.keys().cloned().collect()
}

/// That each is locked at least until then, and at most for so many days longer.
fn lasts(lock: &ObjectLock, days: i64, longer: i64) -> bool {
    lock.until >= in_days(days) - SignedDuration::from_mins(5) && lock.until <= in_days(days + longer)
}

fn fill(place: &Path, seed: u64) {
    fs::write(place, noise(seed, 3 << 20)).unwrap();
}

#[test]
fn capture_into_a_locked_vault_locks_what_its_recovery_point_needs_and_nothing_else() {
    let scene = Scene::new();
    let gone = scene.capture(None);
    assert!(scene.vault.forget(gone.snapshot).unwrap());
    assert_eq!(scene.store().lock_requests(), 0, "nothing is protected yet");
    scene.vault.protect(&lock(10, None)).unwrap();
    assert!(scene.locks("v").is_empty(), "there is nothing to keep");
    let before = scene.files("v");
    fs::remove_dir_all(&scene.source).unwrap();
    fs::create_dir(&scene.source).unwrap();
    fill(&scene.source.join("other"), 50);
    let point = scene.capture(None);
    let locks = scene.locks("v");
    let mut expected = scene.common("v");
    expected.extend(scene.new_packs("v", &before));
    expected.insert(snapshot(&point));
    assert_eq!(paths(&locks), expected);
    assert!(expected.iter().filter(|path| path.starts_with("data/")).count() >= 2);
    for (path, lock) in &locks {
        assert!(lock.mode == "GOVERNANCE" && lasts(lock, 10, 1), "{path}: {lock:?}");
    }
    // What was set is known: the same once more asks for nothing.
    let requests = scene.store().lock_requests();
    assert_eq!(scene.vault.retain_protected(&NoControl).unwrap().files_locked, 0);
    assert_eq!(scene.store().lock_requests(), requests);
    assert!(examine(&scene.vault).is_sound());
}

#[test]
fn second_capture_prolongs_what_it_shares_and_leaves_the_rest() {
    let scene = Scene::new();
    // More than a pack.
    fs::write(scene.source.join("first only"), noise(60, 40 << 20)).unwrap();
    // Ten days ago.
    let earlier = scene.remote.workshop.open_days_ago(&Remote::vault("v", "main"), 10);
    earlier.protect(&hold("all", &[])).unwrap();
    let first = capture(&earlier, &FilesystemDriver, &scene.source, None);
    let at_first = scene.locks("v");
    assert!(at_first.values().all(|lock| lasts(lock, 25, 7)), "{at_first:?}");
    drop(earlier);
    let before = scene.files("v");
    fs::remove_file(scene.source.join("first only")).unwrap();
    fill(&scene.source.join("second only"), 61);
    let vault = scene.remote.workshop.open(&Remote::vault("v", "main")).unwrap();
    let second = capture(&vault, &FilesystemDriver, &scene.source, Some(&first));
    assert!(second.stats.bytes_new < 4 << 20, "{:?}", second.stats);
    let now = scene.locks("v");
    let is_long = |path: &String| lasts(&now[path], 35, 7);
    assert!(scene.new_packs("v", &before).iter().all(is_long));
    assert!(is_long(&snapshot(&second)) && !is_long(&snapshot(&first)));
    let (prolonged, left): (Vec<&String>, Vec<&String>) =
        at_first.keys().filter(|path| path.starts_with("data/")).partition(|path| is_long(path));
    assert!(!prolonged.is_empty() && !left.is_empty(), "{prolonged:?} {left:?}");
    assert!(left.iter().all(|path| now[*path] == at_first[*path]));
    // The second one needs no more than what was prolonged and what is new: take the rest away.
    for path in left {
        fs::remove_file(scene.remote.workshop.path("buckets").join(Scene::object(path))).unwrap();
    }
    let target = scene.remote.workshop.path("target");
    restore_new(&vault, &FilesystemDriver, &second, &target);
    assert_eq!(difference(&scene.source, &target), None);
}

#[test]
fn copy_into_a_locked_vault_is_locked_there_as_a_capture_is() {
    let scene = Scene::new();
    let point = scene.capture(None);
    let elsewhere = scene.remote.workshop.create(&Remote::vault("elsewhere", "other"));
    elsewhere.protect(&lock(10, None)).unwrap();
    let before = scene.files("elsewhere");
    let copied = copy(&scene.vault, &point, &elsewhere).unwrap();
    let mut expected = scene.common("elsewhere");
    expected.extend(scene.new_packs("elsewhere", &before));
    expected.insert(snapshot(&copied));
    assert_eq!(paths(&scene.locks("elsewhere")), expected);
    assert!(scene.locks("v").is_empty(), "nothing protects the source");
}

#[test]
fn hold_locks_the_recovery_points_that_it_names_and_no_other() {
    let scene = Scene::new();
    let before = scene.files("v");
    let held = scene.capture(None);
    let packs = scene.new_packs("v", &before);
    fs::remove_dir_all(&scene.source).unwrap();
    fs::create_dir(&scene.source).unwrap();
    fill(&scene.source.join("other"), 62);
    let free = scene.capture(None);
    scene.vault.protect(&hold("case", &[&held])).unwrap();
    let locks = scene.locks("v");
    let mut expected = scene.common("v");
    expected.extend(packs);
    expected.insert(snapshot(&held));
    assert_eq!(paths(&locks), expected);
    assert!(locks.values().all(|lock| lasts(lock, 35, 7) && lock.mode == "GOVERNANCE"));
    let until = in_days(100);
    scene.vault.protect(&KeepEntry::Retain { recovery_point: free.id, until }).unwrap();
    assert!(lasts(&scene.locks("v")[&snapshot(&free)], 100, 7));
    assert!(lasts(&scene.locks("v")[&snapshot(&held)], 35, 7));
    // What is released is free again for those who keep to the vault; the store's own lock ends by itself.
    scene.vault.protect(&KeepEntry::Release { hold: "case".to_owned() }).unwrap();
    assert!(scene.vault.forget(held.snapshot).unwrap());
}

#[test]
fn nobody_is_kept_from_taking_locks_away_before_the_lock_of_the_vault_is_fixed() {
    let scene = Scene::new();
    scene.vault.protect(&lock(10, Some(in_days(3)))).unwrap();
    scene.capture(None);
    assert!(scene.locks("v").values().all(|lock| lock.mode == "GOVERNANCE"));
    // The same date in the past.
    scene.vault.protect(&lock(10, Some(in_days(-1)))).unwrap();
    let locks = scene.locks("v");
    assert!(locks.values().all(|lock| lock.mode == "COMPLIANCE" && lasts(lock, 10, 1)), "{locks:?}");
}

#[test]
fn store_that_makes_no_lock_stricter_keeps_what_it_has_for_as_long_and_a_check_says_so() {
    let scene = Scene::with(Locking::OnAndModesStay);
    scene.vault.protect(&lock(10, None)).unwrap();
    let first = scene.capture(None);
    scene.vault.protect(&lock(20, Some(in_days(-1)))).unwrap();
    let old = scene.locks("v");
    let of_first = &old[&snapshot(&first)];
    assert!(of_first.mode == "GOVERNANCE" && lasts(of_first, 20, 1), "{of_first:?}");
    let requests = scene.store().lock_requests();
    scene.vault.retain_protected(&NoControl).unwrap();
    assert_eq!(scene.store().lock_requests(), requests, "it is not asked again and again");
    let report = examine(&scene.vault);
    let found: Vec<_> = report.findings.iter().map(|found| (found.kind, &found.message)).collect();
    assert!(found.len() == 1 && found[0].0 == CheckFindingKind::LockShort, "{found:?}");
    assert!(found[0].1.contains("s3:BypassGovernanceRetention"), "{found:?}");
    fill(&scene.source.join("new"), 63);
    let second = scene.capture(Some(&first));
    assert_eq!(scene.locks("v")[&snapshot(&second)].mode, "COMPLIANCE");
}

#[test]
fn attempt_that_died_before_it_locked_does_so_when_it_is_repeated() {
    let scene = Scene::new();
    scene.vault.protect(&lock(10, None)).unwrap();
    scene.store().grant_locks(Some(2));
    let died = try_capture(&scene.vault, &FilesystemDriver, &scene.source, None).unwrap_err();
    assert_eq!(VaultError::code_behind(&died), Some(FailureCode::PermissionDenied));
    let there = scene.vault.snapshots().unwrap().readable.pop().unwrap();
    let tag = recovery_point_tag(there.recovery_point().unwrap());
    assert!(scene.locks("v").len() <= 2);
    assert!(scene.vault.find_whole_snapshot_by_tag(&tag, &NoControl).is_err(), "it is not acknowledged either");
    scene.store().grant_locks(None);
    let found = scene.vault.find_whole_snapshot_by_tag(&tag, &NoControl).unwrap().unwrap();
    assert_eq!(found.id, there.id);
    let locks = scene.locks("v");
    let needed = |path: &String| !path.starts_with("index/") && !path.starts_with("holdfast/retention/");
    assert_eq!(paths(&locks), scene.files("v").into_iter().filter(needed).collect());
}

#[test]
fn refusal_names_what_to_grant_and_how_to_do_without() {
    let scene = Scene::new();
    scene.vault.protect(&lock(10, None)).unwrap();
    scene.store().grant_locks(Some(0));
    let refused = scene.vault.retain_protected(&NoControl);
    assert_eq!(refused.unwrap().files_locked, 0, "there is nothing to lock yet");
    let refused = try_capture(&scene.vault, &FilesystemDriver, &scene.source, None).unwrap_err();
    assert_eq!(VaultError::code_behind(&refused), Some(FailureCode::PermissionDenied));
    let refused = scene.vault.retain_protected(&NoControl).unwrap_err();
    let told = format!("{refused}: {}", std::error::Error::source(&refused).unwrap());
    for part in ["s3:PutObjectRetention", "object_lock = \"off\"", "[stores.main]", "AccessDenied"] {
        assert!(told.contains(part), "{told}");
    }
    let report = examine(&scene.vault);
    assert!(report.findings.iter().any(|found| found.kind == CheckFindingKind::LockShort), "{:?}", report.findings);

    let secret = Scene::with(Locking::Secret);
    let point = secret.capture(None);
    let refused = secret.vault.protect(&hold("case", &[&point])).unwrap_err();
    let told = format!("{refused}: {}", std::error::Error::source(&refused).unwrap());
    assert!(told.contains("s3:GetBucketObjectLockConfiguration") && told.contains("object_lock"), "{told}");
    assert_eq!(secret.vault.keep().unwrap().entries, 1, "the entry stands all the same");
}

#[test]
fn store_that_is_busy_is_asked_again_for_as_long_as_its_profile_says() {
    let mut scene = Scene::new();
    scene.vault.protect(&lock(10, None)).unwrap();
    let patient = scene.remote.patient(60).open(&Remote::vault("v", "main")).unwrap();
    scene.store().slow_locks_down(3);
    let point = capture(&patient, &FilesystemDriver, &scene.source, None);
    assert!(scene.locks("v").contains_key(&snapshot(&point)));
    scene.store().slow_locks_down(u64::MAX);
    let begin = std::time::Instant::now();
    let busy = scene.vault.protect(&lock(30, None)).unwrap_err();
    assert_eq!(busy.failure_code(), FailureCode::VaultUnreachable, "{busy:?}");
    assert!(begin.elapsed() < PATIENCE);
    scene.store().slow_locks_down(0);
    // The entry stands; the same once more locks what is missing.
    scene.vault.protect(&lock(30, None)).unwrap();
    assert!(scene.locks("v").values().all(|lock| lasts(lock, 30, 7)));
}

#[test]
fn check_moves_what_a_hold_keeps_on() {
    let scene = Scene::new();
    let access = Remote::vault("v", "main");
    let earlier = scene.remote.workshop.open_days_ago(&access, 10);
    let point = capture(&earlier, &FilesystemDriver, &scene.source, None);
    earlier.protect(&hold("case", &[&point])).unwrap();
    assert!(scene.locks("v").values().all(|lock| lasts(lock, 25, 7)));
    let scrubbed = scene.vault.scrub(&ScrubOptions { read_bytes: 1, control: &NoControl }).unwrap().check;
    assert!(scrubbed.is_sound() && scrubbed.files_locked > 0, "{scrubbed:?}");
    assert!(scene.locks("v").values().all(|lock| lasts(lock, 35, 7)));
    assert_eq!(examine(&scene.vault).files_locked, 0);
}

#[test]
fn nothing_is_asked_of_a_store_that_locks_nothing_or_is_not_to() {
    for (locking, use_it, requests) in [
        (Locking::Unknown, ObjectLockUse::Auto, 1),
        (Locking::NotHere, ObjectLockUse::Auto, 1),
        (Locking::On, ObjectLockUse::Off, 0),
    ] {
        let mut scene = Scene::with(locking);
        scene.remote.workshop.profiles.stores.get_mut("main").unwrap().object_lock = use_it;
        scene.vault = scene.remote.workshop.open(&Remote::vault("v", "main")).unwrap();
        scene.vault.protect(&lock(10, None)).unwrap();
        let point = scene.capture(None);
        scene.vault.protect(&hold("case", &[&point])).unwrap();
        assert!(examine(&scene.vault).is_sound());
        assert_eq!(scene.store().lock_requests(), requests, "{locking:?}, {use_it:?}: asked whether it locks, once");
        assert!(scene.locks("v").is_empty() && !scene.files("v").iter().any(|path| path.contains("retention")));
        assert!(matches!(scene.vault.forget(point.snapshot), Err(VaultError::Protected { .. })));
    }
}

#[test]
fn what_somebody_with_credentials_deleted_is_brought_back_and_restores() {
    let scene = Scene::new();
    scene.vault.protect(&lock(10, Some(in_days(-1)))).unwrap();
    let first = scene.capture(None);
    fill(&scene.source.join("new"), 64);
    let second = scene.capture(Some(&first));
    scene.store().empty().unwrap();
    assert!(scene.files("v").is_empty());
    assert!(scene.remote.workshop.open(&Remote::vault("v", "main")).is_err());
    scene.store().bring_back().unwrap();
    assert!(!scene.files("v").iter().any(|path| path.starts_with("index/")), "nobody locks indexes");
    let vault = scene.remote.workshop.open(&Remote::vault("v", "main")).unwrap();
    let target = scene.remote.workshop.path("target");
    restore_new(&vault, &FilesystemDriver, &second, &target);
    assert_eq!(difference(&scene.source, &target), None);
    restore_new(&vault, &FilesystemDriver, &first, &scene.remote.workshop.path("first"));
    assert!(examine(&vault).is_sound());
    assert!(matches!(vault.forget(first.snapshot), Err(VaultError::Protected { .. })));
    // Captures go on.
    scene.store().grant_locks(None);
    fill(&scene.source.join("newer"), 65);
    capture(&vault, &FilesystemDriver, &scene.source, Some(&second));
}

#[test]
fn packs_that_a_prune_writes_anew_are_locked_before_the_old_ones_leave() {
    let scene = Scene::new();
    for number in 0..8 {
        fill(&scene.source.join(format!("{number} of both")), 70 + number);
    }
    let both = scene.capture(None);
    for number in 0..6 {
        fs::remove_file(scene.source.join(format!("{number} of both"))).unwrap();
    }
    let kept = scene.capture(Some(&both));
    scene.vault.protect(&hold("case", &[&kept])).unwrap();
    scene.vault.forget(both.snapshot).unwrap();
    let before = scene.files("v");
    let report = scene.vault.prune(&PruneOptions { max_unused_percent: 0, ..PruneOptions::new(&NoControl) }).unwrap();
    assert!(report.packs_repacked > 0, "{report:?}");
    let new = scene.new_packs("v", &before);
    let locks = scene.locks("v");
    assert!(!new.is_empty() && new.iter().all(|path| lasts(&locks[path], 35, 7)), "{new:?} {locks:?}");

    // Where they cannot be locked, nothing leaves.
    scene.store().grant_locks(Some(0));
    for name in ["6 of both", "large"] {
        fs::remove_file(scene.source.join(name)).unwrap();
    }
    scene.store().grant_locks(None);
    let last = scene.capture(Some(&kept));
    scene.vault.protect(&hold("last", &[&last])).unwrap();
    scene.vault.protect(&KeepEntry::Release { hold: "case".to_owned() }).unwrap();
    scene.vault.forget(kept.snapshot).unwrap();
    scene.store().grant_locks(Some(0));
    let indexes = |scene: &Scene| -> BTreeSet<String> {
        scene.files("v").into_iter().filter(|path| path.starts_with("index/")).collect()
    };
    let named = indexes(&scene);
    let refused = scene.vault.prune(&PruneOptions { max_unused_percent: 0, ..PruneOptions::new(&NoControl) });
    assert_eq!(refused.unwrap_err().failure_code(), FailureCode::PermissionDenied);
    assert!(named.is_subset(&indexes(&scene)));
    scene.store().grant_locks(None);
    scene.vault.prune(&PruneOptions { max_unused_percent: 0, ..PruneOptions::new(&NoControl) }).unwrap();
    // The locks and what they name suffice.
    scene.store().empty().unwrap();
    scene.store().bring_back().unwrap();
    let vault = scene.remote.workshop.open(&Remote::vault("v", "main")).unwrap();
    let target = scene.remote.workshop.path("target");
    restore_new(&vault, &FilesystemDriver, &last, &target);
    assert_eq!(difference(&scene.source, &target), None);
}

#[test]
fn check_finds_locks_that_somebody_took_away_and_sets_them_again() {
    let scene = Scene::new();
    scene.vault.protect(&lock(10, None)).unwrap();
    scene.capture(None);
    let locks = scene.locks("v");
    let pack = locks.keys().find(|path| path.starts_with("data/")).unwrap();
    scene.store().set_lock(&Scene::object(pack), None);
    let report = examine(&scene.vault);
    let found: Vec<_> = report.findings.iter().map(|found| (found.kind, found.subject.as_str())).collect();
    assert_eq!(found, [(CheckFindingKind::LockShort, pack.as_str())]);
    assert_eq!(scene.locks("v"), locks);
    assert!(examine(&scene.vault).is_sound());
}

#[test]
fn lock_that_is_longer_or_stricter_than_needed_stays_as_it_is() {
    let scene = Scene::new();
    let point = scene.capture(None);
    // As a bucket's own default does.
    let strict = ObjectLock { mode: "COMPLIANCE".to_owned(), until: in_days(90) };
    let short = ObjectLock { mode: "COMPLIANCE".to_owned(), until: in_days(2) };
    let path = snapshot(&point);
    scene.store().set_lock(&Scene::object(&path), Some(strict.clone()));
    scene.store().set_lock(&Scene::object("config"), Some(short));
    scene.vault.protect(&hold("case", &[&point])).unwrap();
    let locks = scene.locks("v");
    assert_eq!(locks[&path], strict);
    let config = &locks["config"];
    assert!(config.mode == "COMPLIANCE" && lasts(config, 35, 7), "{config:?}");
    // A clock that is years behind shortens nothing, and asks for nothing that lies in the past.
    let behind = scene.remote.workshop.open_days_ago(&Remote::vault("v", "main"), 20);
    behind.retain_protected(&NoControl).unwrap();
    assert_eq!(scene.locks("v"), locks);
}

#[test]
fn many_notes_of_what_is_locked_become_few() {
    let scene = Scene::new();
    scene.vault.protect(&lock(10, None)).unwrap();
    let mut point = scene.capture(None);
    let notes = |scene: &Scene| scene.files("v").iter().filter(|path| path.starts_with("holdfast/retention/")).count();
    for number in 0..30 {
        fs::write(scene.source.join("small"), noise(number, 1000)).unwrap();
        point = scene.capture(Some(&point));
        assert!(notes(&scene) <= 20, "{}", notes(&scene));
    }
    let requests = scene.store().lock_requests();
    scene.vault.retain_protected(&NoControl).unwrap();
    assert_eq!(scene.store().lock_requests(), requests, "and nothing of it is forgotten");
}
