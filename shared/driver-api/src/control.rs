//! How a running driver is stopped and watched.

use job_model::Progress;

/// Given to every long operation. Implementations are cheap and may be called from many threads.
pub trait Control: Send + Sync {
    /// Whether the work must end now: somebody asked for it, or the worker lost its lease. Checked before every side
    /// effect and at least once for every few megabytes.
    fn is_stopped(&self) -> bool;

    /// Adds to the counts. Only the differences are given; what the work waits for is said anew each time.
    fn advance(&self, difference: Progress);
}

/// Never stops and watches nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoControl;

impl Control for NoControl {
    fn is_stopped(&self) -> bool {
        false
    }

    fn advance(&self, _difference: Progress) {}
}
