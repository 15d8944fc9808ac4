//! Orders: a job and what the planner knows made into a complete instruction, or the reason why there is none yet.

use job_events::{
    CaptureSnapshot, CheckVault, CopyRecoveryPoint, CreateVault, DeleteRecoveryPointOrder, OrderBody, OrderHeader,
    ParentSnapshot, PruneVault, RemoveSandbox, RestoreRecoveryPoint, VerifyRestore,
};
use job_model::{
    Arn, Job, JobDetail, RecoveryPoint, RecoveryPointStatus, RestoreTarget, StorageClass, Vault, VaultAccess,
    VaultState,
};

use crate::decide::scope::account_of;
use crate::decide::{Step, cold, continuous, keeping};
use crate::state::{JobRow, PointRow};

/// What stands between a job and its order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NoOrder {
    /// Something has to happen first; the job stays CREATED.
    Wait(String),
    /// It will never work; the job is FAILED.
    Never(String),
}

/// Names of the tasks of upkeep jobs, as they stand in the ledger.
pub(crate) mod task {
    pub(crate) const CREATE_VAULT: &str = "create-vault";
    pub(crate) const DELETE_RECOVERY_POINT: &str = "delete-recovery-point";
    pub(crate) const CHECK_VAULT: &str = "check-vault";
    pub(crate) const PRUNE_VAULT: &str = "prune-vault";
    /// Says what a prune would do.
    pub(crate) const PLAN_PRUNE: &str = "plan-prune";
    pub(crate) const REMOVE_SANDBOX: &str = "remove-sandbox";
    /// Makes a vault's cold repository.
    pub(crate) const CREATE_COLD_TIER: &str = "create-cold-tier";
    /// Copies a recovery point into its vault's cold repository.
    pub(crate) const MOVE_TO_COLD: &str = "move-to-cold";
    /// Removes what was moved from the warm one.
    pub(crate) const FORGET_WARM: &str = "forget-warm";
    /// Removes a copy that came into the cold repository after its recovery point was deleted.
    pub(crate) const FORGET_LATE_COPY: &str = "forget-late-copy";
    /// Writes locks and holds into a vault.
    pub(crate) const PROTECT_VAULT: &str = "protect-vault";
    pub(crate) const PROTECT_COLD_TIER: &str = "protect-cold-tier";
    pub(crate) const CHECK_COLD_TIER: &str = "check-cold-tier";
    /// Reads a part of a vault.
    pub(crate) const SCRUB_VAULT: &str = "scrub-vault";
    pub(crate) const SCRUB_COLD_TIER: &str = "scrub-cold-tier";
    pub(crate) const PRUNE_COLD_TIER: &str = "prune-cold-tier";
    /// Says what a prune of the cold repository would do.
    pub(crate) const PLAN_COLD_PRUNE: &str = "plan-cold-prune";
}

/// How long a pack stays after it was found unused: longer than what works without locks takes, as rustic does.
const PRUNE_GRACE_HOURS: u32 = 24;

/// What an order takes for itself: the subject it is published on and the lease its worker holds follow from it, so
/// two jobs with the same subject never have an order out at the same time.
///
/// A restore takes the recovery point, not the resource: a restore test must not hold up the next backup. Only a
/// restore over the resource's own location takes the resource.
pub(crate) fn subject_of(step: &Step<'_>, job: &Job) -> Arn {
    match &job.detail {
        JobDetail::Restore { recovery_point, target: RestoreTarget::Location { url }, .. } => {
            let in_place = step.state.resources.get(&job.resource).is_some_and(|r| same_place(&r.location, url));
            if in_place { job.resource.clone() } else { recovery_point.clone() }
        }
        JobDetail::Restore { recovery_point, .. } => recovery_point.clone(),
        JobDetail::Maintenance { recovery_point: Some(point), task, .. } if task == task::REMOVE_SANDBOX => {
            point.clone()
        }
        JobDetail::Maintenance { vault: Some(vault), .. } => vault.clone(),
        JobDetail::Backup { .. }
        | JobDetail::Copy { .. }
        | JobDetail::Verification { .. }
        | JobDetail::Maintenance { .. } => job.resource.clone(),
    }
}

