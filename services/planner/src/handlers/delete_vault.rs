//! `delete-vault`: an empty vault leaves the catalogue; its repository is left where it is.

use job_events::DeleteVault;
use job_model::StorageClass;

use crate::decide::{Accepted, Refusal, Step, keeping};

pub(crate) fn handle(step: &mut Step<'_>, request: &DeleteVault) -> Result<Accepted, Refusal> {
    let gone = || Refusal::not_found("vault", format!("vault `{}` does not exist", request.vault));
    let vault = step.vault("vault", &request.vault).map_err(|_| gone())?;
    step.permitted("backup:DeleteBackupVault", vault)?;
    let name = vault.name.clone();
    let points = step.state.points.count_in(&request.vault);
    if points > 0 {
        return Err(Refusal::request(
            "vault",
            format!("vault `{name}` holds {points} recovery points; delete them first"),
        ));
    }
    let needs = |detail: &job_model::JobDetail| match detail {
        job_model::JobDetail::Backup { vault, .. } => *vault == request.vault,
        job_model::JobDetail::Copy { source_vault, destination_vault, .. } => {
            *source_vault == request.vault || *destination_vault == request.vault
        }
        job_model::JobDetail::Restore { vault, .. } => *vault == request.vault,
        // What protects recovery points may be on its way into the vault, a lock that was lifted just now for example: the
        // order carries all that its worker needs, and there is nothing in the vault to protect.
        job_model::JobDetail::Maintenance { vault, task, .. } => {
            vault.as_ref() == Some(&request.vault) && !keeping::is_task(task)
        }
        job_model::JobDetail::Verification { .. } => false,
    };
    if let Some(row) = step.state.open_jobs().into_iter().find(|row| needs(&row.job.detail)) {
        let id = row.job.id;
        return Err(Refusal::request("vault", format!("job `{id}` needs vault `{name}`; wait for it or stop it")));
    }
    step.state.vaults.remove(&request.vault);
    for class in [StorageClass::Warm, StorageClass::Cold] {
        step.state.keeps.remove(&(request.vault.clone(), class));
    }
    Ok(Accepted::result(&request.vault))
}
