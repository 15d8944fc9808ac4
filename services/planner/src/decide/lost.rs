//! What the bus may do to an order: lose it, give it up, or lose a whole stream.

use jiff::Timestamp;
use job_events::{Disposition, StreamResetNoticed};
use job_model::{FailureCode, JobId, JobState, Region};

use crate::decide::{Out, Step, attempt, continuous, issue};
use crate::state::{State, StreamRow};

/// How often the order of one attempt is put on the bus again before the job is given up.
const REISSUES_MAX: u32 = 3;

/// Jobs whose order should be on the bus or in a worker's hands, and of which nothing was heard for too long.
pub(crate) fn silent(state: &State, silence: jiff::SignedDuration, now: Timestamp) -> Vec<JobId> {
    let is_silent = |heard: Timestamp| now.duration_since(heard) >= silence;
    state
        .open_jobs()
        .into_iter()
        .filter(|row| matches!(row.job.state, JobState::Pending | JobState::Running | JobState::Aborting))
        .filter(|row| row.heard_at.max(row.issued_at).is_none_or(is_silent))
        .map(|row| row.job.id)
        .collect()
}

/// The order of a silent job is not on the bus any more. Returns whether it is to be published again: the same order,
/// because nothing says that its attempt is dead.
pub(crate) fn order_lost(step: &mut Step<'_>, id: JobId) -> bool {
    let Some(mut row) = step.state.job(id).cloned().filter(|row| !row.job.state.is_terminal()) else { return false };
    if row.reissued >= REISSUES_MAX {
        let text = format!(
            "its order was taken from the queue {} times and no worker told what became of it; look at the dead letters \
             and the worker's log",
            row.reissued + 1
        );
        attempt::failed(step, row, FailureCode::Internal.as_str(), &text, Disposition::Fail);
        issue(step);
        return false;
    }
    row.reissued += 1;
    // The next look comes after another silence.
    row.heard_at = Some(step.now);
    step.keep(row);
    true
}

/// The order was delivered as often as the bus does and never settled; it lies among the dead letters now.
pub(crate) fn order_stuck(step: &mut Step<'_>, id: JobId, deliveries: u64) {
    let Some(row) = step.state.job(id).cloned() else { return };
    let text = format!(
        "its order was delivered {deliveries} times and never settled; it is among the dead letters, see why its workers \
         die"
    );
    attempt::failed(step, row, FailureCode::Internal.as_str(), &text, Disposition::Fail);
    issue(step);
}

/// The order of a job that was given up is not on the bus any more: its subject is free.
pub(crate) fn withdrawn(step: &mut Step<'_>, id: JobId) {
    if let Some(mut row) = step.state.job(id).cloned().filter(|row| row.withdraw) {
        row.withdraw = false;
        step.keep(row);
        issue(step);
    }
}

/// What tells that a stream is not the one it was; none when it is, or was never seen.
pub(crate) fn reset_reason(before: Option<&StreamRow>, now: &StreamRow) -> Option<String> {
    let before = before?;
    if before.created_at != now.created_at {
        return Some(format!("it was made at `{}` and had been made at `{}`", now.created_at, before.created_at));
    }
    (now.last_sequence < before.last_sequence)
        .then(|| format!("it ends at `{}` and had reached `{}`", now.last_sequence, before.last_sequence))
}

/// Remembers a stream as it is now; tells of it when it lost its past, and repeats the stops that were in it.
pub(crate) fn stream_seen(
    step: &mut Step<'_>,
    region: &Region,
    seen: StreamRow,
    reissued: u32,
    reason: Option<String>,
) {
    let stream = seen.stream.clone();
    step.state.streams.put(stream.clone(), seen);
    let Some(reason) = reason else { return };
    let fact = StreamResetNoticed { stream: stream.clone(), orders_reissued: reissued, reason };
    step.tell(region, stream.clone(), fact, None);
    if stream == job_events::subjects::assignment_stream(region) {
        continuous::assign_again(step, region);
    }
    if stream == job_events::subjects::control_stream(region) {
        let stopping: Vec<Out> = step
            .state
            .open_jobs()
            .into_iter()
            .filter(|row| row.job.state == JobState::Aborting && row.job.region == *region)
            .map(|row| Out::Stop {
                region: region.clone(),
                job: row.job.id,
                reason: "told again after its stream was reset".to_owned(),
                traceparent: row.job.traceparent.clone(),
            })
            .collect();
        step.out.extend(stopping);
    }
}
