//! Which recovery points of a resource go now, and why each other one stays.
//!
//! A recovery point stays as long as its lifecycle or any generation keeps it. Generations count, among the points of one
//! rule in one vault, the newest point of each period that has one; periods begin where the rule's time zone says, weeks
//! are those of ISO 8601. A rule that gives generations and no age leaves the decision to the generations alone.
//!
//! Whatever the rules say, of a resource that is still protected the last good and the last proven point of each vault
//! stay: a source that broke unnoticed must not rotate out the last state that can be brought back.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use job_model::{Arn, RecoveryPoint, RecoveryPointStatus, RuleId, VerdictStatus};

/// What retention has to know besides the points.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Surroundings<'a> {
    /// The vaults that a plan still sends this resource's recovery points to; empty when it is not protected any more.
    pub(crate) protected_vaults: &'a BTreeSet<Arn>,
    /// Points that a job which has not ended reads from.
    pub(crate) in_use: &'a BTreeSet<Arn>,
    /// Points that a legal hold holds.
    pub(crate) held: &'a BTreeSet<Arn>,
    /// Until when points are kept by the shortest retention of their locked vault.
    pub(crate) locked_until: &'a BTreeMap<Arn, Timestamp>,
    /// The instant of the decision.
    pub(crate) now: Timestamp,
}

/// Periods of generations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Period {
    Hourly,
    Daily,
    Weekly,
    Monthly,
    Yearly,
}

impl Period {
    const ALL: [Self; 5] = [Self::Hourly, Self::Daily, Self::Weekly, Self::Monthly, Self::Yearly];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Hourly => "hourly",
            Self::Daily => "daily",
            Self::Weekly => "weekly",
            Self::Monthly => "monthly",
            Self::Yearly => "yearly",
        }
    }

    /// The name of the period an instant is in. An hour that a clock change repeats is two periods.
    fn name(self, at: &Zoned) -> String {
        match self {
            Self::Hourly => at.strftime("%Y-%m-%dT%H%:z").to_string(),
            Self::Daily => at.strftime("%Y-%m-%d").to_string(),
            Self::Weekly => at.strftime("%G-W%V").to_string(),
            Self::Monthly => at.strftime("%Y-%m").to_string(),
            Self::Yearly => at.strftime("%Y").to_string(),
        }
    }

    fn wanted(self, point: &RecoveryPoint) -> u32 {
        point.generations.map_or(0, |generations| match self {
            Self::Hourly => generations.hourly,
            Self::Daily => generations.daily,
            Self::Weekly => generations.weekly,
            Self::Monthly => generations.monthly,
            Self::Yearly => generations.yearly,
        })
    }
}

/// Why a recovery point stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum KeepReason {
    /// Nothing limits it.
    ForEver,
    /// It is not old enough.
    Lifecycle {
        /// When it will be.
        until: Timestamp,
    },
    /// It is one of the newest.
    Last {
        /// Its place, 1 for the newest.
        place: u32,
        /// How many are kept.
        of: u32,
    },
    /// It stands for a period.
    Generation {
        /// The kind of period.
        period: Period,
        /// The period, for example `2026-11-20`.
        name: String,
    },
    /// It is the newest whole one in its vault.
    LastGood,
    /// It is the newest one in its vault that a restore test proved.
    LastProven,
    /// A job reads from it.
    InUse,
    /// A legal hold holds it.
    Held,
    /// Its vault is locked and lets nothing go that is younger.
    Locked {
        /// Until when.
        until: Timestamp,
    },
    /// Its resource is followed.
    Followed,
    /// Its creation lies ahead: a clock was or is wrong, and age says nothing.
    FromTheFuture,
}

impl fmt::Display for KeepReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ForEver => f.write_str("kept for ever"),
            Self::Followed => f.write_str("its resource is followed"),
            Self::Lifecycle { until } => write!(f, "lifecycle until {until}"),
            Self::Last { place, of } => write!(f, "last {place} of {of}"),
            Self::Generation { period, name } => write!(f, "{} {name}", period.as_str()),
            Self::Held => f.write_str("legal hold"),
            Self::Locked { until } => write!(f, "vault lock until {until}"),
            Self::LastGood => f.write_str("last good"),
            Self::LastProven => f.write_str("last proven"),
            Self::InUse => f.write_str("in use by a job"),
            Self::FromTheFuture => f.write_str("dated in the future"),
        }
    }
}

/// What becomes of one recovery point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It stays, for all of these reasons.
    Keep(Vec<KeepReason>),
    /// It goes now.
    Delete {
        /// Why nothing keeps it.
        reason: String,
    },
}

/// What becomes of one recovery point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Decision {
    /// Which.
    pub(crate) recovery_point: Arn,
    /// What becomes of it.
    pub(crate) fate: Fate,
}

