//! What each policy touches, selections, and targets that are in the way.

use std::fs;
use std::path::Path;

use driver_api::conformance::{Bench, Point, Subject};
use driver_api::{DriverError, NoControl, RestoreRequest, Restored};
use job_model::OverwritePolicy;

use super::oracle::difference;
use super::source::set_time;
use super::torture::Plain;

fn build(root: &Path, word: &str, seconds: i64) {
    fs::create_dir_all(root.join("d/e")).unwrap();
    for name in ["top", "d/in", "d/e/deep"] {
        fs::write(root.join(name), word).unwrap();
        set_time(&root.join(name), seconds, 0);
    }
}

/// A recovery point of `old` and a target with `new`, something of its own and something missing.
fn bench() -> (Bench, Point) {
    let bench = Bench::new();
    build(&bench.path("source"), "recovery point", 1_000_000);
    bench.settle();
    let point = bench.capture(&Plain, &bench.path("source"), None);
    build(&bench.path("target"), "target", 2_000_000);
    fs::write(bench.path("target/own"), "own").unwrap();
    fs::remove_file(bench.path("target/d/in")).unwrap();
    set_time(&bench.path("target/d/e/deep"), 500_000, 0);
    (bench, point)
}

fn read(bench: &Bench, path: &str) -> String {
    fs::read_to_string(bench.path("target").join(path)).unwrap_or_else(|_| "missing".to_owned())
}

fn state(bench: &Bench) -> [String; 4] {
    ["top", "d/in", "d/e/deep", "own"].map(|path| read(bench, path))
}

#[test]
fn each_policy_touches_what_it_says() {
    let (r, t) = ("recovery point", "target");
    for (policy, expected) in [
        (OverwritePolicy::Never, [t, r, t, "own"]),
        (OverwritePolicy::IfNewer, [t, r, r, "own"]),
        (OverwritePolicy::IfChanged, [r, r, r, "own"]),
        (OverwritePolicy::Exact, [r, r, r, "missing"]),
    ] {
        let (bench, point) = bench();
        bench.restore(&Plain, &point, &bench.path("target"), policy).unwrap();
        assert_eq!(state(&bench), expected, "{policy:?}");
    }
}

fn restore_some(bench: &Bench, point: &Point, target: &str, include: &[&str]) -> Result<Restored, DriverError> {
    let include: Vec<String> = include.iter().map(|path| (*path).to_owned()).collect();
    Plain.driver().restore(RestoreRequest {
        options: &std::collections::BTreeMap::new(),
        reader: &point.snapshot,
        description: &point.description,
        target: &bench.path(target),
        overwrite: OverwritePolicy::Refuse,
        include: &include,
        parallelism: 2,
        control: &NoControl,
        elapsed_ms: &|| 0,
    })
}

#[test]
fn selected_paths_come_back_with_the_directories_that_lead_to_them() {
    let (bench, point) = bench();
    for again in [false, true] {
        restore_some(&bench, &point, "some", &["/d/e"]).unwrap_or_else(|e| panic!("again {again}: {e:?}"));
        let found: Vec<_> = ["top", "d", "d/in", "d/e", "d/e/deep"].map(|p| bench.path("some").join(p).exists()).into();
        assert_eq!(found, [false, true, false, true, true]);
    }
    for bad in ["d/nothing", "../d", "d//e", "d/./e"] {
        let result = restore_some(&bench, &point, "bad", &[bad]);
        assert!(matches!(result, Err(DriverError::BadLocation { .. })), "{bad}: {result:?}");
    }
    assert!(!bench.path("bad").exists());
}

#[test]
fn directory_in_place_of_a_file_is_deleted_only_by_exact() {
    let (bench, point) = bench();
    fs::remove_file(bench.path("target/top")).unwrap();
    fs::create_dir(bench.path("target/top")).unwrap();
    fs::write(bench.path("target/top/precious"), "x").unwrap();
    let result = bench.restore(&Plain, &point, &bench.path("target"), OverwritePolicy::IfChanged);
    assert!(matches!(result, Err(DriverError::TargetExists { .. })), "{result:?}");
    assert_eq!(state(&bench)[1..], ["missing", "target", "own"], "nothing was touched");
    assert!(bench.path("target/top/precious").exists());
    bench.restore(&Plain, &point, &bench.path("target"), OverwritePolicy::Exact).unwrap();
    assert_eq!(difference(&bench.path("source"), &bench.path("target")), None);
}

