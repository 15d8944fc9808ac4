use job_model::{JobDetail, JobId, JobKind, MessageCategory, Progress};

use super::*;

fn at(minute: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_mins(minute)
}

/// Scheduled at minute 0, to be started by 60, completed by 600.
fn job(state: JobState, started: Option<i64>) -> Job {
    let Windows { start_by, complete_by } = windows(at(0), 60, 600);
    Job {
        id: JobId::new(uuid::Uuid::nil()),
        kind: JobKind::Maintenance,
        state,
        status_message: None,
        message_category: MessageCategory::Success,
        resource: "arn:aws:files:ap-northeast-1:000000000000:tree/home".parse().unwrap(),
        resource_type: None,
        region: "ap-northeast-1".parse().unwrap(),
        created_at: at(0),
        scheduled_at: at(0),
        start_by: Some(start_by),
        complete_by: Some(complete_by),
        started_at: started.map(at),
        ended_at: None,
        attempt: 1,
        not_before: None,
        created_by: None,
        parent: None,
        traceparent: None,
        progress: Progress::default(),
        phases: Vec::new(),
        detail: JobDetail::Maintenance {
            vault: None,
            task: "remove-sandbox".to_owned(),
            recovery_point: None,
            restore_job_id: None,
        },
        iam_role: None,
    }
}

#[test]
fn both_windows_count_from_the_scheduled_time() {
    assert_eq!(windows(at(5), 60, 600), Windows { start_by: at(65), complete_by: at(605) });
    assert_eq!(windows(Timestamp::MAX, 60, 600).start_by, Timestamp::MAX);
}

#[test]
fn a_job_nobody_started_expires_at_the_end_of_its_start_window() {
    for state in [JobState::Created, JobState::Pending, JobState::Aborting] {
        assert_eq!(passed(&job(state, None), at(59)), None, "{state:?}");
        assert_eq!(passed(&job(state, None), at(60)), Some(JobEvent::StartWindowPassed), "{state:?}");
    }
}

#[test]
fn a_retry_after_a_start_has_until_the_completion_window() {
    assert_eq!(passed(&job(JobState::Created, Some(10)), at(100)), None);
    assert_eq!(passed(&job(JobState::Created, Some(10)), at(600)), Some(JobEvent::CompletionWindowPassed));
    assert_eq!(next_deadline(&job(JobState::Created, Some(10))), Some(at(600)));
}

#[test]
fn a_running_job_is_cancelled_at_the_end_of_its_completion_window() {
    assert_eq!(passed(&job(JobState::Running, Some(10)), at(599)), None);
    assert_eq!(passed(&job(JobState::Running, Some(10)), at(600)), Some(JobEvent::CompletionWindowPassed));
}

#[test]
fn nothing_passes_after_the_end_or_while_a_worker_stops() {
    assert_eq!(passed(&job(JobState::Aborting, Some(10)), at(1_000)), None);
    for state in JobState::ALL.into_iter().filter(|state| state.is_terminal()) {
        assert_eq!(passed(&job(state, None), at(1_000)), None, "{state:?}");
        assert_eq!(next_deadline(&job(state, None)), None, "{state:?}");
    }
}

#[test]
fn nothing_passes_before_the_next_deadline_and_something_does_at_it() {
    for state in JobState::ALL {
        for started in [None, Some(10)] {
            let job = job(state, started);
            let Some(deadline) = next_deadline(&job) else { continue };
            assert_eq!(passed(&job, deadline - SignedDuration::from_secs(1)), None, "{state:?} {started:?}");
            assert!(passed(&job, deadline).is_some(), "{state:?} {started:?}");
        }
    }
}
