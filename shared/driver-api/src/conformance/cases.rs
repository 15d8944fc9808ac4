//! The cases. Each makes its own bench, so that they can run side by side.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use job_model::{OverwritePolicy, Severity};
use vault_format::{Node, NodeKind};

use super::{Bench, CountingControl, Point, StoppingControl, Subject};
use crate::{DriverError, ReadError, SnapshotReader, WriteError};

#[track_caller]
fn assert_equal(subject: &dyn Subject, left: &Path, right: &Path) {
    if let Some(difference) = subject.difference(left, right) {
        panic!("{} and {} differ: {difference}", left.display(), right.display());
    }
}

/// A bench with the resource built and captured.
fn captured(subject: &dyn Subject) -> (Bench, Point) {
    let bench = Bench::new();
    subject.build(&bench.path("source"));
    bench.settle();
    let point = bench.capture(subject, &bench.path("source"), None);
    (bench, point)
}

#[track_caller]
#[expect(clippy::expect_used, reason = "a test whose restore fails has failed")]
fn restore(bench: &Bench, subject: &dyn Subject, point: &Point, target: &str, overwrite: OverwritePolicy) {
    let restored = bench.restore(subject, point, &bench.path(target), overwrite).expect("restore");
    if subject.privileged() {
        assert_eq!(restored.findings, [], "a restore with all rights has nothing to tell");
    }
    assert_eq!(restored.location, bench.path(target));
    assert!(!restored.phases.is_empty());
}

/// Capture, restore, compare by other means.
pub fn what_is_restored_is_what_was_captured(subject: &dyn Subject) {
    let (bench, point) = captured(subject);
    restore(&bench, subject, &point, "target", OverwritePolicy::Refuse);
    assert_equal(subject, &bench.path("source"), &bench.path("target"));
    assert!(point.capture.items > 0);
    assert!(point.capture.size_bytes >= 1 << 20, "the subject has at least a megabyte");
}

/// Nothing changed: the same tree id, with and without parent, and nothing new in the vault.
pub fn capturing_twice_gives_the_same_tree(subject: &dyn Subject) {
    let (bench, first) = captured(subject);
    let second = bench.capture(subject, &bench.path("source"), None);
    let blobs = bench.vault.blobs().len();
    let third = bench.capture(subject, &bench.path("source"), Some(&second));
    assert_eq!(first.capture.data, second.capture.data);
    assert_eq!(first.capture.data, third.capture.data);
    assert_eq!(first.capture.sidecars, third.capture.sidecars);
    assert_eq!(bench.vault.blobs().len(), blobs);
}

/// With a parent, only what changed is read (where the driver can tell) and stored.
#[expect(clippy::expect_used, reason = "a test whose capture fails has failed")]
pub fn incremental_capture_reads_only_what_changed(subject: &dyn Subject) {
    let (bench, first) = captured(subject);
    let most = subject.change(&bench.path("source"));
    assert!(most < first.capture.size_bytes, "the subject changes a small part");
    bench.settle();
    let control = CountingControl::default();
    let before = bench.vault.stored_bytes();
    let second = bench.capture_with(subject, &bench.path("source"), Some(&first), &control).expect("capture");
    let (sum, bytes_new) = (control.sum(), bench.vault.stored_bytes() - before);
    assert_ne!(first.capture.data_tree(), second.capture.data_tree());
    assert!(bytes_new > 0 && bytes_new <= most, "{bytes_new} bytes are new, at most {most} were expected");
    if subject.skips_unchanged() {
        assert!(sum.bytes_read <= most, "{} bytes were read, at most {most} were expected", sum.bytes_read);
    }
    assert_eq!(sum.bytes_done, second.capture.size_bytes);
    assert_eq!(sum.items_done, second.capture.items);
}

/// The incremental recovery point is as whole as a full one.
pub fn incremental_capture_restores_to_the_changed_state(subject: &dyn Subject) {
    let (bench, first) = captured(subject);
    subject.change(&bench.path("source"));
    bench.settle();
    let second = bench.capture(subject, &bench.path("source"), Some(&first));
    restore(&bench, subject, &second, "target", OverwritePolicy::Refuse);
    assert_equal(subject, &bench.path("source"), &bench.path("target"));
}

