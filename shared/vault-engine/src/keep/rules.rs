//! What protects what, and what may be taken back: pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use jiff::{SignedDuration, Timestamp};
use job_model::RecoveryPointId;
use serde::{Deserialize, Serialize};

/// Something that protects, or that takes a protection back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum KeepEntry {
    /// Locks the vault, or changes its lock.
    Lock(VaultLockEntry),
    /// Takes the vault's lock away, as long as it has no date or the date has not come.
    Unlock,
    /// Keeps a recovery point at least until then. Never shortened.
    Retain {
        /// The recovery point.
        recovery_point: RecoveryPointId,
        /// Until when.
        until: Timestamp,
    },
    /// Keeps recovery points until the hold is released.
    Hold {
        /// Its name.
        hold: String,
        /// Which; none named means all there are and will be.
        recovery_points: BTreeSet<RecoveryPointId>,
    },
    /// Ends a hold.
    Release {
        /// Its name.
        hold: String,
    },
}

impl KeepEntry {
    /// Whether it protects this recovery point, or one without an id.
    pub(crate) fn concerns(&self, recovery_point: Option<RecoveryPointId>) -> bool {
        match self {
            Self::Lock(_) => true,
            Self::Retain { recovery_point: kept, .. } => recovery_point == Some(*kept),
            Self::Hold { recovery_points, .. } => {
                recovery_points.is_empty() || recovery_point.is_some_and(|id| recovery_points.contains(&id))
            }
            Self::Unlock | Self::Release { .. } => false,
        }
    }
}

/// A lock on a vault.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VaultLockEntry {
    /// No recovery point is deleted before it is so many days old.
    pub min_retention_days: Option<u32>,
    /// No recovery point may be asked to be kept for longer than so many days.
    pub max_retention_days: Option<u32>,
    /// From when on the lock can only become stricter (compliance); none for a lock that may be taken away (governance).
    pub fixed_from: Option<Timestamp>,
}

/// A legal hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// Which recovery points it keeps; all where empty.
    pub recovery_points: BTreeSet<RecoveryPointId>,
}

impl Hold {
    /// Whether it keeps everything that the other one does.
    fn holds_all_of(&self, other: &Self) -> bool {
        self.recovery_points.is_empty()
            || (!other.recovery_points.is_empty() && self.recovery_points.is_superset(&other.recovery_points))
    }
}

/// All that protects the recovery points of a vault.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keep {
    /// How many entries say so.
    pub entries: u64,
    /// The vault's lock.
    pub lock: Option<VaultLockEntry>,
    /// Until when single recovery points are kept.
    pub retained: BTreeMap<RecoveryPointId, Timestamp>,
    /// Holds by name.
    pub holds: BTreeMap<String, Hold>,
}

/// Why a snapshot is not deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeepReason {
    /// The vault's lock.
    Lock {
        /// Until when.
        until: Timestamp,
    },
    /// Its own minimum retention.
    Retained {
        /// Until when.
        until: Timestamp,
    },
    /// A legal hold.
    Hold {
        /// Its name.
        hold: String,
    },
    /// Its file is damaged, so that it cannot be known whether it is protected.
    Unreadable,
}

impl fmt::Display for KeepReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lock { until } => write!(f, "the vault's lock keeps it until {until}"),
            Self::Retained { until } => write!(f, "its minimum retention keeps it until {until}"),
            Self::Hold { hold } => write!(f, "legal hold `{hold}` keeps it"),
            Self::Unreadable => f.write_str("its file is damaged and others in the vault are protected"),
        }
    }
}

