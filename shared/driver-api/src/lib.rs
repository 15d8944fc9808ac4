//! The trait every resource driver implements, what a driver is given to work with, and the suite every driver must pass.
//!
//! A driver knows one kind of resource. It does not know the bus, the planner or how a vault stores things: it writes
//! through [`CaptureWriter`] and reads through [`SnapshotReader`], both of which the vault engine implements. Drivers are
//! synchronous and bring their own threads; services call them outside the async runtime.

mod capture;
pub mod compare;
#[cfg(feature = "conformance")]
pub mod conformance;
mod control;
mod driver;
mod error;
mod location;
pub mod queue;
mod quiesce;
mod reader;
mod restore;
mod runs;
mod stream;
mod tracking;
mod uncached;
mod write_back;
mod writer;

pub use capture::{Capture, CaptureRequest, ParentPoint, QuiesceOutcome, Reading};
pub use control::{Control, NoControl};
pub use driver::{Driver, Probe};
pub use error::{DriverError, Side};
pub use location::{file_location, file_path};
pub use quiesce::{HookErrorPolicy, InvalidHooks, QuiesceHooks, QuiesceLevel, Quiesced, Thawed};
pub use reader::{BlobSpan, ContentRequest, ContentSink, FileReader, ReadError, SnapshotReader};
pub use restore::{Check, CheckRequest, RestoreRequest, Restored};
pub use runs::Runs;
pub use stream::{
    BuildStream, LookAtStream, PieceSpan, StreamCommitted, StreamContent, StreamSource, StreamState, StreamStore,
};
pub use tracking::{Tracking, TrackingSettings};
pub use uncached::{Uncached, reserve};
pub use write_back::write_back_while;
pub use writer::{CaptureWriter, Chunking, FileContent, WriteError};
