//! The cold tier: which recovery points move into their vault's cold repository, and what is left to do of each move.
//!
//! A move is two jobs. The first copies the recovery point; once the copy is recorded here the point is COLD, and every order
//! made from then on reads the copy. The second removes the warm snapshot, when no job reads it any more. What is left to do
//! stands in the point's row, so that a planner that died in between, or a job that was given up, is followed by another.

use std::collections::BTreeSet;

use job_events::{
    CopyRecoveryPoint, DeleteRecoveryPointOrder, Disposition, ForgetWarmSnapshot, OrderBody, OrderHeader,
    RecoveryPointCopied,
};
use job_model::{
    Arn, FailureCode, JobDetail, JobEvent, JobId, JobKind, Lifecycle, MessageCategory, RecoveryPointKind,
    RecoveryPointStatus, StorageClass, Vault, VaultAccess, VaultState,
};

use crate::decide::orders::{NoOrder, task};
use crate::decide::runs::{after, new_job};
use crate::decide::{Settings, Step, attempt, ends};
use crate::state::{JobRow, PointRow};

/// The cold repository of a vault: its own, or the one that the configuration has for vaults of the region. None: recovery
/// points of this vault stay warm, and a lifecycle that says otherwise is refused.
pub(crate) fn repository_for(settings: &Settings, vault: &Vault) -> Option<VaultAccess> {
    if let Some(cold) = &vault.cold {
        return Some(cold.clone());
    }
    let place = settings.vault_places.get(&vault.region)?;
    let account = vault.access.arn.account();
    let location = place.cold_location.as_ref()?.replace("{account}", account).replace("{name}", &vault.name);
    let key_profile = place.cold_key_profile.clone().unwrap_or_else(|| vault.access.key_profile.clone());
    Some(VaultAccess { arn: vault.access.arn.clone(), location, key_profile, repository_id: None })
}

/// Why a vault does not take a recovery point with this lifecycle; none when it does.
pub(crate) fn refused(settings: &Settings, vault: &Vault, lifecycle: &Lifecycle) -> Option<String> {
    lifecycle.move_to_cold_after_days?;
    if repository_for(settings, vault).is_some() {
        return None;
    }
    Some(format!(
        "vault `{}` has no cold storage; leave it out, create a vault with a cold location, or set \
         `regions.{}.vaults.cold_location` in the planner's configuration",
        vault.name, vault.region
    ))
}

/// Makes the cold repositories that are needed, and orders what is due of all moves.
pub(crate) fn tend(step: &mut Step<'_>) {
    let moving: BTreeSet<Arn> = step
        .state
        .open_jobs()
        .into_iter()
        .filter_map(|row| match &row.job.detail {
            JobDetail::Maintenance { task, recovery_point: Some(point), .. }
                if task == task::MOVE_TO_COLD || task == task::FORGET_WARM =>
            {
                Some(point.clone())
            }
            _ => None,
        })
        .collect();
    let is_bound_for_cold = |row: &PointRow| {
        row.point.storage_class == StorageClass::Warm
            && row.point.kind == RecoveryPointKind::Snapshot
            && matches!(row.point.status, RecoveryPointStatus::Completed | RecoveryPointStatus::Partial)
            && row.point.move_to_cold_at().is_some()
    };
    let wanting: BTreeSet<Arn> =
        step.state.points.values().filter(|row| is_bound_for_cold(row)).map(|row| row.point.vault.clone()).collect();
    for vault in step.state.vaults.values().cloned().collect::<Vec<_>>() {
        if vault.state == VaultState::Available && (vault.cold.is_some() || wanting.contains(&vault.access.arn)) {
            see_to_repository(step, vault);
        }
    }
    let now = step.now;
    let rested = |row: &&PointRow| !moving.contains(&row.point.arn) && row.move_not_before.is_none_or(|at| at <= now);
    let left: Vec<Arn> = step
        .state
        .points
        .values()
        .filter(rested)
        .filter(|row| row.warm_snapshot.is_some() && row.point.status != RecoveryPointStatus::Deleting)
        .map(|row| row.point.arn.clone())
        .collect();
    let due: Vec<Arn> = step
        .state
        .points
        .values()
        .filter(rested)
        .filter(|row| is_bound_for_cold(row) && row.point.move_to_cold_at().is_some_and(|at| at <= now))
        .filter(|row| step.state.hold_on(&row.point).is_none())
        .filter(|row| {
            let vault = step.state.vaults.get(&row.point.vault);
            vault.is_some_and(|vault| vault.repository(StorageClass::Cold).is_some())
        })
        .map(|row| row.point.arn.clone())
        .collect();
    for arn in left {
        start(step, &arn, task::FORGET_WARM);
    }
    for arn in due {
        start(step, &arn, task::MOVE_TO_COLD);
    }
}

