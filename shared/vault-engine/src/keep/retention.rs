//! Until when the store itself has to keep what a recovery point needs: pure.
//!
//! A store that locks objects knows an instant and a mode for each, and nothing of holds or of what may be lifted. So a
//! hold, which has no end, becomes an instant some weeks ahead that is moved on for as long as the hold lasts, and nothing
//! is locked beyond anybody's reach that an entry in the vault could still take back: mode COMPLIANCE is for what a lock
//! past its date keeps, and for that alone.

use std::fmt;

use jiff::{SignedDuration, Timestamp};
use job_model::RecoveryPointId;
use serde::{Deserialize, Serialize};

use super::rules::{Hold, Keep};

/// How far ahead a hold locks: a month in which nobody looks after the vault, and some days more.
const HOLD_WINDOW: SignedDuration = SignedDuration::from_hours(24 * 35);
/// Furthest that anything is locked at once, which is what S3 takes; it is prolonged when that time has come.
const LONGEST: SignedDuration = SignedDuration::from_hours(24 * 36_000);
/// What is kept for so long is locked to whole weeks, what is kept for less to whole days: packs that many recovery points
/// share are then prolonged once in that time and not with each of them.
const WEEKS_FROM: SignedDuration = SignedDuration::from_hours(24 * 28);
const DAY_SECONDS: i64 = 24 * 60 * 60;

/// Who may take a lock of the store away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum RetentionMode {
    /// Whoever has a special right in the store.
    Governance,
    /// Nobody.
    Compliance,
}

/// A lock of the store on one file. The order is that of strictness, then of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct Retention {
    pub(crate) mode: RetentionMode,
    pub(crate) until: Timestamp,
}

impl RetentionMode {
    /// As S3 writes it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Governance => "GOVERNANCE",
            Self::Compliance => "COMPLIANCE",
        }
    }
}

impl Retention {
    /// Whether it keeps whatever the other one does.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        self.mode >= other.mode && self.until >= other.until
    }

    /// The least that covers both.
    pub(crate) fn with(self, other: Self) -> Self {
        Self { mode: self.mode.max(other.mode), until: self.until.max(other.until) }
    }
}

impl fmt::Display for Retention {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "until {} in mode {}", self.until, self.mode.as_str())
    }
}

impl Keep {
    /// What the store has to keep of a recovery point whose snapshot was written then, by the store's clock; none when
    /// nothing protects it now. A snapshot without an id is protected by what protects all.
    pub(crate) fn retention_of(
        &self,
        recovery_point: Option<RecoveryPointId>,
        written_at: Timestamp,
        now: Timestamp,
    ) -> Option<Retention> {
        let later = |from: Timestamp, by| from.checked_add(by).unwrap_or(Timestamp::MAX);
        let days = self.lock.and_then(|lock| lock.min_retention_days);
        let locked = days.map(|days| later(written_at, SignedDuration::from_hours(24 * i64::from(days))));
        let locked = locked.filter(|until| *until > now);
        let own = recovery_point.and_then(|id| self.retained.get(&id).copied()).filter(|until| *until > now);
        let names = |hold: &Hold| {
            hold.recovery_points.is_empty() || recovery_point.is_some_and(|id| hold.recovery_points.contains(&id))
        };
        let held = self.holds.values().any(names).then(|| later(now, HOLD_WINDOW));
        let until = [locked, own, held].into_iter().flatten().max()?;
        let is_fixed = self.lock.and_then(|lock| lock.fixed_from).is_some_and(|from| from <= now);
        let mode = if locked.is_some() && is_fixed { RetentionMode::Compliance } else { RetentionMode::Governance };
        Some(Retention { mode, until: rounded_up(until.min(later(now, LONGEST)), now) })
    }
}

/// The end of the day, or of the week for what is far away; never earlier.
fn rounded_up(until: Timestamp, now: Timestamp) -> Timestamp {
    let step = if until.duration_since(now) >= WEEKS_FROM { 7 * DAY_SECONDS } else { DAY_SECONDS };
    // A part of a second counts as a whole one.
    let seconds = until.as_second() + i64::from(until.subsec_nanosecond() > 0);
    let seconds = seconds.div_euclid(step) * step + if seconds.rem_euclid(step) == 0 { 0 } else { step };
    // Beyond what a timestamp can say, which the furthest instant is far from.
    Timestamp::from_second(seconds).unwrap_or(until)
}

#[cfg(test)]
mod tests {
    use super::super::rules::{KeepEntry, VaultLockEntry};
    use super::*;

    fn at(hours: i64) -> Timestamp {
        // A Thursday, as the epoch was: weeks end where they do from there.
        Timestamp::UNIX_EPOCH + SignedDuration::from_hours(7 * 24 * 3_000 + hours)
    }

    fn day(days: i64) -> Timestamp {
        at(24 * days)
    }

    fn point(byte: u8) -> RecoveryPointId {
        format!("{byte:0>8x}-0000-4000-8000-000000000000").parse().unwrap()
    }

