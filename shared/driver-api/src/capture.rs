//! What a capture is given and what it gives back.

use jiff::Timestamp;
use job_model::{Consistency, ReadException};
use vault_format::Id;

use crate::{CaptureWriter, Control, SnapshotReader};

/// The newest recovery point of the same resource in the same vault.
pub struct ParentPoint<'a> {
    /// Reads it.
    pub reader: &'a dyn SnapshotReader,
    /// Its `holdfast/recovery-point.json`, parsed.
    pub description: &'a serde_json::Value,
}

impl std::fmt::Debug for ParentPoint<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ParentPoint").field("root", &self.reader.root()).finish_non_exhaustive()
    }
}

/// What the hooks around a capture reached; the service runs them, the driver only hears of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuiesceOutcome {
    /// No hooks are configured, or they failed and the policy is to go on.
    NotQuiesced,
    /// The hooks say the application is at rest.
    Application,
    /// The hooks froze the file system.
    Filesystem,
}

/// What a driver is to capture.
pub struct CaptureRequest<'a> {
    /// Where the resource lies: `file:///…`.
    pub location: &'a str,
    /// Where to write.
    pub writer: &'a dyn CaptureWriter,
    /// What to compare with.
    pub parent: Option<ParentPoint<'a>>,
    /// How well the resource is at rest.
    pub quiesced: QuiesceOutcome,
    /// How many threads to use.
    pub parallelism: usize,
    /// Stop and progress.
    pub control: &'a dyn Control,
    /// Tells the time.
    pub now: &'a (dyn Fn() -> Timestamp + Sync),
}

impl std::fmt::Debug for CaptureRequest<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CaptureRequest").field("location", &self.location).finish_non_exhaustive()
    }
}

/// What a driver captured. The service puts `data` and `holdfast` under one root tree and commits the snapshot.
#[derive(Clone, Debug)]
pub struct Capture {
    /// The node named `data`: a directory with the resource in it. (A file tree's own root metadata is this node's.)
    pub data: vault_format::Node,
    /// Further entries for the `holdfast` directory beside `recovery-point.json`, for example a list of attributes that a
    /// restic node cannot hold.
    pub sidecars: Vec<vault_format::Node>,
    /// What was reached.
    pub consistency: Consistency,
    /// Content in bytes, holes included.
    pub size_bytes: u64,
    /// Entries.
    pub items: u64,
    /// How unchanged data was recognised, in words.
    pub change_detection: String,
    /// Everything that was not captured as it should be.
    pub exceptions: Vec<ReadException>,
    /// Facts for the restore: sizes, versions, positions. Stands in `recovery-point.json` under `driver`.
    pub facts: serde_json::Value,
}

impl Capture {
    /// Id of the subtree of `data`.
    #[must_use]
    pub fn data_tree(&self) -> Option<Id> {
        match self.data.kind {
            vault_format::NodeKind::Dir { subtree } => Some(subtree),
            _ => None,
        }
    }
}
