//! Change tracking on real XFS and btrfs: whatever happens to an image between two captures, what is stored is what a full
//! read stores, and only what may have changed is read.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};

use driver_api::conformance::{CountingControl, Keeper, MemoryVault, Mount, Point, files};
use driver_api::{
    CaptureRequest, CaptureWriter, Driver, ParentPoint, QuiesceOutcome, Tracking, TrackingSettings, file_location,
};
use driver_volume::VolumeDriver;
use job_model::{ChangeMethod, SourceView};
use vault_format::NodeKind;

use super::oracle::{MIB, image, noise, run};

fn settings(min_free_percent: u64) -> TrackingSettings {
    TrackingSettings { directories: Vec::new(), min_free_percent }
}

/// An image that is captured again and again.
struct Chain<'a> {
    mount: &'a Mount,
    image: PathBuf,
    vault: MemoryVault,
    newest: Option<Point>,
    number: u32,
}

/// What is looked at of a capture.
struct Seen {
    method: ChangeMethod,
    view: SourceView,
    read: u64,
    fallback: Option<String>,
}

impl<'a> Chain<'a> {
    fn new(mount: &'a Mount, name: &str) -> Self {
        Self { mount, image: mount.path(name), vault: MemoryVault::new(), newest: None, number: 0 }
    }

    fn capture(&mut self) -> Seen {
        self.number += 1;
        let keeper = Keeper::new(format!("clone-{}", self.number), self.newest.as_ref(), settings(1));
        let control = CountingControl::default();
        let point = capture(&self.vault, &self.image, self.newest.as_ref(), Some(&keeper), &control);
        // The referee: everything read, into a vault that knows nothing.
        let full = capture(&MemoryVault::new(), &self.image, None, None, &CountingControl::default());
        assert_eq!(point.capture.data_tree(), full.capture.data_tree(), "capture {} differs", self.number);
        assert_eq!(point.capture.items, full.capture.items);
        assert_eq!(point.description["driver"]["extents"], full.description["driver"]["extents"]);
        if point.capture.reading.view == SourceView::ReflinkClone {
            assert_eq!(keeper.events(), ["intend", "taken"]);
        }
        if let Some(old) = self.newest.as_ref().and_then(|point| point.capture.remains.clone()) {
            VolumeDriver.discard(&old).unwrap();
        }
        let reading = point.capture.reading.clone();
        self.newest = Some(point);
        assert_eq!(self.mount.kept().len(), 1);
        Seen { method: reading.method, view: reading.view, read: control.sum().bytes_read, fallback: reading.fallback }
    }

    /// A capture that must have read no more than so many chunks.
    fn tracked(&mut self, chunks: u64) {
        let seen = self.capture();
        assert_eq!((seen.method, seen.fallback), (ChangeMethod::ExtentComparison, None), "capture {}", self.number);
        assert!(seen.read <= chunks * MIB, "{} bytes were read for {chunks} chunks", seen.read);
    }

    /// A capture that must have read everything, and why.
    fn fell_back(&mut self, why: &str) {
        let seen = self.capture();
        assert_eq!(seen.method, ChangeMethod::FullRead);
        let fallback = seen.fallback.unwrap_or_default();
        assert!(fallback.contains(why), "`{fallback}` does not say `{why}`");
    }

    fn write(&self, offset: u64, bytes: &[u8]) {
        File::options().write(true).open(&self.image).unwrap().write_all_at(bytes, offset).unwrap();
    }

    fn xfs_io(&self, command: &str) {
        run("xfs_io", &["-c", command, self.image.to_str().unwrap()]);
    }

    fn clone_path(&self) -> PathBuf {
        self.mount.kept().into_iter().next().unwrap()
    }
}

fn capture(
    vault: &MemoryVault,
    image: &Path,
    parent: Option<&Point>,
    tracking: Option<&dyn Tracking>,
    control: &CountingControl,
) -> Point {
    let capture = VolumeDriver
        .capture(CaptureRequest {
            location: &file_location(image).unwrap(),
            writer: vault,
            parent: parent.map(|p| ParentPoint { reader: &p.snapshot, description: &p.description }),
            quiesced: QuiesceOutcome::NotQuiesced,
            tracking,
            parallelism: 2,
            control,
            now: &|| jiff::Timestamp::UNIX_EPOCH,
        })
        .unwrap();
    assert_eq!(capture.exceptions, []);
    Point::commit(vault, capture).unwrap()
}

