//! The job state machine: one pure function.
//!
//! The planner's shell feeds it what happened and performs the effects it returns, in one transaction with the new state.
//! `docs/reference/job-states.md` is drawn from it.

use std::fmt;

use jiff::Timestamp;

use crate::JobState;

/// Why a job was told to stop; decides whether it ends ABORTED or EXPIRED.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopCause {
    /// Somebody asked for it.
    Requested,
    /// Its completion window passed.
    WindowPassed,
}

/// What happened to a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobEvent {
    /// Its turn has come: the resource is free and its time is there.
    Ordered,
    /// A worker took the order, for the first time or again after another one died.
    Started,
    /// A worker says how far it is.
    Progressed,
    /// The work is done and durable.
    Succeeded,
    /// Part of the work is done and durable; the rest will not be.
    SucceededInPart,
    /// The attempt failed and another one may help, not before this instant.
    FailedForNow {
        /// When the next attempt may begin.
        retry_at: Timestamp,
    },
    /// The attempt failed and no other one is to follow.
    FailedForGood,
    /// Somebody wants it stopped.
    StopRequested,
    /// A worker confirms that it stopped.
    Stopped {
        /// Why it was told to.
        cause: StopCause,
    },
    /// Its start window is over.
    StartWindowPassed,
    /// Its completion window is over.
    CompletionWindowPassed,
}

impl JobEvent {
    /// One of each, for tables and tests; instants are `at`.
    #[must_use]
    pub const fn all(at: Timestamp) -> [Self; 12] {
        [
            Self::Ordered,
            Self::Started,
            Self::Progressed,
            Self::Succeeded,
            Self::SucceededInPart,
            Self::FailedForNow { retry_at: at },
            Self::FailedForGood,
            Self::StopRequested,
            Self::Stopped { cause: StopCause::Requested },
            Self::Stopped { cause: StopCause::WindowPassed },
            Self::StartWindowPassed,
            Self::CompletionWindowPassed,
        ]
    }
}

impl fmt::Display for JobEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ordered => "ordered",
            Self::Started => "started",
            Self::Progressed => "progressed",
            Self::Succeeded => "succeeded",
            Self::SucceededInPart => "succeeded in part",
            Self::FailedForNow { .. } => "failed for now",
            Self::FailedForGood => "failed for good",
            Self::StopRequested => "stop requested",
            Self::Stopped { cause: StopCause::Requested } => "stopped on request",
            Self::Stopped { cause: StopCause::WindowPassed } => "stopped by its window",
            Self::StartWindowPassed => "start window passed",
            Self::CompletionWindowPassed => "completion window passed",
        })
    }
}

/// What the planner's shell does together with the new state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Put the complete order into the outbox.
    IssueOrder,
    /// Take the order back: remove it from the outbox and from its queue.
    WithdrawOrder,
    /// Tell the worker to stop.
    PublishStop,
    /// Remember when a worker first took the job.
    RecordStart {
        /// That instant.
        at: Timestamp,
    },
    /// Take the counts over.
    RecordProgress,
    /// Take over what the job made: a recovery point, a vault, a restored location, a verdict.
    RecordResult,
    /// Count the attempt up and wait.
    ScheduleRetry {
        /// Not before this instant.
        at: Timestamp,
    },
    /// Remember when it ended.
    RecordEnd {
        /// That instant.
        at: Timestamp,
    },
    /// The resource is free: the next job that waits for it may go.
    ReleaseResource,
    /// Publish the changed job as a fact.
    Announce,
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::IssueOrder => "issue order",
            Self::WithdrawOrder => "withdraw order",
            Self::PublishStop => "publish stop",
            Self::RecordStart { .. } => "record start",
            Self::RecordProgress => "record progress",
            Self::RecordResult => "record result",
            Self::ScheduleRetry { .. } => "schedule retry",
            Self::RecordEnd { .. } => "record end",
            Self::ReleaseResource => "release resource",
            Self::Announce => "announce",
        })
    }
}

/// A state and what is to be done on the way into it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Step {
    /// The state after the event.
    pub next: JobState,
    /// In the order in which they are to be done.
    pub effects: Vec<Effect>,
}

/// An event that cannot happen in a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a job that is `{}` cannot be `{event}`", from.as_str())]
pub struct IllegalTransition {
    /// The state.
    pub from: JobState,
    /// The event.
    pub event: JobEvent,
}