/// Decides on all recovery points of one resource. Points that are being deleted already are left out of the answer and
/// count for nothing.
pub(crate) fn decide(points: &[RecoveryPoint], around: Surroundings<'_>) -> Vec<Decision> {
    let mut live: Vec<&RecoveryPoint> =
        points.iter().filter(|point| point.status != RecoveryPointStatus::Deleting).collect();
    // Newest first; the id breaks ties, so that the order of the input does not matter.
    live.sort_by_key(|point| std::cmp::Reverse((point.created_at, point.id)));
    let mut reasons: BTreeMap<&Arn, Vec<KeepReason>> = BTreeMap::new();
    for point in &live {
        reasons.insert(&point.arn, own_reasons(point, around));
    }
    for (arn, reason) in generations(&live, around.now).into_iter().chain(guards(&live, around)) {
        reasons.entry(arn).or_default().push(reason);
    }
    live.iter()
        .map(|point| {
            let kept = reasons.remove(&point.arn).unwrap_or_default();
            let fate = if kept.is_empty() { Fate::Delete { reason: why_deleted(point) } } else { Fate::Keep(kept) };
            Decision { recovery_point: point.arn.clone(), fate }
        })
        .collect()
}

/// Reasons a point has without looking at the others.
fn own_reasons(point: &RecoveryPoint, around: Surroundings<'_>) -> Vec<KeepReason> {
    let mut reasons = Vec::new();
    let is_followed = point.continuous.as_ref().is_some_and(|continuous| continuous.stopped_at.is_none());
    match (point.delete_at(), point.generations) {
        _ if is_followed => reasons.push(KeepReason::Followed),
        (Some(until), _) if around.now < until => reasons.push(KeepReason::Lifecycle { until }),
        (None, None) => reasons.push(KeepReason::ForEver),
        _ => {}
    }
    if point.created_at > around.now {
        reasons.push(KeepReason::FromTheFuture);
    }
    if around.in_use.contains(&point.arn) {
        reasons.push(KeepReason::InUse);
    }
    if around.held.contains(&point.arn) {
        reasons.push(KeepReason::Held);
    }
    if let Some(until) = around.locked_until.get(&point.arn).copied().filter(|until| around.now < *until) {
        reasons.push(KeepReason::Locked { until });
    }
    reasons
}

/// The points that generations keep. `live` is sorted, newest first.
fn generations<'a>(live: &[&'a RecoveryPoint], now: Timestamp) -> Vec<(&'a Arn, KeepReason)> {
    let mut groups: BTreeMap<(&Arn, Option<RuleId>), Vec<&'a RecoveryPoint>> = BTreeMap::new();
    for &point in live.iter().filter(|point| point.created_at <= now) {
        let rule = point.created_by.as_ref().map(|by| by.rule_id);
        groups.entry((&point.vault, rule)).or_default().push(point);
    }
    groups.values().flat_map(|group| generations_of_group(group)).collect()
}

fn generations_of_group<'a>(group: &[&'a RecoveryPoint]) -> Vec<(&'a Arn, KeepReason)> {
    let mut kept = Vec::new();
    for (place, point) in (1_u32..).zip(group) {
        let of = point.generations.map_or(0, |generations| generations.last);
        if place <= of {
            kept.push((&point.arn, KeepReason::Last { place, of }));
        }
    }
    for period in Period::ALL {
        // Of each period the newest whole point stands for it, or the newest partial one where none is whole.
        let mut names: Vec<(String, &RecoveryPoint)> = Vec::new();
        for &point in group {
            let name = period.name(&point.created_at.to_zoned(zone(&point.time_zone)));
            match names.last_mut().filter(|(last, _)| *last == name) {
                Some((_, chosen)) if !is_whole(chosen) && is_whole(point) => *chosen = point,
                Some(_) => {}
                None => names.push((name, point)),
            }
        }
        for (place, (name, point)) in (1_u32..).zip(names) {
            if place <= period.wanted(point) {
                kept.push((&point.arn, KeepReason::Generation { period, name }));
            }
        }
    }
    kept
}

/// The points that stay whatever the rules say. `live` is sorted, newest first.
fn guards<'a>(live: &[&'a RecoveryPoint], around: Surroundings<'_>) -> Vec<(&'a Arn, KeepReason)> {
    let mut kept = Vec::new();
    for vault in around.protected_vaults {
        let here: Vec<&'a RecoveryPoint> = live.iter().copied().filter(|point| point.vault == *vault).collect();
        let last_good = here.iter().find(|point| is_whole(point)).or_else(|| here.first());
        let last_proven = here.iter().find(|point| is_proven(point));
        kept.extend(last_good.map(|point| (&point.arn, KeepReason::LastGood)));
        kept.extend(last_proven.map(|point| (&point.arn, KeepReason::LastProven)));
    }
    kept
}

fn is_whole(point: &RecoveryPoint) -> bool {
    // EXPIRED says that a deletion failed, not that data is missing; the capture's exceptions tell that.
    point.status != RecoveryPointStatus::Partial && point.summary.exception_count == 0
}

fn is_proven(point: &RecoveryPoint) -> bool {
    point.last_verdict.as_ref().is_some_and(|verdict| verdict.status == VerdictStatus::Successful)
}

fn why_deleted(point: &RecoveryPoint) -> String {
    match (point.delete_at(), point.generations) {
        (Some(ended), None) => format!("lifecycle ended {ended}"),
        (Some(ended), Some(_)) => format!("lifecycle ended {ended} and no generation keeps it"),
        (None, _) => "no generation keeps it".to_owned(),
    }
}

/// The time zone of a point. Zones were checked when the rule was made; one that this machine does not know counts as UTC.
fn zone(name: &str) -> TimeZone {
    TimeZone::get(name).unwrap_or(TimeZone::UTC)
}

#[cfg(test)]
mod tests;
