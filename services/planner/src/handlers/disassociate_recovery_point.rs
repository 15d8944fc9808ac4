//! `disassociate-recovery-point`: a continuous recovery point is given back to its source. A snapshot has no source that
//! could take it.

use job_events::DisassociateRecoveryPoint;
use job_model::RecoveryPointKind;

use crate::decide::{Accepted, Refusal, Step};
use crate::handlers::delete_recovery_point::may_be_removed;

pub(crate) fn handle(step: &mut Step<'_>, request: &DisassociateRecoveryPoint) -> Result<Accepted, Refusal> {
    let row = step.point("recovery_point", &request.recovery_point)?;
    may_be_removed(step, row, None, "backup:DisassociateRecoveryPoint")?;
    let text = match row.point.kind {
        RecoveryPointKind::Snapshot => {
            "only continuous recovery points can be disassociated, and this is a snapshot; delete it instead"
        }
        RecoveryPointKind::Continuous => {
            "its vault holds the only copy of what it consists of, so there is no source to give it back to; take the \
             resource out of its plan, and it ends with its retention"
        }
    };
    Err(Refusal::request("recovery_point", text))
}
