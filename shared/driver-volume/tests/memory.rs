//! A restore holds the chunks of a part of the volume, never of all of it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use driver_api::{
    ContentRequest, ContentSink, Control, Driver, FileReader, NoControl, ReadError, RestoreRequest, SnapshotReader,
};
use driver_volume::{CHUNK_BYTES, EXTENT_BYTES, LEVEL_BYTES, VolumeDriver};
use job_model::OverwritePolicy;
use sha2::{Digest, Sha256};
use vault_format::{Id, Node, NodeKind, Tree};

static HELD: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

/// Counts what is held.
struct Counting;

// SAFETY: the system's allocator does the work; numbers are counted beside it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let held = HELD.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK.fetch_max(held, Ordering::Relaxed);
        // SAFETY: the caller keeps to the contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps to the contract.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A volume of this size all of whose chunks are stored, and are zeros.
struct Zeros {
    size: u64,
    chunk: Id,
}

fn id(level: u8, offset: u64) -> Id {
    let mut bytes = [level; 32];
    bytes[..8].copy_from_slice(&offset.to_le_bytes());
    Id::new(bytes)
}

impl SnapshotReader for Zeros {
    fn root(&self) -> Id {
        id(0, 0)
    }

    fn tree(&self, wanted: &Id) -> Result<Tree, ReadError> {
        let level = usize::from(wanted.as_bytes()[31]);
        let begin = u64::from_le_bytes(wanted.as_bytes()[..8].try_into().unwrap());
        let node = |name: String, kind| Node::unowned(name, kind, 0o700, jiff::Timestamp::UNIX_EPOCH);
        let directory = |name: String, at| node(name, NodeKind::Dir { subtree: id(level as u8 + 1, at) });
        let nodes: Vec<Node> = match level.checked_sub(1) {
            None => vec![directory("data".to_owned(), 0)],
            Some(level) if level < LEVEL_BYTES.len() => {
                let end = level.checked_sub(1).map_or(self.size, |above| self.size.min(begin + LEVEL_BYTES[above]));
                let offsets = (begin..end).step_by(LEVEL_BYTES[level] as usize);
                offsets.map(|at| directory(format!("{at:016x}"), at)).collect()
            }
            Some(_) => {
                let content = vec![self.chunk; (EXTENT_BYTES / CHUNK_BYTES) as usize];
                vec![node(format!("{begin:016x}"), NodeKind::File { content, size: EXTENT_BYTES })]
            }
        };
        Ok(Tree { nodes })
    }

    fn blob_length(&self, _id: &Id) -> Result<u32, ReadError> {
        Ok(CHUNK_BYTES as u32)
    }

    fn blob(&self, id: &Id) -> Result<Vec<u8>, ReadError> {
        Err(ReadError::Missing { id: *id })
    }

    fn open<'a>(&'a self, _content: &'a [Id]) -> FileReader<'a> {
        Box::new(std::io::empty())
    }

    fn fetch(&self, _: &[ContentRequest], _: &dyn ContentSink, _: &dyn Control) -> Result<(), ReadError> {
        panic!("zeros are not fetched")
    }
}

/// Bytes that a restore held at most beyond what was held before it.
fn peak(size: u64) -> usize {
    let directory = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
    let target = directory.path().join("image");
    let zeros = vec![0; CHUNK_BYTES as usize];
    let reader = Zeros { size, chunk: Id::new(Sha256::digest(&zeros).into()) };
    let description = serde_json::json!({ "driver": {
        "format": 3, "size": size, "kind": "image", "chunk_bytes": CHUNK_BYTES, "extent_bytes": EXTENT_BYTES,
    }});
    let request = RestoreRequest {
        reader: &reader,
        description: &description,
        target: &target,
        overwrite: OverwritePolicy::Refuse,
        include: &[],
        options: &BTreeMap::new(),
        parallelism: 2,
        control: &NoControl,
        elapsed_ms: &|| 0,
    };
    let before = HELD.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    VolumeDriver.restore(request).unwrap();
    assert_eq!(target.metadata().unwrap().len(), size);
    PEAK.load(Ordering::Relaxed) - before
}

#[test]
fn a_restore_of_a_volume_sixteen_times_as_large_takes_no_more_memory() {
    let [small, large] = [16 << 30, 256 << 30].map(peak);
    // The larger one has 3,840 more lowest directories, each with its place and its id.
    let more = large.saturating_sub(small);
    assert!(more < 1 << 20 && small > 100 << 10, "{small} and {large} bytes");
}