fn same_place(a: &str, b: &str) -> bool {
    a.trim_end_matches('/') == b.trim_end_matches('/')
}

/// The order of a job's present attempt.
pub(crate) fn order_of(step: &Step<'_>, row: &JobRow) -> Result<OrderBody, NoOrder> {
    let job = &row.job;
    let header = OrderHeader {
        job_id: job.id,
        attempt: job.attempt,
        region: job.region.clone(),
        resource: subject_of(step, job),
        issued_at: step.now,
        deadline: job.complete_by,
    };
    match &job.detail {
        JobDetail::Backup { vault, recovery_point_id, tags, .. } => {
            let resource = step
                .state
                .resources
                .get(&job.resource)
                .ok_or_else(|| NoOrder::Never(format!("resource `{}` is not registered any more", job.resource)))?;
            let vault = usable_vault(step, vault)?;
            Ok(CaptureSnapshot {
                order: header,
                resource_type: resource.resource_type,
                location: resource.location.clone(),
                hooks: resource.hooks.clone(),
                vault: vault.access.clone(),
                recovery_point_id: *recovery_point_id,
                recovery_point: point_arn(step, vault, *recovery_point_id)?,
                parent: parent_of(step, &job.resource, &vault.access.arn),
                tags: tags.clone(),
                created_at: job.created_at,
                base_of: continuous::base_of(step, row),
            }
            .into())
        }
        JobDetail::Copy { source_recovery_point, source_vault, destination_vault, recovery_point_id, .. } => {
            let source = restorable(step, source_recovery_point)?;
            let destination = usable_vault(step, destination_vault)?;
            Ok(CopyRecoveryPoint {
                order: header,
                source: repository_of(step, source_vault, &source.point)?,
                source_recovery_point: source_recovery_point.clone(),
                source_snapshot_id: source.point.snapshot_id.clone(),
                tree_id: source.point.summary.tree_id.clone(),
                destination: destination.access.clone(),
                recovery_point_id: *recovery_point_id,
                recovery_point: point_arn(step, destination, *recovery_point_id)?,
                created_at: job.created_at,
            }
            .into())
        }
        JobDetail::Restore { recovery_point, vault, target, overwrite, test_run, metadata, .. } => {
            let point = restorable(step, recovery_point)?;
            Ok(RestoreRecoveryPoint {
                order: header,
                resource_type: point.point.resource_type,
                vault: repository_of(step, vault, &point.point)?,
                recovery_point: recovery_point.clone(),
                snapshot_id: point.point.snapshot_id.clone(),
                tree_id: point.point.summary.tree_id.clone(),
                target: target.clone(),
                overwrite: *overwrite,
                include: row.include.clone(),
                metadata: metadata.clone(),
                test_run: *test_run,
                bases: continuous::bases(step, recovery_point),
            }
            .into())
        }
        JobDetail::Verification { restore_job_id, test_run, recovery_point } => {
            let point = restorable(step, recovery_point)?;
            let restore = step
                .state
                .job(*restore_job_id)
                .ok_or_else(|| NoOrder::Never(format!("restore job `{restore_job_id}` is not in the ledger")))?;
            let JobDetail::Restore { vault, created_location: Some(location), metadata, .. } = &restore.job.detail
            else {
                return Err(NoOrder::Never(format!("job `{restore_job_id}` has restored nothing")));
            };
            Ok(VerifyRestore {
                order: header,
                resource_type: point.point.resource_type,
                restore_job_id: *restore_job_id,
                test_run: *test_run,
                vault: repository_of(step, vault, &point.point)?,
                recovery_point: recovery_point.clone(),
                snapshot_id: point.point.snapshot_id.clone(),
                tree_id: point.point.summary.tree_id.clone(),
                restored_location: location.clone(),
                restore_ordered_at: restore.first_issued_at.unwrap_or(restore.job.created_at),
                restore_phases: restore.job.phases.clone(),
                capture_ended_at: continuous::restored_state_of(&point.point, metadata),
                exception_count: point.point.summary.exception_count,
                metadata: metadata.clone(),
            }
            .into())
        }
        JobDetail::Maintenance { vault, task, recovery_point, restore_job_id } => {
            maintenance(step, row, header, vault.as_ref(), task, recovery_point.as_ref(), *restore_job_id)
        }
    }
}

