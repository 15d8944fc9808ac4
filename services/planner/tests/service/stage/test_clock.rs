//! The system's clock, which a test can turn forwards: everybody who sleeps through the turned time wakes.

use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use service_host::{Clock, SystemClock};

/// How long until a sleeper notices that the clock was turned.
const NOTICE: Duration = Duration::from_millis(20);

#[derive(Debug, Default)]
pub(crate) struct TestClock {
    system: SystemClock,
    turned: Mutex<Duration>,
}

impl TestClock {
    pub(crate) fn advance(&self, by: Duration) {
        *self.turned.lock().unwrap() += by;
    }

    fn turned(&self) -> Duration {
        *self.turned.lock().unwrap()
    }
}

#[async_trait]
impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        self.system.now() + SignedDuration::try_from(self.turned()).unwrap()
    }

    fn elapsed_ms(&self) -> u64 {
        self.system.elapsed_ms() + u64::try_from(self.turned().as_millis()).unwrap()
    }

    async fn sleep(&self, duration: Duration) {
        let until = self.elapsed_ms() + u64::try_from(duration.as_millis()).unwrap();
        while self.elapsed_ms() < until {
            let left = Duration::from_millis(until.saturating_sub(self.elapsed_ms()));
            self.system.sleep(left.min(NOTICE)).await;
        }
    }

    async fn sleep_until(&self, instant: Timestamp) {
        while self.now() < instant {
            self.system.sleep(NOTICE).await;
        }
    }
}