/// Has the cold repository of a vault made, unless it is there, or is being made, or could not be made a short while ago.
fn see_to_repository(step: &mut Step<'_>, mut vault: Vault) {
    if vault.repository(StorageClass::Cold).is_some() {
        return;
    }
    let arn = vault.access.arn.clone();
    let Some(cold) = repository_for(step.settings, &vault) else {
        // The configuration had one when the recovery points were made.
        let text = "recovery points of it are to move to cold storage and it has none; set \
                    `regions.<region>.vaults.cold_location` in the planner's configuration";
        if vault.state_message.as_deref() != Some(text) {
            vault.state_message = Some(text.to_owned());
            step.state.vaults.put(arn, vault);
        }
        return;
    };
    let tried = step.state.jobs().filter(|row| is_about(row, &arn)).max_by_key(|row| row.job.created_at);
    let waits = tried.is_some_and(|row| match row.job.ended_at {
        None => true,
        Some(at) => after(at, step.settings.delete_retry) > step.now,
    });
    if waits {
        return;
    }
    if vault.cold.is_none() {
        vault.cold = Some(cold);
        step.state.vaults.put(arn.clone(), vault.clone());
    }
    let detail = JobDetail::Maintenance {
        vault: Some(arn.clone()),
        task: task::CREATE_COLD_TIER.to_owned(),
        recovery_point: None,
        restore_job_id: None,
    };
    let id = JobId::new(JobId::new(step.draw).derive(&format!("cold-tier-{arn}")));
    let job = new_job(step, id, JobKind::Maintenance, arn, vault.region, detail);
    step.create(JobRow::new(job));
}

fn is_about(row: &JobRow, vault: &Arn) -> bool {
    matches!(&row.job.detail, JobDetail::Maintenance { vault: Some(of), task, .. }
        if of == vault && task == task::CREATE_COLD_TIER)
}

/// Makes the job of one half of a move.
fn start(step: &mut Step<'_>, arn: &Arn, half: &str) {
    let Some(mut row) = step.state.points.get(arn).cloned() else { return };
    let Some(region) = step.state.vaults.get(&row.point.vault).map(|vault| vault.region.clone()) else { return };
    let id = JobId::new(row.point.id.derive(&format!("{half}-{}", row.moves)));
    let vault = row.point.vault.clone();
    let detail = JobDetail::Maintenance {
        vault: Some(vault.clone()),
        task: half.to_owned(),
        recovery_point: Some(arn.clone()),
        restore_job_id: None,
    };
    let mut job = new_job(step, id, JobKind::Maintenance, vault, region, detail);
    job.traceparent = row.point.traceparent.clone().or(job.traceparent);
    row.moves += 1;
    row.move_not_before = None;
    step.state.points.put(arn.clone(), row);
    let mut row = JobRow::new(job);
    row.uses = vec![arn.clone()];
    step.create(row);
}

/// The order of the first half: a copy into the cold repository, as the same recovery point.
pub(crate) fn copy_order(step: &Step<'_>, order: OrderHeader, row: &PointRow) -> Result<OrderBody, NoOrder> {
    let (warm, cold) = repositories(step, row)?;
    let point = &row.point;
    if point.storage_class == StorageClass::Cold {
        return Err(NoOrder::Never("it was moved to cold storage meanwhile".to_owned()));
    }
    if let Some(hold) = step.state.hold_on(point) {
        return Err(NoOrder::Never(format!(
            "legal hold `{}` ({}) holds it; it moves when the hold ends",
            hold.title, hold.id
        )));
    }
    Ok(CopyRecoveryPoint {
        created_at: order.issued_at,
        order,
        source: warm,
        source_recovery_point: point.arn.clone(),
        source_snapshot_id: point.snapshot_id.clone(),
        tree_id: point.summary.tree_id.clone(),
        destination: cold,
        recovery_point_id: point.id,
        recovery_point: point.arn.clone(),
    }
    .into())
}

/// The order of the second half: the warm snapshot goes, once nobody reads it.
pub(crate) fn forget_order(
    step: &Step<'_>,
    order: OrderHeader,
    job: JobId,
    row: &PointRow,
) -> Result<OrderBody, NoOrder> {
    let (warm, cold) = repositories(step, row)?;
    let point = &row.point;
    let Some(left) = row.warm_snapshot.clone() else {
        return Err(NoOrder::Never("nothing of it is left in the warm repository".to_owned()));
    };
    if let Some(reader) = step.state.user_of(&point.arn, job) {
        return Err(NoOrder::Wait(format!("job `{reader}` may read the warm snapshot still")));
    }
    if let Some(hold) = step.state.hold_on(point) {
        return Err(NoOrder::Wait(format!("legal hold `{}` ({}) holds it", hold.title, hold.id)));
    }
    Ok(ForgetWarmSnapshot {
        order,
        warm,
        cold,
        recovery_point: point.arn.clone(),
        recovery_point_id: point.id,
        warm_snapshot_id: left,
        cold_snapshot_id: point.snapshot_id.clone(),
        tree_id: point.summary.tree_id.clone(),
    }
    .into())
}

