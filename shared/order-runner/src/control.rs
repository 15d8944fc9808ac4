//! How running work is stopped, watched, and kept from acting without its lease.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use job_bus::uptime;
use job_model::Progress;
use tokio_util::sync::CancellationToken;

use crate::failpoint;

/// Why work has to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// Somebody asked for it.
    Requested,
    /// The order's deadline passed.
    DeadlinePassed,
    /// The lease or the delivery is lost; another worker may be at it.
    LostLease,
    /// The process ends; another worker goes on.
    Shutdown,
}

impl fmt::Display for StopReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Requested => "a stop was asked for",
            Self::DeadlinePassed => "the order's deadline passed",
            Self::LostLease => "the lease is lost",
            Self::Shutdown => "the worker ends",
        })
    }
}

/// The side effect must not be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this attempt may not act any more: {reason}")]
pub struct LostLease {
    /// Why.
    pub reason: StopReason,
}

/// Shared by the work, which asks, and the runner, which tells. Cheap; may be used from any thread.
#[derive(Debug)]
pub struct AttemptControl {
    stopped: CancellationToken,
    reason: Mutex<Option<StopReason>>,
    progress: Mutex<Progress>,
    /// Milliseconds of [`uptime`] at which the lease runs out, the margin taken off already.
    act_until_ms: AtomicU64,
}

impl AttemptControl {
    /// For work outside of a runner, in tests: nothing stops it but [`AttemptControl::stop`].
    #[must_use]
    pub fn unleased() -> Self {
        Self::new(Duration::MAX)
    }

    pub(crate) fn new(act_until: Duration) -> Self {
        Self {
            stopped: CancellationToken::new(),
            reason: Mutex::new(None),
            progress: Mutex::new(Progress::default()),
            act_until_ms: AtomicU64::new(milliseconds(act_until)),
        }
    }

    /// Whether the work has to end. Asked at least once for every few megabytes.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.stop_reason().is_some()
    }

    /// Why the work has to end; the first reason counts, but a lost lease overrules all.
    #[must_use]
    pub fn stop_reason(&self) -> Option<StopReason> {
        if milliseconds(uptime()) >= self.act_until_ms.load(Ordering::Acquire) {
            // Noticed here first when the whole process stood still.
            return Some(StopReason::LostLease);
        }
        *self.reason.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends when the work has to stop. A process that stood still finds out by [`AttemptControl::guard`].
    pub async fn stopped(&self) {
        self.stopped.cancelled().await;
    }

    /// Tells the work to stop.
    pub fn stop(&self, reason: StopReason) {
        {
            let mut known = self.reason.lock().unwrap_or_else(PoisonError::into_inner);
            if known.is_none() || reason == StopReason::LostLease {
                *known = Some(reason);
            }
        }
        self.stopped.cancel();
    }

    /// Whether a side effect may be made now: the lease is certainly still this attempt's. Asked right before each.
    ///
    /// # Errors
    /// When the lease is lost or so close to its end that an effect could come too late.
    pub fn guard(&self) -> Result<(), LostLease> {
        match self.stop_reason() {
            // Work that was asked to stop may still clean up after itself.
            None | Some(StopReason::Requested | StopReason::DeadlinePassed | StopReason::Shutdown) => Ok(()),
            Some(reason @ StopReason::LostLease) => Err(LostLease { reason }),
        }
    }

    /// Adds to the counts. Totals that are given replace those known. What the work waits for is what was said last: whoever
    /// counts gets on.
    pub fn advance(&self, difference: Progress) {
        failpoint::at_a_piece();
        let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        progress.bytes_total = difference.bytes_total.or(progress.bytes_total);
        progress.items_total = difference.items_total.or(progress.items_total);
        progress.bytes_done = progress.bytes_done.saturating_add(difference.bytes_done);
        progress.bytes_read = progress.bytes_read.saturating_add(difference.bytes_read);
        progress.bytes_new = progress.bytes_new.saturating_add(difference.bytes_new);
        progress.bytes_stored = progress.bytes_stored.saturating_add(difference.bytes_stored);
        progress.items_done = progress.items_done.saturating_add(difference.items_done);
        progress.waits_for = difference.waits_for;
    }

    /// The counts so far.
    #[must_use]
    pub fn progress(&self) -> Progress {
        *self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The lease was renewed.
    pub(crate) fn act_until(&self, uptime: Duration) {
        self.act_until_ms.store(milliseconds(uptime), Ordering::Release);
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_reason_counts_and_a_lost_lease_overrules_it() {
        let control = AttemptControl::unleased();
        assert_eq!(control.stop_reason(), None);
        control.stop(StopReason::Requested);
        control.stop(StopReason::DeadlinePassed);
        assert_eq!(control.stop_reason(), Some(StopReason::Requested));
        assert!(control.guard().is_ok(), "it may clean up");
        control.stop(StopReason::LostLease);
        assert_eq!(control.guard().unwrap_err().reason, StopReason::LostLease);
    }

    #[test]
    fn a_lease_that_ran_out_is_noticed_without_being_told() {
        let control = AttemptControl::new(uptime());
        assert_eq!(control.stop_reason(), Some(StopReason::LostLease));
        assert!(control.guard().is_err());
        control.act_until(uptime() + Duration::from_secs(60));
        assert!(control.guard().is_ok());
    }

    #[test]
    fn counts_add_up_and_totals_are_replaced() {
        let control = AttemptControl::unleased();
        control.advance(Progress { bytes_total: Some(100), bytes_done: 10, items_done: 1, ..Progress::default() });
        control.advance(Progress { bytes_done: 5, bytes_stored: 2, ..Progress::default() });
        let progress = control.progress();
        assert_eq!((progress.bytes_total, progress.bytes_done, progress.bytes_stored), (Some(100), 15, 2));
        assert_eq!(progress.items_done, 1);
    }

    #[test]
    fn work_that_counts_does_not_wait_any_more() {
        let control = AttemptControl::unleased();
        let waits_for = Some(job_model::WaitsFor::Checkpoint);
        control.advance(Progress { waits_for, ..Progress::default() });
        assert_eq!(control.progress().waits_for, waits_for);
        control.advance(Progress { bytes_done: 5, ..Progress::default() });
        assert_eq!(control.progress(), Progress { bytes_done: 5, ..Progress::default() });
    }
}
