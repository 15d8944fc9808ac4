//! Reads a snapshot; everything that comes out was verified against its id.

mod trees;

use std::fmt;
use std::io::{self, Read};
use std::num::NonZero;
use std::slice;
use std::sync::Arc;
use std::thread;

use driver_api::{BlobSpan, ContentRequest, ContentSink, Control, FileReader, NoControl, ReadError, SnapshotReader};
use job_model::FailureCode;
use parking_lot::RwLock;
use vault_format::{BlobKind, Id, Snapshot, Tree, decode_tree};

use self::trees::TreeCache;
use crate::error::chain;
use crate::index::Index;
use crate::locks::Lock;
use crate::ranges::{Gaps, Wanted, read_all, read_blob};
use crate::vault::Named;
use crate::{Vault, VaultError};

/// Most threads of one fetch.
const FETCH_THREADS_MAX: usize = 8;

/// A snapshot in an open vault.
pub struct Reader<'a> {
    vault: &'a Vault,
    /// Replaced when packs had to be named again.
    index: RwLock<Arc<Index>>,
    root: Id,
    trees: TreeCache,
    /// None where the vault cannot be written to, or somebody else keeps it.
    lock: Option<Lock>,
}

impl<'a> Reader<'a> {
    pub(crate) fn open(vault: &'a Vault, id: Id) -> Result<Self, VaultError> {
        let lock = match vault.lock() {
            Ok(lock) => Some(lock),
            Err(error @ VaultError::Locked { .. }) => return Err(error),
            Err(error)
                if matches!(
                    error.failure_code(),
                    FailureCode::PermissionDenied | FailureCode::VaultDamaged | FailureCode::NoSpace
                ) =>
            {
                tracing::warn!(
                    vault = vault.location(),
                    error = &error as &dyn std::error::Error,
                    "reading without a lock"
                );
                None
            }
            Err(error) => return Err(error),
        };
        let Snapshot { tree, .. } = vault.read_snapshot(id)?;
        Ok(Self { vault, index: RwLock::new(vault.load_index()?), root: tree, trees: TreeCache::default(), lock })
    }

    /// Without a lock, for callers that hold one.
    pub(crate) fn with_index(vault: &'a Vault, index: Arc<Index>, root: Id) -> Self {
        Self { vault, index: RwLock::new(index), root, trees: TreeCache::default(), lock: None }
    }

    pub(crate) fn index(&self) -> Arc<Index> {
        Arc::clone(&self.index.read())
    }

    /// Does something with the index, and once more when something was missing in it and packs that have it could be
    /// named again.
    pub(crate) fn with_index_of_all<R>(
        &self,
        work: impl Fn(&Arc<Index>) -> Result<R, ReadError>,
    ) -> Result<R, ReadError> {
        let index = self.index();
        let missing = match work(&index) {
            Err(error @ ReadError::Missing { .. }) => error,
            other => return other,
        };
        let mut current = self.index.write();
        // One thread looks, those that wait for it take what it found.
        if Arc::ptr_eq(&index, &current) {
            if self.lock.is_none() {
                return Err(missing);
            }
            match self.vault.name_what_is_needed(self.root, &NoControl) {
                Ok(Named { packs: 1.., .. }) => *current = self.vault.load_index()?,
                Ok(Named { packs: 0, .. }) => return Err(missing),
                Err(error) => {
                    let (vault, error) = (self.vault.location(), chain(&error));
                    tracing::warn!(vault, error, "packs that are in no index could not be looked through");
                    return Err(missing);
                }
            }
        }
        let index = Arc::clone(&current);
        drop(current);
        work(&index)
    }
}

impl SnapshotReader for Reader<'_> {
    fn root(&self) -> Id {
        self.root
    }

    fn tree(&self, id: &Id) -> Result<Tree, ReadError> {
        let decode = |json: &[u8]| {
            decode_tree(json).map_err(|error| ReadError::Damaged { what: format!("tree {id}"), problem: chain(&error) })
        };
        if let Some(json) = self.trees.get(id) {
            return decode(&json);
        }
        let json = self.with_index_of_all(|index| read_blob(self.vault, index, BlobKind::Tree, id))?;
        let tree = decode(&json)?;
        self.trees.put(*id, json);
        Ok(tree)
    }

    fn blob_length(&self, id: &Id) -> Result<u32, ReadError> {
        self.with_index_of_all(|index| {
            let location = index.find(BlobKind::Data, id).next().ok_or(ReadError::Missing { id: *id })?;
            Ok(location.blob.plain_length())
        })
    }

    fn blob(&self, id: &Id) -> Result<Vec<u8>, ReadError> {
        self.with_index_of_all(|index| read_blob(self.vault, index, BlobKind::Data, id))
    }

    fn open<'a>(&'a self, content: &'a [Id]) -> FileReader<'a> {
        Box::new(ContentReader { reader: self, rest: content.iter(), current: Vec::new(), at: 0 })
    }

    fn fetch(
        &self,
        requests: &[ContentRequest],
        sink: &dyn ContentSink,
        control: &dyn Control,
    ) -> Result<(), ReadError> {
        let (index, wanted) = self.with_index_of_all(|index| {
            let mut wanted = Vec::with_capacity(requests.iter().map(|request| request.spans.len()).sum());
            for request in requests {
                for span in &request.spans {
                    let location =
                        index.find(BlobKind::Data, &span.id).next().ok_or(ReadError::Missing { id: span.id })?;
                    wanted.push(Wanted { location, note: (request.file, *span) });
                }
            }
            Ok((Arc::clone(index), wanted))
        })?;
        let processors = thread::available_parallelism().map_or(2, NonZero::get);
        // Threads wait for the disk or for the file system's journal, and others have work meanwhile: with twice as many as there are
        // processors these were idle for a fifth of the time.
        let threads = (4 * processors).clamp(4, FETCH_THREADS_MAX);
        read_all(self.vault, &index, wanted, Gaps::Short, threads, control, &|places, opened| {
            for Wanted { note: (file, BlobSpan { id, offset, length }), .. } in places {
                if opened.plaintext.len() != *length as usize {
                    let problem = format!("it has {} bytes where {length} are wanted", opened.plaintext.len());
                    return Err(ReadError::Damaged { what: format!("data blob {id}"), problem });
                }
                sink.write_at(*file, *offset, opened.plaintext).map_err(ReadError::Sink)?;
            }
            Ok(())
        })
    }
}

impl fmt::Debug for Reader<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader")
            .field("vault", &self.vault.location())
            .field("root", &self.root)
            .finish_non_exhaustive()
    }
}

/// A file's content from front to back, one blob in memory.
struct ContentReader<'a> {
    reader: &'a Reader<'a>,
    rest: slice::Iter<'a, Id>,
    current: Vec<u8>,
    at: usize,
}

impl Read for ContentReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.at == self.current.len() {
            let Some(id) = self.rest.next() else { return Ok(0) };
            self.current = self.reader.blob(id).map_err(io::Error::other)?;
            self.at = 0;
        }
        let count = buffer.len().min(self.current.len() - self.at);
        buffer[..count].copy_from_slice(&self.current[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}