/// An unchanged file's content is taken over only if the vault still has it; else it is read again and the vault heals.
pub fn content_lost_from_the_vault_is_stored_again(subject: &dyn Subject) {
    let (bench, first) = captured(subject);
    for id in bench.data_blobs(&first) {
        bench.vault.lose(&id);
    }
    let second = bench.capture(subject, &bench.path("source"), Some(&first));
    assert_eq!(first.capture.data, second.capture.data);
    restore(&bench, subject, &second, "target", OverwritePolicy::Refuse);
    assert_equal(subject, &bench.path("source"), &bench.path("target"));
}

/// The default policy touches nothing that exists.
pub fn existing_target_is_refused_and_left_alone(subject: &dyn Subject) {
    let (bench, first) = captured(subject);
    subject.build(&bench.path("target"));
    subject.change(&bench.path("target"));
    bench.settle();
    let before = bench.capture(subject, &bench.path("target"), None);
    let result = bench.restore(subject, &first, &bench.path("target"), OverwritePolicy::Refuse);
    assert!(matches!(result, Err(DriverError::TargetExists { .. })), "{result:?}");
    let after = bench.capture(subject, &bench.path("target"), None);
    assert_eq!(before.capture.data, after.capture.data);
}

/// A target that has another state of the resource, beside a copy of it.
fn with_other_state(subject: &dyn Subject) -> (Bench, Point) {
    let (bench, first) = captured(subject);
    restore(&bench, subject, &first, "target", OverwritePolicy::Refuse);
    subject.change(&bench.path("source"));
    bench.settle();
    let second = bench.capture(subject, &bench.path("source"), Some(&first));
    restore(&bench, subject, &first, "before", OverwritePolicy::Refuse);
    assert!(subject.difference(&bench.path("source"), &bench.path("target")).is_some(), "the change shows");
    (bench, second)
}

/// Existing entries stay as they are.
#[expect(clippy::expect_used, reason = "a test whose restore fails has failed")]
pub fn never_keeps_what_exists(subject: &dyn Subject) {
    let (bench, first) = captured(subject);
    restore(&bench, subject, &first, "target", OverwritePolicy::Refuse);
    subject.change(&bench.path("target"));
    let before = files(&bench.capture(subject, &bench.path("target"), None));
    bench.restore(subject, &first, &bench.path("target"), OverwritePolicy::Never).expect("restore");
    let after = files(&bench.capture(subject, &bench.path("target"), None));
    for (path, node) in &before {
        assert_eq!(after.get(path), Some(node), "{}", String::from_utf8_lossy(path));
    }
}

/// Entries that differ are replaced.
pub fn if_changed_replaces_what_differs(subject: &dyn Subject) {
    let (bench, second) = with_other_state(subject);
    restore(&bench, subject, &second, "target", OverwritePolicy::IfChanged);
    for damage in subject.damages() {
        if damage.finding == job_model::FindingKind::ContentDiffers {
            (damage.apply)(&bench.path("target"));
            restore(&bench, subject, &second, "target", OverwritePolicy::IfChanged);
        }
    }
    restore(&bench, subject, &second, "target", OverwritePolicy::Exact);
    assert_equal(subject, &bench.path("source"), &bench.path("target"));
}

/// Whatever was at the target, it is the recovery point afterwards.
pub fn exact_makes_the_target_equal(subject: &dyn Subject) {
    let (bench, second) = with_other_state(subject);
    restore(&bench, subject, &second, "target", OverwritePolicy::Exact);
    assert_equal(subject, &bench.path("source"), &bench.path("target"));
    for damage in subject.damages() {
        (damage.apply)(&bench.path("target"));
        restore(&bench, subject, &second, "target", OverwritePolicy::Exact);
        assert_equal(subject, &bench.path("source"), &bench.path("target"));
    }
}

