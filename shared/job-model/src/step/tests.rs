use super::*;

const AT: Timestamp = Timestamp::UNIX_EPOCH;

fn next(state: JobState, event: JobEvent) -> JobState {
    step(state, event, AT).unwrap().next
}

#[test]
fn a_job_that_goes_well_ends_completed() {
    let mut state = JobState::Created;
    let mut effects = Vec::new();
    for event in [JobEvent::Ordered, JobEvent::Started, JobEvent::Progressed, JobEvent::Succeeded] {
        let step = step(state, event, AT).unwrap();
        state = step.next;
        effects.extend(step.effects);
    }
    assert_eq!(state, JobState::Completed);
    assert_eq!(
        effects,
        [
            Effect::IssueOrder,
            Effect::Announce,
            Effect::RecordStart { at: AT },
            Effect::Announce,
            Effect::RecordProgress,
            Effect::RecordResult,
            Effect::RecordEnd { at: AT },
            Effect::ReleaseResource,
            Effect::Announce,
        ]
    );
}

#[test]
fn a_failure_that_may_pass_goes_back_to_waiting() {
    let step = step(JobState::Running, JobEvent::FailedForNow { retry_at: Timestamp::MAX }, AT).unwrap();
    assert_eq!(step.next, JobState::Created);
    assert!(step.effects.contains(&Effect::ScheduleRetry { at: Timestamp::MAX }));
    assert!(step.effects.contains(&Effect::ReleaseResource));
}

#[test]
fn a_stop_of_a_running_job_ends_when_the_worker_confirms() {
    let stopping = step(JobState::Running, JobEvent::StopRequested, AT).unwrap();
    assert_eq!(stopping.next, JobState::Aborting);
    assert_eq!(stopping.effects, [Effect::PublishStop, Effect::Announce]);
    assert_eq!(next(JobState::Aborting, JobEvent::Stopped { cause: StopCause::Requested }), JobState::Aborted);
    assert_eq!(next(JobState::Aborting, JobEvent::Stopped { cause: StopCause::WindowPassed }), JobState::Expired);
}

#[test]
fn a_result_that_arrives_while_stopping_counts() {
    let step = step(JobState::Aborting, JobEvent::Succeeded, AT).unwrap();
    assert_eq!(step.next, JobState::Completed);
    assert!(step.effects.contains(&Effect::RecordResult));
}

#[test]
fn a_job_nobody_took_expires_without_a_worker() {
    assert_eq!(next(JobState::Created, JobEvent::StartWindowPassed), JobState::Expired);
    let step = step(JobState::Pending, JobEvent::StartWindowPassed, AT).unwrap();
    assert_eq!(step.next, JobState::Expired);
    assert!(step.effects.starts_with(&[Effect::PublishStop, Effect::WithdrawOrder]));
}

#[test]
fn nothing_follows_an_end() {
    for state in JobState::ALL.into_iter().filter(|state| state.is_terminal()) {
        for event in JobEvent::all(AT) {
            let error = step(state, event, AT).unwrap_err();
            assert!(error.is_late());
            assert_eq!(error.from, state);
        }
    }
    let error = step(JobState::Completed, JobEvent::StopRequested, AT).unwrap_err();
    assert_eq!(error.to_string(), "a job that is `COMPLETED` cannot be `stop requested`");
}

#[test]
fn every_end_is_recorded_and_frees_the_resource() {
    for state in JobState::ALL {
        for event in JobEvent::all(AT) {
            let Ok(step) = step(state, event, AT) else { continue };
            assert_eq!(
                step.next.is_terminal(),
                step.effects.contains(&Effect::RecordEnd { at: AT }),
                "{state:?} {event}"
            );
            assert_eq!(step.next != state, step.effects.contains(&Effect::Announce), "{state:?} {event}");
            if step.next.is_terminal() {
                assert!(step.effects.contains(&Effect::ReleaseResource), "{state:?} {event}");
            }
        }
    }
}

#[test]
fn a_stop_is_always_possible_before_the_end_and_leads_to_one() {
    for state in JobState::ALL.into_iter().filter(|state| !state.is_terminal()) {
        let after = next(state, JobEvent::StopRequested);
        let end =
            if after.is_terminal() { after } else { next(after, JobEvent::Stopped { cause: StopCause::Requested }) };
        assert_eq!(end, JobState::Aborted, "from {state:?}");
    }
}
