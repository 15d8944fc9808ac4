//! Stops a follower when it is told to, and when its lease may have become somebody else's.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use driver_api::Control;
use job_bus::uptime;
use job_model::Progress;

/// How long a wait sleeps before it looks whether it is over.
const LOOK: Duration = Duration::from_millis(50);

#[derive(Debug, Default)]
pub(crate) struct FollowControl {
    stopped: AtomicBool,
    /// Milliseconds of [`uptime`] until which the lease is certainly held, the margin taken off already.
    act_until_ms: AtomicU64,
}

impl FollowControl {
    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
    }

    pub(crate) fn act_until(&self, uptime: Duration) {
        self.act_until_ms.store(u64::try_from(uptime.as_millis()).unwrap_or(u64::MAX), Ordering::Release);
    }

    /// Waits, unless it is stopped before.
    pub(crate) fn wait(&self, how_long: Duration) {
        let until = uptime() + how_long;
        while uptime() < until && !self.is_stopped() {
            std::thread::sleep(LOOK.min(until.saturating_sub(uptime())));
        }
    }
}

impl Control for FollowControl {
    fn is_stopped(&self) -> bool {
        let now = u64::try_from(uptime().as_millis()).unwrap_or(u64::MAX);
        self.stopped.load(Ordering::Acquire) || now >= self.act_until_ms.load(Ordering::Acquire)
    }

    fn advance(&self, _difference: Progress) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_that_ran_out_stops_without_being_told() {
        let control = FollowControl::default();
        assert!(control.is_stopped(), "no lease yet");
        control.act_until(uptime() + Duration::from_secs(60));
        assert!(!control.is_stopped());
        control.stop();
        assert!(control.is_stopped());
    }
}
