//! What a capture is given to find changes without reading everything.

use std::path::PathBuf;

use crate::DriverError;

/// What the service keeps for a driver between the captures of one resource into one vault, and what a driver tells the
/// service while it makes something that must not be forgotten. What such things are is the driver's own business.
///
/// The order of events: [`intend`](Self::intend), make it, [`view_taken`](Self::view_taken), read, return it as
/// [`Capture::remains`](crate::Capture::remains). The service keeps that when the recovery point is committed, and only
/// then discards what it kept for the parent.
pub trait Tracking: Send + Sync {
    /// What the capture that made the parent left, and nobody else's. None when that is not known here: it was another
    /// worker, the state was rebuilt, or nothing was left.
    fn base(&self) -> Option<&serde_json::Value>;

    /// A name of letters, digits and `-` that no other attempt has had or will have, for what is made.
    fn name(&self) -> &str;

    /// What the operator wants.
    fn settings(&self) -> &TrackingSettings;

    /// Durably remembers that this is going to be made, before it is. What is remembered and never returned as `remains` of
    /// a committed recovery point is given to [`Driver::discard`](crate::Driver::discard). A second call replaces the
    /// first.
    ///
    /// # Errors
    /// When it cannot be remembered; it must not be made then.
    fn intend(&self, remains: &serde_json::Value) -> Result<(), DriverError>;

    /// The capture reads from something that nobody writes any more: what was brought to rest may go on.
    ///
    /// # Errors
    /// When it could not be brought to life again.
    fn view_taken(&self) -> Result<(), DriverError>;
}

/// What an operator wants of clones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrackingSettings {
    /// Where they shall lie: the first directory on the same file system as the resource is taken, else a hidden one beside
    /// the resource.
    pub directories: Vec<PathBuf>,
    /// None is made while less of the file system is free, in percent of all of it: what a clone keeps from being freed
    /// grows with what is written.
    pub min_free_percent: u64,
}

impl std::fmt::Debug for dyn Tracking + '_ {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tracking").field("name", &self.name()).finish_non_exhaustive()
    }
}
