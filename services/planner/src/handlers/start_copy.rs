//! `start-copy`: a copy on demand.

use job_events::StartCopy;
use job_model::{JobId, RecoveryPointStatus, VaultState};

use crate::decide::points::{CopyWanted, copy};
use crate::decide::{Accepted, Refusal, Step};
use crate::handlers::start_backup::fits;

pub(crate) fn handle(step: &mut Step<'_>, request: &StartCopy) -> Result<Accepted, Refusal> {
    let Some(source) = step.state.points.get(&request.recovery_point) else {
        let text = format!("recovery point `{}` does not exist", request.recovery_point);
        return Err(Refusal::not_found("recovery_point", text));
    };
    if source.point.status == RecoveryPointStatus::Deleting {
        let text = format!("recovery point `{}` is being deleted; choose another one", request.recovery_point);
        return Err(Refusal::request("recovery_point", text));
    }
    if source.point.vault == request.destination_vault {
        return Err(Refusal::invalid("destination_vault", "the recovery point's own vault; name another one"));
    }
    let Some(destination) = step.state.vaults.get(&request.destination_vault) else {
        let text = format!("vault `{}` does not exist; create it first", request.destination_vault);
        return Err(Refusal::not_found("destination_vault", text));
    };
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
    };
    let gone = || Refusal::not_found("recovery_point", format!("`{}` does not exist", request.recovery_point));
    copy(step, wanted).map(Accepted::job).ok_or_else(gone)
}
