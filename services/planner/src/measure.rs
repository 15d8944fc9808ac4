//! What the planner tells of its decisions in metrics.

use std::collections::BTreeMap;

use jiff::Timestamp;
use job_events::Fact;
use job_model::{AccountId, Arn, JobState, RecoveryPoint, recency_by_vault};
use telemetry::{KeyValue, metrics};

use crate::decide::Out;
use crate::decide::runs;
use crate::state::State;

/// A message that was handled before came again.
pub(crate) fn duplicate() {
    metrics().inbox_duplicates.add(1, &[KeyValue::new("service", "planner")]);
}

/// Counts what a step said.
pub(crate) fn said(out: &[Out]) {
    for said in out {
        let Out::Fact { region, fact, .. } = said else { continue };
        let region = KeyValue::new("region", region.to_string());
        match fact.as_ref() {
            Fact::RunMissed(missed) => metrics().runs_missed.add(u64::from(missed.missed.max(1)), &[region]),
            Fact::JobChanged(changed) if changed.from != Some(changed.job.state) => {
                let job = &changed.job;
                let resource = job.resource.as_str();
                let message = job.status_message.as_deref().unwrap_or_default();
                match job.state {
                    JobState::Failed | JobState::Expired => {
                        tracing::warn!(job.id = %job.id, job.kind = ?job.kind, resource, state = job.state.as_str(), message, "a job ended without its result");
                    }
                    _ => {
                        tracing::info!(job.id = %job.id, job.kind = ?job.kind, resource, state = job.state.as_str(), message, "a job moved");
                    }
                }
            }
            _ => {}
        }
    }
}

/// Tells what checks found damaged.
pub(crate) fn damaged(state: &State) {
    for vault in state.vaults.values() {
        let count =
            vault.health.iter().map(|health| health.recovery_points_damaged.max(u64::from(health.damage > 0))).sum();
        let labels = [KeyValue::new("region", vault.region.to_string()), KeyValue::new("vault", vault.name.clone())];
        metrics().recovery_points_damaged.record(count, &labels);
    }
}

/// Tells how old the newest states are that each vault can bring back, and those that were brought back and found right.
pub(crate) fn ages(state: &State, now: Timestamp) {
    for (arn, [restorable, checked]) in oldest(state) {
        let Some(vault) = state.vaults.get(&arn) else { continue };
        let labels = [KeyValue::new("region", vault.region.to_string()), KeyValue::new("vault", vault.name.clone())];
        let age = |at: Timestamp| u64::try_from(now.duration_since(at).as_secs()).unwrap_or_default();
        metrics().restorable_age.record(age(restorable), &labels);
        metrics().checked_age.record(age(checked), &labels);
    }
}

/// The newest restorable and the newest checked state of the resource of each vault for which they are oldest.
fn oldest(state: &State) -> BTreeMap<Arn, [Timestamp; 2]> {
    // One walk over all points: looking each resource's up would take much longer where there are many.
    let mut by_resource = BTreeMap::<&Arn, Vec<&RecoveryPoint>>::new();
    for row in state.points.values() {
        by_resource.entry(&row.point.resource).or_default().push(&row.point);
    }
    let mut oldest = BTreeMap::<Arn, [Timestamp; 2]>::new();
    for (_, points) in by_resource.into_iter().filter(|(resource, _)| state.resources.contains(resource)) {
        for recency in recency_by_vault(points) {
            let found = [recency.restorable_at, recency.checked_at.unwrap_or(recency.since)];
            let known = oldest.entry(recency.vault).or_insert(found);
            *known = [known[0].min(found[0]), known[1].min(found[1])];
        }
    }
    oldest
}

/// Tells how much is protected.
pub(crate) fn protected(state: &State, own: &AccountId) {
    let mut by_region = BTreeMap::<String, u64>::new();
    for resource in state.resources.values() {
        let count = by_region.entry(resource.region.to_string()).or_default();
        *count += u64::from(runs::is_selected(state, own, &resource.arn));
    }
    for (region, count) in by_region {
        metrics().resources_protected.record(count, &[KeyValue::new("region", region)]);
    }
}