impl IllegalTransition {
    /// Whether the event comes after the job's end: a worker that did not hear of it, or a message told twice. Nothing is
    /// wrong with the ledger then, but a result that comes late has to be cleaned up or taken in.
    #[must_use]
    pub const fn is_late(&self) -> bool {
        self.from.is_terminal()
    }
}

/// The state that follows, and what to do.
///
/// A job whose order nobody has taken is ended by the planner alone; one that a worker has is told to stop and ends when
/// the worker confirms. A result that arrives while a job is being stopped counts: the work was done before the stop was
/// heard. An attempt that fails while it is being stopped has stopped.
///
/// # Errors
/// When the event cannot happen in that state; the state stays.
pub fn step(state: JobState, event: JobEvent, at: Timestamp) -> Result<Step, IllegalTransition> {
    use JobEvent as E;
    use JobState as S;

    let to = |next: JobState, effects: &[Effect]| {
        let mut effects = effects.to_vec();
        if next.is_terminal() {
            effects.extend([Effect::RecordEnd { at }, Effect::ReleaseResource]);
        }
        if next != state {
            effects.push(Effect::Announce);
        }
        Ok(Step { next, effects })
    };
    let start = Effect::RecordStart { at };
    match (state, event) {
        (S::Created, E::Ordered) => to(S::Pending, &[Effect::IssueOrder]),
        (S::Created, E::StopRequested) => to(S::Aborted, &[]),
        (S::Created, E::StartWindowPassed | E::CompletionWindowPassed) => to(S::Expired, &[]),
        // What it needs is gone for good (the vault could not be made, the resource is no longer registered): no order
        // can be written.
        (S::Created, E::FailedForGood) => to(S::Failed, &[]),

        (S::Pending, E::Started) => to(S::Running, &[start]),
        // The fact that it started may be overtaken by the planner's own restart; what follows tells as much.
        (S::Pending, E::Progressed) => to(S::Running, &[start, Effect::RecordProgress]),
        (S::Pending, E::Succeeded) => to(S::Completed, &[start, Effect::RecordResult]),
        (S::Pending, E::SucceededInPart) => to(S::Partial, &[start, Effect::RecordResult]),
        (S::Pending, E::StopRequested) => to(S::Aborting, &[Effect::PublishStop]),
        (S::Pending, E::StartWindowPassed | E::CompletionWindowPassed) => {
            to(S::Expired, &[Effect::PublishStop, Effect::WithdrawOrder])
        }

        (S::Running, E::Started) => to(S::Running, &[]),
        (S::Running, E::Progressed) => to(S::Running, &[Effect::RecordProgress]),
        (S::Running, E::Succeeded) => to(S::Completed, &[Effect::RecordResult]),
        (S::Running, E::SucceededInPart) => to(S::Partial, &[Effect::RecordResult]),
        (S::Running, E::StopRequested | E::CompletionWindowPassed) => to(S::Aborting, &[Effect::PublishStop]),

        (S::Pending | S::Running, E::FailedForNow { retry_at }) => {
            to(S::Created, &[Effect::RecordProgress, Effect::ScheduleRetry { at: retry_at }, Effect::ReleaseResource])
        }
        (S::Pending | S::Running, E::FailedForGood) => to(S::Failed, &[Effect::RecordProgress]),
        (S::Pending | S::Running, E::Stopped { cause: StopCause::Requested }) => {
            to(S::Aborted, &[Effect::RecordProgress])
        }
        (S::Pending | S::Running, E::Stopped { cause: StopCause::WindowPassed }) => {
            to(S::Expired, &[Effect::RecordProgress])
        }

        (S::Aborting, E::Started | E::StopRequested | E::CompletionWindowPassed) => to(S::Aborting, &[]),
        (S::Aborting, E::Progressed) => to(S::Aborting, &[Effect::RecordProgress]),
        (S::Aborting, E::Succeeded) => to(S::Completed, &[Effect::RecordResult]),
        (S::Aborting, E::SucceededInPart) => to(S::Partial, &[Effect::RecordResult]),
        (S::Aborting, E::Stopped { cause: StopCause::Requested } | E::FailedForNow { .. } | E::FailedForGood) => {
            to(S::Aborted, &[Effect::RecordProgress])
        }
        (S::Aborting, E::Stopped { cause: StopCause::WindowPassed }) => to(S::Expired, &[Effect::RecordProgress]),
        // No worker took it, so none will confirm the stop.
        (S::Aborting, E::StartWindowPassed) => to(S::Aborted, &[Effect::WithdrawOrder]),

        (from, event) => Err(IllegalTransition { from, event }),
    }
}

#[cfg(test)]
mod tests;
