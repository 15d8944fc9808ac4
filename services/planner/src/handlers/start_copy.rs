//! `start-copy`: a copy on demand.

use job_events::StartCopy;
use job_model::{JobId, RecoveryPointStatus, VaultState};

use crate::decide::points::{CopyWanted, copy};
use crate::decide::{Accepted, Refusal, Step};
use crate::handlers::start_backup::fits;

pub(crate) fn handle(step: &mut Step<'_>, request: &StartCopy) -> Result<Accepted, Refusal> {
    let source = step.point("recovery_point", &request.recovery_point)?;
    if let Some(vault) = step.state.vaults.get(&source.point.vault) {
        step.permitted("backup:StartCopyJob", vault)?;
        step.permitted("backup:CopyFromBackupVault", vault)?;
    }
    if source.point.status == RecoveryPointStatus::Deleting {
        let text = format!("recovery point `{}` is being deleted; choose another one", request.recovery_point);
        return Err(Refusal::request("recovery_point", text));
    }
    if source.point.vault == request.destination_vault {
        return Err(Refusal::invalid("destination_vault", "the recovery point's own vault; name another one"));
    }
    let destination =
        step.may_copy_into("destination_vault", source.point.vault.account(), &request.destination_vault)?;
    if destination.state == VaultState::Failed {
        let text = format!("vault `{}` could not be created; delete it and create it again", destination.name);
        return Err(Refusal::request("destination_vault", text));
    }
    fits(step, "lifecycle", &request.destination_vault, &request.lifecycle)?;
    let wanted = CopyWanted {
        id: JobId::new(step.draw),
        point: request.recovery_point.clone(),
        destination: request.destination_vault.clone(),
        lifecycle: request.lifecycle,
        generations: None,
        parent: None,
        iam_role: request.iam_role.clone(),
    };
    let gone = || Refusal::not_found("recovery_point", format!("`{}` does not exist", request.recovery_point));
    copy(step, wanted).map(Accepted::job).ok_or_else(gone)
}
