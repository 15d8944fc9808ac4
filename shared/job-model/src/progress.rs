//! How far a job is.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Counts of a running or ended job. All bytes are of content, before compression, except `bytes_stored`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Progress {
    /// Size of what is to be done, as far as known.
    pub bytes_total: Option<u64>,
    /// Dealt with so far, read or not (a hole or an unchanged file counts in full).
    pub bytes_done: u64,
    /// Read from the source.
    pub bytes_read: u64,
    /// Content that the vault did not have yet.
    pub bytes_new: u64,
    /// Written to the vault or sent to the other one, compressed and encrypted.
    pub bytes_stored: u64,
    /// Entries (files, extents, blobs) to do, as far as known.
    pub items_total: Option<u64>,
    /// Entries dealt with.
    pub items_done: u64,
}