    fn keep(entries: &[KeepEntry]) -> Keep {
        let mut keep = Keep::default();
        entries.iter().for_each(|entry| keep.apply(entry, day(-1)).unwrap());
        keep
    }

    fn lock(days: u32, fixed_from: Option<Timestamp>) -> KeepEntry {
        KeepEntry::Lock(VaultLockEntry { min_retention_days: Some(days), max_retention_days: None, fixed_from })
    }

    fn governance(until: Timestamp) -> Option<Retention> {
        Some(Retention { mode: RetentionMode::Governance, until })
    }

    fn compliance(until: Timestamp) -> Option<Retention> {
        Some(Retention { mode: RetentionMode::Compliance, until })
    }

    #[test]
    fn what_nothing_protects_is_not_locked() {
        assert_eq!(Keep::default().retention_of(Some(point(1)), day(0), day(0)), None);
        let retain = KeepEntry::Retain { recovery_point: point(1), until: day(5) };
        assert_eq!(keep(std::slice::from_ref(&retain)).retention_of(Some(point(2)), day(0), day(0)), None);
        assert_eq!(keep(&[retain]).retention_of(Some(point(1)), day(0), day(5)), None, "its time is over");
        assert_eq!(keep(&[lock(3, None)]).retention_of(None, day(0), day(3)), None);
    }

    #[test]
    fn the_minimum_of_the_vault_counts_from_when_the_snapshot_was_written_and_is_rounded_up() {
        let keep = keep(&[lock(10, None)]);
        assert_eq!(keep.retention_of(None, day(0), day(0)), governance(day(10)), "nothing to round");
        assert_eq!(keep.retention_of(None, at(1), at(1)), governance(day(11)));
        assert_eq!(keep.retention_of(Some(point(1)), at(1), at(200)), governance(day(11)), "the same later");
    }

    #[test]
    fn what_is_kept_for_long_is_locked_to_whole_weeks_and_what_comes_within_one_to_the_same() {
        let keep = keep(&[lock(365, None)]);
        let ends: std::collections::BTreeSet<_> =
            (0..24 * 14).map(|hour| keep.retention_of(None, at(hour), at(hour)).unwrap().until).collect();
        assert!(ends.len() <= 3, "{ends:?}");
        for hour in 0..24 * 400 {
            if let Some(retention) = keep.retention_of(None, at(5), at(hour)) {
                assert!(retention.until >= at(24 * 365 + 5), "never too early, {hour}");
                assert!(retention.until < at(24 * 373), "nor by more than a week too late, {hour}");
            } else {
                assert!(hour >= 24 * 365 + 5);
            }
        }
    }

    #[test]
    fn a_hold_locks_for_weeks_from_now_on_and_on_again_later() {
        let hold = KeepEntry::Hold { hold: "case".to_owned(), recovery_points: [point(1)].into() };
        let keep = keep(&[hold]);
        assert_eq!(keep.retention_of(Some(point(1)), day(0), day(0)), governance(day(35)));
        assert_eq!(keep.retention_of(Some(point(1)), day(0), day(7)), governance(day(42)));
        assert_eq!(keep.retention_of(Some(point(2)), day(0), day(0)), None);
        assert_eq!(keep.retention_of(None, day(0), day(0)), None);
    }

    #[test]
    fn nobody_is_kept_from_lifting_it_but_by_a_lock_past_its_date() {
        let hold = KeepEntry::Hold { hold: "all".to_owned(), recovery_points: [].into() };
        let retain = KeepEntry::Retain { recovery_point: point(1), until: day(20) };
        let fixed = keep(&[hold.clone(), retain, lock(10, Some(day(2)))]);
        assert_eq!(fixed.retention_of(None, day(0), day(1)).unwrap().mode, RetentionMode::Governance);
        assert_eq!(fixed.retention_of(None, day(0), day(2)).unwrap().mode, RetentionMode::Compliance);
        assert_eq!(fixed.retention_of(None, day(0), day(10)).unwrap().mode, RetentionMode::Governance, "only held now");
        assert_eq!(keep(&[lock(10, Some(day(2)))]).retention_of(None, day(0), day(2)), compliance(day(10)));
        assert_eq!(keep(&[lock(10, None)]).retention_of(None, day(0), day(2)), governance(day(10)));
    }

    #[test]
    fn no_time_is_too_long() {
        let keep = keep(&[lock(u32::MAX, None)]);
        let until = keep.retention_of(None, day(0), day(0)).unwrap().until;
        assert!(until >= day(35_999) && until <= day(36_007), "{until}");
    }

    #[test]
    fn a_retention_covers_another_only_in_both_mode_and_time() {
        let (short, long) = (governance(day(1)).unwrap(), governance(day(2)).unwrap());
        let strict = compliance(day(1)).unwrap();
        assert!(long.covers(&short) && !short.covers(&long) && strict.covers(&short));
        assert!(!strict.covers(&long) && !long.covers(&strict));
        assert_eq!(Some(strict.with(long)), compliance(day(2)));
    }
}
