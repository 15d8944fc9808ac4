//! What the planner tells of its decisions in metrics.

use job_events::Fact;
use job_model::{AccountId, JobState};
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

/// Tells how much is protected.
pub(crate) fn protected(state: &State, own: &AccountId) {
    let mut by_region = std::collections::BTreeMap::<String, u64>::new();
    for resource in state.resources.values() {
        let count = by_region.entry(resource.region.to_string()).or_default();
        *count += u64::from(runs::is_selected(state, own, &resource.arn));
    }
    for (region, count) in by_region {
        metrics().resources_protected.record(count, &[KeyValue::new("region", region)]);
    }
}
