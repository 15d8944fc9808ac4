//! What the gauges of all followers of a worker show: the worst of them.
//!
//! A gauge for each resource would be a series for each of them, in every store of metrics; which one it is stands in the
//! facts, the notices and the log.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use job_model::{Arn, Region};
use telemetry::KeyValue;

/// How one followed resource does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Reading {
    /// Bytes that are not durable in the vault yet.
    pub(super) lag_bytes: u64,
    /// What the newest bytes took until they were durable, in milliseconds.
    pub(super) delay_ms: u64,
    /// Bytes of log that the resource keeps for its follower.
    pub(super) retained_bytes: u64,
    /// Whether it is about to give up log that was not received, or has.
    pub(super) is_in_danger: bool,
    /// Length of what can be restored to any second; none while it is not known.
    pub(super) window_seconds: Option<u64>,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Gauges(Mutex<BTreeMap<Arn, Reading>>);

impl Gauges {
    /// Notes what is new of one resource and shows the worst of all.
    pub(super) fn note(&self, region: &Region, resource: &Arn, change: impl FnOnce(&mut Reading)) {
        let mut readings = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        change(readings.entry(resource.clone()).or_default());
        show(region, worst(readings.values()));
    }

    /// The resource is followed here no more.
    pub(super) fn forget(&self, region: &Region, resource: &Arn) {
        let mut readings = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        readings.remove(resource);
        show(region, worst(readings.values()));
    }
}

/// The largest of what should be small, and the smallest window.
fn worst<'a>(readings: impl Iterator<Item = &'a Reading>) -> Reading {
    readings.fold(Reading::default(), |worst, reading| Reading {
        lag_bytes: worst.lag_bytes.max(reading.lag_bytes),
        delay_ms: worst.delay_ms.max(reading.delay_ms),
        retained_bytes: worst.retained_bytes.max(reading.retained_bytes),
        is_in_danger: worst.is_in_danger || reading.is_in_danger,
        window_seconds: [worst.window_seconds, reading.window_seconds].into_iter().flatten().min(),
    })
}

fn show(region: &Region, reading: Reading) {
    let attributes = [KeyValue::new("region", region.to_string())];
    let metrics = telemetry::metrics();
    metrics.follow_lag_bytes.record(reading.lag_bytes, &attributes);
    metrics.follow_delay.record(reading.delay_ms, &attributes);
    metrics.follow_retained_bytes.record(reading.retained_bytes, &attributes);
    metrics.follow_in_danger.record(u64::from(reading.is_in_danger), &attributes);
    if let Some(seconds) = reading.window_seconds {
        metrics.follow_window.record(seconds, &attributes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_of_all_is_shown() {
        let fine = Reading { lag_bytes: 1, delay_ms: 90, window_seconds: Some(600), ..Reading::default() };
        let behind =
            Reading { lag_bytes: 7, delay_ms: 20, retained_bytes: 9, is_in_danger: true, window_seconds: Some(60) };
        let unknown = Reading::default();
        let shown = worst([fine, behind, unknown].iter());
        let wanted =
            Reading { lag_bytes: 7, delay_ms: 90, retained_bytes: 9, is_in_danger: true, window_seconds: Some(60) };
        assert_eq!(shown, wanted);
        assert_eq!(worst(std::iter::empty()), Reading::default());
    }
}
