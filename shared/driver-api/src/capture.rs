//! What a capture is given and what it gives back.

use jiff::Timestamp;
use job_model::{ChangeMethod, Consistency, ReadException, SourceView};
use vault_format::Id;

use crate::{CaptureWriter, Control, SnapshotReader, Tracking};

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
    /// What is kept between captures; none when changes are not to be tracked.
    pub tracking: Option<&'a dyn Tracking>,
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

/// How a driver read its source. How much it read is in the progress.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// How it found what had changed.
    pub method: ChangeMethod,
    /// What it read from.
    pub view: SourceView,
    /// Bytes on the source's file system that only what was kept of the parent kept from being freed, as far as was seen.
    pub held_bytes: Option<u64>,
    /// Why it could not track changes this time although it should have; somebody is told.
    pub fallback: Option<String>,
}

impl Reading {
    /// Read from the source itself, without tracking.
    #[must_use]
    pub const fn live(method: ChangeMethod) -> Self {
        Self { method, view: SourceView::Live, held_bytes: None, fallback: None }
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
    /// The same for programs.
    pub reading: Reading,
    /// What stays beside the resource for the next capture to compare with, once this one is committed: the driver's own
    /// words, given back as [`Tracking::base`] and to [`crate::Driver::discard`]. None when nothing stays.
    pub remains: Option<serde_json::Value>,
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