impl Keep {
    /// Adds an entry that was made at this time; an error is a sentence.
    pub(super) fn apply(&mut self, entry: &KeepEntry, at: Timestamp) -> Result<(), String> {
        let fixed = self.lock.filter(|lock| lock.fixed_from.is_some_and(|from| from <= at));
        match entry {
            KeepEntry::Lock(new) => {
                if let (Some(min), Some(max)) = (new.min_retention_days, new.max_retention_days)
                    && min > max
                {
                    return Err(format!("the minimum of {min} days is more than the maximum of {max}"));
                }
                if let Some(old) = fixed
                    && !is_as_strict(new, &old)
                {
                    return Err("the vault's lock is past its date and can only become stricter".to_owned());
                }
                self.lock = Some(*new);
            }
            KeepEntry::Unlock if fixed.is_some() => {
                return Err("the vault's lock is past its date and cannot be taken away".to_owned());
            }
            KeepEntry::Unlock => self.lock = None,
            KeepEntry::Retain { recovery_point, until } => match self.retained.get(recovery_point) {
                Some(old) if old > until => {
                    return Err(format!("recovery point `{recovery_point}` is kept until {old} already"));
                }
                _ => {
                    self.retained.insert(*recovery_point, *until);
                }
            },
            KeepEntry::Hold { hold, recovery_points } => {
                let new = Hold { recovery_points: recovery_points.clone() };
                match self.holds.get(hold) {
                    Some(old) if !new.holds_all_of(old) => {
                        return Err(format!(
                            "there is another hold `{hold}`, and a hold is not narrowed by its own name"
                        ));
                    }
                    _ => {
                        self.holds.insert(hold.clone(), new);
                    }
                }
            }
            KeepEntry::Release { hold } => {
                self.holds.remove(hold).ok_or_else(|| format!("there is no hold `{hold}`"))?;
            }
        }
        Ok(())
    }

    /// Whether anything is, or may be, protected.
    #[must_use]
    pub fn protects_anything(&self) -> bool {
        let lock = self.lock.is_some_and(|lock| lock.min_retention_days.is_some());
        lock || !self.retained.is_empty() || !self.holds.is_empty()
    }

    /// Whether a recovery point may be deleted now. One without an id is protected by what protects all.
    ///
    /// # Errors
    /// What protects it.
    pub fn may_delete(
        &self,
        recovery_point: Option<RecoveryPointId>,
        created_at: Timestamp,
        now: Timestamp,
    ) -> Result<(), KeepReason> {
        let names = |hold: &Hold| {
            hold.recovery_points.is_empty() || recovery_point.is_some_and(|id| hold.recovery_points.contains(&id))
        };
        if let Some((hold, _)) = self.holds.iter().find(|(_, hold)| names(hold)) {
            return Err(KeepReason::Hold { hold: hold.clone() });
        }
        if let Some(until) = recovery_point.and_then(|id| self.retained.get(&id)).filter(|until| **until > now) {
            return Err(KeepReason::Retained { until: *until });
        }
        if let Some(days) = self.lock.and_then(|lock| lock.min_retention_days) {
            let until =
                created_at.checked_add(SignedDuration::from_hours(i64::from(days) * 24)).unwrap_or(Timestamp::MAX);
            if until > now {
                return Err(KeepReason::Lock { until });
            }
        }
        Ok(())
    }

    /// Recovery points that a hold names or whose own retention is not over.
    pub(super) fn protected_by_name(&self, now: Timestamp) -> impl Iterator<Item = RecoveryPointId> + '_ {
        let held = self.holds.values().flat_map(|hold| hold.recovery_points.iter().copied());
        held.chain(self.retained.iter().filter(move |(_, until)| **until > now).map(|(id, _)| *id))
    }
}