/// A blob that is in no index ends the restore before anything that exists is touched.
pub fn lost_blob_fails_before_anything_is_written(subject: &dyn Subject) {
    let (bench, second) = with_other_state(subject);
    let blobs = bench.data_blobs(&second);
    bench.vault.lose(&blobs[blobs.len() / 2]);
    for (target, overwrite) in [("target", OverwritePolicy::Exact), ("new", OverwritePolicy::Refuse)] {
        let result = bench.restore(subject, &second, &bench.path(target), overwrite);
        assert!(matches!(result, Err(DriverError::Read(ReadError::Missing { .. }))), "{result:?}");
    }
    assert_equal(subject, &bench.path("before"), &bench.path("target"));
    assert!(!bench.path("new").exists());
}

/// A blob that turns out to be damaged while it is read ends the restore, and what is at the target is still there.
pub fn damaged_vault_leaves_existing_data_alone(subject: &dyn Subject) {
    let (bench, second) = with_other_state(subject);
    let kept = bench.capture(subject, &bench.path("before"), None);
    let kept: std::collections::HashSet<_> = bench.data_blobs(&kept).into_iter().collect();
    let blobs: Vec<_> = bench.data_blobs(&second).into_iter().filter(|id| !kept.contains(id)).collect();
    assert!(!blobs.is_empty(), "the change has content of its own");
    for id in &blobs {
        bench.vault.damage(id);
    }
    let result = bench.restore(subject, &second, &bench.path("target"), OverwritePolicy::IfChanged);
    assert!(matches!(result, Err(DriverError::Read(ReadError::Damaged { .. }))), "{result:?}");
    let target = bench.capture(subject, &bench.path("target"), None);
    let found = bench.data_blobs(&target);
    for id in &kept {
        assert!(found.contains(id), "content that was at the target is gone");
    }
    for id in &blobs {
        bench.vault.repair(id);
    }
    restore(&bench, subject, &second, "target", OverwritePolicy::Exact);
    assert_equal(subject, &bench.path("source"), &bench.path("target"));
}

/// Interrupted at many places, the same request completes; meanwhile nothing is there but the staging it tells of.
pub fn restore_goes_on_after_an_interruption(subject: &dyn Subject) {
    let (bench, point) = captured(subject);
    let before = names(&bench);
    let staging = bench.staging(subject, &point, &bench.path("target"));
    assert!(!staging.exists());
    let mut staged = 0;
    let mut interrupted = 0;
    let mut questions = 1;
    loop {
        let control = StoppingControl::after(questions);
        let target = bench.path("target");
        match bench.restore_with(subject, &point, &target, OverwritePolicy::Refuse, &control) {
            Ok(_) => break,
            Err(DriverError::Stopped | DriverError::Read(ReadError::Stopped)) => interrupted += 1,
            Err(error) => panic!("interrupted after {questions} questions: {error:?}"),
        }
        let mut left = names(&bench);
        left.retain(|path| !before.contains(path));
        staged += left.len();
        assert!(left.iter().all(|path| *path == staging), "{left:?} is there, `{}` may be", staging.display());
        questions += 1 + questions / 4;
    }
    assert!(staged > 0 && !staging.exists());
    assert!(interrupted > 2, "the restore was interrupted {interrupted} times only");
    assert_equal(subject, &bench.path("source"), &bench.path("target"));
}

/// Everything in the directory of the bench.
#[expect(clippy::expect_used, reason = "a bench that cannot be listed is a broken test")]
fn names(bench: &Bench) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(bench.path("")).expect("the bench's directory");
    entries.map(|entry| entry.expect("an entry").path()).collect()
}

/// A worker that dies after the last step and before it could say so repeats the request: that is no failure.
pub fn completed_restore_may_be_repeated(subject: &dyn Subject) {
    let (bench, point) = captured(subject);
    restore(&bench, subject, &point, "target", OverwritePolicy::Refuse);
    restore(&bench, subject, &point, "target", OverwritePolicy::Refuse);
    assert_equal(subject, &bench.path("source"), &bench.path("target"));
}

