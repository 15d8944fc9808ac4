//! What goes wrong: workers that fail, hang, lose their lease or answer too late, orders and streams that get lost.

use jiff::{SignedDuration, Timestamp};
use job_events::{
    AttemptHeader, AttemptProgressed, AttemptStarted, DeleteRecoveryPoint, Disposition, Fact, StartBackup, StopJob,
};
use job_model::{JobId, JobState, Progress};

use super::scene::{Scene, protect, register, rule, scene, start_backup};
use crate::decide::{Out, lost};
use crate::state::StreamRow;

const MINUTE: SignedDuration = SignedDuration::from_mins(1);
const HOUR: SignedDuration = SignedDuration::from_hours(1);

fn attempt(job: JobId, attempt: u32, epoch: u64) -> AttemptHeader {
    AttemptHeader { job_id: job, attempt, epoch, worker: "late/1".to_owned(), at: Timestamp::UNIX_EPOCH }
}

fn issued(s: &Scene, job: JobId) -> Vec<(Timestamp, u32)> {
    let orders = s.world.workers.orders.iter().map(job_events::OrderBody::header);
    orders.filter(|header| header.job_id == job).map(|header| (header.issued_at, header.attempt)).collect()
}

#[test]
fn a_failure_that_may_pass_is_tried_three_times_with_growing_waits() {
    let mut s = scene();
    s.world.workers.temper(&s.home).fails = Some((9, Disposition::Retry));
    s.world.workers.temper(&s.home).takes = MINUTE;
    let job = s.backup();
    s.world.run_for(HOUR);
    let tries = issued(&s, job);
    assert_eq!(tries.iter().map(|(_, attempt)| *attempt).collect::<Vec<_>>(), [1, 2, 3]);
    let waits: Vec<i64> = tries.windows(2).map(|pair| pair[1].0.duration_since(pair[0].0).as_secs()).collect();
    // Five seconds to start and a minute to fail, then one minute, then two.
    assert_eq!(waits, [125, 185]);
    assert_eq!(s.world.job(job).state, JobState::Failed);
    let message = s.world.job(job).status_message.clone().unwrap();
    assert!(message.starts_with("SOURCE_READ_FAILED: given up after 3 attempts"), "{message}");
}

#[test]
fn no_attempt_follows_that_would_begin_after_the_completion_window() {
    let mut s = scene();
    s.world.workers.temper(&s.home).fails = Some((9, Disposition::Retry));
    let request = StartBackup {
        start_window_minutes: Some(5),
        completion_window_minutes: Some(11),
        ..start_backup(&s.home, &s.near)
    };
    let job = s.world.accepted(request).0.unwrap();
    s.world.run_for(HOUR);
    assert_eq!(issued(&s, job).len(), 1);
    assert_eq!(s.world.job(job).state, JobState::Failed);
}

#[test]
fn facts_of_an_older_epoch_or_attempt_change_nothing() {
    let mut s = scene();
    s.world.workers.temper(&s.home).absent = true;
    let job = s.backup();
    s.world.hear(AttemptStarted { attempt: attempt(job, 1, 5) });
    let progress = |bytes_done| Progress { bytes_done, ..Progress::default() };
    s.world.hear(AttemptProgressed { attempt: attempt(job, 1, 5), progress: progress(50) });
    s.world.hear(AttemptProgressed { attempt: attempt(job, 1, 4), progress: progress(10) });
    assert_eq!(s.world.job(job).progress.bytes_done, 50);
    s.world.hear(job_events::AttemptFailed {
        attempt: attempt(job, 1, 5),
        code: "NO_SPACE".to_owned(),
        message: "full".to_owned(),
        disposition: Disposition::Retry,
        progress: progress(50),
    });
    assert_eq!((s.world.job(job).state, s.world.job(job).attempt), (JobState::Created, 2));
    s.world.run_for(SignedDuration::from_mins(2));
    s.world.hear(AttemptStarted { attempt: attempt(job, 1, 9) });
    assert_eq!(s.world.job(job).state, JobState::Pending, "the first attempt is over");
    s.world.hear(AttemptStarted { attempt: attempt(job, 2, 6) });
    assert_eq!(s.world.job(job).state, JobState::Running);
}

#[test]
fn a_worker_that_does_not_heed_a_stop_does_not_keep_the_job_aborting_for_ever() {
    let mut s = scene();
    s.world.workers.temper(&s.home).deaf = true;
    s.world.workers.temper(&s.home).takes = SignedDuration::from_hours(5);
    let job = s.backup();
    s.world.run_for(MINUTE);
    s.world.accepted(StopJob { job_id: job });
    assert_eq!(s.world.job(job).state, JobState::Aborting);
    s.world.run_for(SignedDuration::from_mins(9));
    assert_eq!(s.world.job(job).state, JobState::Aborting);
    s.world.run_for(SignedDuration::from_mins(2));
    assert_eq!(s.world.job(job).state, JobState::Aborted);
    let (code, _, _) = s.world.refused(StopJob { job_id: job });
    assert_eq!(code, "InvalidRequestException");
}

