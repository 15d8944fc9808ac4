//! Trees on real XFS and btrfs: what is captured is one instant, large files are read by what changed in them, and whatever
//! happens between two captures, what is restored is what was there.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};

use driver_api::conformance::{Bench, CountingControl, Keeper, MemoryVault, Mount, Point, files};
use driver_api::{
    CaptureRequest, CaptureWriter, Driver, NoControl, ParentPoint, QuiesceOutcome, RestoreRequest, Tracking,
    TrackingSettings, file_location,
};
use driver_filesystem::FilesystemDriver;
use job_model::{ChangeMethod, OverwritePolicy, SourceView};
use vault_format::NodeKind;

use super::oracle::run;
use super::source::noise;

const MIB: u64 = 1 << 20;

/// How two trees on different file systems differ, where blocks are counted in different ways.
fn difference(left: &Path, right: &Path) -> String {
    let slashed = |path: &Path| format!("{}/", path.display());
    let arguments = ["-naHAXSi", "--checksum", "--delete", "--numeric-ids", &slashed(left), &slashed(right)];
    run("rsync", &arguments, Path::new("/"))
}

/// So many mebibytes, no two of them the same.
fn mebibytes(seed: u64, count: u64) -> Vec<u8> {
    (0..count).flat_map(|number| noise(seed * 1000 + number, 64 << 10).repeat(16)).collect()
}

/// btrfs with a subvolume for the tree.
fn btrfs_with_tree() -> Mount {
    let mount = Mount::btrfs("defaults");
    run("btrfs", &["subvolume", "create", "tree"], mount.root());
    mount
}

fn xfs_with_tree() -> Mount {
    let mount = Mount::xfs();
    fs::create_dir(mount.path("tree")).unwrap();
    mount
}

fn settings(min_free_percent: u64) -> TrackingSettings {
    TrackingSettings { directories: Vec::new(), min_free_percent }
}

/// A tree that is captured again and again.
struct Chain<'a> {
    mount: &'a Mount,
    tree: PathBuf,
    vault: MemoryVault,
    newest: Option<Point>,
    number: u32,
}

struct Seen {
    method: ChangeMethod,
    view: SourceView,
    read: u64,
    fallback: Option<String>,
}

impl<'a> Chain<'a> {
    fn new(mount: &'a Mount) -> Self {
        Self { mount, tree: mount.path("tree"), vault: MemoryVault::new(), newest: None, number: 0 }
    }

    /// Captures, restores, and compares with the tree as it is.
    fn capture(&mut self) -> Seen {
        let seen = self.capture_while(|| ());
        let restored = self.restored();
        assert_eq!(difference(&self.tree, &restored.path().join("tree")), "", "capture {}", self.number);
        seen
    }

    /// Captures; something happens as soon as the view is taken.
    fn capture_while(&mut self, on_taken: impl Fn() + Sync) -> Seen {
        let on_taken = || {
            on_taken();
            Ok(())
        };
        self.number += 1;
        // What changed in the same tick of the clock as the capture is read again by the next one.
        Bench::new().settle();
        let name = format!("kept-{}", self.number);
        let keeper = Keeper::new(name, self.newest.as_ref(), settings(1)).when_taken(&on_taken);
        let control = CountingControl::default();
        let parent = self.newest.take();
        let point = capture(&self.vault, &self.tree, parent.as_ref(), &keeper, &control);
        if let Some(old) = parent.and_then(|point| point.capture.remains) {
            FilesystemDriver.discard(&old).unwrap();
        }
        if point.capture.reading.view != SourceView::Live {
            assert_eq!(keeper.events().last(), Some(&"taken"));
        }
        assert_eq!(self.mount.kept().len(), usize::from(point.capture.remains.is_some()));
        let reading = point.capture.reading.clone();
        self.newest = Some(point);
        Seen { method: reading.method, view: reading.view, read: control.sum().bytes_read, fallback: reading.fallback }
    }

    fn restored(&self) -> tempfile::TempDir {
        let place = tempfile::tempdir().unwrap();
        let point = self.newest.as_ref().unwrap();
        let restored = FilesystemDriver
            .restore(RestoreRequest {
                reader: &point.snapshot,
                description: &point.description,
                target: &place.path().join("tree"),
                overwrite: OverwritePolicy::Refuse,
                include: &[],
                options: &std::collections::BTreeMap::new(),
                parallelism: 2,
                control: &NoControl,
                elapsed_ms: &|| 0,
            })
            .unwrap();
        assert_eq!(restored.findings, []);
        place
    }

