//! What the vault holds of a server's log, and how it lies there.
//!
//! A snapshot of the stream is an ordinary restic snapshot:
//!
//! ```text
//! data/wal/00000001/00000003/000000010000000300000007     segments by timeline and log
//! data/wal/history/00000002.history                       histories of timelines
//! holdfast/recovery-point.json                            [`StreamFacts`]
//! holdfast/wal-00000001-00000003.json                     [`SegmentFacts`] of the segments of one log
//! ```
//!
//! A commit rewrites the directory and the facts of the logs that changed, whatever the length of the stream. What is
//! newer than the snapshot lies in pieces (see [`driver_api::StreamStore`]), the timeline being the lane.

mod load;
mod segment;
mod write;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::wal::{Lsn, SegmentSize};

pub(crate) use load::TRIES;
pub use load::{LedgerError, Stored, load, node_named, survey};
pub(crate) use segment::{read_file, read_from, read_now};
pub use write::{NewHistory, NewSegment, NextContent, next_content};

/// The newest schema of [`StreamFacts`].
pub const STREAM_SCHEMA: u32 = 1;
/// What [`StreamFacts::kind`] says.
pub const STREAM_KIND: &str = "postgresql-log";

/// Chunks of a segment: small enough for parallel fetches, large enough for few blobs.
const SEGMENT_CHUNK_BYTES: u32 = 1 << 20;

/// A part of the log that is lost for good.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// The timeline.
    pub timeline: u32,
    /// The log ends here.
    pub from: Lsn,
    /// It goes on here.
    pub to: Lsn,
    /// When that was noticed.
    pub noticed_at: Timestamp,
    /// Why.
    pub reason: String,
}

/// The facts of a stream's snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamFacts {
    /// [`STREAM_KIND`].
    pub kind: String,
    /// [`STREAM_SCHEMA`].
    pub schema: u32,
    /// The cluster's own id; another cluster's log is never mixed in.
    pub system_id: String,
    /// `server_version` as the server says it.
    pub server_version: String,
    /// Bytes of a segment.
    pub segment_size: SegmentSize,
    /// The newest timeline.
    pub timeline: u32,
    /// Where the log in the snapshot ends.
    pub end: Lsn,
    /// What is lost.
    #[serde(default)]
    pub gaps: Vec<Gap>,
}

/// Name of a sidecar.
fn facts_name(timeline: u32, log: u64) -> String {
    format!("wal-{timeline:08X}-{log:08X}.json")
}
