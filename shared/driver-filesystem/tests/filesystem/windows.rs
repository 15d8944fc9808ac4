//! Trees that are dealt with directory by directory, as those are that do not fit in memory: everything must be as it is with
//! those that do.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use driver_api::conformance::{Bench, Damage, Subject};
use driver_api::{
    Capture, CaptureRequest, Check, CheckRequest, Driver, DriverError, NoControl, Probe, RestoreRequest, Restored,
};
use driver_filesystem::FilesystemDriver;
use job_model::{OverwritePolicy, ResourceType};
use sha2::{Digest, Sha256};
use vault_format::Id;

use super::conformance::Trees;
use super::oracle::{difference, run};
use super::source::{Unlock, noise, torture};
use super::torture::Plain;

/// The driver, with one directory in each window.
struct InWindows;

impl Driver for InWindows {
    fn resource_type(&self) -> ResourceType {
        FilesystemDriver.resource_type()
    }

    fn probe(&self, location: &str) -> Result<Probe, DriverError> {
        FilesystemDriver.probe(location)
    }

    fn capture(&self, request: CaptureRequest<'_>) -> Result<Capture, DriverError> {
        FilesystemDriver.capture(request)
    }

    fn restore(&self, request: RestoreRequest<'_>) -> Result<Restored, DriverError> {
        FilesystemDriver.restore_in_windows(&request, None, 1)
    }

    fn staging(&self, request: &RestoreRequest<'_>) -> PathBuf {
        FilesystemDriver.staging(request)
    }

    fn check(&self, request: CheckRequest<'_>) -> Result<Check, DriverError> {
        FilesystemDriver.check_in_windows(&request, 1)
    }
}

struct TreesInWindows;

impl Subject for TreesInWindows {
    fn driver(&self) -> &dyn Driver {
        &InWindows
    }

    fn build(&self, place: &Path) {
        Trees.build(place);
    }

    fn change(&self, place: &Path) -> u64 {
        Trees.change(place)
    }

    fn skips_unchanged(&self) -> bool {
        Trees.skips_unchanged()
    }

    fn difference(&self, left: &Path, right: &Path) -> Option<String> {
        Trees.difference(left, right)
    }

    fn damages(&self) -> Vec<Damage> {
        Trees.damages()
    }

    fn privileged(&self) -> bool {
        Trees.privileged()
    }
}

driver_api::driver_conformance!(TreesInWindows);

/// Only the driver, for trees that tests build themselves.
pub(crate) struct PlainInWindows;

impl Subject for PlainInWindows {
    fn driver(&self) -> &dyn Driver {
        &InWindows
    }

    fn build(&self, place: &Path) {
        Plain.build(place);
    }

    fn change(&self, place: &Path) -> u64 {
        Plain.change(place)
    }

    fn skips_unchanged(&self) -> bool {
        Plain.skips_unchanged()
    }

    fn difference(&self, left: &Path, right: &Path) -> Option<String> {
        Plain.difference(left, right)
    }

    fn damages(&self) -> Vec<Damage> {
        Plain.damages()
    }

    fn privileged(&self) -> bool {
        Plain.privileged()
    }
}

#[test]
fn everything_a_file_system_holds_comes_back_and_over_itself() {
    let bench = Bench::new();
    let (source, target) = (bench.path("source"), bench.path("target"));
    let _unlock = Unlock(&bench.path(""));
    torture(&source);
    bench.settle();
    let point = bench.capture(&PlainInWindows, &source, None);
    let restored = bench.restore(&PlainInWindows, &point, &target, OverwritePolicy::Refuse).unwrap();
    assert_eq!(restored.findings, []);
    assert_eq!(difference(&source, &target), None);
    assert_eq!(bench.check(&PlainInWindows, &point, &target).unwrap().findings, []);
    run("chattr", &["-i", "immutable"], &target);
    fs::write(target.join("immutable"), "immutably").unwrap();
    run("chattr", &["+i", "immutable"], &target);
    fs::remove_file(target.join("a/b/file 7")).unwrap();
    bench.restore(&PlainInWindows, &point, &target, OverwritePolicy::Exact).unwrap();
    assert_eq!(difference(&source, &target), None);
}

