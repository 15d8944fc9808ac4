//! How far a job is.

use std::fmt;

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
    /// What nothing can be done before; none while the work gets on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waits_for: Option<WaitsFor>,
}

/// What a job may have to wait for that is not its own work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum WaitsFor {
    /// The server that is captured brings its changed pages to its disk before the backup begins. With
    /// `postgres.checkpoint = "spread"` it takes its time.
    Checkpoint,
    /// The server that is captured uses up the processors of the machine that the worker shares with it. The capture takes
    /// what is left, and a small part in any case: `postgres.beside_server`.
    Processors,
}

impl fmt::Display for WaitsFor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Checkpoint => "the server's checkpoint",
            Self::Processors => "processors that the server uses up",
        })
    }
}
