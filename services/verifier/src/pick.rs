//! Which recovery point of each selected resource is restored: pure, with randomness as an argument.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use job_model::{
    Arn, PointAlgorithm, RESTORE_TIME, RecoveryPoint, RecoveryPointStatus, ResourceType, RestorableInterval,
    RestoreTestingPlan, RestoreTestingSelection, USE_LATEST_RESTORABLE_TIME, protected_resource_conditions_hold,
    resource_key, restore_instant, wildcard_matches,
};

/// What is done about one selected resource.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Pick {
    /// The resource.
    pub(crate) resource: Arn,
    /// Its type.
    pub(crate) resource_type: ResourceType,
    /// Hours that what is restored stays after the verdict.
    pub(crate) validation_window_hours: u32,
    /// The credential profile of the restore.
    pub(crate) iam_role: Option<String>,
    /// Metadata of the restore that the selection gives.
    pub(crate) metadata: BTreeMap<String, String>,
    /// The recovery point, or why there is none.
    pub(crate) choice: Result<RecoveryPoint, String>,
}

/// Picks exactly one recovery point for each resource the plan selects, or says why there is none. A resource that two
/// selections take is tested once, as the first of them says. Ordered by ARN.
pub(crate) fn pick(plan: &RestoreTestingPlan, points: &[RecoveryPoint], now: Timestamp, random: u64) -> Vec<Pick> {
    let mut picks: BTreeMap<Arn, Pick> = BTreeMap::new();
    for selection in &plan.selections {
        for resource in selected(selection, points) {
            picks.entry(resource.clone()).or_insert_with(|| Pick {
                choice: choose(plan, selection, &resource, points, now, random),
                resource,
                resource_type: selection.resource_type,
                validation_window_hours: selection.validation_window_hours,
                iam_role: selection.iam_role.clone(),
                metadata: selection.restore_metadata_overrides.clone(),
            });
        }
    }
    for pick in picks.values_mut() {
        if let Ok(point) = &pick.choice {
            let instant = instant_of(point, &pick.metadata, random);
            pick.metadata.extend(instant);
        }
    }
    picks.into_values().collect()
}

/// The resources a selection takes. Those that are named are taken even if nothing is known of them.
fn selected(selection: &RestoreTestingSelection, points: &[RecoveryPoint]) -> BTreeSet<Arn> {
    // Conditions alone choose among all.
    let takes_all = selection.protected_resources.is_empty() || selection.protected_resources.iter().any(|r| r == "*");
    let candidates: BTreeSet<Arn> = if takes_all {
        points.iter().filter(|p| p.resource_type == selection.resource_type).map(|p| p.resource.clone()).collect()
    } else {
        // Other texts were refused when the plan was made.
        selection.protected_resources.iter().filter_map(|resource| resource.parse().ok()).collect()
    };
    candidates
        .into_iter()
        .filter(|resource| {
            let latest = points.iter().filter(|p| p.resource == *resource).max_by_key(|p| (p.created_at, p.id));
            latest.is_none_or(|latest| protected_resource_conditions_hold(&selection.conditions, &latest.tags))
        })
        .collect()
}

fn choose(
    plan: &RestoreTestingPlan,
    selection: &RestoreTestingSelection,
    resource: &Arn,
    points: &[RecoveryPoint],
    now: Timestamp,
    random: u64,
) -> Result<RecoveryPoint, String> {
    let known: Vec<&RecoveryPoint> = points.iter().filter(|p| p.resource == *resource).collect();
    let mut eligible: Vec<&RecoveryPoint> =
        known.iter().copied().filter(|p| is_eligible(plan, selection, p, now)).collect();
    eligible.sort_by_key(|p| (p.created_at, p.id));
    let index = match plan.algorithm {
        PointAlgorithm::LatestWithinWindow => eligible.len().checked_sub(1),
        PointAlgorithm::RandomWithinWindow => draw(random, resource, eligible.len()),
    };
    match index.and_then(|index| eligible.get(index)) {
        Some(point) => Ok((*point).clone()),
        None if known.is_empty() => Err("no recovery point of it is known".to_owned()),
        None => Err(format!(
            "none of its {} recovery points is a whole one of type `{}`, at most {} days old, in a vault of the plan",
            known.len(),
            selection.resource_type.as_str(),
            plan.selection_window_days
        )),
    }
}

fn is_eligible(
    plan: &RestoreTestingPlan,
    selection: &RestoreTestingSelection,
    point: &RecoveryPoint,
    now: Timestamp,
) -> bool {
    let vault = point.vault.as_str();
    let matches_any = |patterns: &[String]| patterns.iter().any(|pattern| wildcard_matches(pattern, vault));
    // What a continuous one holds is as old as the newest instant of its window.
    let newest = point.continuous.as_ref().and_then(|continuous| continuous.window.last()).map(|interval| interval.to);
    let age = now.duration_since(newest.unwrap_or(point.created_at));
    let window = SignedDuration::from_hours(i64::from(plan.selection_window_days) * 24);
    // One that was not captured whole is eligible: the verdict on it fails and says so, which nobody should miss.
    matches!(point.status, RecoveryPointStatus::Completed | RecoveryPointStatus::Partial)
        && point.resource_type == selection.resource_type
        && plan.recovery_point_kinds.contains(&point.kind)
        && matches_any(&plan.include_vaults)
        && !matches_any(&plan.exclude_vaults)
        && age <= window
}

/// The metadata that says which instant of a continuous recovery point is restored: any second of its window, each as likely
/// as every other. None for a snapshot, and where somebody has said which.
fn instant_of(point: &RecoveryPoint, metadata: &BTreeMap<String, String>, random: u64) -> Option<(String, String)> {
    let continuous = point.continuous.as_ref()?;
    // What cannot be read is refused by the planner, with its key.
    if !matches!(restore_instant(metadata), Ok(None)) {
        return None;
    }
    // The instants after `from` and before `to`.
    let seconds = |interval: &RestorableInterval| {
        let last = interval.to.as_second() - i64::from(interval.to.subsec_nanosecond() == 0);
        (interval.from.as_second() + 1, usize::try_from(last - interval.from.as_second()).unwrap_or(0))
    };
    let all: Vec<(i64, usize)> = continuous.window.iter().map(seconds).collect();
    let Some(mut drawn) = draw(random, &point.resource, all.iter().map(|(_, count)| count).sum()) else {
        return Some((USE_LATEST_RESTORABLE_TIME.to_owned(), "true".to_owned()));
    };
    for (first, count) in all {
        if drawn < count {
            let at = Timestamp::from_second(first + i64::try_from(drawn).unwrap_or(0)).ok()?;
            return Some((RESTORE_TIME.to_owned(), at.to_string()));
        }
        drawn -= count;
    }
    None
}

/// One of `count`, from the run's random number and the resource, so that a run is drawn again the same from its record.
fn draw(random: u64, resource: &Arn, count: usize) -> Option<usize> {
    let count = u64::try_from(count).ok().filter(|count| *count > 0)?;
    let seed = resource_key(resource).bytes().fold(random, |seed, byte| mix(seed ^ u64::from(byte)));
    usize::try_from(seed % count).ok()
}

/// The finaliser of SplitMix64.
fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests;