#[test]
fn names_of_one_file_in_several_windows_are_one_file_again() {
    let bench = Bench::new();
    let (source, target) = (bench.path("source"), bench.path("target"));
    for directory in ["a/x", "b/y", "c"] {
        fs::create_dir_all(source.join(directory)).unwrap();
    }
    fs::write(source.join("b/y/first"), noise(1, 300_000)).unwrap();
    fs::write(source.join("c/alone"), "alone").unwrap();
    for name in ["a/x/second", "c/third", "fourth"] {
        fs::hard_link(source.join("b/y/first"), source.join(name)).unwrap();
    }
    bench.settle();
    let point = bench.capture(&PlainInWindows, &source, None);
    bench.restore(&PlainInWindows, &point, &target, OverwritePolicy::Refuse).unwrap();
    assert_eq!(difference(&source, &target), None);
    // The only name that is right is not the first one.
    for name in ["a/x/second", "c/third", "fourth"] {
        fs::remove_file(target.join(name)).unwrap();
        fs::write(target.join(name), "something else").unwrap();
    }
    bench.restore(&PlainInWindows, &point, &target, OverwritePolicy::IfChanged).unwrap();
    assert_eq!(difference(&source, &target), None);
    fs::copy(target.join("c/third"), target.join("copy")).unwrap();
    fs::rename(target.join("copy"), target.join("c/third")).unwrap();
    let findings = bench.check(&PlainInWindows, &point, &target).unwrap().findings;
    assert!(findings.iter().any(|f| f.message.contains("no longer the same file")), "{findings:?}");
    fs::remove_file(target.join("c/third")).unwrap();
    fs::hard_link(target.join("fourth"), target.join("c/third")).unwrap();
    // Two files of the recovery point that are one at the target.
    fs::remove_file(target.join("c/alone")).unwrap();
    fs::hard_link(target.join("fourth"), target.join("c/alone")).unwrap();
    let findings = bench.check(&PlainInWindows, &point, &target).unwrap().findings;
    let found = |f: &job_model::Finding| f.subject == "c/alone" && f.message.contains("the same file as");
    assert!(findings.iter().any(found), "{findings:?}");
}

#[test]
fn files_are_changed_where_they_lie_and_the_last_comes_last() {
    use std::os::unix::fs::MetadataExt;
    let bench = Bench::new();
    let (source, target) = (bench.path("source"), bench.path("target"));
    fs::create_dir_all(source.join("data")).unwrap();
    fs::create_dir_all(source.join("global")).unwrap();
    let mut content = noise(1, 2 << 20);
    fs::write(source.join("data/large"), &content).unwrap();
    fs::write(source.join("global/last"), "old").unwrap();
    bench.settle();
    let old = bench.capture(&Plain, &source, None);
    bench.restore(&Plain, &old, &target, OverwritePolicy::Refuse).unwrap();
    let inode = || fs::metadata(target.join("data/large")).unwrap().ino();
    let before = inode();
    content[1 << 20] ^= 1;
    fs::write(source.join("data/large"), &content).unwrap();
    fs::write(source.join("global/last"), "new").unwrap();
    bench.settle();
    let new = bench.capture(&Plain, &source, Some(&old));
    let request = RestoreRequest {
        reader: &new.snapshot,
        description: &new.description,
        target: &target,
        overwrite: OverwritePolicy::Exact,
        include: &[],
        options: &BTreeMap::new(),
        parallelism: 3,
        control: &NoControl,
        elapsed_ms: &|| 0,
    };
    FilesystemDriver.restore_in_windows(&request, Some("global/last"), 1).unwrap();
    assert_eq!(difference(&source, &target), None);
    assert_eq!(inode(), before, "the large file was changed where it lies");
}

#[test]
fn a_damaged_blob_of_any_window_leaves_what_exists_alone() {
    let bench = Bench::new();
    let source = bench.path("source");
    for number in 0..20 {
        fs::create_dir_all(source.join(format!("{number:02}"))).unwrap();
        fs::write(source.join(format!("{number:02}/file")), noise(number, 5000)).unwrap();
    }
    bench.settle();
    let point = bench.capture(&PlainInWindows, &source, None);
    for damaged in [0, 10, 19] {
        let target = bench.path(&format!("target {damaged}"));
        bench.restore(&PlainInWindows, &point, &target, OverwritePolicy::Refuse).unwrap();
        for number in 0..20 {
            fs::write(target.join(format!("{number:02}/file")), format!("precious {number}")).unwrap();
        }
        let id = Id::new(Sha256::digest(noise(damaged, 5000)).into());
        assert!(bench.data_blobs(&point).contains(&id));
        bench.vault.damage(&id);
        bench.restore(&PlainInWindows, &point, &target, OverwritePolicy::Exact).unwrap_err();
        for number in 0..20 {
            let found = fs::read_to_string(target.join(format!("{number:02}/file"))).unwrap();
            assert_eq!(found, format!("precious {number}"), "with {damaged} damaged");
        }
        bench.vault.repair(&id);
        bench.restore(&PlainInWindows, &point, &target, OverwritePolicy::Exact).unwrap();
        assert_eq!(difference(&source, &target), None);
    }
}
