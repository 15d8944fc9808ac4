//! Restores of a volume of a few windows: what has come to the disk when the next begins.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::thread;

use driver_api::{Control, FileReader, NoControl, SnapshotReader};
use parking_lot::Mutex;
use vault_format::{Id, Node, NodeKind, Tree};

use super::*;
use crate::layout::{CHUNK_BYTES, EXTENT_BYTES, LEVEL_BYTES, name, node};
use crate::volume::Kind;

/// Two extents and a chunk.
const SIZE: u64 = 2 * EXTENT_BYTES + CHUNK_BYTES;

/// A volume in a vault. Chunks are given by a thread of its own for each fetch, which looks first at what those before have left.
struct Made {
    directory: PathBuf,
    given: Mutex<Vec<BlobSpan>>,
    /// For each fetch, how many of the chunks given before it were not in the file yet.
    lacking: Mutex<Vec<usize>>,
}

fn id(level: u8, offset: u64) -> Id {
    let mut bytes = [level; 32];
    bytes[..8].copy_from_slice(&offset.to_le_bytes());
    Id::new(bytes)
}

fn chunk(span: &BlobSpan) -> Vec<u8> {
    vec![(span.offset / CHUNK_BYTES % 251) as u8 + 1; span.length as usize]
}

impl SnapshotReader for Made {
    fn root(&self) -> Id {
        id(0, 0)
    }

    fn tree(&self, wanted: &Id) -> Result<Tree, ReadError> {
        let level = usize::from(wanted.as_bytes()[31]);
        let begin = u64::from_le_bytes(wanted.as_bytes()[..8].try_into().unwrap());
        let directory = |name: Vec<u8>, offset| node(name, NodeKind::Dir { subtree: id(level as u8 + 1, offset) });
        let nodes: Vec<Node> = match level.checked_sub(1) {
            None => vec![directory(b"data".to_vec(), 0)],
            Some(level) if level < LEVEL_BYTES.len() => {
                let end = level.checked_sub(1).map_or(SIZE, |above| SIZE.min(begin + LEVEL_BYTES[above]));
                (begin..end).step_by(LEVEL_BYTES[level] as usize).map(|at| directory(name(at), at)).collect()
            }
            Some(_) => {
                let size = EXTENT_BYTES.min(SIZE - begin);
                let content = (begin..begin + size).step_by(CHUNK_BYTES as usize).map(|at| id(9, at)).collect();
                vec![node(name(begin), NodeKind::File { content, size })]
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

    fn fetch(&self, requests: &[ContentRequest], sink: &dyn ContentSink, _: &dyn Control) -> Result<(), ReadError> {
        let built = std::fs::read_dir(&self.directory).unwrap().next().unwrap().unwrap().path();
        let built = File::open(built).unwrap();
        let is_lacking = |span: &&BlobSpan| {
            let mut found = vec![0; span.length as usize];
            built.read_exact_at(&mut found, span.offset).unwrap();
            found != chunk(span)
        };
        let mut given = self.given.lock();
        self.lacking.lock().push(given.iter().filter(is_lacking).count());
        let spans = &requests[0].spans;
        given.extend(spans);
        let give = || spans.iter().try_for_each(|span| sink.write_at(0, span.offset, &chunk(span)));
        thread::scope(|scope| scope.spawn(give).join().unwrap()).map_err(ReadError::Sink)
    }
}

#[test]
fn what_threads_gathered_of_a_window_is_written_before_the_next_so_that_memory_does_not_grow_with_the_volume() {
    let directory = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
    let target = directory.path().join("image");
    let reader = Made { directory: directory.path().to_owned(), given: Mutex::default(), lacking: Mutex::default() };
    let facts = Facts::new(SIZE, Kind::Image, 3, None);
    let description = serde_json::json!({ "driver": facts });
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
    run(&request).unwrap();
    // The windows of tests are extents.
    assert_eq!(*reader.lacking.lock(), [0, 0, 0]);
    let expected: Vec<u8> = reader.given.lock().iter().flat_map(chunk).collect();
    assert!(std::fs::read(&target).unwrap() == expected && expected.len() as u64 == SIZE);
}
