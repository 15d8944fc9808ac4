//! Continuous recovery points: at most one of a resource is followed, into the vault of the rule that came first; the runs of
//! its rules are the full captures that its window starts from. Whoever follows is found by the lease, not here.

use std::collections::BTreeMap;

use jiff::Timestamp;
use job_events::{BaseOf, FollowResource, FollowTask, ParentSnapshot, RecoveryPointCreated};
use job_model::{
    Arn, BackupRule, Continuous, CreatedBy, FollowState, JobDetail, JobId, Lifecycle, RecoveryPoint, RecoveryPointId,
    RecoveryPointKind, RecoveryPointStatus, Resource, ResourceType, RestoreInstant, StorageClass, restore_instant,
};

use crate::decide::points::{self, Made, NOT_CONTINUOUS};
use crate::decide::runs::{is_for, plan_takes};
use crate::decide::scope::account_of;
use crate::decide::{Out, Step};
use crate::state::{BaseRow, ContinuousRow, JobRow, PointRow};

/// Full captures that an order carries: more than any retention keeps with a capture each hour.
const BASES_MAX: usize = 900;

/// What a run of a rule that asks for continuous backup makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    /// A full capture of this continuous recovery point.
    Base(Arn),
    /// A snapshot, and what is said of it.
    Snapshot(String),
}

/// Decides what a run makes, and has the resource followed when nobody was told to yet.
pub(crate) fn choose(
    step: &mut Step<'_>,
    resource: &Resource,
    rule: &BackupRule,
    created_by: &CreatedBy,
    job: JobId,
) -> Wish {
    if !can_be_followed(resource) {
        return Wish::Snapshot(NOT_CONTINUOUS.to_owned());
    }
    let followed = step
        .state
        .continuous
        .values()
        .find(|row| row.assignment.resource == resource.arn && row.assignment.task == FollowTask::Follow);
    if let Some(row) = followed {
        let point = row.assignment.recovery_point.clone();
        if row.assignment.vault.arn == rule.target_vault {
            return Wish::Base(point);
        }
        return Wish::Snapshot(taken_by(step, row));
    }
    let Some(vault) =
        step.state.vaults.get(&rule.target_vault).filter(|vault| vault.region == resource.region).cloned()
    else {
        // The job fails for that reason.
        return Wish::Snapshot(NOT_CONTINUOUS.to_owned());
    };
    let id = RecoveryPointId::new(job.derive("continuous"));
    let account = account_of(&rule.target_vault, &step.settings.account);
    let Ok(arn) = Arn::recovery_point(&resource.region, &account, id) else {
        return Wish::Snapshot(NOT_CONTINUOUS.to_owned());
    };
    let assignment = FollowResource {
        region: resource.region.clone(),
        resource: resource.arn.clone(),
        resource_type: resource.resource_type,
        location: resource.location.clone(),
        vault: vault.access,
        recovery_point_id: id,
        recovery_point: arn.clone(),
        keep_days: rule.lifecycle.delete_after_days,
        task: FollowTask::Follow,
        decided_at: step.now,
    };
    let plan = (created_by.plan_id, created_by.rule_id);
    let row = ContinuousRow { assignment, plan, bases: Vec::new(), epoch: 0, keep_days: 0, heard: None };
    assign(step, ContinuousRow { keep_days: rule.lifecycle.delete_after_days.unwrap_or_default(), ..row });
    Wish::Base(arn)
}

/// Whether workers know how to follow it: servers, not dumps of databases.
fn can_be_followed(resource: &Resource) -> bool {
    resource.resource_type == ResourceType::Rds
        && resource.location.starts_with("postgresql:")
        && !resource.location.contains("method=logical")
}

/// AWS's words.
fn taken_by(step: &Step<'_>, row: &ContinuousRow) -> String {
    let plan = step.state.newest_version(row.plan.0).map(|row| &row.plan);
    let arn = plan.and_then(|plan| plan.arn(&row.assignment.region, &step.settings.account).ok());
    let name = arn.map_or_else(|| row.plan.0.to_string(), |arn| arn.to_string());
    format!(
        "Enabling continuous backup failed: PITR already configured in backup plan: [{name}]; a snapshot was made instead"
    )
}

/// Puts a row and says what is to be done.
fn assign(step: &mut Step<'_>, mut row: ContinuousRow) {
    row.assignment.decided_at = step.now;
    step.out.push(Out::Assignment { body: Box::new(row.assignment.clone().into()) });
    step.state.continuous.put(row.assignment.recovery_point.clone(), row);
}

