//! Recovery points: what a finished backup or copy puts into the catalogue, and the copies that follow.

use job_events::RecoveryPointCreated;
use job_model::{
    Arn, CaptureSummary, CopyAction, Generations, Job, JobDetail, JobId, JobKind, Lifecycle, RecoveryPoint,
    RecoveryPointId, RecoveryPointKind, RecoveryPointStatus, Region, SourceReading, StorageClass,
};

use crate::decide::runs::{create_or_fail, new_job};
use crate::decide::scope::account_of;
use crate::decide::{Step, cold};
use crate::state::{JobRow, PointRow};

/// What a worker made.
#[derive(Clone, Debug)]
pub(crate) struct Made {
    /// The snapshot in the vault.
    pub(crate) snapshot_id: String,
    /// What the capture did.
    pub(crate) summary: CaptureSummary,
    /// The trace of the fact that told.
    pub(crate) traceparent: Option<String>,
}

/// Puts the recovery point of a backup or copy job into the catalogue and starts the copies that follow it. Doing it
/// twice changes nothing.
///
/// The job may have ended otherwise meanwhile (its window passed while the worker finished): what is durable in a vault
/// belongs into the catalogue, or nobody would ever remove it.
pub(crate) fn record(step: &mut Step<'_>, row: &mut JobRow, made: Made) -> Option<Arn> {
    if row.recorded {
        return None;
    }
    row.recorded = true;
    let job = &row.job;
    let (vault, id, lifecycle, generations) = match &job.detail {
        JobDetail::Backup { vault, recovery_point_id, lifecycle, generations, .. } => {
            (vault.clone(), *recovery_point_id, *lifecycle, *generations)
        }
        JobDetail::Copy { destination_vault, recovery_point_id, lifecycle, generations, .. } => {
            (destination_vault.clone(), *recovery_point_id, *lifecycle, *generations)
        }
        _ => return None,
    };
    let account = account_of(&vault, &step.settings.account);
    let arn = Arn::recovery_point(&job.region, &account, id).ok()?;
    if step.state.points.contains(&arn) {
        return Some(arn);
    }
    let incomplete = made.summary.exception_count > 0;
    let (tags, time_zone, copied_from) = origin(step, job);
    let point = RecoveryPoint {
        id,
        arn: arn.clone(),
        kind: RecoveryPointKind::Snapshot,
        vault,
        storage_class: StorageClass::Warm,
        snapshot_id: made.snapshot_id,
        resource: job.resource.clone(),
        resource_type: job.resource_type?,
        status: if incomplete { RecoveryPointStatus::Partial } else { RecoveryPointStatus::Completed },
        status_message: incomplete.then(|| exceptions_message(&made.summary)),
        job_id: job.id,
        created_by: job.created_by.clone(),
        copied_from,
        created_at: job.created_at,
        completed_at: step.now,
        summary: made.summary,
        lifecycle,
        generations,
        time_zone,
        tags,
        traceparent: made.traceparent.or_else(|| job.traceparent.clone()),
        last_verdict: None,
        iam_role: job.iam_role.clone(),
        last_restored_at: None,
        continuous: None,
    };
    let fact = RecoveryPointCreated { recovery_point: point.clone() };
    let trace = point.traceparent.clone();
    step.state.retain_soon();
    step.state.points.put(arn.clone(), PointRow::new(point));
    step.tell(&job.region, job.id.to_string(), fact, trace);
    if let JobDetail::Backup { copy_actions, .. } = &job.detail {
        for (number, action) in copy_actions.iter().enumerate() {
            follow(step, job, &arn, number, action);
        }
    }
    Some(arn)
}

/// Tags, time zone and source of the recovery point a job makes.
fn origin(step: &Step<'_>, job: &Job) -> (std::collections::BTreeMap<String, String>, String, Option<Arn>) {
    match &job.detail {
        JobDetail::Backup { tags, time_zone, .. } => (tags.clone(), time_zone.clone(), None),
        JobDetail::Copy { source_recovery_point, .. } => {
            let source = step.state.points.get(source_recovery_point).map(|row| &row.point);
            (
                source.map(|point| point.tags.clone()).unwrap_or_default(),
                source.map_or_else(|| "UTC".to_owned(), |point| point.time_zone.clone()),
                Some(source_recovery_point.clone()),
            )
        }
        _ => (std::collections::BTreeMap::new(), "UTC".to_owned(), None),
    }
}