/// Whether a lock gives nothing away that another one keeps.
fn is_as_strict(new: &VaultLockEntry, old: &VaultLockEntry) -> bool {
    let fixed = match (new.fixed_from, old.fixed_from) {
        (Some(new), Some(old)) => new <= old,
        (None, Some(_)) => false,
        (_, None) => true,
    };
    let max = match (new.max_retention_days, old.max_retention_days) {
        (Some(new), Some(old)) => new <= old,
        (None, Some(_)) => false,
        (_, None) => true,
    };
    fixed && max && new.min_retention_days.unwrap_or(0) >= old.min_retention_days.unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(days: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + SignedDuration::from_hours(24 * (20_000 + days))
    }

    fn point(byte: u8) -> RecoveryPointId {
        format!("{:0>8x}-0000-4000-8000-000000000000", byte).parse().unwrap()
    }

    fn lock(min: u32, max: Option<u32>, fixed_from: Option<i64>) -> KeepEntry {
        KeepEntry::Lock(VaultLockEntry {
            min_retention_days: Some(min),
            max_retention_days: max,
            fixed_from: fixed_from.map(at),
        })
    }

    #[test]
    fn a_lock_past_its_date_only_becomes_stricter() {
        let mut keep = Keep::default();
        keep.apply(&lock(7, Some(30), Some(3)), at(0)).unwrap();
        keep.apply(&lock(5, None, Some(3)), at(2)).unwrap();
        keep.apply(&KeepEntry::Unlock, at(2)).unwrap();
        keep.apply(&lock(7, Some(30), Some(3)), at(2)).unwrap();
        for (entry, allowed) in [
            (KeepEntry::Unlock, false),
            (lock(6, Some(30), Some(3)), false),
            (lock(7, Some(31), Some(3)), false),
            (lock(7, None, Some(3)), false),
            (lock(7, Some(30), Some(4)), false),
            (lock(7, Some(30), None), false),
            (lock(7, Some(30), Some(3)), true),
            (lock(8, Some(29), Some(2)), true),
        ] {
            assert_eq!(keep.clone().apply(&entry, at(3)).is_ok(), allowed, "{entry:?}");
        }
        assert!(Keep::default().apply(&lock(8, Some(7), None), at(0)).is_err());
    }

    #[test]
    fn retention_is_never_shortened_and_ends_by_itself() {
        let retain = |days| KeepEntry::Retain { recovery_point: point(1), until: at(days) };
        let mut keep = Keep::default();
        keep.apply(&retain(10), at(0)).unwrap();
        assert!(keep.apply(&retain(9), at(0)).is_err());
        keep.apply(&retain(11), at(0)).unwrap();
        assert_eq!(keep.may_delete(Some(point(1)), at(0), at(10)), Err(KeepReason::Retained { until: at(11) }));
        assert_eq!(keep.may_delete(Some(point(1)), at(0), at(11)), Ok(()));
        assert_eq!(keep.may_delete(Some(point(2)), at(0), at(10)), Ok(()));
    }

    #[test]
    fn a_hold_keeps_what_it_names_or_everything_until_it_is_released() {
        let hold = |name: &str, points: &[u8]| KeepEntry::Hold {
            hold: name.to_owned(),
            recovery_points: points.iter().map(|byte| point(*byte)).collect(),
        };
        let release = |name: &str| KeepEntry::Release { hold: name.to_owned() };
        let mut keep = Keep::default();
        keep.apply(&hold("case", &[1]), at(0)).unwrap();
        assert!(keep.apply(&hold("case", &[2]), at(0)).is_err(), "a hold is not narrowed by its own name");
        assert_eq!(keep.may_delete(Some(point(1)), at(0), at(9000)), Err(KeepReason::Hold { hold: "case".to_owned() }));
        assert_eq!(keep.may_delete(Some(point(2)), at(0), at(0)), Ok(()));
        keep.apply(&hold("case", &[1, 3]), at(0)).unwrap();
        assert!(keep.may_delete(Some(point(3)), at(0), at(0)).is_err(), "it may be widened");
        assert!(keep.apply(&hold("case", &[3]), at(0)).is_err());
        keep.apply(&hold("all", &[]), at(0)).unwrap();
        assert!(keep.apply(&hold("all", &[1]), at(0)).is_err(), "all is more than any");
        assert!(keep.may_delete(None, at(0), at(0)).is_err() && keep.may_delete(Some(point(2)), at(0), at(0)).is_err());
        keep.apply(&release("all"), at(0)).unwrap();
        assert!(keep.apply(&release("all"), at(0)).is_err());
        keep.apply(&release("case"), at(0)).unwrap();
        assert!(!keep.protects_anything());
    }

    #[test]
    fn the_vaults_minimum_counts_from_when_a_recovery_point_was_made() {
        let mut keep = Keep::default();
        keep.apply(&lock(7, None, None), at(0)).unwrap();
        assert_eq!(keep.may_delete(Some(point(1)), at(1), at(7)), Err(KeepReason::Lock { until: at(8) }));
        assert_eq!(keep.may_delete(None, at(1), at(8)), Ok(()));
    }
}
