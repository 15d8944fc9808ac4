//! `snapshot-forgotten`: a recovery point is gone from its vault, and so from the catalogue; or only from the warm
//! repository, because it is in the cold one.

use job_events::{RecoveryPointDeleted, SnapshotForgotten};
use job_model::{JobDetail, JobEvent, MessageCategory};

use crate::decide::orders::task;
use crate::decide::{Step, attempt, cold, ends};

pub(crate) fn handle(step: &mut Step<'_>, fact: &SnapshotForgotten) {
    let Some(mut row) = attempt::current(step, &fact.attempt) else { return };
    if matches!(&row.job.detail, JobDetail::Maintenance { task, .. } if task == task::FORGET_WARM) {
        return cold::forgotten(step, row, &fact.recovery_point);
    }
    // A copy that came late belongs to a recovery point that is gone, or whose own deletion tells so.
    let is_late = matches!(&row.job.detail, JobDetail::Maintenance { task, .. } if task == task::FORGET_LATE_COPY);
    let gone = if is_late { None } else { step.state.points.remove(&fact.recovery_point) };
    if let Some(gone) = gone {
        let deleted = RecoveryPointDeleted {
            recovery_point: gone.point.arn,
            vault: gone.point.vault,
            resource: gone.point.resource,
            reason: row.reason.clone().unwrap_or_else(|| "requested".to_owned()),
        };
        step.state.continuous.remove(&fact.recovery_point);
        let region = row.job.region.clone();
        step.tell(&region, row.job.id.to_string(), deleted, gone.point.traceparent);
    }
    if step.advance(&mut row, JobEvent::Succeeded) {
        row.job.message_category = MessageCategory::Success;
        row.job.status_message = None;
        ends::keep_ended(step, row);
    }
}