/// Everything that may happen to an image.
fn a_hard_life(mount: &Mount) {
    let mut chain = Chain::new(mount, "disk.img");
    image(&chain.image, 200 * MIB, &[(0, 30 * MIB as usize), (130 * MIB, 20 * MIB as usize)]);
    let first = chain.capture();
    assert_eq!((first.method, first.view), (ChangeMethod::FullRead, SourceView::ReflinkClone));
    assert_eq!((first.read, first.fallback), (50 * MIB, None));
    let mode = fs::metadata(mount.path(".holdfast-clones")).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o700, "clones are as secret as the image");

    chain.tracked(0);
    for number in 0..20 {
        chain.write((number * 7919) % 30 * MIB + number * 4096, &noise(number + 9, 4096));
    }
    chain.tracked(20);
    // Through a mapping, and not yet written back.
    run("xfs_io", &["-c", "mmap -rw 0 8m", "-c", "mwrite -S 0x61 5000000 100", chain.image.to_str().unwrap()]);
    // The kernel may write back the large folio around the page.
    chain.tracked(4);
    // Reserved and never written is zeros, also when it grows the image; then it is written.
    chain.xfs_io("falloc 100m 4m");
    chain.tracked(4);
    chain.write(101 * MIB + 5, b"into what was reserved");
    chain.tracked(4);
    chain.xfs_io("fpunch 3m 2m");
    chain.tracked(3);
    chain.xfs_io("fpunch 128m 64m");
    chain.tracked(0);
    chain.xfs_io("truncate 26214500");
    chain.tracked(2);
    chain.xfs_io("truncate 300000001");
    chain.write(299_999_990, b"at the end");
    chain.tracked(4);
    chain.write(300_000_000, b"beyond the end");
    chain.tracked(4);
    // Bytes that are the same again in another place, and extents that somebody else has too.
    let copy = mount.path("copy");
    run("cp", &["--reflink=never", chain.image.to_str().unwrap(), copy.to_str().unwrap()]);
    chain.xfs_io(&format!("dedupe {} 8m 8m 2m", copy.display()));
    chain.tracked(3);
    chain.xfs_io(&format!("reflink {} 10m 12m 1m", copy.display()));
    chain.tracked(2);
    // A clone put back in place is what it was.
    chain.write(MIB, &noise(5, 3 * MIB as usize));
    run("cp", &["--reflink=always", chain.clone_path().to_str().unwrap(), chain.image.to_str().unwrap()]);
    chain.tracked(0);

    fs::remove_file(chain.clone_path()).unwrap();
    chain.fell_back("is gone");
    chain.tracked(0);
    let clone = chain.clone_path();
    fs::set_permissions(&clone, fs::Permissions::from_mode(0o600)).unwrap();
    chain.fell_back("is not as it was left");
    let other = mount.path("other");
    run("cp", &["--reflink=never", chain.image.to_str().unwrap(), other.to_str().unwrap()]);
    fs::rename(&other, &chain.image).unwrap();
    chain.fell_back("another file");
    chain.tracked(0);
    // The base is lost with the worker's state.
    chain.newest.as_mut().unwrap().capture.remains = None;
    fs::remove_file(chain.clone_path()).unwrap();
    chain.fell_back("keeps no clone");
    // A vault that lost something is healed although nothing changed.
    let extents = files(chain.newest.as_ref().unwrap());
    let Some(NodeKind::File { content, .. }) = extents.values().next().map(|node| &node.kind) else {
        panic!("no extent")
    };
    let lost = content[15];
    chain.vault.lose(&lost);
    chain.capture();
    assert!(chain.vault.has_content(&[lost]));
    // Too little space: nothing is kept, and that is said.
    let remains = chain.newest.as_ref().unwrap().capture.remains.clone().unwrap();
    VolumeDriver.discard(&remains).unwrap();
    VolumeDriver.discard(&remains).unwrap();
    assert!(!mount.path(".holdfast-clones").exists());
    let keeper = Keeper::new("full".to_owned(), None, settings(99));
    let point = capture(&chain.vault, &chain.image, None, Some(&keeper), &CountingControl::default());
    assert_eq!((point.capture.reading.view, point.capture.remains), (SourceView::Live, None));
    assert!(point.capture.reading.fallback.unwrap().contains("is free"));
    assert!(!mount.path(".holdfast-clones").exists());
}

#[test]
fn image_on_xfs_is_tracked_through_a_hard_life() {
    let mount = Mount::xfs();
    a_hard_life(&mount);
}

#[test]
fn image_on_btrfs_is_tracked_through_a_hard_life() {
    let mount = Mount::btrfs("defaults");
    a_hard_life(&mount);
}

/// Extents are compared in parts of a gibibyte, by several threads.
fn a_large_image(mount: &Mount) {
    const GIB: u64 = 1 << 30;
    let mut chain = Chain::new(mount, "large.img");
    image(&chain.image, 3 * GIB + 5, &[(GIB - 2 * MIB, 4 * MIB as usize), (3 * GIB - MIB, MIB as usize)]);
    chain.capture();
    chain.tracked(0);
    // Across the end of a part, within one, and in what was a hole.
    chain.write(GIB - 4096, &noise(1, 8192));
    chain.write(3 * GIB - 5, b"at the end of a part");
    chain.write(2 * GIB, b"at the beginning of one");
    chain.tracked(4);
    // Shorter and longer by whole parts.
    chain.xfs_io(&format!("truncate {}", GIB + 4096));
    chain.tracked(2);
    chain.xfs_io(&format!("truncate {}", 4 * GIB));
    chain.write(3 * GIB + 17, b"behind what was the end");
    chain.tracked(3);
    chain.tracked(0);
}

#[test]
fn large_image_on_xfs_is_compared_in_parts() {
    a_large_image(&Mount::xfs());
}

