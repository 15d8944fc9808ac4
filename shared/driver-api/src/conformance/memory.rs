//! A vault in memory with real digests and real chunking, that can be damaged on purpose.

use std::collections::{HashMap, HashSet};
use std::io::{self, Cursor, Read};
use std::sync::Arc;

use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use vault_format::{Id, Tree};

use crate::{
    CaptureWriter, Chunking, ContentRequest, ContentSink, Control, FileContent, FileReader, ReadError, SnapshotReader,
    WriteError,
};

const CHUNK_BYTES_MIN: usize = 16 << 10;
const CHUNK_BYTES_MAX: usize = 256 << 10;
/// One boundary in so many positions on average.
const CHUNK_MASK: u64 = (64 << 10) - 1;

#[derive(Debug, Default)]
struct Contents {
    blobs: HashMap<Id, Arc<Vec<u8>>>,
    trees: HashMap<Id, Tree>,
    damaged: HashSet<Id>,
    lost_any: bool,
}

/// A vault in memory. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct MemoryVault {
    contents: Arc<Mutex<Contents>>,
}

impl MemoryVault {
    /// An empty vault.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A snapshot with this root tree.
    #[must_use]
    pub fn snapshot(&self, root: Id) -> MemorySnapshot {
        MemorySnapshot { vault: self.clone(), root }
    }

    /// All content blobs, the longest first.
    #[must_use]
    pub fn blobs(&self) -> Vec<Id> {
        let contents = self.contents.lock();
        let mut blobs: Vec<_> = contents.blobs.iter().map(|(id, bytes)| (bytes.len(), *id)).collect();
        blobs.sort_unstable_by(|a, b| b.cmp(a));
        blobs.into_iter().map(|(_, id)| id).collect()
    }

    /// Bytes of all content blobs.
    #[must_use]
    pub fn stored_bytes(&self) -> u64 {
        self.contents.lock().blobs.values().map(|bytes| bytes.len() as u64).sum()
    }

    /// Forgets a blob, as when its pack is lost: no index knows it any more.
    pub fn lose(&self, id: &Id) {
        let mut contents = self.contents.lock();
        contents.blobs.remove(id);
        contents.lost_any = true;
    }

    /// Damages a blob where it lies: the index knows it, but it cannot be read.
    pub fn damage(&self, id: &Id) {
        self.contents.lock().damaged.insert(*id);
    }

    /// Undoes [`Self::damage`].
    pub fn repair(&self, id: &Id) {
        self.contents.lock().damaged.remove(id);
    }

    fn get(&self, id: &Id) -> Result<Arc<Vec<u8>>, ReadError> {
        let contents = self.contents.lock();
        if contents.damaged.contains(id) {
            return Err(ReadError::Damaged { what: format!("blob {id}"), problem: "damaged on purpose".to_owned() });
        }
        contents.blobs.get(id).cloned().ok_or(ReadError::Missing { id: *id })
    }
}

impl CaptureWriter for MemoryVault {
    fn write_content(&self, chunking: Chunking, source: &mut dyn Read) -> Result<FileContent, WriteError> {
        let mut content = FileContent::default();
        let mut buffer = Vec::new();
        loop {
            let wanted = match chunking {
                Chunking::Fixed(bytes) => bytes as usize,
                Chunking::ContentDefined => CHUNK_BYTES_MAX,
            };
            let missing = (wanted - buffer.len()) as u64;
            io::Read::take(&mut *source, missing).read_to_end(&mut buffer).map_err(WriteError::Source)?;
            if buffer.is_empty() {
                return Ok(content);
            }
            let cut = match chunking {
                Chunking::Fixed(_) => buffer.len(),
                Chunking::ContentDefined => boundary(&buffer),
            };
            let (id, new) = self.write_chunk(&buffer[..cut])?;
            content.blobs.push(id);
            content.size += cut as u64;
            content.bytes_new += if new { cut as u64 } else { 0 };
            buffer.drain(..cut);
        }
    }

    fn write_chunk(&self, chunk: &[u8]) -> Result<(Id, bool), WriteError> {
        let id = digest(chunk);
        let mut contents = self.contents.lock();
        let new = !contents.blobs.contains_key(&id);
        contents.blobs.entry(id).or_insert_with(|| Arc::new(chunk.to_vec()));
        Ok((id, new))
    }

    fn write_tree(&self, mut tree: Tree) -> Result<Id, WriteError> {
        tree.nodes.sort_by(|a, b| a.name.cmp(&b.name));
        let id = digest(format!("{tree:?}").as_bytes());
        self.contents.lock().trees.insert(id, tree);
        Ok(id)
    }

    fn has_content(&self, blobs: &[Id]) -> bool {
        let contents = self.contents.lock();
        blobs.iter().all(|id| contents.blobs.contains_key(id) && !contents.damaged.contains(id))
    }

    fn has_subtrees(&self, trees: &[Id]) -> bool {
        let contents = self.contents.lock();
        !contents.lost_any && contents.damaged.is_empty() && trees.iter().all(|id| contents.trees.contains_key(id))
    }
}

