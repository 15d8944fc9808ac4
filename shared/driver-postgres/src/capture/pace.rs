//! Keeps the reading of a server's files below a rate.

use std::time::{Duration, Instant};

use driver_api::{Control, DriverError};
use parking_lot::Mutex;

/// How often a reader that waits looks whether it is to stop.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// When so much may be done, of whatever is counted: bytes, or nanoseconds of a processor. What was not done is not made up
/// for: a capture that waited for its vault reads no faster afterwards.
#[derive(Debug)]
pub(super) struct Schedule {
    per_second: u64,
    /// When all that was allowed so far is done at that rate.
    free_at: Duration,
}

impl Schedule {
    pub(super) fn new(per_second: u64) -> Self {
        Self { per_second, free_at: Duration::ZERO }
    }

    /// Another rate, for what is asked from now on.
    pub(super) fn set(&mut self, per_second: u64) {
        self.per_second = per_second;
    }

    /// How long to wait at `now`, since whenever, until so much may be done. It counts as done then.
    pub(super) fn wait(&mut self, now: Duration, amount: u64) -> Duration {
        let nanos = u128::from(amount) * 1_000_000_000 / u128::from(self.per_second.max(1));
        let takes = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        let begin = self.free_at.max(now);
        self.free_at = begin.saturating_add(takes);
        begin.saturating_sub(now)
    }
}

/// How fast files are read, by all threads together.
#[derive(Debug)]
pub(super) struct Pace {
    schedule: Option<Mutex<Schedule>>,
    began: Instant,
}

impl Pace {
    /// So many bytes in a second at most; without a number there is nothing to wait for.
    pub(super) fn new(bytes_per_second: Option<u64>) -> Self {
        let schedule = bytes_per_second.map(|rate| Mutex::new(Schedule::new(rate)));
        Self { schedule, began: Instant::now() }
    }

    /// Waits until so many bytes may be read.
    ///
    /// # Errors
    /// When the work is told to stop meanwhile.
    pub(super) fn wait(&self, bytes: u64, control: &dyn Control) -> Result<(), DriverError> {
        let Some(schedule) = &self.schedule else { return Ok(()) };
        let wait = schedule.lock().wait(self.began.elapsed(), bytes);
        sleep(wait, control)
    }
}

/// Sleeps so long.
///
/// # Errors
/// When the work is told to stop meanwhile.
pub(super) fn sleep(wait: Duration, control: &dyn Control) -> Result<(), DriverError> {
    let began = Instant::now();
    loop {
        if control.is_stopped() {
            return Err(DriverError::Stopped);
        }
        let left = wait.saturating_sub(began.elapsed());
        if left.is_zero() {
            return Ok(());
        }
        std::thread::sleep(left.min(LOOK_EVERY));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn bytes_are_allowed_at_the_rate_whoever_reads_them() {
        let mut schedule = Schedule::new(1000);
        assert_eq!(schedule.wait(Duration::ZERO, 500), Duration::ZERO);
        // Another thread at the same time, and the first one when its part is through early.
        assert_eq!(schedule.wait(Duration::ZERO, 1000), SECOND / 2);
        assert_eq!(schedule.wait(SECOND / 4, 250), SECOND + SECOND / 4);
        assert_eq!(schedule.wait(SECOND * 7 / 4, 1), Duration::ZERO);
    }

    #[test]
    fn another_rate_is_for_what_is_asked_later() {
        let mut schedule = Schedule::new(1000);
        schedule.wait(Duration::ZERO, 1000);
        schedule.set(100);
        assert_eq!(schedule.wait(Duration::ZERO, 100), SECOND);
        assert_eq!(schedule.wait(SECOND, 1), SECOND);
    }

    #[test]
    fn what_was_not_read_in_time_is_not_made_up_for() {
        let mut schedule = Schedule::new(1000);
        schedule.wait(Duration::ZERO, 1000);
        assert_eq!(schedule.wait(SECOND * 60, 1000), Duration::ZERO);
        assert_eq!(schedule.wait(SECOND * 60, 1000), SECOND);
    }

    #[test]
    fn numbers_of_any_size_are_allowed() {
        let mut schedule = Schedule { per_second: 0, free_at: Duration::MAX };
        assert_eq!(schedule.wait(SECOND, u64::MAX), Duration::MAX - SECOND);
        assert_eq!(schedule.wait(Duration::MAX, u64::MAX), Duration::ZERO);
    }

    #[test]
    fn a_reader_that_waits_is_stopped() {
        struct Stopped;
        impl Control for Stopped {
            fn is_stopped(&self) -> bool {
                true
            }
            fn advance(&self, _difference: job_model::Progress) {}
        }
        let pace = Pace::new(Some(1));
        assert!(matches!(pace.wait(1 << 20, &Stopped), Err(DriverError::Stopped)));
        assert!(Pace::new(None).wait(u64::MAX, &Stopped).is_ok(), "without a rate nobody waits");
    }
}
