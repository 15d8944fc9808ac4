//! `disassociate-recovery-point`: the resource of a continuous recovery point is followed no longer, and what it kept back for
//! that is given up. The window stays restorable until its retention ends. The next run of the rule begins a new one.

use job_events::DisassociateRecoveryPoint;
use job_model::RecoveryPointKind;

use crate::decide::{Accepted, Refusal, Step, continuous};
use crate::handlers::delete_recovery_point::may_be_removed;

pub(crate) fn handle(step: &mut Step<'_>, request: &DisassociateRecoveryPoint) -> Result<Accepted, Refusal> {
    let row = step.point("recovery_point", &request.recovery_point)?;
    may_be_removed(step, row, None, "backup:DisassociateRecoveryPoint")?;
    if row.point.kind == RecoveryPointKind::Snapshot {
        let text = "only continuous recovery points can be disassociated, and this is a snapshot; delete it instead";
        return Err(Refusal::request("recovery_point", text));
    }
    if !continuous::release(step, &request.recovery_point) {
        let text = "its resource is not followed any more; it ends with its retention, or delete it";
        return Err(Refusal::request("recovery_point", text));
    }
    Ok(Accepted::result(&request.recovery_point))
}