fn maintenance(
    step: &Step<'_>,
    row: &JobRow,
    order: OrderHeader,
    vault: Option<&Arn>,
    task: &str,
    point: Option<&Arn>,
    restore_job_id: Option<job_model::JobId>,
) -> Result<OrderBody, NoOrder> {
    let vault = || -> Result<&Vault, NoOrder> {
        let arn = vault.ok_or_else(|| NoOrder::Never(format!("task `{task}` names no vault")))?;
        // Upkeep does not wait for AVAILABLE: making the vault is what makes it so.
        step.state.vaults.get(arn).ok_or_else(|| NoOrder::Never(format!("vault `{arn}` does not exist any more")))
    };
    let access = || vault().map(|vault| vault.access.clone());
    let cold = || -> Result<VaultAccess, NoOrder> {
        let vault = vault()?;
        vault.cold.clone().ok_or_else(|| NoOrder::Never(format!("vault `{}` has no cold storage", vault.name)))
    };
    let moved = || {
        let row = point.and_then(|arn| step.state.points.get(arn));
        row.ok_or_else(|| NoOrder::Never("the recovery point is gone".to_owned()))
    };
    match task {
        task::CREATE_COLD_TIER => Ok(CreateVault { order, vault: cold()? }.into()),
        task::CHECK_COLD_TIER => {
            Ok(CheckVault { order, vault: cold()?, read_data: row.read_data, scrub_mib: None }.into())
        }
        task::SCRUB_VAULT | task::SCRUB_COLD_TIER => {
            let vault = if task == task::SCRUB_VAULT { access()? } else { cold()? };
            let scrub_mib = Some(step.settings.scrub_mib);
            Ok(CheckVault { order, vault, read_data: false, scrub_mib }.into())
        }
        task::PRUNE_COLD_TIER | task::PLAN_COLD_PRUNE => {
            let plan_only = task == task::PLAN_COLD_PRUNE;
            Ok(PruneVault { order, vault: cold()?, plan_only, grace_hours: PRUNE_GRACE_HOURS }.into())
        }
        task::PROTECT_VAULT => Ok(keeping::order(step, order, vault()?, access()?, task)),
        task::PROTECT_COLD_TIER => Ok(keeping::order(step, order, vault()?, cold()?, task)),
        task::MOVE_TO_COLD => cold::copy_order(step, order, moved()?),
        task::FORGET_LATE_COPY => cold::late_order(order, row, point, cold()?),
        task::FORGET_WARM => cold::forget_order(step, order, row.job.id, moved()?),
        task::CREATE_VAULT => Ok(CreateVault { order, vault: access()? }.into()),
        task::CHECK_VAULT => {
            Ok(CheckVault { order, vault: access()?, read_data: row.read_data, scrub_mib: None }.into())
        }
        task::PRUNE_VAULT | task::PLAN_PRUNE => {
            let plan_only = task == task::PLAN_PRUNE;
            Ok(PruneVault { order, vault: access()?, plan_only, grace_hours: PRUNE_GRACE_HOURS }.into())
        }
        task::DELETE_RECOVERY_POINT => {
            let point = point.and_then(|arn| step.state.points.get(arn));
            let point = point.ok_or_else(|| NoOrder::Never("the recovery point is gone already".to_owned()))?;
            if continuous::is_followed(step, &point.point.arn) {
                return Err(NoOrder::Wait("its worker is told to stop following the resource".to_owned()));
            }
            let (here, there) = match point.point.storage_class {
                StorageClass::Warm => (access()?, vault()?.repository(StorageClass::Cold).cloned()),
                StorageClass::Cold => (cold()?, Some(access()?)),
            };
            Ok(DeleteRecoveryPointOrder {
                order,
                vault: here,
                recovery_point: point.point.arn.clone(),
                snapshot_id: point.point.snapshot_id.clone(),
                also: there.filter(|_| point.moves > 0),
            }
            .into())
        }
        task::REMOVE_SANDBOX => {
            let restore_job_id =
                restore_job_id.ok_or_else(|| NoOrder::Never("the task names no restore job".to_owned()))?;
            Ok(RemoveSandbox { order, restore_job_id }.into())
        }
        other => Err(NoOrder::Never(format!("task `{other}` is not one this planner knows"))),
    }
}

