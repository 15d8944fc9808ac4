//! What a capture writes into.

use std::io::{self, Read};

use vault_format::{Id, Tree};

/// How content is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chunking {
    /// Where the content says so: insertions shift nothing.
    ContentDefined,
    /// Every so many bytes, for data that is overwritten in place. At most 8 MiB.
    Fixed(u32),
}

/// Why the vault could not take something.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// The source of the bytes failed, not the vault.
    #[error("read from the source")]
    Source(#[source] io::Error),
    /// The vault failed.
    #[error("write to the vault")]
    Vault(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Asked to stop.
    #[error("stopped on request")]
    Stopped,
}

/// The stored content of one file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileContent {
    /// Its chunks in order.
    pub blobs: Vec<Id>,
    /// Its size in bytes.
    pub size: u64,
    /// Bytes of it that the vault did not have.
    pub bytes_new: u64,
}

/// Implemented by the vault engine. All methods may be called from many threads at once; hashing and compression happen
/// on the caller's thread, so that a driver decides how parallel a capture is. The engine reports `bytes_new` and
/// `bytes_stored` as progress; the driver reports all other counts.
pub trait CaptureWriter: Send + Sync {
    /// Stores all of `source`. An empty source gives no blobs.
    ///
    /// # Errors
    /// [`WriteError::Source`] when reading failed, so that a driver can record it and go on with the next file.
    fn write_content(&self, chunking: Chunking, source: &mut dyn Read) -> Result<FileContent, WriteError>;

    /// Stores one chunk of at most 8 MiB and says whether it was new. For drivers that cut themselves.
    ///
    /// # Errors
    /// When the vault fails or the work is to stop.
    fn write_chunk(&self, chunk: &[u8]) -> Result<(Id, bool), WriteError>;

    /// Stores chunks of at most 8 MiB; gives back their ids in the same order. Their digests are made at the same time, which
    /// is faster than one after the other for up to [`Id::at_once`] of them.
    ///
    /// # Errors
    /// When the vault fails or the work is to stop.
    fn write_chunks(&self, chunks: &[&[u8]]) -> Result<Vec<Id>, WriteError> {
        chunks.iter().map(|chunk| Ok(self.write_chunk(chunk)?.0)).collect()
    }

    /// Stores a tree; its nodes are sorted by name first.
    ///
    /// # Errors
    /// When the vault fails or the work is to stop.
    fn write_tree(&self, tree: Tree) -> Result<Id, WriteError>;

    /// Whether the vault has these chunks, each in a pack that is known to exist: only then may an unchanged file's
    /// content be taken over from the parent without reading it.
    fn has_content(&self, blobs: &[Id]) -> bool;

    /// Whether the vault has these trees of a committed snapshot and, as far as is known without reading them, everything
    /// below them: only then may they be taken over from the parent unread. False as soon as anything of the vault is known
    /// to be lost or damaged; then they must be walked with [`CaptureWriter::has_content`].
    fn has_subtrees(&self, trees: &[Id]) -> bool {
        let _unknown = trees;
        false
    }
}