/// Known good: no findings, and everything was read.
#[expect(clippy::expect_used, reason = "a test whose check fails has failed")]
pub fn check_accepts_a_good_restore(subject: &dyn Subject) {
    let (bench, point) = captured(subject);
    restore(&bench, subject, &point, "target", OverwritePolicy::Refuse);
    let check = bench.check(subject, &point, &bench.path("target")).expect("check");
    assert_eq!(check.findings, []);
    assert!(check.first_correct_read_ms.is_some());
    assert_eq!(check.bytes, point.capture.size_bytes);
    assert_eq!(check.items, point.capture.items);
}

/// Known bad: each damage is found, and named as what it is.
#[expect(clippy::expect_used, reason = "a test whose check fails has failed")]
pub fn check_finds_every_damage(subject: &dyn Subject) {
    let (bench, point) = captured(subject);
    let damages = subject.damages();
    assert!(damages.len() >= 4);
    for (number, damage) in damages.into_iter().enumerate() {
        let target = format!("target-{number}");
        restore(&bench, subject, &point, &target, OverwritePolicy::Refuse);
        (damage.apply)(&bench.path(&target));
        let check = bench.check(subject, &point, &bench.path(&target)).expect("check");
        let found = check.findings.iter().any(|f| f.kind == damage.finding && f.severity == Severity::Failure);
        assert!(found, "{}: {:?} was expected, found {:?}", damage.name, damage.finding, check.findings);
    }
    let gone = bench.check(subject, &point, &bench.path("nowhere")).expect("check");
    assert!(gone.findings.iter().any(|f| f.severity == Severity::Failure));
    assert_eq!(gone.first_correct_read_ms, None);
}

/// Stop is heard at once, leaves no target behind and is told apart from failures.
pub fn capture_and_restore_stop_when_told(subject: &dyn Subject) {
    let (bench, point) = captured(subject);
    for questions in [0, 1, 3] {
        let control = StoppingControl::after(questions);
        let result = bench.capture_with(subject, &bench.path("source"), None, &control);
        let stopped = matches!(result, Err(DriverError::Stopped | DriverError::Write(WriteError::Stopped)));
        assert!(stopped || !control.was_used(), "{result:?}");
    }
    let control = StoppingControl::after(0);
    let result = bench.restore_with(subject, &point, &bench.path("target"), OverwritePolicy::Refuse, &control);
    assert!(matches!(result, Err(DriverError::Stopped | DriverError::Read(ReadError::Stopped))), "{result:?}");
    assert!(!bench.path("target").exists());
}

/// A resource that is not there is said to be not there, by probe and capture.
#[expect(clippy::expect_used, reason = "a temporary path that has no location is a broken test")]
pub fn missing_resource_is_an_error_that_names_it(subject: &dyn Subject) {
    let bench = Bench::new();
    let place = bench.path("nowhere");
    let location = crate::file_location(&place).expect("an absolute path");
    let probed = subject.driver().probe(&location);
    assert!(matches!(&probed, Err(DriverError::NotFound { location: l }) if *l == location), "{probed:?}");
    let result = bench.capture_with(subject, &place, None, &crate::NoControl);
    assert!(matches!(&result, Err(DriverError::NotFound { location: l }) if *l == location), "{result:?}");
    let wrong = subject.driver().probe("s3://bucket");
    assert!(matches!(wrong, Err(DriverError::BadLocation { .. })), "{wrong:?}");
}

/// The nodes of all files by their path. Every tree on the way must be readable: services and restic rely on it.
///
/// # Panics
/// When a tree is not in the vault.
#[must_use]
pub fn files(point: &Point) -> BTreeMap<Vec<u8>, Node> {
    let mut found = BTreeMap::new();
    let mut nodes = vec![(Vec::new(), point.capture.data.clone())];
    while let Some((path, node)) = nodes.pop() {
        match node.kind {
            NodeKind::Dir { subtree } => match point.snapshot.tree(&subtree) {
                Ok(tree) => nodes.extend(tree.nodes.into_iter().map(|n| ([&path, &b"/"[..], &n.name].concat(), n))),
                Err(error) => panic!("tree {subtree}: {error}"),
            },
            NodeKind::File { .. } => {
                found.insert(path, node);
            }
            _ => {}
        }
    }
    found
}