fn usable_vault<'s>(step: &'s Step<'_>, arn: &Arn) -> Result<&'s Vault, NoOrder> {
    let vault =
        step.state.vaults.get(arn).ok_or_else(|| NoOrder::Never(format!("vault `{arn}` does not exist any more")))?;
    match vault.state {
        VaultState::Available => Ok(vault),
        VaultState::Creating => Err(NoOrder::Wait(format!("vault `{}` is still being created", vault.name))),
        VaultState::Failed => Err(NoOrder::Never(format!(
            "vault `{}` could not be created: {}; delete it and create it again",
            vault.name,
            vault.state_message.as_deref().unwrap_or("no reason is known")
        ))),
    }
}

/// The repository that holds a recovery point of a vault.
fn repository_of(step: &Step<'_>, arn: &Arn, point: &RecoveryPoint) -> Result<VaultAccess, NoOrder> {
    let vault = usable_vault(step, arn)?;
    let gone = || NoOrder::Never(format!("vault `{}` has no cold storage any more", vault.name));
    vault.repository(point.storage_class).cloned().ok_or_else(gone)
}

fn restorable<'s>(step: &'s Step<'_>, arn: &Arn) -> Result<&'s PointRow, NoOrder> {
    let row = step
        .state
        .points
        .get(arn)
        .ok_or_else(|| NoOrder::Never(format!("recovery point `{arn}` does not exist any more")))?;
    match row.point.status {
        RecoveryPointStatus::Deleting => {
            Err(NoOrder::Never(format!("recovery point `{arn}` is being deleted; choose another one")))
        }
        RecoveryPointStatus::Completed | RecoveryPointStatus::Partial | RecoveryPointStatus::Expired => Ok(row),
    }
}

/// The newest recovery point of the resource in the vault: the next capture reads and stores only the difference.
fn parent_of(step: &Step<'_>, resource: &Arn, vault: &Arn) -> Option<ParentSnapshot> {
    newest_in(step, resource, vault).map(|row| ParentSnapshot {
        snapshot_id: row.point.snapshot_id.clone(),
        tree_id: row.point.summary.tree_id.clone(),
    })
}

/// The newest recovery point of a resource in a vault that is not being deleted, in the repository that captures go to.
pub(crate) fn newest_in<'s>(step: &'s Step<'_>, resource: &Arn, vault: &Arn) -> Option<&'s PointRow> {
    step.state
        .points_of(resource)
        .rev()
        .filter(|row| row.point.vault == *vault && row.point.storage_class == StorageClass::Warm)
        .find(|row| row.point.status != RecoveryPointStatus::Deleting)
}

fn point_arn(step: &Step<'_>, vault: &Vault, id: job_model::RecoveryPointId) -> Result<Arn, NoOrder> {
    Arn::recovery_point(&vault.region, &account_of(&vault.access.arn, &step.settings.account), id)
        .map_err(|e| NoOrder::Never(e.to_string()))
}