#[test]
fn a_result_that_comes_after_the_job_was_given_up_is_catalogued_once_and_stays_deleted() {
    let mut s = scene();
    s.world.workers.temper(&s.home).absent = true;
    let request = StartBackup {
        start_window_minutes: Some(10),
        completion_window_minutes: Some(20),
        ..start_backup(&s.home, &s.near)
    };
    let job = s.world.accepted(request).0.unwrap();
    s.world.run_for(HOUR);
    assert_eq!(s.world.job(job).state, JobState::Expired);
    let late = Fact::from(job_events::SnapshotCaptured {
        attempt: attempt(job, 1, 5),
        snapshot_id: "late".to_owned(),
        summary: job_model::CaptureSummary {
            tree_id: "tree".to_owned(),
            consistency: job_model::Consistency::Crash,
            capture_started_at: s.world.now,
            capture_ended_at: s.world.now,
            size_bytes: 1,
            items: 1,
            change_detection: "full".to_owned(),
            reading: None,
            exception_count: 0,
            exceptions: Vec::new(),
        },
        progress: Progress::default(),
        phases: Vec::new(),
        base: None,
    });
    s.world.hear(late.clone());
    assert_eq!(s.world.job(job).state, JobState::Expired, "a job never moves back");
    let point = s.world.newest_point(&s.home, &s.near);
    s.world.accepted(DeleteRecoveryPoint { recovery_point: point.clone(), vault: None });
    s.world.run_for(HOUR);
    s.world.hear(late);
    assert!(s.world.state.points.get(&point).is_none(), "a fact told again does not bring it back");
}

#[test]
fn an_order_that_vanishes_is_issued_again_and_given_up_in_the_end() {
    let mut s = scene();
    s.world.workers.temper(&s.home).absent = true;
    let job = s.backup();
    for _ in 0..3 {
        s.world.run_for(SignedDuration::from_secs(89));
        assert!(lost::silent(&s.world.state, s.world.settings.silence, s.world.now).is_empty());
        s.world.run_for(SignedDuration::from_secs(1));
        assert_eq!(lost::silent(&s.world.state, s.world.settings.silence, s.world.now), [job]);
        assert!(s.world.step(|step| lost::order_lost(step, job)));
    }
    assert!(!s.world.step(|step| lost::order_lost(step, job)));
    assert_eq!(s.world.job(job).state, JobState::Failed);
    assert!(s.world.job(job).status_message.as_ref().unwrap().contains("dead letters"));
}

#[test]
fn an_order_that_nobody_could_settle_fails_its_job_and_frees_the_resource() {
    let mut s = scene();
    s.world.workers.temper(&s.home).absent = true;
    let job = s.backup();
    let next = s.backup();
    assert_eq!(s.world.job(next).state, JobState::Created);
    s.world.step(|step| lost::order_stuck(step, job, 25));
    assert_eq!(s.world.job(job).state, JobState::Failed);
    assert_eq!(s.world.job(next).state, JobState::Pending);
}

#[test]
fn a_stream_is_known_by_its_birth_and_never_goes_back() {
    let row = |created: i64, last_sequence| StreamRow {
        stream: "ORDERS-SNAPSHOT-eu-central-1".to_owned(),
        created_at: Timestamp::from_second(created).unwrap(),
        last_sequence,
    };
    assert_eq!(lost::reset_reason(None, &row(1, 5)), None);
    assert_eq!(lost::reset_reason(Some(&row(1, 5)), &row(1, 9)), None);
    assert!(lost::reset_reason(Some(&row(1, 5)), &row(2, 9)).is_some());
    assert!(lost::reset_reason(Some(&row(1, 5)), &row(1, 4)).is_some());
}

#[test]
fn a_reset_of_the_control_stream_repeats_the_stops() {
    let mut s = scene();
    s.world.workers.temper(&s.home).absent = true;
    let job = s.backup();
    s.world.accepted(StopJob { job_id: job });
    let region: job_model::Region = super::scene::EUROPE.parse().unwrap();
    let seen = StreamRow {
        stream: job_events::subjects::control_stream(&region),
        created_at: Timestamp::UNIX_EPOCH,
        last_sequence: 0,
    };
    let before = s.world.said.len();
    s.world.step(|step| lost::stream_seen(step, &region, seen.clone(), 0, Some("gone".to_owned())));
    let again = s.world.said[before..].iter().any(|out| matches!(out, Out::Stop { job: of, .. } if *of == job));
    assert!(again);
}

#[test]
fn jitter_spreads_jobs_and_is_the_same_every_day() {
    let mut s = scene();
    s.world.settings.jitter = SignedDuration::from_mins(30);
    let other = register(&mut s.world, super::scene::EUROPE, "other");
    protect(&mut s.world, "nightly", rule("nightly", s.near.clone(), "cron(0 2 * * ? *)", "UTC"), &[&s.home, &other]);
    s.world.run_for(SignedDuration::from_hours(47));
    let starts = |resource: &job_model::Arn| -> Vec<i64> {
        s.world
            .workers
            .orders
            .iter()
            .map(job_events::OrderBody::header)
            .filter(|header| header.resource == *resource)
            .map(|header| header.issued_at.as_second() % 86_400 - 7_200)
            .collect()
    };
    let (home, other) = (starts(&s.home), starts(&other));
    assert_eq!(home.len(), 2);
    assert_eq!(home[0], home[1]);
    assert_ne!(home[0], other[0]);
    assert!(home.iter().chain(&other).all(|second| (0..1800).contains(second)));
}
