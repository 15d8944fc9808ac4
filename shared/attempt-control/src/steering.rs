//! The adapter from an attempt to what drivers and the engine are given.

use std::sync::Arc;

use driver_api::Control;
use job_model::Progress;
use order_runner::AttemptControl;

use crate::WorkError;

/// Stops drivers when the attempt is stopped, and counts for it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Steering(Arc<AttemptControl>);

impl Steering {
    /// Steers for the attempt.
    #[must_use]
    pub fn new(control: Arc<AttemptControl>) -> Self {
        Self(control)
    }

    /// Right before a side effect: whether the attempt still holds its lease and was not told to stop.
    ///
    /// # Errors
    /// [`WorkError::Stopped`] when the effect must not happen.
    pub fn guard(&self) -> Result<(), WorkError> {
        self.0.guard().map_err(|_| WorkError::Stopped)?;
        if self.0.is_stopped() { Err(WorkError::Stopped) } else { Ok(()) }
    }

    /// Counts so far.
    #[must_use]
    pub fn progress(&self) -> Progress {
        self.0.progress()
    }
}

impl Control for Steering {
    fn is_stopped(&self) -> bool {
        self.0.is_stopped()
    }

    fn advance(&self, difference: Progress) {
        self.0.advance(difference);
    }
}
