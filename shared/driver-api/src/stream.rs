//! Where a driver that follows its resource keeps what it receives.
//!
//! A stream is a log with positions, on one or more lanes (a PostgreSQL timeline is one). Its bytes become durable twice:
//! first as pieces, small files that are there within a fraction of a second, then as part of a snapshot that grows with
//! every commit. Pieces that a snapshot covers are removed; a reader needs both.

use vault_format::{Id, Node};

use crate::{CaptureWriter, ReadError, SnapshotReader, WriteError};

/// Which part of which lane a piece holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PieceSpan {
    /// The lane.
    pub lane: u32,
    /// Position of its first byte.
    pub start: u64,
    /// Position after its last byte; above `start`.
    pub end: u64,
}

/// What the newest snapshot of the stream says.
pub struct StreamState<'a> {
    /// Reads it.
    pub reader: &'a dyn SnapshotReader,
    /// The facts of its `holdfast/recovery-point.json`.
    pub facts: &'a serde_json::Value,
}

impl std::fmt::Debug for StreamState<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StreamState").field("root", &self.reader.root()).finish_non_exhaustive()
    }
}

/// What the next snapshot of the stream is made of.
#[derive(Clone, Debug)]
pub struct StreamContent {
    /// The node named `data`.
    pub data: Node,
    /// Further entries of the directory `holdfast`.
    pub sidecars: Vec<Node>,
    /// Content in bytes.
    pub size_bytes: u64,
    /// Entries.
    pub items: u64,
    /// Facts for the next reader.
    pub facts: serde_json::Value,
}

/// The snapshot of a stream after a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamCommitted {
    /// The snapshot.
    pub snapshot_id: Id,
    /// Its root tree.
    pub tree_id: Id,
}

/// Looks at the state of a stream; there is none before the first commit.
pub type LookAtStream<'a> = &'a mut dyn FnMut(Option<StreamState<'_>>) -> Result<(), ReadError>;

/// Builds the next state of a stream from the one before.
pub type BuildStream<'a> =
    &'a mut dyn FnMut(&dyn CaptureWriter, Option<StreamState<'_>>) -> Result<StreamContent, WriteError>;

/// What was kept of one stream. Implemented by the vault engine.
pub trait StreamSource: Send + Sync {
    /// The pieces there are, sorted.
    ///
    /// # Errors
    /// When the store fails.
    fn pieces(&self) -> Result<Vec<PieceSpan>, ReadError>;

    /// One piece's bytes.
    ///
    /// # Errors
    /// [`ReadError::Damaged`] when it is not what was stored.
    fn piece(&self, span: PieceSpan) -> Result<Vec<u8>, ReadError>;

    /// Looks at the newest state.
    ///
    /// # Errors
    /// When it cannot be read, or what `look` says.
    fn look(&self, look: LookAtStream<'_>) -> Result<(), ReadError>;
}

/// The store of one stream, held by one follower.
pub trait StreamStore: StreamSource {
    /// Stores a piece. It survives a power cut when this returns. Storing the same piece again is no error: at one
    /// position of a lane there are never two different contents.
    ///
    /// # Errors
    /// When the vault fails.
    fn append(&self, span: PieceSpan, bytes: &[u8]) -> Result<(), WriteError>;

    /// Removes pieces that are needed no more; what is gone already is no error.
    ///
    /// # Errors
    /// When the store fails or a later follower has taken the stream over; nothing is removed then.
    fn remove(&self, spans: &[PieceSpan]) -> Result<(), WriteError>;

    /// Replaces the state by the next one. It survives a power cut when this returns, and the one before is gone then.
    ///
    /// # Errors
    /// When the vault fails, a later follower has taken the stream over, or what `build` says; the state is as it was.
    fn commit(&self, build: BuildStream<'_>) -> Result<StreamCommitted, WriteError>;
}
