//! `put-restore-validation`: what somebody outside found when validating a restore test's restore. It may lower the built-in
//! verdict and never raises it; what was restored goes as soon as both have spoken.

use job_events::PutRestoreValidation;
use job_model::{JobDetail, JobState, OutsideValidation, ValidationStatus, VerdictStatus};

use crate::decide::{Accepted, Refusal, Step, ends};

pub(crate) fn handle(step: &mut Step<'_>, request: &PutRestoreValidation) -> Result<Accepted, Refusal> {
    let id = request.restore_job_id;
    let mut row = step.job("restore_job_id", id)?.clone();
    let state = row.job.state;
    let JobDetail::Restore { test_run: Some(_), verdict, validation, .. } = &mut row.job.detail else {
        return Err(Refusal::request("restore_job_id", format!("job `{id}` is not the restore of a restore test")));
    };
    if state != JobState::Completed {
        let text = format!("job `{id}` is {}; what was not restored cannot be validated", state.as_str());
        return Err(Refusal::request("restore_job_id", text));
    }
    let concluded = validation.as_ref().filter(|before| before.status != ValidationStatus::Validating);
    if let Some(before) = concluded {
        if before.status == request.status && before.message == request.message {
            return Ok(Accepted::job(id));
        }
        let text = format!("its validation is {} already, and a conclusion stays", before.status.as_str());
        return Err(Refusal::request("status", text));
    }
    *validation = Some(OutsideValidation { status: request.status, message: request.message.clone(), at: step.now });
    let judged = verdict.clone();
    step.keep(row);
    if let Some(before) = judged.filter(|_| request.status == ValidationStatus::Failed)
        && before.status == VerdictStatus::Successful
    {
        ends::judge(step, id, &ends::lowered(&before, request.message.as_deref(), step.now));
        step.state.retain_soon();
    }
    if request.status != ValidationStatus::Validating {
        ends::hasten_removal(step, id);
    }
    Ok(Accepted::job(id))
}
