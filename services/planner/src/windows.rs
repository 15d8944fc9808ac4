//! Start and completion windows: by when a job must have begun and ended.
//!
//! Both count from the scheduled time, so a late start does not move the end (AWS's newer text; the older one counts the
//! completion window from the start).

use jiff::{SignedDuration, Timestamp};
use job_model::{Job, JobEvent, JobState};

/// The instants that end a job's windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Windows {
    /// Not begun by then: EXPIRED.
    pub(crate) start_by: Timestamp,
    /// Not ended by then: cancelled, EXPIRED.
    pub(crate) complete_by: Timestamp,
}

/// The windows of a job that is scheduled at an instant.
pub(crate) fn windows(scheduled_at: Timestamp, start_minutes: u32, completion_minutes: u32) -> Windows {
    let after = |minutes: u32| {
        scheduled_at.checked_add(SignedDuration::from_mins(i64::from(minutes))).unwrap_or(Timestamp::MAX)
    };
    Windows { start_by: after(start_minutes), complete_by: after(completion_minutes) }
}

/// What the passing of its windows does to a job now; nothing while they are open or after it ended.
pub(crate) fn passed(job: &Job, now: Timestamp) -> Option<JobEvent> {
    let is_over = |end: Option<Timestamp>| end.is_some_and(|end| now >= end);
    match job.state {
        // A job that waits for another try has begun already: only its completion window counts.
        JobState::Created | JobState::Pending | JobState::Aborting
            if job.started_at.is_none() && is_over(job.start_by) =>
        {
            Some(JobEvent::StartWindowPassed)
        }
        JobState::Created | JobState::Pending | JobState::Running if is_over(job.complete_by) => {
            Some(JobEvent::CompletionWindowPassed)
        }
        _ => None,
    }
}

/// When [`passed`] may have something to say next; none when no window is left to pass.
pub(crate) fn next_deadline(job: &Job) -> Option<Timestamp> {
    let start_by = job.start_by.filter(|_| job.started_at.is_none());
    match job.state {
        JobState::Created | JobState::Pending => [start_by, job.complete_by].into_iter().flatten().min(),
        JobState::Running => job.complete_by,
        JobState::Aborting => start_by,
        _ => None,
    }
}

#[cfg(test)]
mod tests;
