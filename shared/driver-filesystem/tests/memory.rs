//! What a restore and a check take in memory does not grow with the tree.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicIsize, Ordering};

use driver_api::{
    CheckRequest, ContentRequest, ContentSink, Control, FileReader, NoControl, ReadError, RestoreRequest,
    SnapshotReader,
};
use driver_filesystem::FilesystemDriver;
use job_model::OverwritePolicy;
use sha2::{Digest, Sha256};
use vault_format::{Id, Node, NodeKind, Tree};

static NOW: AtomicIsize = AtomicIsize::new(0);
static MOST: AtomicIsize = AtomicIsize::new(0);

/// Counts what all threads have.
struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn count(bytes: isize) {
    let now = NOW.fetch_add(bytes, Ordering::Relaxed) + bytes;
    MOST.fetch_max(now, Ordering::Relaxed);
}

// SAFETY: everything is the system's own; the counters do not allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// The most bytes that there were at one time while this was done, beyond what there was before.
fn most_of(work: impl FnOnce()) -> isize {
    let before = NOW.load(Ordering::Relaxed);
    MOST.store(before, Ordering::Relaxed);
    work();
    MOST.load(Ordering::Relaxed) - before
}

const CONTENT: &[u8] = b"the same in every file";
const FILES_EACH: usize = 100;

/// A snapshot that takes no memory: so many directories of [`FILES_EACH`] files, made when they are asked for.
struct Endless {
    directories: usize,
}

fn id(kind: u8, number: usize) -> Id {
    let mut bytes = [0; 32];
    bytes[0] = kind;
    bytes[1..9].copy_from_slice(&number.to_le_bytes());
    Id::new(bytes)
}

fn content() -> Id {
    Id::new(Sha256::digest(CONTENT).into())
}

impl SnapshotReader for Endless {
    fn root(&self) -> Id {
        id(0, 0)
    }

    fn tree(&self, wanted: &Id) -> Result<Tree, ReadError> {
        let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        let node = |name: String, kind, mode| {
            let at = jiff::Timestamp::from_second(1_600_000_000).unwrap();
            Node { uid, gid, ..Node::unowned(name, kind, mode, at) }
        };
        let dir = |name: String, subtree| node(name, NodeKind::Dir { subtree }, 0o755);
        let bytes = wanted.as_bytes();
        let number = usize::from_le_bytes(bytes[1..9].try_into().unwrap());
        let nodes = match bytes[0] {
            0 => vec![dir("data".to_owned(), id(1, 0))],
            // Some directories in each of a few.
            1 => (0..self.directories / 20).map(|n| dir(format!("{n:06}"), id(2, n))).collect(),
            2 => (0..20).map(|n| dir(format!("{n:02}"), id(3, number * 20 + n))).collect(),
            _ => {
                let file = || NodeKind::File { content: vec![content()], size: CONTENT.len() as u64 };
                (0..FILES_EACH).map(|n| node(format!("file number {n:04}"), file(), 0o644)).collect()
            }
        };
        Ok(Tree { nodes })
    }

    fn blob_length(&self, _id: &Id) -> Result<u32, ReadError> {
        Ok(CONTENT.len() as u32)
    }

    fn blob(&self, _id: &Id) -> Result<Vec<u8>, ReadError> {
        Ok(CONTENT.to_vec())
    }

    fn open<'a>(&'a self, _content: &'a [Id]) -> FileReader<'a> {
        Box::new(CONTENT)
    }

    fn fetch(
        &self,
        requests: &[ContentRequest],
        sink: &dyn ContentSink,
        _control: &dyn Control,
    ) -> Result<(), ReadError> {
        for request in requests {
            for span in &request.spans {
                sink.write_at(request.file, span.offset, CONTENT).map_err(ReadError::Sink)?;
            }
        }
        Ok(())
    }
}

/// A place to restore to, and what to restore there.
struct Restore {
    place: tempfile::TempDir,
    reader: Endless,
    window_bytes: usize,
    options: BTreeMap<String, String>,
    description: serde_json::Value,
}

