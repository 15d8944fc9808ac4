//! `start-backup`: a backup on demand.

use job_events::StartBackup;
use job_model::{JobId, Lifecycle, VaultState, validation};

use crate::decide::points::refused_by_vault;
use crate::decide::runs::{BackupWanted, backup};
use crate::decide::{Accepted, Refusal, Step, cold, strict};
use crate::handlers::create_plan::{COMPLETION_WINDOW_MINUTES, START_WINDOW_MINUTES};

/// AWS's quota of copies of a backup.
const COPIES_MAX: usize = 5;

pub(crate) fn handle(step: &mut Step<'_>, request: &StartBackup) -> Result<Accepted, Refusal> {
    let resource = step.resource("resource", &request.resource)?.clone();
    let vault = step.vault("vault", &request.vault)?;
    step.permitted("backup:StartBackupJob", vault)?;
    if vault.state == VaultState::Failed {
        let why = vault.state_message.as_deref().unwrap_or("no reason is known");
        let text = format!("vault `{}` could not be created: {why}; delete it and create it again", vault.name);
        return Err(Refusal::request("vault", text));
    }
    let start_window_minutes = request.start_window_minutes.unwrap_or(START_WINDOW_MINUTES);
    let completion_window_minutes = request.completion_window_minutes.unwrap_or(COMPLETION_WINDOW_MINUTES);
    validation::windows("", start_window_minutes, completion_window_minutes)?;
    strict::windows(step.settings, "", start_window_minutes, completion_window_minutes)?;
    validation::tags("recovery_point_tags", &request.recovery_point_tags)?;
    fits(step, "lifecycle", &request.vault, &request.lifecycle)?;
    if vault.region != resource.region {
        let why = refused_by_vault(step, &request.vault, &request.lifecycle, Some(&resource.region));
        return Err(Refusal::invalid("vault", why.unwrap_or_default()));
    }
    if request.copy_actions.len() > COPIES_MAX {
        return Err(Refusal::limit("copy_actions", format!("at most {COPIES_MAX} copies follow a backup")));
    }
    for (place, action) in request.copy_actions.iter().enumerate() {
        let field = format!("copy_actions[{place}]");
        let account = request.vault.account();
        step.may_copy_into(&format!("{field}.destination_vault"), account, &action.destination_vault)?;
        if action.destination_vault == request.vault {
            let text = "the backup's own vault; name another one";
            return Err(Refusal::invalid(&format!("{field}.destination_vault"), text));
        }
        fits(step, &format!("{field}.lifecycle"), &action.destination_vault, &action.lifecycle)?;
    }
    let wanted = BackupWanted {
        continuous: None,
        fallback: None,
        id: JobId::new(step.draw),
        resource,
        vault: request.vault.clone(),
        scheduled_at: step.now,
        not_before: None,
        start_window_minutes,
        completion_window_minutes,
        created_by: None,
        lifecycle: request.lifecycle,
        generations: None,
        time_zone: "UTC".to_owned(),
        tags: request.recovery_point_tags.clone(),
        copy_actions: request.copy_actions.clone(),
        iam_role: request.iam_role.clone(),
    };
    Ok(Accepted::job(backup(step, wanted)))
}

/// A lifecycle that is possible and that the vault takes. Scheduled jobs fail on the latter; who asks now is told now.
pub(crate) fn fits(step: &Step<'_>, field: &str, vault: &job_model::Arn, lifecycle: &Lifecycle) -> Result<(), Refusal> {
    validation::lifecycle(field, lifecycle)?;
    strict::lifecycle(step.settings, field, lifecycle)?;
    match step.state.vaults.get(vault) {
        Some(vault) => {
            if let Some(why) = cold::refused(step.settings, vault, lifecycle) {
                return Err(Refusal::invalid(&format!("{field}.move_to_cold_after_days"), why));
            }
            Ok(validation::retention_fits_vault(field, lifecycle, vault)?)
        }
        None => Ok(()),
    }
}