    /// A capture that must have read no more than so many bytes.
    fn tracked(&mut self, most: u64) {
        let seen = self.capture();
        assert_eq!((seen.method, seen.fallback), (ChangeMethod::ExtentComparison, None), "capture {}", self.number);
        assert!(seen.read <= most, "capture {}: {} bytes were read instead of {most}", self.number, seen.read);
    }

    /// A capture that must have read the large file, and why.
    fn fell_back(&mut self, why: &str) {
        let seen = self.capture();
        assert!(seen.read >= 64 * MIB, "{} bytes", seen.read);
        let fallback = seen.fallback.unwrap_or_default();
        assert!(fallback.contains(why), "`{fallback}` does not say `{why}`");
    }

    fn large(&self) -> PathBuf {
        self.tree.join("a/large")
    }

    fn write(&self, offset: u64, bytes: &[u8]) {
        File::options().write(true).open(self.large()).unwrap().write_all_at(bytes, offset).unwrap();
    }

    fn xfs_io(&self, command: &str) {
        run("xfs_io", &["-c", command, self.large().to_str().unwrap()], Path::new("/"));
    }

    /// Loses what the worker's state says of the parent.
    fn forget(&mut self) {
        let remains = self.newest.as_mut().unwrap().capture.remains.take().unwrap();
        FilesystemDriver.discard(&remains).unwrap();
        FilesystemDriver.discard(&remains).unwrap();
    }
}

fn capture(
    vault: &MemoryVault,
    tree: &Path,
    parent: Option<&Point>,
    tracking: &dyn Tracking,
    control: &CountingControl,
) -> Point {
    let capture = FilesystemDriver
        .capture(CaptureRequest {
            location: &file_location(tree).unwrap(),
            writer: vault,
            parent: parent.map(|p| ParentPoint { reader: &p.snapshot, description: &p.description }),
            quiesced: QuiesceOutcome::NotQuiesced,
            tracking: Some(tracking),
            parallelism: 2,
            control,
            now: &now,
        })
        .unwrap();
    assert_eq!(capture.exceptions, []);
    Point::commit(vault, capture).unwrap()
}

#[expect(clippy::disallowed_methods, reason = "times of real files are compared with it")]
fn now() -> jiff::Timestamp {
    jiff::Timestamp::now()
}

fn build(chain: &Chain<'_>) {
    fs::create_dir_all(chain.tree.join("a/b")).unwrap();
    fs::write(chain.tree.join("a/small"), noise(1, 5000)).unwrap();
    fs::write(chain.large(), mebibytes(2, 80)).unwrap();
    fs::write(chain.tree.join("a/names"), noise(3, 1 << 20)).unwrap();
    fs::hard_link(chain.tree.join("a/names"), chain.tree.join("a/b/second name")).unwrap();
    let sparse = File::create(chain.tree.join("sparse")).unwrap();
    sparse.set_len(100 * MIB).unwrap();
    sparse.write_all_at(&noise(4, 1 << 20), 50 * MIB).unwrap();
    sparse.sync_all().unwrap();
}

