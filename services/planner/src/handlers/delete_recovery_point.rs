//! `delete-recovery-point`: asked for by somebody, so only use by an open job stands against it.

use job_events::DeleteRecoveryPoint;
use job_model::RecoveryPointStatus;

use crate::decide::{Accepted, Refusal, Step, retire};

pub(crate) fn handle(step: &mut Step<'_>, request: &DeleteRecoveryPoint) -> Result<Accepted, Refusal> {
    let arn = &request.recovery_point;
    let Some(row) = step.state.points.get(arn) else {
        return Err(Refusal::not_found("recovery_point", format!("recovery point `{arn}` does not exist")));
    };
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
