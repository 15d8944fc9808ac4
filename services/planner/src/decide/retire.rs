//! Retention carried out: recovery points that nothing keeps are deleted, and it is known why the others stay.

use std::collections::BTreeSet;

use jiff::Timestamp;
use job_model::{AccountId, Arn, JobDetail, JobId, JobKind, RecoveryPoint, RecoveryPointStatus};

use crate::decide::orders::task;
use crate::decide::runs::{after, new_job, plan_takes};
use crate::decide::{Step, continuous};
use crate::retention::{self, Decision, Fate, Surroundings};
use crate::state::{JobRow, State};

/// Orders the deletion of every recovery point that nothing keeps.
pub(crate) fn retire(step: &mut Step<'_>) {
    let resources: Vec<Arn> = step.state.points.resources().cloned().collect();
    for resource in resources {
        for decision in decisions(step.state, &step.settings.account, &resource, step.now) {
            let Fate::Delete { reason } = decision.fate else { continue };
            let waits = step.state.points.get(&decision.recovery_point).and_then(|row| row.delete_not_before);
            if waits.is_none_or(|at| at <= step.now) {
                delete(step, &decision.recovery_point, reason);
            }
        }
    }
}

/// What retention says of each recovery point of a resource.
pub(crate) fn decisions(state: &State, own: &AccountId, resource: &Arn, now: Timestamp) -> Vec<Decision> {
    let points: Vec<RecoveryPoint> = state.points_of(resource).map(|row| row.point.clone()).collect();
    let in_use = points.iter().map(|point| point.arn.clone()).filter(|arn| state.in_use(arn)).collect();
    let protected_vaults = protected_vaults(state, own, resource);
    let held = points.iter().filter(|point| state.hold_on(point).is_some()).map(|point| point.arn.clone()).collect();
    let locked = |point: &RecoveryPoint| Some((point.arn.clone(), locked_until(state, point)?));
    let locked_until = points.iter().filter_map(locked).collect();
    let around = Surroundings {
        protected_vaults: &protected_vaults,
        in_use: &in_use,
        held: &held,
        locked_until: &locked_until,
        now,
    };
    retention::decide(&points, around)
}

/// Until when the lock of its vault keeps a recovery point. It counts from when the point was whole, as the vault's own entry
/// does, which no order gets round.
fn locked_until(state: &State, point: &RecoveryPoint) -> Option<Timestamp> {
    let vault = state.vaults.get(&point.vault).filter(|vault| vault.is_locked())?;
    let days = i64::from(vault.min_retention_days?);
    Some(after(point.completed_at.max(point.created_at), jiff::SignedDuration::from_hours(24 * days)))
}

/// The vaults that some plan still sends this resource's recovery points to.
fn protected_vaults(state: &State, own: &AccountId, arn: &Arn) -> BTreeSet<Arn> {
    let Some(resource) = state.resources.get(arn) else { return BTreeSet::new() };
    let mut vaults = BTreeSet::new();
    for plan in state.current_plans() {
        if !plan_takes(state, own, plan, resource) {
            continue;
        }
        for rule in &plan.rules {
            vaults.insert(rule.target_vault.clone());
            vaults.extend(rule.copy_actions.iter().map(|action| action.destination_vault.clone()));
        }
    }
    vaults
}

/// Makes the job that deletes a recovery point.
pub(crate) fn delete(step: &mut Step<'_>, arn: &Arn, reason: String) -> Option<JobId> {
    let mut point = step.state.points.get(arn)?.clone();
    let region = step.state.vaults.get(&point.point.vault)?.region.clone();
    let id = JobId::new(point.point.id.derive(&format!("delete-{}", point.deletions)));
    let vault = point.point.vault.clone();
    let detail = JobDetail::Maintenance {
        vault: Some(vault.clone()),
        task: task::DELETE_RECOVERY_POINT.to_owned(),
        recovery_point: Some(arn.clone()),
        restore_job_id: None,
    };
    let mut job = new_job(step, id, JobKind::Maintenance, vault, region, detail);
    // The end of a recovery point belongs to the cycle that made it.
    job.traceparent = point.point.traceparent.clone().or(job.traceparent);
    continuous::release(step, arn);
    point.deletions += 1;
    point.point.status = RecoveryPointStatus::Deleting;
    point.point.status_message = Some(reason.clone());
    step.state.points.put(arn.clone(), point);
    let mut row = JobRow::new(job);
    row.reason = Some(reason);
    Some(step.create(row))
}