/// What is said of a capture that is not all of its resource.
pub(crate) fn exceptions_message(summary: &CaptureSummary) -> String {
    let first = summary.exceptions.first();
    let example = first.map(|e| format!(", first `{}`: {}", e.path, e.message)).unwrap_or_default();
    format!("{} entries were not captured as they should be{example}", summary.exception_count)
}

/// What is said of a capture that read more than had changed.
pub(crate) fn untracked_message(reading: &SourceReading) -> Option<String> {
    let why = reading.fallback.as_ref()?;
    Some(format!("changes could not be tracked, {} bytes were read: {why}", reading.bytes_read))
}

/// What a job says whose rule asks for more than a snapshot.
pub(crate) const NOT_CONTINUOUS: &str = "Enabling continuous backup failed: resources of this kind are not captured continuously; a snapshot was made instead";

/// A copy that follows a backup. Its id is derived, so that the step can be repeated.
pub(crate) fn follow(step: &mut Step<'_>, backup: &Job, point: &Arn, number: usize, action: &CopyAction) {
    let id = JobId::new(backup.id.derive(&format!("copy-{number}")));
    if step.state.job(id).is_some() {
        return;
    }
    let wanted = CopyWanted {
        id,
        point: point.clone(),
        destination: action.destination_vault.clone(),
        lifecycle: action.lifecycle,
        generations: None,
        parent: Some(backup.id),
        iam_role: backup.iam_role.clone(),
    };
    copy(step, wanted);
}

/// A copy, following a backup or on demand.
#[derive(Clone, Debug)]
pub(crate) struct CopyWanted {
    pub(crate) id: JobId,
    pub(crate) point: Arn,
    pub(crate) destination: Arn,
    pub(crate) lifecycle: Lifecycle,
    pub(crate) generations: Option<Generations>,
    pub(crate) parent: Option<JobId>,
    pub(crate) iam_role: Option<String>,
}

/// Makes the job of a copy, in the region of the destination.
pub(crate) fn copy(step: &mut Step<'_>, wanted: CopyWanted) -> Option<JobId> {
    let source = step.state.points.get(&wanted.point)?.point.clone();
    let refused = refused_by_vault(step, &wanted.destination, &wanted.lifecycle, None);
    let destination_region = step.state.vaults.get(&wanted.destination).map(|vault| vault.region.clone());
    let region = destination_region.or_else(|| region_of(step, &source.vault))?;
    let mut job = new_job(
        step,
        wanted.id,
        JobKind::Copy,
        source.resource.clone(),
        region,
        JobDetail::Copy {
            source_recovery_point: wanted.point.clone(),
            source_vault: source.vault.clone(),
            destination_vault: wanted.destination,
            recovery_point_id: RecoveryPointId::new(wanted.id.derive("recovery-point")),
            lifecycle: wanted.lifecycle,
            generations: wanted.generations,
        },
    );
    job.resource_type = Some(source.resource_type);
    job.created_by = source.created_by.clone();
    job.parent = wanted.parent;
    job.iam_role = wanted.iam_role;
    // A copy goes on with the cycle of what it copies.
    job.traceparent = job.traceparent.or(source.traceparent);
    let mut row = JobRow::new(job);
    row.uses = vec![wanted.point];
    Some(create_or_fail(step, row, refused))
}

fn region_of(step: &Step<'_>, vault: &Arn) -> Option<Region> {
    step.state.vaults.get(vault).map(|vault| vault.region.clone())
}

/// Why a vault does not take a recovery point with this retention; none when it does. AWS checks at job time, because
/// the vault's bounds may change between the plan and the job.
pub(crate) fn refused_by_vault(
    step: &Step<'_>,
    arn: &Arn,
    lifecycle: &Lifecycle,
    region: Option<&Region>,
) -> Option<String> {
    let Some(vault) = step.state.vaults.get(arn) else {
        return Some(format!("vault `{arn}` does not exist; create it, or change the plan"));
    };
    if let Some(region) = region.filter(|region| **region != vault.region) {
        return Some(format!(
            "vault `{}` is in `{}` and the resource in `{region}`; back up into a vault of its own region and add a copy action",
            vault.name, vault.region
        ));
    }
    if let Some(why) = cold::refused(step.settings, vault, lifecycle) {
        return Some(why);
    }
    job_model::validation::retention_fits_vault("lifecycle", lifecycle, vault)
        .err()
        .map(|invalid| format!("vault `{}` refuses this retention: {invalid}", vault.name))
}