#[test]
fn large_image_on_btrfs_is_compared_in_parts() {
    a_large_image(&Mount::btrfs("defaults"));
}

/// Bytes of a file that the system has in memory.
fn cached(path: &Path) -> u64 {
    run("fincore", &["--bytes", "--noheadings", "--output", "RES", path.to_str().unwrap()]).parse().unwrap()
}

/// The next capture, which removes it, waited for its pages to be freed, and they pushed out what others had cached.
fn a_clone_that_was_read(mount: &Mount) {
    const DATA: u64 = 150 * MIB + 5;
    let mut chain = Chain::new(mount, "disk.img");
    image(&chain.image, DATA, &[(0, DATA as usize)]);
    assert_eq!(chain.capture().read, DATA);
    let kept = cached(&chain.clone_path());
    assert!(kept < 8 * MIB, "{kept} bytes of the clone are in memory still");
    // The image's own pages are its readers'.
    assert!(cached(&chain.image) >= DATA);
    // All of one extent and little of another.
    chain.write(64 * MIB, &noise(1, 64 * MIB as usize));
    chain.write(5 * MIB, b"changed");
    chain.tracked(65);
    let kept = cached(&chain.clone_path());
    assert!(kept < 8 * MIB, "{kept} bytes of the second clone are in memory still");
}

#[test]
fn clone_on_xfs_that_was_read_takes_no_memory() {
    a_clone_that_was_read(&Mount::xfs());
}

#[test]
fn clone_on_btrfs_that_was_read_takes_no_memory() {
    a_clone_that_was_read(&Mount::btrfs("defaults"));
}

#[test]
fn moved_and_compressed_data_is_read_again_and_never_missed() {
    let mount = Mount::btrfs("compress-force=zstd");
    let mut chain = Chain::new(&mount, "disk.img");
    File::create(&chain.image).unwrap().write_all_at(&vec![7; 20 * MIB as usize], 0).unwrap();
    chain.capture();
    chain.write(5 * MIB, b"changed");
    // Compressed extents say nothing of where their bytes lie.
    chain.tracked(20);
    let place = mount.root().to_str().unwrap();
    run("mount", &["-o", "remount,compress=no", place]);
    chain.write(0, &noise(3, 20 * MIB as usize));
    chain.tracked(20);
    chain.write(3 * MIB, b"x");
    run("btrfs", &["filesystem", "defragment", "-f", chain.image.to_str().unwrap()]);
    chain.tracked(20);
    run("btrfs", &["balance", "start", "--full-balance", place]);
    chain.write(9 * MIB, b"y");
    chain.tracked(20);
}

#[test]
fn image_without_copy_on_write_is_tracked_too() {
    let mount = Mount::btrfs("defaults");
    let mut chain = Chain::new(&mount, "disk.img");
    File::create(&chain.image).unwrap();
    run("chattr", &["+C", chain.image.to_str().unwrap()]);
    chain.write(0, &noise(8, 20 * MIB as usize));
    chain.capture();
    chain.write(4 * MIB, &noise(2, 4096));
    chain.tracked(1);
    chain.write(4 * MIB, &noise(6, 4096));
    chain.tracked(1);
}

#[test]
fn directory_for_clones_that_others_may_enter_is_not_used() {
    let mount = Mount::xfs();
    let mut chain = Chain::new(&mount, "disk.img");
    image(&chain.image, 4 * MIB, &[(0, 4 * MIB as usize)]);
    let (open, closed) = (mount.path("open"), mount.path("closed"));
    fs::create_dir(&open).unwrap();
    fs::create_dir(&closed).unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).unwrap();
    let keeper = |directory: &Path| {
        let directories = vec!["/proc".into(), directory.to_owned()];
        Keeper::new("clone".to_owned(), None, TrackingSettings { directories, ..settings(1) })
    };
    let take = |directory| {
        capture(&chain.vault, &chain.image, None, Some(&keeper(directory)), &CountingControl::default()).capture
    };
    let refused = take(&open);
    assert_eq!((refused.reading.view, refused.remains), (SourceView::Live, None));
    assert!(refused.reading.fallback.unwrap().contains("0700"));
    let made = take(&closed);
    assert_eq!(made.reading.view, SourceView::ReflinkClone);
    assert!(closed.join("clone").exists());
    VolumeDriver.discard(&made.remains.unwrap()).unwrap();
    assert!(closed.exists() && !closed.join("clone").exists());
    chain.capture();
}

#[test]
fn file_system_without_shared_extents_is_read_live_and_nothing_is_left() {
    let place = tempfile::tempdir_in("/dev/shm").unwrap();
    let source = place.path().join("disk.img");
    image(&source, 4 * MIB, &[(0, MIB as usize)]);
    let keeper = Keeper::new("clone".to_owned(), None, settings(0));
    let control = CountingControl::default();
    let point = capture(&MemoryVault::new(), &source, None, Some(&keeper), &control);
    assert_eq!((point.capture.reading.view, &point.capture.reading.fallback), (SourceView::Live, &None));
    assert_eq!(point.capture.remains, None);
    assert!(!place.path().join(".holdfast-clones").exists());
}
