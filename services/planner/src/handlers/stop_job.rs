//! `stop-job`: ABORTING, a stop message to the worker, and ABORTED when the worker confirms.

use job_events::StopJob;
use job_model::{JobEvent, JobState, MessageCategory};

use crate::decide::{Accepted, Refusal, Step, ends, explain};
use crate::state::StopReason;

pub(crate) fn handle(step: &mut Step<'_>, request: &StopJob) -> Result<Accepted, Refusal> {
    let mut row = step.job("job_id", request.job_id)?.clone();
    let state = row.job.state;
    if state.is_terminal() {
        let text = format!("job `{}` is {} already", request.job_id, state.as_str());
        return Err(Refusal::request("job_id", text));
    }
    if step.advance(&mut row, JobEvent::StopRequested) {
        if row.stopping.is_none() && row.job.state == JobState::Aborting {
            row.stopping = Some((StopReason::Requested, step.now));
        }
        if state != JobState::Aborting {
            explain(&mut row.job, MessageCategory::Failure, "stopped on request");
        }
        ends::keep_ended(step, row);
    }
    Ok(Accepted::job(request.job_id))
}
