//! `delete-recovery-point`: asked for by somebody, so use by an open job, a lock, a hold or a policy stand against it.

use job_events::DeleteRecoveryPoint;
use job_model::{Arn, RecoveryPointStatus};

use crate::decide::{Accepted, Refusal, Step, retire};
use crate::state::PointRow;

pub(crate) fn handle(step: &mut Step<'_>, request: &DeleteRecoveryPoint) -> Result<Accepted, Refusal> {
    let arn = &request.recovery_point;
    let row = step.point("recovery_point", arn)?;
    may_be_removed(step, row, request.vault.as_ref(), "backup:DeleteRecoveryPoint")?;
    if row.point.status == RecoveryPointStatus::Deleting {
        return Err(Refusal::request("recovery_point", format!("recovery point `{arn}` is being deleted already")));
    }
    if step.state.in_use(arn) {
        let text = format!("a job that has not ended reads recovery point `{arn}`; wait for it or stop it");
        return Err(Refusal::request("recovery_point", text));
    }
    let id = retire::delete(step, arn, "requested".to_owned());
    let vault_gone = || Refusal::request("recovery_point", "its vault does not exist any more");
    id.map(Accepted::job).ok_or_else(vault_gone)
}

/// Whether nothing forbids that a recovery point goes: the vault it is thought to be in, the access policy, the lock, a
/// legal hold.
pub(crate) fn may_be_removed(
    step: &Step<'_>,
    row: &PointRow,
    thought: Option<&Arn>,
    action: &str,
) -> Result<(), Refusal> {
    let point = &row.point;
    if let Some(thought) = thought.filter(|thought| **thought != point.vault) {
        let text = format!("vault `{thought}` has no recovery point `{}`", point.arn);
        return Err(Refusal::not_found("recovery_point", text));
    }
    if let Some(vault) = step.state.vaults.get(&point.vault) {
        step.permitted(action, vault)?;
        if vault.is_locked() {
            let text = format!("vault `{}` is locked; its recovery points go when their lifecycle ends", vault.name);
            return Err(Refusal::request("recovery_point", text));
        }
    }
    if let Some(hold) = step.state.hold_on(point) {
        let text = format!("legal hold `{}` ({}) holds it; cancel the hold first", hold.title, hold.id);
        return Err(Refusal::request("recovery_point", text));
    }
    Ok(())
}