impl Restore {
    fn new(directories: usize, window_bytes: usize) -> Self {
        Self {
            place: tempfile::tempdir().unwrap(),
            reader: Endless { directories },
            window_bytes,
            options: BTreeMap::new(),
            description: serde_json::json!({}),
        }
    }

    fn file(&self, directory: usize, number: usize) -> PathBuf {
        let path = format!("target/{:06}/{:02}/file number {number:04}", directory / 20, directory % 20);
        self.place.path().join(path)
    }

    /// The most bytes that a restore takes.
    fn restore(&self, overwrite: OverwritePolicy) -> isize {
        let request = RestoreRequest {
            reader: &self.reader,
            description: &self.description,
            target: &self.place.path().join("target"),
            overwrite,
            include: &[],
            options: &self.options,
            parallelism: 2,
            control: &NoControl,
            elapsed_ms: &|| 0,
        };
        let most = most_of(|| {
            let restored = FilesystemDriver.restore_in_windows(&request, None, self.window_bytes).unwrap();
            assert_eq!(restored.findings, []);
        });
        assert_eq!(std::fs::read(self.file(self.reader.directories - 1, FILES_EACH - 1)).unwrap(), CONTENT);
        most
    }

    /// The most bytes that a check takes.
    fn check(&self) -> isize {
        let request = CheckRequest {
            reader: &self.reader,
            description: &self.description,
            restored: &self.place.path().join("target"),
            options: &self.options,
            privileged: rustix::process::geteuid().is_root(),
            parallelism: 2,
            control: &NoControl,
            elapsed_ms: &|| 0,
        };
        most_of(|| {
            let check = FilesystemDriver.check_in_windows(&request, self.window_bytes).unwrap();
            assert_eq!((check.findings, check.items), (Vec::new(), entries(self.reader.directories) as u64));
        })
    }

    /// Of a restore to nowhere, one over a tree of which a file in each directory differs, and a check.
    fn all(&self) -> [isize; 3] {
        let new = self.restore(OverwritePolicy::Refuse);
        for directory in 0..self.reader.directories {
            std::fs::write(self.file(directory, 50), "something else").unwrap();
        }
        [new, self.restore(OverwritePolicy::Exact), self.check()]
    }
}

fn entries(directories: usize) -> usize {
    directories * (FILES_EACH + 1) + directories / 20
}

#[test]
fn a_tree_four_times_as_large_takes_a_few_bytes_more_for_each_entry() {
    // Where there are several, each is a third of it, and a directory is more than that.
    const WINDOW_BYTES: usize = 64 << 10;
    let sizes = [20, 120];
    let more = (entries(sizes[1]) - entries(sizes[0])) as isize;
    let at_once = sizes.map(|size| Restore::new(size, usize::MAX).restore(OverwritePolicy::Refuse));
    let in_windows = sizes.map(|size| Restore::new(size, WINDOW_BYTES).all());
    println!("{more} entries more: {at_once:?} bytes at once, {in_windows:?} in windows");
    assert!(at_once[1] - at_once[0] > 150 * more, "what is measured is not what is held: {at_once:?}");
    for (small, large) in in_windows[0].into_iter().zip(in_windows[1]) {
        // What threads have at the same time differs from run to run.
        assert!(large - small < 8 * more + (128 << 10), "{small} bytes, then {large}");
    }
}

#[test]
fn a_tree_of_several_windows_takes_less_than_half_of_what_it_takes_at_once() {
    const WINDOW_BYTES: usize = 2 << 20;
    const DIRECTORIES: usize = 260;
    let at_once = Restore::new(DIRECTORIES, usize::MAX).restore(OverwritePolicy::Refuse);
    let in_windows = Restore::new(DIRECTORIES, WINDOW_BYTES).restore(OverwritePolicy::Refuse);
    println!("{at_once} bytes at once, {in_windows} in windows");
    assert!(at_once > 3 * WINDOW_BYTES as isize, "{at_once} bytes");
    assert!(in_windows < at_once / 2, "{in_windows} bytes instead of {at_once}");
}