/// The base part of a capture's order.
pub(crate) fn base_of(step: &Step<'_>, row: &JobRow) -> Option<BaseOf> {
    let continuous = step.state.continuous.get(row.continuous.as_ref()?)?;
    // One that ended meanwhile takes no more; the capture becomes a recovery point of its own.
    (continuous.assignment.task == FollowTask::Follow).then(|| BaseOf {
        recovery_point_id: continuous.assignment.recovery_point_id,
        recovery_point: continuous.assignment.recovery_point.clone(),
    })
}

/// The full captures of a continuous recovery point, newest last; none for a snapshot.
pub(crate) fn bases(step: &Step<'_>, point: &Arn) -> Vec<ParentSnapshot> {
    let Some(row) = step.state.continuous.get(point) else { return Vec::new() };
    let skip = row.bases.len().saturating_sub(BASES_MAX);
    let parent = |base: &BaseRow| ParentSnapshot {
        snapshot_id: base.snapshot_id.clone(),
        tree_id: base.summary.tree_id.clone(),
    };
    row.bases.iter().skip(skip).map(parent).collect()
}

/// A full capture of a continuous recovery point is durable: the recovery point is there from now on, or newer than it was.
/// Doing it twice changes nothing.
pub(crate) fn record_base(step: &mut Step<'_>, row: &mut JobRow, made: Made) -> Option<Arn> {
    let arn = row.continuous.clone()?;
    if row.recorded {
        return Some(arn);
    }
    row.recorded = true;
    let job = &row.job;
    let JobDetail::Backup { vault, tags, time_zone, copy_actions, .. } = &job.detail else { return None };
    let incomplete = made.summary.exception_count > 0;
    let status = if incomplete { RecoveryPointStatus::Partial } else { RecoveryPointStatus::Completed };
    let status_message = incomplete.then(|| points::exceptions_message(&made.summary));
    let (mut keep_days, mut heard) = (None, None);
    if let Some(mut continuous) = step.state.continuous.get(&arn).cloned() {
        keep_days = Some(continuous.keep_days);
        heard = continuous.heard.take();
        continuous.bases.push(BaseRow { snapshot_id: made.snapshot_id.clone(), summary: made.summary.clone() });
        step.state.continuous.put(arn.clone(), continuous);
    }
    match step.state.points.get(&arn).cloned() {
        Some(mut known) => {
            if known.point.status != RecoveryPointStatus::Deleting {
                known.point.status = status;
                known.point.status_message = status_message;
            }
            known.point.snapshot_id = made.snapshot_id;
            known.point.summary = made.summary;
            known.point.completed_at = step.now;
            step.state.points.put(arn.clone(), known);
        }
        None => {
            let stopped_at = keep_days.is_none().then_some(step.now);
            let state = if keep_days.is_none() { FollowState::Stopped } else { FollowState::Starting };
            let days = keep_days.unwrap_or_default();
            let point = RecoveryPoint {
                id: arn.resource().strip_prefix("recovery-point:")?.parse().ok()?,
                arn: arn.clone(),
                kind: RecoveryPointKind::Continuous,
                vault: vault.clone(),
                storage_class: StorageClass::Warm,
                snapshot_id: made.snapshot_id,
                resource: job.resource.clone(),
                resource_type: job.resource_type?,
                status,
                status_message,
                job_id: job.id,
                created_by: job.created_by.clone(),
                copied_from: None,
                created_at: job.created_at,
                completed_at: step.now,
                summary: made.summary,
                lifecycle: Lifecycle { delete_after_days: Some(days.max(1)), move_to_cold_after_days: None },
                generations: None,
                time_zone: time_zone.clone(),
                tags: tags.clone(),
                traceparent: made.traceparent.or_else(|| job.traceparent.clone()),
                last_verdict: None,
                iam_role: job.iam_role.clone(),
                last_restored_at: None,
                continuous: Some(Continuous {
                    keep_days: days,
                    stopped_at,
                    bases: 1,
                    ..heard.unwrap_or(Continuous { state, ..Continuous::default() })
                }),
            };
            let fact = RecoveryPointCreated { recovery_point: point.clone() };
            let trace = point.traceparent.clone();
            step.state.points.put(arn.clone(), PointRow::new(point));
            step.tell(&job.region, job.id.to_string(), fact, trace);
        }
    }
    step.state.retain_soon();
    for (number, action) in copy_actions.iter().enumerate() {
        points::follow(step, job, &arn, number, action);
    }
    Some(arn)
}

