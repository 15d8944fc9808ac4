//! Two recovery points and something of the vault damaged: what is not hit comes back, and what is hit fails before
//! anything that exists is touched.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use driver_api::{Driver, DriverError};
use driver_filesystem::FilesystemDriver;
use driver_volume::VolumeDriver;
use job_model::OverwritePolicy;
use vault_engine::Vault;

use crate::oracle::{difference, run};
use crate::source::noise;
use crate::volume_oracle::{self, Loop, MIB, image};
use crate::workshop::{Point, Workshop, capture, restore, restore_new};

/// A vault with two recovery points that have nothing in common, and their states beside it.
struct Two {
    workshop: Workshop,
    vault: Vault,
    points: [Point; 2],
    /// Files of the vault that came with each of them.
    files: [Vec<PathBuf>; 2],
}

impl Two {
    fn new(driver: &dyn Driver, builds: [&dyn Fn(&Path); 2]) -> Self {
        let workshop = Workshop::new();
        let vault = workshop.create(&workshop.in_directory("vault", "main"));
        let mut known = BTreeSet::new();
        let mut build = |number: usize| {
            let source = workshop.path(&format!("state {number}"));
            builds[number](&source);
            let point = capture(&vault, driver, &source, None);
            let all = below(&workshop.path("vault"));
            let new: Vec<_> = all.difference(&known).cloned().collect();
            known = all;
            (point, new)
        };
        let ((first, files_of_first), (second, files_of_second)) = (build(0), build(1));
        Self { workshop, vault, points: [first, second], files: [files_of_first, files_of_second] }
    }

    fn state(&self, number: usize) -> PathBuf {
        self.workshop.path(&format!("state {number}"))
    }

    /// Files of one kind that came with a recovery point.
    fn files(&self, number: usize, kind: &str) -> Vec<PathBuf> {
        let directory = self.workshop.path("vault").join(kind);
        let files: Vec<_> = self.files[number].iter().filter(|path| path.starts_with(&directory)).cloned().collect();
        assert!(!files.is_empty(), "{kind}");
        files
    }

    /// Every way in which a file of the vault that one recovery point needs is damaged, one after the other.
    fn for_each_damage(&self, number: usize, kinds: &[&str], mut judge: impl FnMut(&str)) {
        for kind in kinds {
            for file in self.files(number, kind) {
                let bytes = fs::read(&file).unwrap();
                let mut flipped = bytes.clone();
                // Late in the file: in a large pack, content of one of the last files.
                flipped[bytes.len() * 4 / 5] ^= 1;
                for (how, damaged) in [("a bit is flipped", Some(&flipped[..])), ("it is cut off", Some(&bytes[..9]))]
                    .into_iter()
                    .chain([("it is lost", None)])
                {
                    match damaged {
                        Some(damaged) => fs::write(&file, damaged).unwrap(),
                        None => fs::remove_file(&file).unwrap(),
                    }
                    judge(&format!("{}: {how}", file.display()));
                    fs::write(&file, &bytes).unwrap();
                }
            }
        }
    }
}

/// All files below a directory.
fn below(directory: &Path) -> BTreeSet<PathBuf> {
    run("find", &[".", "-type", "f"], directory).lines().map(|line| directory.join(&line[2..])).collect()
}

/// How the entries of a tree differ, whatever an interrupted restore left beside them.
fn touched(before: &Path, now: &Path) -> String {
    let slashed = |path: &Path| format!("{}/", path.display());
    let arguments = ["-naHAXiO", "--checksum", "--delete", "--numeric-ids", "--exclude=.holdfast-*"];
    run("rsync", &[&arguments[..], &[&slashed(before), &slashed(now)]].concat(), Path::new("/"))
}

fn tree(seed: u64, files: u64) -> impl Fn(&Path) {
    move |place| {
        for number in 0..files {
            let directory = place.join((number % 9).to_string());
            fs::create_dir_all(&directory).unwrap();
            fs::write(directory.join(number.to_string()), noise(seed + number, 150)).unwrap();
        }
    }
}

#[test]
fn damaged_files_of_a_vault_touch_no_tree_but_their_own_and_no_existing_target() {
    let two = Two::new(&FilesystemDriver, [&tree(1 << 20, 200), &tree(1 << 30, 200)]);
    let target = two.workshop.path("target");
    let mut count = 0;
    two.for_each_damage(1, &["snapshots", "data"], |damage| {
        count += 1;
        let spared = two.workshop.path(&format!("spared {count}"));
        restore_new(&two.vault, &FilesystemDriver, &two.points[0], &spared);
        // Once is enough to know that all of it is right: it costs a moment.
        if count == 1 {
            assert_eq!(difference(&two.state(0), &spared), None, "{damage}");
            fs::rename(&spared, &target).unwrap();
        } else {
            fs::remove_dir_all(&spared).unwrap();
        }
        for overwrite in [OverwritePolicy::Exact, OverwritePolicy::IfChanged] {
            let failed = restore(&two.vault, &FilesystemDriver, &two.points[1], &target, overwrite);
            assert!(matches!(failed, Err(DriverError::Read(_))), "{damage}: {failed:?}");
            assert_eq!(touched(&two.state(0), &target), "", "{damage}");
        }
        let new = two.workshop.path("new");
        let failed = restore(&two.vault, &FilesystemDriver, &two.points[1], &new, OverwritePolicy::Refuse);
        assert!(failed.is_err() && !new.exists(), "{damage}");
    });
    assert!(count >= 9, "a snapshot, a pack of content and one of trees, three damages each: {count}");
    // With all of it back in its place, the restore that was begun nine times comes to its end.
    restore(&two.vault, &FilesystemDriver, &two.points[1], &target, OverwritePolicy::Exact).unwrap();
    assert_eq!(difference(&two.state(1), &target), None);
}