/// Everything that may happen to a large file.
fn a_hard_life(mount: &Mount, view: SourceView) {
    let mut chain = Chain::new(mount);
    build(&chain);
    let first = chain.capture();
    assert_eq!((first.method, first.view, first.fallback), (ChangeMethod::FullRead, view, None));
    let mode = fs::metadata(mount.path(".holdfast-clones")).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o700, "what is kept is as secret as the tree");
    let tree = chain.newest.as_ref().unwrap().capture.data_tree();
    let unchanged = chain.capture();
    assert_eq!((unchanged.method, unchanged.read, unchanged.fallback), (ChangeMethod::FileMetadata, 0, None));
    assert_eq!(chain.newest.as_ref().unwrap().capture.data_tree(), tree, "the same tree has the same id");

    chain.write(40 * MIB, b"changed");
    chain.tracked(9 * MIB);
    for number in 0..3 {
        chain.write(number * 25 * MIB, &noise(number, 4096));
    }
    chain.tracked(25 * MIB);
    run(
        "xfs_io",
        &["-c", "mmap -rw 0 8m", "-c", "mwrite -S 0x61 5000000 100", chain.large().to_str().unwrap()],
        mount.root(),
    );
    chain.tracked(17 * MIB);
    chain.xfs_io("fpunch 10m 20m");
    chain.tracked(17 * MIB);
    chain.xfs_io("truncate 73400321");
    chain.tracked(9 * MIB);
    chain.xfs_io("truncate 90000001");
    chain.write(89_999_990, b"at the end");
    chain.tracked(25 * MIB);
    // Only its metadata.
    fs::set_permissions(chain.large(), fs::Permissions::from_mode(0o640)).unwrap();
    chain.tracked(0);
    // Another file in its place has no parent, and that is no fall-back.
    let other = chain.tree.join("a/other");
    fs::write(&other, mebibytes(9, 70)).unwrap();
    fs::rename(&other, chain.large()).unwrap();
    let replaced = chain.capture();
    assert_eq!(replaced.fallback, None);
    assert!(replaced.read >= 70 * MIB);
    chain.write(5, b"the new one");
    chain.tracked(9 * MIB);

    // The base is lost with the worker's state, or by somebody's hand.
    chain.forget();
    chain.write(6, b"x");
    chain.fell_back("keeps no clones");
    let kept = mount.kept().remove(0);
    if view == SourceView::SubvolumeSnapshot {
        run("btrfs", &["subvolume", "delete", kept.to_str().unwrap()], mount.root());
    } else {
        fs::remove_dir_all(&kept).unwrap();
    }
    chain.write(7, b"y");
    chain.fell_back("gone");
    touch_the_kept(mount, &chain, view);
    chain.write(8, b"z");
    chain.fell_back("not as it was left");
    chain.write(9, b"z");
    chain.tracked(9 * MIB);

    // What the vault lost is stored again although nothing changed.
    let all = files(chain.newest.as_ref().unwrap());
    let contents = all.values().filter_map(|node| match &node.kind {
        NodeKind::File { content, size } if *size >= 64 * MIB => content.get(3).copied(),
        _ => None,
    });
    let lost: Vec<_> = contents.collect();
    lost.iter().for_each(|id| chain.vault.lose(id));
    chain.capture();
    assert!(chain.vault.has_content(&lost));
    chain.forget();
    assert!(!mount.path(".holdfast-clones").exists());
}

/// What was kept of the large file.
fn kept_large(mount: &Mount, chain: &Chain<'_>, view: SourceView) -> PathBuf {
    use std::os::unix::fs::MetadataExt;
    let kept = mount.kept().remove(0);
    if view == SourceView::SubvolumeSnapshot {
        kept.join("a/large")
    } else {
        kept.join(fs::metadata(chain.large()).unwrap().ino().to_string())
    }
}

/// Somebody writes to what was kept of the large file.
fn touch_the_kept(mount: &Mount, chain: &Chain<'_>, view: SourceView) {
    let base = kept_large(mount, chain, view);
    if view == SourceView::SubvolumeSnapshot {
        run("btrfs", &["property", "set", "-f", mount.kept()[0].to_str().unwrap(), "ro", "false"], mount.root());
    } else {
        fs::set_permissions(&base, fs::Permissions::from_mode(0o600)).unwrap();
    }
    File::options().write(true).open(base).unwrap().write_all_at(b"touched", 20 * MIB).unwrap();
}

/// What nobody reads again takes no memory from those who read the file.
fn a_large_file_that_was_read(mount: &Mount, view: SourceView) {
    let mut chain = Chain::new(mount);
    build(&chain);
    let cached = |path: &Path| -> u64 {
        let arguments = ["--bytes", "--noheadings", "--output", "RES", path.to_str().unwrap()];
        run("fincore", &arguments, Path::new("/")).trim().parse().unwrap()
    };
    // Not compared with what is restored of it: that would read it back into memory.
    assert!(chain.capture_while(|| ()).read >= 80 * MIB);
    let kept = cached(&kept_large(mount, &chain, view));
    assert!(kept < 8 * MIB, "{kept} bytes are in memory still");
    // The file's own pages are its readers'. All of them were there before; systems take a few back for reasons of their own.
    let left = cached(&chain.large());
    assert!(left >= 72 * MIB, "{left} bytes of the file are in memory");
}

