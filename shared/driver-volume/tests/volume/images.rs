//! Image files: what is read, what is stored, and that nobody needs Holdfast to rebuild one.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Once;

use driver_api::conformance::{Bench, CountingControl, Damage, Point, Subject, files};
use driver_api::{Control, Driver, DriverError, SnapshotReader};
use driver_volume::VolumeDriver;
use job_model::{ExceptionKind, OverwritePolicy, Progress};
use vault_format::NodeKind;

use super::oracle::{MIB, allocated, difference, image, run};

/// Only the driver: these tests build their images themselves.
pub(crate) struct Plain;

impl Subject for Plain {
    fn driver(&self) -> &dyn Driver {
        &VolumeDriver
    }
    fn build(&self, place: &Path) {
        image(place, 4 * MIB, &[(0, 4 * MIB as usize)]);
    }
    fn change(&self, _place: &Path) -> u64 {
        0
    }
    fn skips_unchanged(&self) -> bool {
        false
    }
    fn difference(&self, left: &Path, right: &Path) -> Option<String> {
        difference(left, right)
    }
    fn damages(&self) -> Vec<Damage> {
        Vec::new()
    }
    fn privileged(&self) -> bool {
        true
    }
}

#[test]
fn holes_are_neither_read_nor_stored_nor_restored_as_data() {
    let bench = Bench::new();
    let source = bench.path("source");
    // 5 TiB with 3 MiB of data; more than one group.
    image(&source, 5 << 40, &[(3 << 40, MIB as usize), ((4 << 40) + 7, 2 * MIB as usize - 7)]);
    let control = CountingControl::default();
    let point = bench.capture_with(&Plain, &source, None, &control).unwrap();
    assert_eq!(control.sum().bytes_read, 3 * MIB);
    assert_eq!(control.sum().bytes_done, 5 << 40);
    let names: Vec<_> = files(&point).into_keys().map(|path| String::from_utf8(path).unwrap()).collect();
    let alone = |offset: &str| format!("/{offset}/{offset}/{offset}/{offset}");
    assert_eq!(names, [alone("0000030000000000"), alone("0000040000000000")]);
    let target = bench.path("target");
    let restored = bench.restore(&Plain, &point, &target, OverwritePolicy::Refuse).unwrap();
    assert_eq!(restored.findings, []);
    assert_eq!(fs::metadata(&target).unwrap().len(), 5 << 40);
    assert!(allocated(&target) <= 4 * MIB);
    let mut bytes = vec![0; MIB as usize];
    File::open(&target).unwrap().read_exact_at(&mut bytes, 3 << 40).unwrap();
    assert!(bytes == super::oracle::noise((3 << 40) + 1, MIB as usize));
    assert_eq!(bench.check(&Plain, &point, &target).unwrap().findings, []);
}

#[test]
fn change_rewrites_little_metadata() {
    let bench = Bench::new();
    let source = bench.path("source");
    image(&source, 200 * MIB, &[(0, 130 * MIB as usize)]);
    let first = bench.capture(&Plain, &source, None);
    File::options().write(true).open(&source).unwrap().write_all_at(b"x", 100 * MIB).unwrap();
    let second = bench.capture(&Plain, &source, Some(&first));
    let changed = files(&second).into_iter().filter(|(path, node)| files(&first).get(path) != Some(node)).count();
    assert_eq!(changed, 1);
}

/// Writes the snapshot's tree as `restic restore` does.
fn write_plainly(point: &Point, subtree: &vault_format::Id, place: &Path) {
    fs::create_dir_all(place).unwrap();
    for entry in point.snapshot.tree(subtree).unwrap().nodes {
        let at = place.join(String::from_utf8(entry.name).unwrap());
        match entry.kind {
            NodeKind::Dir { subtree } => write_plainly(point, &subtree, &at),
            NodeKind::File { content, .. } => {
                std::io::copy(&mut point.snapshot.open(&content), &mut File::create(at).unwrap()).unwrap();
            }
            other => panic!("{other:?} in a volume"),
        }
    }
}

