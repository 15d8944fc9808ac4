//! The driver trait.

use std::path::PathBuf;

use job_model::ResourceType;

use crate::{Capture, CaptureRequest, Check, CheckRequest, DriverError, RestoreRequest, Restored};

/// What a probe found out before the schedule does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Probe {
    /// Size of the resource in bytes, where it is cheap to know.
    pub size_bytes: Option<u64>,
    /// Things that will go wrong or be missing, each with its mend.
    pub warnings: Vec<String>,
}

/// One kind of resource.
pub trait Driver: Send + Sync {
    /// The type it is for.
    fn resource_type(&self) -> ResourceType;

    /// Whether the resource can be reached and what may go wrong.
    ///
    /// # Errors
    /// When a capture could not even begin.
    fn probe(&self, location: &str) -> Result<Probe, DriverError>;

    /// Captures the resource into the writer. May be repeated after a crash: what was stored before is found by
    /// deduplication, and nothing is visible until the service commits the snapshot.
    ///
    /// # Errors
    /// When the resource as a whole cannot be captured; single entries that cannot go into `exceptions`.
    fn capture(&self, request: CaptureRequest<'_>) -> Result<Capture, DriverError>;

    /// Removes what a capture left beside the resource: [`crate::Capture::remains`] of one that is no longer needed, or what
    /// [`crate::Tracking::intend`] was told by one that never came to its end. What is gone already is success.
    ///
    /// # Errors
    /// When something is still there; it is tried again.
    fn discard(&self, remains: &serde_json::Value) -> Result<(), DriverError> {
        let _nothing_is_ever_left = remains;
        Ok(())
    }

    /// Restores into the target. May be repeated after a crash with the same request: it goes on where it was. What is
    /// damaged in the vault is found before anything that exists is overwritten.
    ///
    /// # Errors
    /// When it cannot be completed; the target then holds what was written so far and says so.
    fn restore(&self, request: RestoreRequest<'_>) -> Result<Restored, DriverError>;

    /// The place beside the target where [`Driver::restore`] builds what does not exist yet, until it is whole: the same
    /// for each repetition of the request. Whoever gives the restore up removes it; mostly there is nothing.
    fn staging(&self, request: &RestoreRequest<'_>) -> PathBuf;

    /// Compares what was restored with what was captured.
    ///
    /// # Errors
    /// When the comparison cannot be made; differences are findings.
    fn check(&self, request: CheckRequest<'_>) -> Result<Check, DriverError>;
}
