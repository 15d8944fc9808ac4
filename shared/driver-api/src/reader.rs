//! What restores, checks and incremental captures read from.

use std::io::{self, Read};

use vault_format::{Id, Tree};

use crate::Control;

/// Why the vault could not give something.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// A blob is in no index: its pack is lost or its index is damaged.
    #[error("blob {id} is in no readable index; run `holdfast check` on the vault")]
    Missing {
        /// The blob.
        id: Id,
    },
    /// What is stored is not what its id says.
    #[error("{what} is damaged: {problem}")]
    Damaged {
        /// Which file or blob.
        what: String,
        /// How it shows.
        problem: String,
    },
    /// The store failed.
    #[error("read from the vault")]
    Vault(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The sink failed; the path says where.
    #[error("write restored content")]
    Sink(#[source] io::Error),
    /// Asked to stop.
    #[error("stopped on request")]
    Stopped,
}

/// Where a blob goes in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlobSpan {
    /// The blob.
    pub id: Id,
    /// Offset in the file.
    pub offset: u64,
    /// Its length in bytes.
    pub length: u32,
}

/// Content wanted for one file.
#[derive(Clone, Debug)]
pub struct ContentRequest {
    /// The caller's number for the file, given back to the sink.
    pub file: usize,
    /// The spans wanted; a subset where the rest is there already.
    pub spans: Vec<BlobSpan>,
}

/// Takes restored content; called from many threads, in the order of the packs, not of the files.
pub trait ContentSink: Send + Sync {
    /// One blob, verified against its id.
    ///
    /// # Errors
    /// What the target says; ends the restore.
    fn write_at(&self, file: usize, offset: u64, bytes: &[u8]) -> io::Result<()>;
}

/// Reads a file's content from front to back.
pub type FileReader<'a> = Box<dyn Read + Send + 'a>;

/// A snapshot in an open vault. Implemented by the vault engine; everything it returns was verified against its id.
pub trait SnapshotReader: Send + Sync {
    /// The root tree.
    fn root(&self) -> Id;

    /// A tree.
    ///
    /// # Errors
    /// When it is lost, damaged or the store fails.
    fn tree(&self, id: &Id) -> Result<Tree, ReadError>;

    /// Length in bytes of a blob's plaintext, from the index alone.
    ///
    /// # Errors
    /// [`ReadError::Missing`] when no index knows it.
    fn blob_length(&self, id: &Id) -> Result<u32, ReadError>;

    /// The spans of a file's content, in order.
    ///
    /// # Errors
    /// [`ReadError::Missing`] when no index knows one of the blobs.
    fn spans(&self, content: &[Id]) -> Result<Vec<BlobSpan>, ReadError> {
        let mut offset = 0;
        content
            .iter()
            .map(|id| {
                let length = self.blob_length(id)?;
                let span = BlobSpan { id: *id, offset, length };
                offset += u64::from(length);
                Ok(span)
            })
            .collect()
    }

    /// One blob.
    ///
    /// # Errors
    /// When it is lost, damaged or the store fails.
    fn blob(&self, id: &Id) -> Result<Vec<u8>, ReadError>;

    /// A reader over a file's content, for small files and streams.
    fn open<'a>(&'a self, content: &'a [Id]) -> FileReader<'a>;

    /// Fetches content in the order of the packs, in parallel, each pack range once, and hands it to the sink.
    ///
    /// # Errors
    /// The first one met; what the sink took by then is right, the rest is missing.
    fn fetch(
        &self,
        requests: &[ContentRequest],
        sink: &dyn ContentSink,
        control: &dyn Control,
    ) -> Result<(), ReadError>;
}
