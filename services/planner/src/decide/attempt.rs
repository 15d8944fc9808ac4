//! Facts about attempts: whether one still counts, and what a failed one leads to.

use jiff::{SignedDuration, Timestamp};
use job_events::{AttemptHeader, Disposition};
use job_model::{FailureCode, JobEvent, MessageCategory};

use crate::decide::runs::after;
use crate::decide::{Settings, Step, ends, explain};
use crate::state::JobRow;

/// The job a fact is about, marked as heard of; none when the fact is stale: from an attempt that was replaced, or from
/// a worker whose lease somebody else has taken since.
pub(crate) fn current(step: &Step<'_>, header: &AttemptHeader) -> Option<JobRow> {
    let mut row = step.state.job(header.job_id)?.clone();
    if (header.attempt, header.epoch) < (row.job.attempt, row.epoch) {
        return None;
    }
    row.job.attempt = header.attempt;
    row.epoch = header.epoch;
    row.heard_at = Some(step.now);
    Some(row)
}

/// Ends an attempt that failed: another one follows when that can help and the windows leave time for it.
pub(crate) fn failed(step: &mut Step<'_>, mut row: JobRow, code: &str, message: &str, disposition: Disposition) {
    let category = if code == FailureCode::PermissionDenied.as_str() {
        MessageCategory::AccessDenied
    } else {
        MessageCategory::Failure
    };
    let event = match row.stopping {
        Some((reason, _)) => JobEvent::Stopped { cause: reason.into() },
        None if code == FailureCode::DeadlinePassed.as_str() => {
            JobEvent::Stopped { cause: job_model::StopCause::WindowPassed }
        }
        None => match retry_at(step.settings, &row, step.now).filter(|_| disposition == Disposition::Retry) {
            Some(retry_at) => JobEvent::FailedForNow { retry_at },
            None => JobEvent::FailedForGood,
        },
    };
    if row.job.state.is_terminal() {
        return;
    }
    let tried = row.job.attempt;
    if !step.advance(&mut row, event) {
        return step.keep(row);
    }
    let text = match event {
        JobEvent::FailedForNow { retry_at } => {
            format!(
                "attempt {tried} of {} failed, the next one follows at `{retry_at}`: {message}",
                step.settings.max_attempts
            )
        }
        JobEvent::FailedForGood if tried > 1 => format!("given up after {tried} attempts: {message}"),
        _ => message.to_owned(),
    };
    explain(&mut row.job, category, format!("{code}: {text}"));
    ends::keep_ended(step, row);
}

/// When the next attempt may begin; none when there is to be none.
fn retry_at(settings: &Settings, row: &JobRow, now: Timestamp) -> Option<Timestamp> {
    if row.job.attempt >= settings.max_attempts {
        return None;
    }
    let doubled = (1..row.job.attempt).try_fold(settings.retry_base, |wait, _| wait.checked_mul(2));
    let wait: SignedDuration = doubled.unwrap_or(settings.retry_max).min(settings.retry_max);
    let at = after(now, wait);
    let start_by = row.job.start_by.filter(|_| row.job.started_at.is_none());
    let in_time = [start_by, row.job.complete_by].into_iter().flatten().all(|end| at < end);
    in_time.then_some(at)
}
