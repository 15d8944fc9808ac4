//! Which messages go next, and how long a lane waits after a failure. Pure.

use std::collections::HashMap;
use std::time::Duration;

use job_model::JobId;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::outbox::OutboxRow;

/// Messages that leave in order.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Lane {
    Subject(String),
    Job(JobId),
}

/// A row that is to be published.
#[derive(Clone, Debug)]
pub(crate) struct Pending {
    pub(crate) lane: Lane,
    pub(crate) row: OutboxRow,
}

/// How fast a kind of failure is tried again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    first: Duration,
    longest: Duration,
}

/// A subject with an open message; it is free as soon as that one is settled, so the wait stays short.
pub(crate) const BUSY: Pace = Pace { first: Duration::from_millis(200), longest: Duration::from_secs(5) };

/// A bus that is away or says no.
pub(crate) const AWAY: Pace = Pace { first: Duration::from_millis(200), longest: Duration::from_secs(30) };

/// A lane that was free for this long without failing again begins anew.
const FORGET: Duration = Duration::from_secs(60);

/// The delay after the given number of failures in a row: doubling, half of it random, so that services which lost the same
/// bus do not come back at the same instant.
pub(crate) fn delay(pace: Pace, failures: u32, random: u64) -> Duration {
    let doubled = pace.first.saturating_mul(1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX));
    let full = doubled.min(pace.longest);
    let half = full / 2;
    let jitter = u64::try_from(half.as_micros()).unwrap_or(u64::MAX).saturating_add(1);
    half + Duration::from_micros(random % jitter)
}

/// The lanes that wait.
#[derive(Debug, Default)]
pub(crate) struct Waits {
    lanes: HashMap<Lane, Wait>,
}

#[derive(Debug)]
struct Wait {
    failures: u32,
    until: Instant,
}

impl Waits {
    /// A message of the lane was published.
    pub(crate) fn succeeded(&mut self, lane: &Lane) {
        self.lanes.remove(lane);
    }

    /// A message of the lane was not published; returns how long the lane waits.
    pub(crate) fn failed(&mut self, lane: Lane, pace: Pace, now: Instant, random: u64) -> Duration {
        let wait = self.lanes.entry(lane).or_insert(Wait { failures: 0, until: now });
        wait.failures = wait.failures.saturating_add(1);
        let delay = delay(pace, wait.failures, random);
        wait.until = now + delay;
        delay
    }

    /// The lanes that may not go yet.
    pub(crate) fn held(&self, now: Instant) -> std::collections::HashSet<Lane> {
        self.lanes.iter().filter(|(_, wait)| wait.until > now).map(|(lane, _)| lane.clone()).collect()
    }

    /// When the first of the lanes that wait may go.
    pub(crate) fn next_due(&self, now: Instant) -> Option<Instant> {
        self.lanes.values().map(|wait| wait.until).filter(|until| *until > now).min()
    }

    /// Forgets lanes that were free for long: their rows were confirmed meanwhile.
    pub(crate) fn forget(&mut self, now: Instant) {
        self.lanes.retain(|_, wait| wait.until + FORGET > now);
    }
}

/// Puts messages into their lanes, in order.
pub(crate) fn into_lanes(pending: Vec<Pending>) -> Vec<(Lane, Vec<OutboxRow>)> {
    let mut position = HashMap::new();
    let mut lanes: Vec<(Lane, Vec<OutboxRow>)> = Vec::new();
    for Pending { lane, row } in pending {
        let at = *position.entry(lane.clone()).or_insert_with(|| {
            lanes.push((lane, Vec::new()));
            lanes.len() - 1
        });
        lanes[at].1.push(row);
    }
    lanes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_stay_within_half_and_all_of_it_and_are_bounded() {
        for failures in 1..200 {
            for random in [0, 1, 12_345_678, u64::MAX] {
                let full = AWAY.first.saturating_mul(2_u32.saturating_pow(failures - 1)).min(AWAY.longest);
                let delay = delay(AWAY, failures, random);
                assert!(delay >= full / 2 && delay <= full, "{failures} {random} {delay:?}");
            }
        }
    }

    #[test]
    fn a_lane_waits_and_is_free_after_its_delay_or_a_success() {
        let (now, lane) = (Instant::now(), Lane::Subject("s".to_owned()));
        let mut waits = Waits::default();
        let delay = waits.failed(lane.clone(), BUSY, now, 7);
        assert!(waits.held(now).contains(&lane));
        assert_eq!(waits.next_due(now), Some(now + delay));
        assert!(waits.held(now + delay).is_empty());
        waits.failed(lane.clone(), BUSY, now, 7);
        waits.succeeded(&lane);
        assert!(waits.held(now).is_empty());
    }
}