#[test]
fn damage_that_shows_late_in_a_large_restore_still_comes_before_the_first_file_is_replaced() {
    // More files than the driver fetches at a time.
    let two = Two::new(&FilesystemDriver, [&tree(3 << 20, 4500), &tree(3 << 30, 4500)]);
    let target = two.workshop.path("target");
    restore_new(&two.vault, &FilesystemDriver, &two.points[0], &target);
    let largest = two.files(1, "data").into_iter().max_by_key(|pack| fs::metadata(pack).unwrap().len()).unwrap();
    let bytes = fs::read(&largest).unwrap();
    let mut damaged = bytes.clone();
    damaged[bytes.len() * 4 / 5] ^= 1;
    fs::write(&largest, damaged).unwrap();
    let failed = restore(&two.vault, &FilesystemDriver, &two.points[1], &target, OverwritePolicy::Exact);
    assert!(matches!(failed, Err(DriverError::Read(_))), "{failed:?}");
    assert_eq!(touched(&two.state(0), &target), "");
    fs::write(&largest, bytes).unwrap();
    restore(&two.vault, &FilesystemDriver, &two.points[1], &target, OverwritePolicy::Exact).unwrap();
    assert_eq!(difference(&two.state(1), &target), None);
}

#[test]
fn directories_in_the_way_of_files_and_files_in_the_way_of_directories_are_left_where_they_are() {
    let as_files = |place: &Path| {
        fs::create_dir(place).unwrap();
        for name in ["a", "b"] {
            fs::write(place.join(name), noise(name.len() as u64, 3000)).unwrap();
        }
        fs::create_dir_all(place.join("c/d")).unwrap();
        fs::write(place.join("c/d/e"), noise(7, 3000)).unwrap();
    };
    let as_directories = |place: &Path| {
        for name in ["a", "b"] {
            fs::create_dir_all(place.join(name)).unwrap();
            fs::write(place.join(name).join("x"), noise(100 + u64::from(name == "b"), 3000)).unwrap();
        }
        fs::write(place.join("c"), noise(200, 3000)).unwrap();
    };
    let two = Two::new(&FilesystemDriver, [&as_files, &as_directories]);
    let target = two.workshop.path("target");
    restore_new(&two.vault, &FilesystemDriver, &two.points[0], &target);
    two.for_each_damage(1, &["data"], |damage| {
        let failed = restore(&two.vault, &FilesystemDriver, &two.points[1], &target, OverwritePolicy::Exact);
        assert!(matches!(failed, Err(DriverError::Read(_))), "{damage}: {failed:?}");
        assert_eq!(touched(&two.state(0), &target), "", "{damage}");
    });
    restore(&two.vault, &FilesystemDriver, &two.points[1], &target, OverwritePolicy::Exact).unwrap();
    assert_eq!(difference(&two.state(1), &target), None);
}

#[test]
fn a_damaged_index_and_a_lost_one_cost_nothing() {
    let two = Two::new(&FilesystemDriver, [&tree(5 << 20, 50), &tree(5 << 30, 50)]);
    let target = two.workshop.path("target");
    let mut count = 0;
    two.for_each_damage(1, &["index"], |damage| {
        count += 1;
        for (number, point) in two.points.iter().enumerate() {
            let new = two.workshop.path(&format!("new {count} {number}"));
            restore_new(&two.vault, &FilesystemDriver, point, &new);
            assert_eq!(touched(&two.state(number), &new), "", "{damage}");
            restore(&two.vault, &FilesystemDriver, point, &target, OverwritePolicy::Exact).unwrap();
            assert_eq!(touched(&two.state(number), &target), "", "{damage}");
        }
    });
    assert_eq!(count, 3);
}

#[test]
fn damaged_files_of_a_vault_leave_an_existing_image_and_a_device_as_they_are() {
    const SIZE: u64 = 130 * MIB;
    let first = |place: &Path| image(place, SIZE, &[(0, 3 * MIB as usize)]);
    let second = |place: &Path| image(place, SIZE, &[(5, 2 * MIB as usize), (129 * MIB + 1, 100_000)]);
    let two = Two::new(&VolumeDriver, [&first, &second]);
    let (target, under_device) = (two.workshop.path("target"), two.workshop.path("under the device"));
    for place in [&target, &under_device] {
        restore_new(&two.vault, &VolumeDriver, &two.points[0], place);
    }
    let device = Loop::attach(&under_device);
    let device = Path::new(&device.0);
    let same_bytes = |left: &Path, right: &Path| {
        std::process::Command::new("cmp").args([left, right]).output().unwrap().status.success()
    };
    two.for_each_damage(1, &["snapshots", "data"], |damage| {
        for place in [&target, device] {
            let failed = restore(&two.vault, &VolumeDriver, &two.points[1], place, OverwritePolicy::Exact);
            assert!(matches!(failed, Err(DriverError::Read(_))), "{damage}: {failed:?}");
            assert!(same_bytes(&two.state(0), place), "{damage}");
        }
        let spared = two.workshop.path("spared");
        restore_new(&two.vault, &VolumeDriver, &two.points[0], &spared);
        assert_eq!(volume_oracle::difference(&two.state(0), &spared), None, "{damage}");
        fs::remove_file(&spared).unwrap();
    });
    for place in [&target, device] {
        restore(&two.vault, &VolumeDriver, &two.points[1], place, OverwritePolicy::Exact).unwrap();
        assert!(same_bytes(&two.state(1), place));
    }
}
