//! How many requests an access key may make: a bucket that fills at a steady rate. Pure: time is an argument.

use std::collections::HashMap;

use parking_lot::Mutex;

/// Buckets by access key. Only keys of the configuration come here, so there is no need to forget any.
#[derive(Debug)]
pub(crate) struct Throttle {
    per_second: f64,
    buckets: Mutex<HashMap<String, Bucket>>,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    tokens: f64,
    at_ms: u64,
}

impl Throttle {
    /// So many a second, and as many at once after a pause of two seconds.
    pub(crate) fn new(per_second: u32) -> Self {
        Self { per_second: f64::from(per_second), buckets: Mutex::default() }
    }

    /// Whether one more is allowed at this instant of a monotonic clock.
    #[expect(clippy::cast_precision_loss, reason = "milliseconds between requests are small numbers")]
    pub(crate) fn allows(&self, key: &str, now_ms: u64) -> bool {
        let most = self.per_second * 2.0;
        let mut buckets = self.buckets.lock();
        let bucket = buckets.entry(key.to_owned()).or_insert(Bucket { tokens: most, at_ms: now_ms });
        let passed = now_ms.saturating_sub(bucket.at_ms) as f64 / 1000.0;
        bucket.tokens = (bucket.tokens + passed * self.per_second).min(most);
        bucket.at_ms = now_ms;
        let allowed = bucket.tokens >= 1.0;
        if allowed {
            bucket.tokens -= 1.0;
        }
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_taken_then_the_rate_holds_for_each_key_alone() {
        let throttle = Throttle::new(10);
        let taken = (0..100).filter(|_| throttle.allows("a", 0)).count();
        assert_eq!(taken, 20);
        assert!(throttle.allows("b", 0));
        assert!(!throttle.allows("a", 50));
        assert!(throttle.allows("a", 160));
        assert_eq!((0..100).filter(|_| throttle.allows("a", 10_160)).count(), 20);
    }
}
