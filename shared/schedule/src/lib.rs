//! AWS cron expressions in a time zone: when the next run is, and which runs were missed.
//!
//! Pure: no clock, no I/O but the time zone database that `jiff` reads. The grammar is that of AWS EventBridge and AWS
//! Backup (`cron(minutes hours day-of-month month day-of-week year)`), with the five-field form of Unix beside it. It is
//! read and evaluated here rather than by `croner`, whose numbering of weekdays, lone `L` in the day-of-week field and
//! `a/b` steps differ from AWS's and whose errors do not name the field; `croner` is the referee of the tests where both
//! agree on the meaning.
//!
//! # Changes of the clock
//!
//! Fields are matched on local time. A local time that a change of the clock skips stands for the first valid instant
//! after it; one that is repeated stands for its first occurrence and runs once. A schedule with several times in a
//! skipped hour therefore runs once at its end, and nothing of a schedule runs in the second pass of a repeated hour.

mod calendar;
mod cron;
mod error;
mod field;
mod spread;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone};

pub use cron::Cron;
pub use error::{Part, ScheduleError};
pub use spread::spread;

/// The schedule AWS gives a rule that names none: every day at five.
pub const DEFAULT_EXPRESSION: &str = "cron(0 5 ? * * *)";

/// A cron expression in a time zone.
#[derive(Clone, Debug)]
pub struct Schedule {
    cron: Cron,
    zone: TimeZone,
}

/// Instants of a schedule that have come since it was last served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    /// The last of them: the one to run now.
    pub at: Timestamp,
    /// How many came, at least 1; [`u32::MAX`] stands for that many or more.
    pub passed: u32,
}

impl Due {
    /// How many came and will never run, because only the last one is caught up.
    #[must_use]
    pub const fn missed(&self) -> u32 {
        self.passed.saturating_sub(1)
    }
}

impl Schedule {
    /// Reads an expression and a time zone (IANA name; `UTC` for Coordinated Universal Time).
    ///
    /// # Errors
    /// When either cannot be used; the error names the field of the expression.
    pub fn parse(expression: &str, time_zone: &str) -> Result<Self, ScheduleError> {
        let cron = Cron::parse(expression)?;
        let zone = TimeZone::get(time_zone).map_err(|_| {
            ScheduleError::new(
                Part::TimeZone,
                time_zone,
                "is not a known IANA name; write one such as `Asia/Tokyo` or `UTC`",
            )
        })?;
        Ok(Self { cron, zone })
    }

    /// The first instant of the schedule after `instant`; none when its years are over.
    #[must_use]
    pub fn next_after(&self, instant: Timestamp) -> Option<Timestamp> {
        // Local times map to instants without ever going back, so nothing before the local time of `instant` can come
        // after it. Those equal to it, or repeated, map to `instant` or earlier and are passed over.
        let mut from = instant.to_zoned(self.zone.clone()).datetime();
        loop {
            let local = self.cron.next_at_or_after(from)?;
            let candidate = self.instant_of(local)?;
            if candidate > instant {
                return Some(candidate);
            }
            from = local.checked_add(jiff::Span::new().minutes(1)).ok()?;
        }
    }

    /// The instants after `last` and not after `now`: how many, and the last of them. None when there are none.
    #[must_use]
    pub fn due_since(&self, last: Timestamp, now: Timestamp) -> Option<Due> {
        /// Beyond this many the exact number interests nobody.
        const COUNTED: u32 = 100_000;
        let mut at = self.next_after(last).filter(|at| *at <= now)?;
        let mut passed = 1_u32;
        while let Some(next) = self.next_after(at).filter(|at| *at <= now) {
            at = next;
            passed += 1;
            if passed == COUNTED {
                return Some(Due { at: self.latest(at, now), passed: u32::MAX });
            }
        }
        Some(Due { at, passed })
    }

    /// The next `count` instants after `instant`.
    #[must_use]
    pub fn upcoming(&self, instant: Timestamp, count: usize) -> Vec<Timestamp> {
        std::iter::successors(self.next_after(instant), |at| self.next_after(*at)).take(count).collect()
    }

    /// The last instant not after `now`, given one that is not.
    fn latest(&self, known: Timestamp, now: Timestamp) -> Timestamp {
        let mut back_hours = 1_i64;
        let mut at = loop {
            let start = now.checked_sub(jiff::SignedDuration::from_hours(back_hours)).unwrap_or(known);
            if start <= known {
                break known;
            }
            if let Some(found) = self.next_after(start).filter(|at| *at <= now) {
                break found;
            }
            back_hours *= 2;
        };
        while let Some(next) = self.next_after(at).filter(|at| *at <= now) {
            at = next;
        }
        at
    }

    /// The instant a local time stands for; none only at the end of the calendar.
    fn instant_of(&self, local: DateTime) -> Option<Timestamp> {
        let ambiguous = self.zone.to_ambiguous_timestamp(local);
        match ambiguous.offset() {
            AmbiguousOffset::Unambiguous { .. } => ambiguous.compatible().ok(),
            AmbiguousOffset::Fold { .. } => ambiguous.earlier().ok(),
            // A little before the local time by the offset after the gap lies before the change; the next change after
            // it is the end of the gap: the first valid instant.
            AmbiguousOffset::Gap { after, .. } => {
                let before = after.to_timestamp(local).ok()?;
                self.zone.following(before).next().map(|change| change.timestamp())
            }
        }
    }
}

#[cfg(test)]
mod tests;
