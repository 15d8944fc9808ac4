//! The write-ahead log: positions, names of segments, and the few records that a recovery can stop at.

mod position;
mod scan;

pub use position::{InvalidPosition, Lsn, Segment, SegmentSize};
pub use scan::{Mark, MarkKind, WalDamage, WalScanner};