#[test]
fn large_file_on_xfs_that_was_captured_takes_no_memory() {
    a_large_file_that_was_read(&xfs_with_tree(), SourceView::LargeFileClones);
}

#[test]
fn large_file_of_a_btrfs_subvolume_that_was_captured_takes_no_memory() {
    a_large_file_that_was_read(&btrfs_with_tree(), SourceView::SubvolumeSnapshot);
}

#[test]
fn large_files_on_xfs_are_tracked_through_a_hard_life() {
    a_hard_life(&xfs_with_tree(), SourceView::LargeFileClones);
}

#[test]
fn large_files_of_a_btrfs_subvolume_are_tracked_through_a_hard_life() {
    a_hard_life(&btrfs_with_tree(), SourceView::SubvolumeSnapshot);
}

/// Whoever is brought to rest may go on as soon as the view is taken: what it then writes is not in the recovery point.
fn one_instant(mount: &Mount) {
    let mut chain = Chain::new(mount);
    build(&chain);
    let before = tempfile::tempdir().unwrap();
    let place = before.path().join("tree");
    run("cp", &["-a", "--sparse=always", chain.tree.to_str().unwrap(), place.to_str().unwrap()], Path::new("/"));
    let large = chain.large();
    let small = chain.tree.join("a/small");
    let written = || {
        File::options().write(true).open(&large).unwrap().write_all_at(&mebibytes(77, 40), 0).unwrap();
        fs::write(&small, "after").unwrap();
        fs::write(small.with_file_name("new"), "after").unwrap();
    };
    chain.capture_while(written);
    let restored = chain.restored();
    assert_eq!(difference(&place, &restored.path().join("tree")), "");
    // And the next capture finds all of it.
    chain.tracked(60 * MIB);
}

#[test]
fn tree_on_xfs_is_captured_as_of_when_the_view_was_taken() {
    one_instant(&xfs_with_tree());
}

#[test]
fn btrfs_subvolume_is_captured_as_of_when_the_view_was_taken() {
    one_instant(&btrfs_with_tree());
}

#[test]
fn subvolume_that_is_mounted_itself_is_snapshotted_inside_and_subvolumes_below_it_are_left_out() {
    let mount = btrfs_with_tree();
    let mut chain = Chain::new(&mount);
    chain.tree = mount.root().to_owned();
    fs::write(mount.path("file"), "x").unwrap();
    fs::write(mount.path("tree/elsewhere"), "not of this subvolume").unwrap();
    let seen = chain.capture_while(|| ());
    assert_eq!(seen.view, SourceView::SubvolumeSnapshot);
    let point = chain.newest.as_ref().unwrap();
    assert_eq!(point.description["driver"]["mount_points_listed"], serde_json::json!(["tree"]));
    let restored = chain.restored();
    assert_eq!(fs::read_to_string(restored.path().join("tree/file")).unwrap(), "x");
    assert_eq!(fs::read_dir(restored.path().join("tree/tree")).unwrap().count(), 0);
    chain.forget();
}

#[test]
fn too_little_space_is_said_and_nothing_is_left() {
    let mount = xfs_with_tree();
    let chain = Chain::new(&mount);
    build(&chain);
    let keeper = Keeper::new("full".to_owned(), None, settings(99));
    let point = capture(&chain.vault, &chain.tree, None, &keeper, &CountingControl::default());
    assert_eq!((point.capture.reading.view, point.capture.remains), (SourceView::Live, None));
    assert!(point.capture.reading.fallback.unwrap().contains("is free"));
    assert!(keeper.events().is_empty() && !mount.path(".holdfast-clones").exists());
}

#[test]
fn file_system_without_shared_extents_is_read_live_and_nothing_is_left() {
    let place = tempfile::tempdir_in("/dev/shm").unwrap();
    let tree = place.path().join("tree");
    fs::create_dir(&tree).unwrap();
    File::create(tree.join("large")).unwrap().set_len(100 * MIB).unwrap();
    let keeper = Keeper::new("none".to_owned(), None, settings(0));
    let point = capture(&MemoryVault::new(), &tree, None, &keeper, &CountingControl::default());
    assert_eq!((point.capture.reading.view, &point.capture.reading.fallback), (SourceView::Live, &None));
    assert_eq!(point.capture.remains, None);
    assert!(keeper.events().is_empty() && fs::read_dir(place.path()).unwrap().count() == 1);
}