fn repositories(step: &Step<'_>, row: &PointRow) -> Result<(VaultAccess, VaultAccess), NoOrder> {
    let arn = &row.point.vault;
    let vault = step.state.vaults.get(arn);
    let vault = vault.ok_or_else(|| NoOrder::Never(format!("vault `{arn}` does not exist any more")))?;
    let cold = vault.repository(StorageClass::Cold).cloned();
    let cold =
        cold.ok_or_else(|| NoOrder::Wait(format!("the cold repository of vault `{}` is not there yet", vault.name)))?;
    Ok((vault.access.clone(), cold))
}

/// The copy in the cold repository is durable: from here on it is the recovery point.
pub(crate) fn copied(step: &mut Step<'_>, mut row: JobRow, arn: &Arn, fact: &RecoveryPointCopied) {
    let is_going = |row: &PointRow| row.point.status == RecoveryPointStatus::Deleting;
    // Only a move that was given up lets go of its recovery point. The deletion looks into both repositories, and may have
    // done so before the copy was there.
    if row.job.state.is_terminal() && step.state.points.get(arn).is_none_or(is_going) {
        forget_late_copy(step, &row, arn, &fact.snapshot_id);
    }
    if let Some(mut point) = step.state.points.get(arn).cloned() {
        if point.point.summary.tree_id != fact.tree_id {
            let text = format!("the copy has tree `{}` and its source `{}`", fact.tree_id, point.point.summary.tree_id);
            return attempt::failed(step, row, FailureCode::SnapshotDiffers.as_str(), &text, Disposition::Fail);
        }
        if !is_going(&point) && point.point.storage_class == StorageClass::Warm {
            let warm = std::mem::replace(&mut point.point.snapshot_id, fact.snapshot_id.clone());
            point.point.storage_class = StorageClass::Cold;
            point.warm_snapshot = Some(warm);
            step.state.points.put(arn.clone(), point);
            start(step, arn, task::FORGET_WARM);
        }
    }
    if step.advance(&mut row, JobEvent::Succeeded) {
        row.job.progress = fact.progress;
        row.job.phases = fact.phases.clone();
        row.job.message_category = MessageCategory::Success;
        row.job.status_message = None;
        ends::keep_ended(step, row);
    }
}

/// Makes the job that removes a copy of what is deleted. Told of it twice, it makes one.
fn forget_late_copy(step: &mut Step<'_>, row: &JobRow, arn: &Arn, snapshot_id: &str) {
    let id = JobId::new(row.job.id.derive(&format!("late-{snapshot_id}")));
    let JobDetail::Maintenance { vault: Some(vault), .. } = &row.job.detail else { return };
    if step.state.job(id).is_some() || !step.state.vaults.contains(vault) {
        return;
    }
    let vault = vault.clone();
    let detail = JobDetail::Maintenance {
        vault: Some(vault.clone()),
        task: task::FORGET_LATE_COPY.to_owned(),
        recovery_point: Some(arn.clone()),
        restore_job_id: None,
    };
    let mut job = new_job(step, id, JobKind::Maintenance, vault, row.job.region.clone(), detail);
    job.traceparent = row.job.traceparent.clone().or(job.traceparent);
    let mut late = JobRow::new(job);
    late.stray_snapshot = Some(snapshot_id.to_owned());
    step.create(late);
}

/// The order of that job.
pub(crate) fn late_order(
    order: OrderHeader,
    row: &JobRow,
    point: Option<&Arn>,
    cold: VaultAccess,
) -> Result<OrderBody, NoOrder> {
    let named = point.cloned().zip(row.stray_snapshot.clone());
    let (recovery_point, snapshot_id) =
        named.ok_or_else(|| NoOrder::Never("the task names no snapshot to remove".to_owned()))?;
    Ok(DeleteRecoveryPointOrder { order, vault: cold, recovery_point, snapshot_id, also: None }.into())
}

/// The warm snapshot is gone: the move is over.
pub(crate) fn forgotten(step: &mut Step<'_>, mut row: JobRow, arn: &Arn) {
    if let Some(mut point) = step.state.points.get(arn).cloned().filter(|point| point.warm_snapshot.is_some()) {
        point.warm_snapshot = None;
        step.state.points.put(arn.clone(), point);
    }
    if step.advance(&mut row, JobEvent::Succeeded) {
        row.job.message_category = MessageCategory::Success;
        row.job.status_message = None;
        ends::keep_ended(step, row);
    }
}

/// Half a move was given up: it is tried again later.
pub(crate) fn given_up(step: &mut Step<'_>, arn: &Arn) {
    if let Some(mut point) = step.state.points.get(arn).cloned() {
        point.move_not_before = Some(after(step.now, step.settings.delete_retry));
        step.state.points.put(arn.clone(), point);
    }
}