/// A snapshot of a [`MemoryVault`].
#[derive(Clone, Debug)]
pub struct MemorySnapshot {
    vault: MemoryVault,
    root: Id,
}

impl SnapshotReader for MemorySnapshot {
    fn root(&self) -> Id {
        self.root
    }

    fn tree(&self, id: &Id) -> Result<Tree, ReadError> {
        self.vault.contents.lock().trees.get(id).cloned().ok_or(ReadError::Missing { id: *id })
    }

    fn blob_length(&self, id: &Id) -> Result<u32, ReadError> {
        let contents = self.vault.contents.lock();
        let blob = contents.blobs.get(id).ok_or(ReadError::Missing { id: *id })?;
        u32::try_from(blob.len())
            .map_err(|_| ReadError::Damaged { what: format!("blob {id}"), problem: "longer than 4 GiB".to_owned() })
    }

    fn blob(&self, id: &Id) -> Result<Vec<u8>, ReadError> {
        Ok(self.vault.get(id)?.to_vec())
    }

    fn open<'a>(&'a self, content: &'a [Id]) -> FileReader<'a> {
        let blobs = content.iter().map(|id| self.vault.get(id).map_err(io::Error::other));
        Box::new(Blobs { blobs, current: Cursor::new(Arc::default()) })
    }

    fn fetch(
        &self,
        requests: &[ContentRequest],
        sink: &dyn ContentSink,
        control: &dyn Control,
    ) -> Result<(), ReadError> {
        // The order of the packs is not the order of the files: the digests' order is as good as any to show that.
        let mut spans: Vec<_> = requests.iter().flat_map(|r| r.spans.iter().map(|s| (r.file, *s))).collect();
        spans.sort_by_key(|(file, span)| (span.id, *file, span.offset));
        for (file, span) in spans {
            if control.is_stopped() {
                return Err(ReadError::Stopped);
            }
            let blob = self.vault.get(&span.id)?;
            sink.write_at(file, span.offset, &blob).map_err(ReadError::Sink)?;
        }
        Ok(())
    }
}

/// The blobs of one file, one after the other.
struct Blobs<I> {
    blobs: I,
    current: Cursor<Arc<Vec<u8>>>,
}

impl<I: Iterator<Item = io::Result<Arc<Vec<u8>>>>> Read for Blobs<I> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let position = usize::try_from(self.current.position()).map_err(io::Error::other)?;
            let mut rest = &self.current.get_ref()[position..];
            let count = rest.read(buffer)?;
            if count > 0 || buffer.is_empty() {
                self.current.set_position((position + count) as u64);
                return Ok(count);
            }
            match self.blobs.next() {
                Some(blob) => self.current = Cursor::new(blob?),
                None => return Ok(0),
            }
        }
    }
}

/// Where the first chunk of `bytes` ends: a gear hash whose low bits are zero.
fn boundary(bytes: &[u8]) -> usize {
    if bytes.len() <= CHUNK_BYTES_MIN {
        return bytes.len();
    }
    let mut hash = 0_u64;
    for (index, byte) in bytes.iter().enumerate().skip(CHUNK_BYTES_MIN) {
        let gear = (u64::from(*byte) + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        hash = (hash << 1).wrapping_add(gear ^ (gear >> 29));
        if hash & CHUNK_MASK == 0 {
            return index + 1;
        }
    }
    bytes.len()
}

fn digest(bytes: &[u8]) -> Id {
    Id::new(Sha256::digest(bytes).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_comes_back_whole_whatever_the_chunking() {
        let vault = MemoryVault::new();
        let bytes: Vec<u8> = (0..3_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        for chunking in [Chunking::ContentDefined, Chunking::Fixed(1 << 20), Chunking::Fixed(7)] {
            let bytes = if chunking == Chunking::Fixed(7) { &bytes[..1000] } else { &bytes[..] };
            let content = vault.write_content(chunking, &mut &bytes[..]).unwrap();
            assert!(content.blobs.len() > 2);
            let snapshot = vault.snapshot(digest(b""));
            let mut read = Vec::new();
            snapshot.open(&content.blobs).read_to_end(&mut read).unwrap();
            assert!(read == bytes);
            assert_eq!(vault.write_content(chunking, &mut &bytes[..]).unwrap().bytes_new, 0);
        }
    }

    #[test]
    fn lost_and_damaged_blobs_are_told_apart() {
        let vault = MemoryVault::new();
        let (id, _) = vault.write_chunk(b"x").unwrap();
        let snapshot = vault.snapshot(id);
        vault.damage(&id);
        assert_eq!(snapshot.blob_length(&id).unwrap(), 1);
        assert!(matches!(snapshot.blob(&id), Err(ReadError::Damaged { .. })));
        vault.lose(&id);
        assert!(matches!(snapshot.blob_length(&id), Err(ReadError::Missing { .. })));
        assert!(!vault.has_content(&[id]));
    }
}
