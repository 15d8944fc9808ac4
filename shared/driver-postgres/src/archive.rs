//! Gives the log to a server that recovers, and takes it from one that cannot be streamed from: [`crate::follow::LogSource`].
//!
//! `restore_command` ends with 0 when the file is there, with 1 only when it is beyond what was ever received, and with
//! 255 for everything else: PostgreSQL takes 1 for the end of the log and promotes, and stops loudly above 125.

mod fetch;
mod file;
mod push;
mod serve;
mod settings;

pub(crate) use file::{LogFile, SegmentHeader};

pub use fetch::{FETCH_FAILED, FETCH_MISSING, fetch};
pub use push::{PushError, Pushed, push};
pub use serve::{ArchiveError, Recovery, serve};
pub use settings::{recovery_settings, settle_archive};