#[test]
fn file_in_place_of_a_directory_is_replaced() {
    let (bench, point) = bench();
    fs::remove_dir_all(bench.path("target/d")).unwrap();
    fs::write(bench.path("target/d"), "file").unwrap();
    bench.restore(&Plain, &point, &bench.path("target"), OverwritePolicy::IfChanged).unwrap();
    assert_eq!(state(&bench), ["recovery point", "recovery point", "recovery point", "own"]);
    assert_eq!(fs::read_dir(bench.path("target")).unwrap().count(), 3, "nothing temporary is left");
}

#[test]
fn files_that_are_right_are_not_written_again() {
    use std::os::unix::fs::MetadataExt;
    let (bench, point) = bench();
    let target = bench.path("target");
    bench.restore(&Plain, &point, &target, OverwritePolicy::Exact).unwrap();
    let inode = |path: &str| fs::metadata(target.join(path)).unwrap().ino();
    let before = [inode("top"), inode("d/e/deep")];
    std::os::unix::fs::chown(target.join("top"), Some(9), None).unwrap();
    bench.restore(&Plain, &point, &target, OverwritePolicy::IfChanged).unwrap();
    assert_eq!([inode("top"), inode("d/e/deep")], before);
    assert_eq!(difference(&bench.path("source"), &target), None);
}

#[test]
fn names_outside_of_the_target_are_not_changed_through_hard_links() {
    let (bench, point) = bench();
    fs::remove_file(bench.path("target/top")).unwrap();
    fs::write(bench.path("outside"), "recovery point").unwrap();
    set_time(&bench.path("outside"), 1_000_000, 0);
    fs::hard_link(bench.path("outside"), bench.path("target/top")).unwrap();
    std::os::unix::fs::chown(bench.path("outside"), Some(9), Some(9)).unwrap();
    bench.restore(&Plain, &point, &bench.path("target"), OverwritePolicy::IfChanged).unwrap();
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&fs::metadata(bench.path("outside")).unwrap()), 9);
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&fs::metadata(bench.path("target/top")).unwrap()), 0);
}

#[test]
fn empty_directory_is_a_fit_target_and_keeps_its_inode() {
    use std::os::unix::fs::MetadataExt;
    let (bench, point) = bench();
    let empty = bench.path("empty");
    fs::create_dir(&empty).unwrap();
    let inode = fs::metadata(&empty).unwrap().ino();
    bench.restore(&Plain, &point, &empty, OverwritePolicy::Refuse).unwrap();
    assert_eq!(difference(&bench.path("source"), &empty), None);
    assert_eq!(fs::metadata(&empty).unwrap().ino(), inode);
}

#[test]
fn interrupted_restore_into_an_empty_directory_goes_on() {
    use driver_api::conformance::StoppingControl;
    let (bench, point) = bench();
    let empty = bench.path("empty");
    fs::create_dir(&empty).unwrap();
    let mut questions = 1;
    while bench
        .restore_with(&Plain, &point, &empty, OverwritePolicy::Refuse, &StoppingControl::after(questions))
        .map_err(|error| assert!(matches!(error, DriverError::Stopped | DriverError::Read(_)), "{error:?}"))
        .is_err()
    {
        questions += 1;
    }
    assert!(questions > 5);
    assert_eq!(difference(&bench.path("source"), &empty), None);
}

#[test]
fn file_or_link_in_place_of_the_target_is_refused() {
    let (bench, point) = bench();
    fs::write(bench.path("file"), "x").unwrap();
    std::os::unix::fs::symlink("nowhere", bench.path("dangling")).unwrap();
    for target in ["file", "dangling"] {
        let result = bench.restore(&Plain, &point, &bench.path(target), OverwritePolicy::Exact);
        assert!(matches!(result, Err(DriverError::TargetExists { .. })), "{target}: {result:?}");
    }
}
