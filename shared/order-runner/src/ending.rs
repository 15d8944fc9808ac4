//! What an attempt comes to: pure.

use job_events::{AttemptFailed, AttemptHeader, AttemptStopped, Disposition, Fact};
use job_model::{FailureCode, Progress};

use crate::{StopReason, WorkFailure};

/// Longest message of a failure, in characters; a fact is small.
const MESSAGE_MAX: usize = 4000;

/// What an attempt comes to.
#[derive(Debug, PartialEq)]
pub(crate) enum Ending {
    /// A result, told and remembered.
    Tell { fact: Box<Fact>, forget_checkpoint: bool, outcome: &'static str },
    /// Another worker goes on.
    GiveBack,
    /// Another worker may be at it: say nothing, settle nothing.
    Silence,
}

/// What an attempt comes to, from what its work says and why it was stopped.
pub(crate) fn decide(
    outcome: Result<Fact, WorkFailure>,
    stop: Option<StopReason>,
    attempt: AttemptHeader,
    progress: Progress,
) -> Ending {
    if stop == Some(StopReason::LostLease) {
        return Ending::Silence;
    }
    let failure = match outcome {
        // Done is done, also when a stop came too late.
        Ok(fact) => return Ending::Tell { fact: Box::new(fact), forget_checkpoint: true, outcome: "completed" },
        Err(failure) => failure,
    };
    match stop {
        // What fails while it is interrupted fails because of it; another attempt shows the truth.
        Some(StopReason::Shutdown) => Ending::GiveBack,
        Some(StopReason::Requested) if failure.stopped => {
            let fact = Box::new(Fact::from(AttemptStopped { attempt, progress }));
            Ending::Tell { fact, forget_checkpoint: true, outcome: "stopped" }
        }
        Some(StopReason::DeadlinePassed) if failure.stopped => {
            let code = FailureCode::DeadlinePassed;
            failed(attempt, progress, WorkFailure::new(code, format!("the order's deadline passed; {}", code.mend())))
        }
        _ => failed(attempt, progress, failure),
    }
}

fn failed(attempt: AttemptHeader, progress: Progress, failure: WorkFailure) -> Ending {
    let WorkFailure { code, message, disposition, .. } = failure;
    let message = message.chars().take(MESSAGE_MAX).collect();
    let fact = Fact::from(AttemptFailed { attempt, code: code.to_string(), message, disposition, progress });
    Ending::Tell { fact: Box::new(fact), forget_checkpoint: disposition == Disposition::Fail, outcome: "failed" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;
    use job_model::JobId;
    use uuid::Uuid;

    fn header() -> AttemptHeader {
        AttemptHeader {
            job_id: JobId::new(Uuid::from_u128(1)),
            attempt: 1,
            epoch: 7,
            worker: "restore-worker/a".to_owned(),
            at: Timestamp::UNIX_EPOCH,
        }
    }

    fn decided(outcome: Result<Fact, WorkFailure>, stop: Option<StopReason>) -> Ending {
        decide(outcome, stop, header(), Progress::default())
    }

    fn done() -> Fact {
        Fact::from(job_events::AttemptStarted { attempt: header() })
    }

    fn told(ending: Ending) -> (String, bool) {
        match ending {
            Ending::Tell { fact, forget_checkpoint, .. } => match *fact {
                Fact::AttemptFailed(failed) => (failed.code, forget_checkpoint),
                other => (other.name().to_owned(), forget_checkpoint),
            },
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn whoever_lost_the_lease_says_nothing_whatever_came_out() {
        let lost = Some(StopReason::LostLease);
        assert_eq!(decided(Ok(done()), lost), Ending::Silence);
        assert_eq!(decided(Err(WorkFailure::stopped()), lost), Ending::Silence);
        assert_eq!(decided(Err(WorkFailure::new(FailureCode::NoSpace, "full")), lost), Ending::Silence);
    }

    #[test]
    fn done_is_done_also_when_a_stop_came_too_late() {
        for stop in [None, Some(StopReason::Requested), Some(StopReason::Shutdown), Some(StopReason::DeadlinePassed)] {
            assert_eq!(told(decided(Ok(done()), stop)), ("attempt-started".to_owned(), true));
        }
    }

    #[test]
    fn stopped_work_is_told_by_the_reason_of_its_stop() {
        let stopped = |reason| decided(Err(WorkFailure::stopped()), Some(reason));
        assert_eq!(told(stopped(StopReason::Requested)), ("attempt-stopped".to_owned(), true));
        assert_eq!(told(stopped(StopReason::DeadlinePassed)), ("DEADLINE_PASSED".to_owned(), true));
        assert_eq!(stopped(StopReason::Shutdown), Ending::GiveBack);
    }

    #[test]
    fn a_failure_keeps_its_checkpoint_only_when_another_attempt_may_follow() {
        let full = WorkFailure::new(FailureCode::NoSpace, "full");
        assert_eq!(told(decided(Err(full.clone()), None)), ("NO_SPACE".to_owned(), false));
        assert_eq!(told(decided(Err(full.clone()), Some(StopReason::Requested))), ("NO_SPACE".to_owned(), false));
        assert_eq!(decided(Err(full), Some(StopReason::Shutdown)), Ending::GiveBack);
        let wrong = WorkFailure::new(FailureCode::VaultWrongKey, "no");
        assert_eq!(told(decided(Err(wrong), None)), ("VAULT_WRONG_KEY".to_owned(), true));
    }
}
