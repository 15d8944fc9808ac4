//! Time as an argument: the system's, or one that tests turn by hand.

use std::fmt::Debug;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;

/// The longest single sleep towards an instant of the wall clock: an adjusted clock or a machine that was suspended is
/// noticed within it.
const WALL_CLOCK_GLANCE: Duration = Duration::from_secs(10);

/// Tells the time and waits for it.
#[async_trait]
pub trait Clock: Debug + Send + Sync {
    /// The wall clock. May jump.
    fn now(&self) -> Timestamp;

    /// Milliseconds since some fixed point of this process. Never jumps, never goes back.
    fn elapsed_ms(&self) -> u64;

    /// Waits for a span of monotonic time. Cancellation-safe.
    async fn sleep(&self, duration: Duration);

    /// Waits until the wall clock shows the instant or a later one. Cancellation-safe.
    async fn sleep_until(&self, instant: Timestamp);
}

/// The operating system's clocks.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock {
    started: Instant,
}

impl SystemClock {
    /// Starts counting.
    #[must_use]
    pub fn new() -> Self {
        Self { started: Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is where the time comes from")]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }

    async fn sleep_until(&self, instant: Timestamp) {
        loop {
            let left = instant.duration_since(self.now());
            let Ok(left) = Duration::try_from(left) else { return };
            if left.is_zero() {
                return;
            }
            tokio::time::sleep(left.min(WALL_CLOCK_GLANCE)).await;
        }
    }
}

/// What a [`ManualClock`] shows.
#[derive(Clone, Copy, Debug)]
struct Hands {
    wall: Timestamp,
    elapsed: Duration,
}

/// A clock that stands still until it is turned; wakes its sleepers when it is.
#[derive(Debug)]
pub struct ManualClock {
    hands: watch::Sender<Hands>,
}

impl ManualClock {
    /// A clock that shows the instant.
    #[must_use]
    pub fn new(wall: Timestamp) -> Self {
        Self { hands: watch::Sender::new(Hands { wall, elapsed: Duration::ZERO }) }
    }

    /// Lets time pass: both clocks move.
    ///
    /// # Panics
    /// When the wall clock would leave the range of [`Timestamp`] (year 9999).
    pub fn advance(&self, duration: Duration) {
        self.hands.send_modify(|hands| {
            hands.elapsed += duration;
            hands.wall += SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX);
        });
    }

    /// Sets the wall clock, forwards or back; the monotonic one stays.
    pub fn set_wall(&self, wall: Timestamp) {
        self.hands.send_modify(|hands| hands.wall = wall);
    }

    /// How many sleepers wait. Tests turn the clock once those they mean are asleep.
    #[must_use]
    pub fn sleepers(&self) -> usize {
        self.hands.receiver_count()
    }

    async fn wait(&self, arrived: impl FnMut(&Hands) -> bool) {
        // The sender lives in `self`, so the channel cannot close while somebody waits.
        let _ = self.hands.subscribe().wait_for(arrived).await;
    }
}

#[async_trait]
impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        self.hands.borrow().wall
    }

    fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.hands.borrow().elapsed.as_millis()).unwrap_or(u64::MAX)
    }

    async fn sleep(&self, duration: Duration) {
        let until = self.hands.borrow().elapsed + duration;
        self.wait(|hands| hands.elapsed >= until).await;
    }

    async fn sleep_until(&self, instant: Timestamp) {
        self.wait(|hands| hands.wall >= instant).await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    async fn asleep(clock: &ManualClock, count: usize) {
        while clock.sleepers() < count {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_sleeper_wakes_when_enough_time_was_let_pass_and_not_before() {
        let clock = Arc::new(ManualClock::new(Timestamp::UNIX_EPOCH));
        let sleeper = tokio::spawn({
            let clock = clock.clone();
            async move { clock.sleep(Duration::from_secs(10)).await }
        });
        asleep(&clock, 1).await;
        clock.advance(Duration::from_secs(9));
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert!(!sleeper.is_finished());
        clock.advance(Duration::from_secs(1));
        sleeper.await.unwrap();
        assert_eq!(clock.elapsed_ms(), 10_000);
        assert_eq!(clock.now(), Timestamp::from_second(10).unwrap());
    }

    #[tokio::test]
    async fn setting_the_wall_clock_wakes_those_who_wait_for_an_instant_only() {
        let clock = Arc::new(ManualClock::new(Timestamp::UNIX_EPOCH));
        let by_wall = tokio::spawn({
            let clock = clock.clone();
            async move { clock.sleep_until(Timestamp::from_second(60).unwrap()).await }
        });
        let by_span = tokio::spawn({
            let clock = clock.clone();
            async move { clock.sleep(Duration::from_secs(60)).await }
        });
        asleep(&clock, 2).await;
        clock.set_wall(Timestamp::from_second(61).unwrap());
        by_wall.await.unwrap();
        assert!(!by_span.is_finished());
        clock.advance(Duration::from_secs(60));
        by_span.await.unwrap();
    }

    #[tokio::test]
    async fn an_instant_in_the_past_is_not_waited_for() {
        SystemClock::new().sleep_until(Timestamp::UNIX_EPOCH).await;
    }
}