#[test]
fn image_is_rebuilt_from_a_plain_restore_with_the_documented_script() {
    let bench = Bench::new();
    let source = bench.path("source");
    image(&source, 140 * MIB + 5, &[(3, 100), (70 * MIB - 1, 2 * MIB as usize), (140 * MIB, 5)]);
    let point = bench.capture(&Plain, &source, None);
    let place = bench.path("plain");
    write_plainly(&point, &point.capture.data_tree().unwrap(), &place.join("data"));
    let documentation = include_str!("../../src/lib.rs");
    let script: Vec<&str> = documentation
        .lines()
        .skip_while(|line| *line != "//! ```sh")
        .skip(1)
        .take_while(|line| *line != "//! ```")
        .map(|line| line.trim_start_matches("//!"))
        .collect();
    assert!(script.len() > 3);
    let size = point.description["driver"]["size"].to_string();
    let script = format!("set -e; cd {}; size={size}; {}", place.display(), script.join("\n"));
    run("bash", &["-c", &script]);
    run("cmp", &[source.to_str().unwrap(), place.join("image").to_str().unwrap()]);
}

/// Writes into a file as soon as some of it was read.
struct WritesMeanwhile<'a>(&'a Path, Once);

impl Control for WritesMeanwhile<'_> {
    fn is_stopped(&self) -> bool {
        false
    }

    fn advance(&self, difference: Progress) {
        if difference.bytes_read > 0 {
            self.1.call_once(|| {
                let file = File::options().write(true).open(self.0).unwrap();
                file.write_all_at(b"written", MIB).unwrap();
            });
        }
    }
}

#[test]
fn image_written_while_it_is_read_is_an_exception() {
    let bench = Bench::new();
    let source = bench.path("source");
    image(&source, 40 * MIB, &[(0, 40 * MIB as usize)]);
    // Or both are written in the same tick of the clock.
    bench.settle();
    let point = bench.capture_with(&Plain, &source, None, &WritesMeanwhile(&source, Once::new())).unwrap();
    let kinds: Vec<_> = point.capture.exceptions.iter().map(|e| e.kind).collect();
    assert_eq!(kinds, [ExceptionKind::ChangedWhileReading]);
}

#[test]
fn directories_and_links_in_place_of_the_target_are_refused() {
    let bench = Bench::new();
    let source = bench.path("source");
    Plain.build(&source);
    let point = bench.capture(&Plain, &source, None);
    fs::create_dir(bench.path("directory")).unwrap();
    fs::write(bench.path("file"), "precious").unwrap();
    std::os::unix::fs::symlink("file", bench.path("link")).unwrap();
    for target in ["directory", "link"] {
        let result = bench.restore(&Plain, &point, &bench.path(target), OverwritePolicy::Exact);
        assert!(matches!(result, Err(DriverError::TargetExists { .. })), "{target}: {result:?}");
    }
    assert_eq!(fs::read_to_string(bench.path("file")).unwrap(), "precious");
}

#[test]
fn newer_image_is_kept_by_if_newer() {
    let bench = Bench::new();
    let source = bench.path("source");
    Plain.build(&source);
    let point = bench.capture(&Plain, &source, None);
    let captured = fs::metadata(&source).unwrap().modified().unwrap();
    for (seconds, replaced) in [(-10_i64, true), (10, false)] {
        let target = bench.path("target");
        fs::write(&target, "something").unwrap();
        let offset = std::time::Duration::from_secs(seconds.unsigned_abs());
        let time = if seconds < 0 { captured - offset } else { captured + offset };
        File::options().write(true).open(&target).unwrap().set_modified(time).unwrap();
        bench.restore(&Plain, &point, &target, OverwritePolicy::IfNewer).unwrap();
        assert_eq!(difference(&source, &target).is_none(), replaced);
    }
}
