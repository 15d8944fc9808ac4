//! `update-recovery-point-lifecycle`: a recovery point is kept for another time. What is not given means for ever, as in
//! AWS.

use job_events::UpdateRecoveryPointLifecycle;
use job_model::{RecoveryPointKind, RecoveryPointStatus, StorageClass};

use crate::decide::{Accepted, Refusal, Step};
use crate::handlers::start_backup::fits;

pub(crate) fn handle(step: &mut Step<'_>, request: &UpdateRecoveryPointLifecycle) -> Result<Accepted, Refusal> {
    let arn = &request.recovery_point;
    let mut row = step.point("recovery_point", arn)?.clone();
    let vault = step.vault("recovery_point", &row.point.vault)?;
    step.permitted("backup:UpdateRecoveryPointLifecycle", vault)?;
    if vault.is_locked() {
        let text = format!("vault `{}` is locked; its recovery points keep their lifecycle", vault.name);
        return Err(Refusal::request("recovery_point", text));
    }
    if row.point.kind == RecoveryPointKind::Continuous {
        let text = "a continuous recovery point takes its retention from its rule; change the rule";
        return Err(Refusal::request("recovery_point", text));
    }
    if row.point.status == RecoveryPointStatus::Deleting {
        return Err(Refusal::request("recovery_point", format!("recovery point `{arn}` is being deleted")));
    }
    let moves = request.lifecycle.move_to_cold_after_days;
    if row.point.storage_class == StorageClass::Cold && moves != row.point.lifecycle.move_to_cold_after_days {
        let text = "it is in cold storage already, and when it moved stays as it is; give the same number of days";
        return Err(Refusal::invalid("lifecycle.move_to_cold_after_days", text));
    }
    fits(step, "lifecycle", &row.point.vault, &request.lifecycle)?;
    row.point.lifecycle = request.lifecycle;
    // Who says how long by hand means it: generations of the rule no longer decide.
    row.point.generations = None;
    step.state.points.put(arn.clone(), row);
    step.state.retain_soon();
    Ok(Accepted::result(arn))
}
