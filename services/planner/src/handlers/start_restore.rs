//! `start-restore`: a recovery point brought back, to a place of its own unless said otherwise.

use job_events::StartRestore;
use job_model::{
    JobDetail, JobId, JobKind, RecoveryPointKind, RecoveryPointStatus, RestoreInstant, RestoreTarget, restore_instant,
};

use crate::decide::runs::new_job;
use crate::decide::{Accepted, Refusal, Step};
use crate::handlers::register_resource::absolute_file;
use crate::state::JobRow;

/// The longest validation window: AWS's 168 hours.
const VALIDATION_HOURS_MAX: u32 = 168;

pub(crate) fn handle(step: &mut Step<'_>, request: &StartRestore) -> Result<Accepted, Refusal> {
    let row = step.point("recovery_point", &request.recovery_point)?;
    let point = row.point.clone();
    if point.status == RecoveryPointStatus::Deleting {
        let text = format!("recovery point `{}` is being deleted; choose another one", request.recovery_point);
        return Err(Refusal::request("recovery_point", text));
    }
    match (&request.target, &request.test) {
        (RestoreTarget::Sandbox, Some(test)) if test.validation_window_hours > VALIDATION_HOURS_MAX => {
            return Err(Refusal::invalid(
                "test.validation_window_hours",
                format!("`{}` is more than {VALIDATION_HOURS_MAX} hours", test.validation_window_hours),
            ));
        }
        (RestoreTarget::Sandbox, Some(_)) => {}
        (RestoreTarget::Sandbox, None) => {
            return Err(Refusal::invalid(
                "target",
                "a sandbox is for restore tests; name a location, or send `test` with it",
            ));
        }
        (RestoreTarget::Location { .. }, Some(_)) => {
            return Err(Refusal::invalid("target", "a restore test goes into the sandbox, never to a location"));
        }
        (RestoreTarget::Location { url }, None) => absolute_file("target.url", url)?,
    }
    match restore_instant(&request.metadata)? {
        Some(_) if point.kind == RecoveryPointKind::Snapshot => {
            let text = "the recovery point is a snapshot and holds one instant; leave `RestoreTime` and its like out, or \
                        choose a continuous recovery point";
            return Err(Refusal::invalid("metadata", text));
        }
        Some(RestoreInstant::Time(at)) if at > step.now => {
            return Err(Refusal::invalid("metadata.RestoreTime", format!("`{at}` lies ahead")));
        }
        _ => {}
    }
    if point.kind == RecoveryPointKind::Continuous && !request.include.is_empty() {
        return Err(Refusal::invalid("include", "an instant is restored as a whole; leave it empty"));
    }
    if request.test.is_some() && !request.include.is_empty() {
        return Err(Refusal::invalid("include", "a restore test restores all of a recovery point; leave it empty"));
    }
    for (place, path) in request.include.iter().enumerate() {
        let leaves = path.is_empty() || path.split('/').any(|part| part == "..") || path.contains('\0');
        if leaves {
            return Err(Refusal::invalid(
                &format!("include[{place}]"),
                format!("`{path}` is not a path below the resource"),
            ));
        }
    }
    let Some(vault) = step.state.vaults.get(&point.vault) else {
        return Err(Refusal::request("recovery_point", format!("its vault `{}` does not exist any more", point.vault)));
    };
    step.permitted("backup:StartRestoreJob", vault)?;
    let region = vault.region.clone();
    let id = JobId::new(step.draw);
    let detail = JobDetail::Restore {
        recovery_point: request.recovery_point.clone(),
        vault: point.vault.clone(),
        target: request.target.clone(),
        overwrite: request.overwrite,
        test_run: request.test.as_ref().map(|test| test.test_run),
        restore_testing_plan: request.test.as_ref().map(|test| test.restore_testing_plan.clone()),
        created_location: None,
        verdict: None,
        sandbox_removed: request.test.as_ref().map(|_| false),
        metadata: request.metadata.clone(),
        validation: None,
    };
    let mut job = new_job(step, id, JobKind::Restore, point.resource.clone(), region, detail);
    job.resource_type = Some(point.resource_type);
    job.parent = Some(point.job_id);
    job.created_by = point.created_by.clone();
    job.iam_role = request.iam_role.clone();
    let mut row = JobRow::new(job);
    row.include = request.include.clone();
    row.validation_window_hours = request.test.as_ref().map_or(0, |test| test.validation_window_hours);
    row.uses = vec![request.recovery_point.clone()];
    Ok(Accepted::job(step.create(row)))
}