/// Brings what is followed in line with plans, resources and holds. What is not wanted any more is given back, and its
/// recovery point lives on until its retention ends.
pub(crate) fn refresh(step: &mut Step<'_>) {
    let rows: Vec<ContinuousRow> = step.state.continuous.values().cloned().collect();
    for row in rows {
        let mut now = row.clone();
        if row.assignment.task == FollowTask::Follow {
            match wanted_days(step, &row) {
                Some(days) => now.keep_days = days,
                None => now.assignment.task = FollowTask::Release,
            }
        }
        if let Some(resource) = step.state.resources.get(&row.assignment.resource) {
            now.assignment.location.clone_from(&resource.location);
        }
        if let Some(vault) = step.state.vaults.get(&row.assignment.vault.arn) {
            now.assignment.vault = vault.access.clone();
        }
        let point = step.state.points.get(&row.assignment.recovery_point).map(|row| row.point.clone());
        let is_held = point.as_ref().is_some_and(|point| step.state.hold_on(point).is_some());
        now.assignment.keep_days = (!is_held).then_some(now.keep_days);
        keep_point(step, &now);
        if now != row {
            assign(step, now);
        }
    }
}

/// The recovery point shows its rule's retention.
fn keep_point(step: &mut Step<'_>, row: &ContinuousRow) {
    let Some(mut known) = step.state.points.get(&row.assignment.recovery_point).cloned() else { return };
    let Some(continuous) = &mut known.point.continuous else { return };
    if continuous.keep_days != row.keep_days {
        continuous.keep_days = row.keep_days;
        known.point.lifecycle.delete_after_days = Some(row.keep_days);
        step.state.points.put(known.point.arn.clone(), known);
    }
}

/// The longest retention that a rule wants for it; none when no rule wants it any more.
fn wanted_days(step: &Step<'_>, row: &ContinuousRow) -> Option<u32> {
    let resource = step.state.resources.get(&row.assignment.resource)?;
    let plans = step.state.current_plans();
    let takes = plans.into_iter().filter(|plan| plan_takes(step.state, &step.settings.account, plan, resource));
    let rules = takes.flat_map(|plan| plan.rules.iter().filter(move |rule| is_for(step.state, plan, rule, resource)));
    rules
        .filter(|rule| rule.enable_continuous && rule.target_vault == row.assignment.vault.arn)
        .filter_map(|rule| rule.lifecycle.delete_after_days)
        .max()
}

/// Publishes every assignment of a region again, because the bus may have lost them.
pub(crate) fn assign_again(step: &mut Step<'_>, region: &job_model::Region) {
    let rows: Vec<ContinuousRow> =
        step.state.continuous.values().filter(|row| row.assignment.region == *region).cloned().collect();
    for row in rows {
        assign(step, row);
    }
}

/// Has a resource followed no longer; whether there is somebody to wait for.
pub(crate) fn release(step: &mut Step<'_>, point: &Arn) -> bool {
    let Some(mut row) = step.state.continuous.get(point).cloned() else { return false };
    if row.assignment.task == FollowTask::Follow {
        row.assignment.task = FollowTask::Release;
        assign(step, row.clone());
    }
    row.assignment.task == FollowTask::Release
}

/// Whether somebody still follows it, or is being told to stop.
pub(crate) fn is_followed(step: &Step<'_>, point: &Arn) -> bool {
    step.state.continuous.get(point).is_some_and(|row| row.assignment.task != FollowTask::Nothing)
}

/// Nobody follows it any more, and nothing is kept back for it at the resource.
pub(crate) fn ended(step: &mut Step<'_>, point: &Arn, left_behind: Option<&String>) {
    let Some(mut row) = step.state.continuous.get(point).cloned() else { return };
    if row.assignment.task != FollowTask::Release {
        return;
    }
    row.assignment.task = FollowTask::Nothing;
    assign(step, row);
    match step.state.points.get(point).cloned() {
        Some(mut known) => {
            if let Some(continuous) = &mut known.point.continuous {
                continuous.state = FollowState::Stopped;
                continuous.message = left_behind.cloned();
                continuous.stopped_at = Some(step.now);
            }
            step.state.points.put(point.clone(), known);
            step.state.retain_soon();
        }
        // It never had a full capture, so that nothing can be restored of it.
        None => {
            step.state.continuous.remove(point);
        }
    }
}

/// How old the state is that a restore brings back: of a snapshot its capture, of a continuous recovery point the instant asked
/// for, or the newest that was durable.
pub(crate) fn restored_state_of(point: &RecoveryPoint, metadata: &BTreeMap<String, String>) -> Timestamp {
    let captured = point.summary.capture_ended_at;
    let Some(continuous) = &point.continuous else { return captured };
    match restore_instant(metadata) {
        Ok(Some(RestoreInstant::Time(at))) => at,
        Ok(Some(RestoreInstant::Position(_) | RestoreInstant::Point(_))) | Err(_) => captured,
        Ok(Some(RestoreInstant::Latest) | None) => continuous.window.last().map_or(captured, |interval| interval.to),
    }
}
