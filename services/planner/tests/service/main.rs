//! The planner as a service, against a real nats-server, with workers that only answer.
//!
//! Goal: what the simulation decides is also what goes over the bus, survives the loss of the planner, of a message and
//! of a whole stream, and is answered in the words of AWS.

#![expect(clippy::expect_used, clippy::unwrap_used, reason = "tests")]

mod stage;

use std::time::Duration;

use job_events::subjects::Queue;
use job_events::{
    Answer, AttemptStarted, CreatePlan, CreateSelection, Fact, OrderBody, Query, RegisterResource, RestoreTest,
    RuleInput, StartBackup, StartRestore, StopJob,
};
use job_model::{
    Conditions, CopyAction, JobDetail, JobKind, JobState, Lifecycle, MessageCategory, OverwritePolicy,
    RecoveryPointStatus, ResourceType, RestoreTarget, TestRunId, VaultState, VerdictStatus,
};
use service_host::Clock as _;
use stage::{FAR, NEAR, Stage, region, resource_arn, vault_arn};

fn start_backup(copies: Vec<CopyAction>) -> StartBackup {
    StartBackup {
        resource: resource_arn(),
        vault: vault_arn(NEAR),
        lifecycle: Lifecycle::default(),
        start_window_minutes: None,
        completion_window_minutes: None,
        recovery_point_tags: [("team".to_owned(), "storage".to_owned())].into(),
        copy_actions: copies,
        iam_role: None,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_protection_cycle_goes_from_backup_to_copy_to_proof() {
    let stage = Stage::start().await;
    let _workers = stage.workers();
    stage.protect().await;
    let copy_action = CopyAction { destination_vault: vault_arn(FAR), lifecycle: Lifecycle::default() };
    let backup = stage.accepted(start_backup(vec![copy_action])).await;
    let backup = stage.ended(backup).await;
    assert_eq!(backup.state, JobState::Completed);
    let copied = stage
        .until("the copy is in the catalogue", || async {
            stage.points().await.into_iter().find(|point| point.copied_from.is_some())
        })
        .await;
    assert_eq!(copied.status, RecoveryPointStatus::Completed);
    assert_eq!(copied.tags["team"], "storage");
    let copy = stage.ended(copied.job_id).await;
    assert_eq!((copy.kind, copy.region.as_str(), copy.parent), (JobKind::Copy, FAR, Some(backup.id)));

    let restore = stage
        .accepted(StartRestore {
            recovery_point: copied.arn.clone(),
            target: RestoreTarget::Sandbox,
            overwrite: OverwritePolicy::default(),
            include: Vec::new(),
            test: Some(RestoreTest {
                test_run: TestRunId::new(stage.uuid()),
                restore_testing_plan: "weekly".to_owned(),
                validation_window_hours: 0,
            }),
            metadata: std::collections::BTreeMap::new(),
            iam_role: None,
        })
        .await;
    let restored = stage
        .until("the sandbox is gone", || async {
            let job = stage.job(restore).await;
            matches!(&job.detail, JobDetail::Restore { sandbox_removed: Some(true), .. }).then_some(job)
        })
        .await;
    let JobDetail::Restore { verdict: Some(verdict), .. } = restored.detail else { panic!("no verdict") };
    assert_eq!(verdict.status, VerdictStatus::Successful);
    let proven = stage.points().await.into_iter().find(|point| point.arn == copied.arn).unwrap();
    assert_eq!(proven.last_verdict.unwrap().restore_job_id, Some(restore));
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schedule_makes_jobs_for_what_its_plan_selects() {
    let stage = Stage::start().await;
    let _workers = stage.workers();
    stage.protect().await;
    // Half an hour from now, and every hour: no mark comes by itself while the test runs.
    let minute = (stage.clock.now().as_second() / 60 + 30) % 60;
    let hourly = RuleInput {
        name: "often".to_owned(),
        target_vault: vault_arn(NEAR),
        schedule: Some(format!("cron({minute} * * * ? *)")),
        time_zone: Some("Asia/Tokyo".to_owned()),
        start_window_minutes: None,
        completion_window_minutes: None,
        lifecycle: Lifecycle::default(),
        generations: None,
        copy_actions: Vec::new(),
        recovery_point_tags: std::collections::BTreeMap::new(),
        enable_continuous: false,
    };
    let plan = stage
        .named(CreatePlan {
            name: "often".to_owned(),
            rules: vec![hourly],
            advanced_settings: Vec::new(),
            tags: std::collections::BTreeMap::new(),
        })
        .await;
    stage
        .named(CreateSelection {
            plan_id: plan.parse().unwrap(),
            name: "all".to_owned(),
            resources: Vec::new(),
            not_resources: Vec::new(),
            list_of_tags: Vec::new(),
            conditions: Conditions::default(),
            iam_role: None,
        })
        .await;
    // The clock is the test's: an hour and a half and a minute pass at once, which is two marks, and the missed one is not
    // replayed.
    stage.clock.advance(Duration::from_secs(91 * 60));
    let missed = stage.fact(|fact| matches!(fact, Fact::RunMissed(_))).await;
    let Fact::RunMissed(missed) = missed else { unreachable!() };
    assert_eq!(missed.missed, 1);
    let point = stage.until("a recovery point", || async { stage.points().await.into_iter().next() }).await;
    assert_eq!(point.created_by.unwrap().rule_name, "often");
    assert_eq!(point.time_zone, "Asia/Tokyo");
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_request_is_answered_with_the_field_that_is_wrong() {
    let stage = Stage::start().await;
    let rejected = stage.send_raw("request-1", "holdfast.request.start-backup.v1", r#"{"resource":"home"}"#).await;
    assert_eq!((rejected.code.as_str(), rejected.field.as_str()), ("InvalidParameterValueException", "data.resource"));
    let rejected = stage.send_raw("request-2", "holdfast.request.fly.v1", "{}").await;
    assert_eq!(rejected.field, "type");
    let unknown = stage
        .rejected(RegisterResource {
            arn: resource_arn(),
            resource_type: ResourceType::Files,
            region: region("sa-east-1"),
            location: "file:///srv/home".to_owned(),
            hooks: None,
            tags: std::collections::BTreeMap::new(),
        })
        .await;
    assert_eq!(unknown.field, "region");
    let missing = stage.rejected(start_backup(Vec::new())).await;
    assert_eq!((missing.code.as_str(), missing.field.as_str()), ("ResourceNotFoundException", "resource"));
    let Answer::Refused { code, .. } = stage.ask(&Query::ShowJob { job_id: job_model::JobId::new(stage.uuid()) }).await
    else {
        panic!("an unknown job is refused")
    };
    assert_eq!(code, "ResourceNotFoundException");
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_sent_twice_makes_one_job_and_gets_the_same_answer() {
    let stage = Stage::start().await;
    let _workers = stage.workers();
    stage.protect().await;
    let first = stage.send_as("the-same", start_backup(Vec::new())).await;
    let again = stage.send_as("the-same", start_backup(Vec::new())).await;
    assert_eq!(first, again);
    let Answer::Jobs(jobs) =
        stage.ask(&Query::ListJobs { kind: Some(JobKind::Backup), state: None, resource: None, limit: None }).await
    else {
        panic!("a list of jobs")
    };
    assert_eq!(jobs.len(), 1);
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_planner_that_died_goes_on_where_it_was() {
    let mut stage = Stage::start_process().await;
    let workers = stage.workers();
    stage.protect().await;
    workers.stop().await;
    let job = stage.accepted(start_backup(Vec::new())).await;
    stage
        .until("the order is issued", || async { (stage.job(job).await.state == JobState::Pending).then_some(()) })
        .await;
    let before = stage.generation().await;
    stage.kill_planner();
    // Worked on while the planner is away: the facts wait for it.
    let _workers = stage.workers();
    stage.start_planner();
    assert_eq!(stage.ended(job).await.state, JobState::Completed);
    stage
        .until("a planner that starts is a new generation", || async {
            (stage.generation().await > before).then_some(())
        })
        .await;
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_was_reset_is_noticed_and_its_orders_are_issued_again() {
    let mut stage = Stage::start().await;
    let workers = stage.workers();
    stage.protect().await;
    workers.stop().await;
    let job = stage.accepted(start_backup(Vec::new())).await;
    let stream = Queue::Snapshot.stream(&region(NEAR));
    stage.until("the order is in its stream", || async { (stage.messages(&stream).await == 1).then_some(()) }).await;
    stage.lose_stream(&stream).await;
    let noticed = stage
        .until("the loss is noticed", || async {
            stage.look_again();
            stage.seen(|fact| matches!(fact, Fact::StreamResetNoticed(noticed) if noticed.stream == stream)).await
        })
        .await;
    let Fact::StreamResetNoticed(noticed) = noticed else { unreachable!() };
    assert_eq!(noticed.orders_reissued, 1);
    let _workers = stage.workers();
    assert_eq!(stage.ended(job).await.state, JobState::Completed);
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_is_stopped_before_a_worker_takes_it_gives_its_place_free() {
    let stage = Stage::start().await;
    let workers = stage.workers();
    stage.protect().await;
    workers.stop().await;
    let job = stage.accepted(start_backup(Vec::new())).await;
    let waiting = stage.accepted(start_backup(Vec::new())).await;
    stage
        .until("the order is issued", || async { (stage.job(job).await.state == JobState::Pending).then_some(()) })
        .await;
    assert_eq!(stage.job(waiting).await.state, JobState::Created, "one open backup of a resource");
    stage.accepted(StopJob { job_id: job }).await;
    assert_eq!(stage.job(job).await.state, JobState::Aborting);
    assert!(stage.stop_is_published(job).await);
    // Nobody confirms; the grace passes.
    stage.clock.advance(Duration::from_secs(11 * 60));
    assert_eq!(stage.ended(job).await.state, JobState::Aborted);
    // The order of the stopped job has to be taken from the queue, or the subject would stay busy.
    stage
        .until("the next order", || async {
            stage.order(Queue::Snapshot).await.filter(|order| order.header().job_id == waiting)
        })
        .await;
    assert_eq!(stage.messages(&Queue::Snapshot.stream(&region(NEAR))).await, 1);
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_capture_with_exceptions_is_never_silently_completed() {
    let stage = Stage::start().await;
    let workers = stage.workers();
    workers.exceptions(3);
    stage.protect().await;
    let job = stage.accepted(start_backup(Vec::new())).await;
    let job = stage.ended(job).await;
    assert_eq!((job.state, job.message_category), (JobState::Completed, MessageCategory::Issues));
    assert!(job.status_message.unwrap().starts_with("3 entries"));
    let point = stage.points().await.remove(0);
    assert_eq!(point.status, RecoveryPointStatus::Partial);
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn facts_of_a_worker_that_lost_its_lease_change_nothing() {
    let stage = Stage::start().await;
    let workers = stage.workers();
    stage.protect().await;
    workers.stop().await;
    let job = stage.accepted(start_backup(Vec::new())).await;
    let order = stage.until("the order", || async { stage.order(Queue::Snapshot).await }).await;
    let OrderBody::CaptureSnapshot(capture) = &order else { panic!("a capture") };
    assert_eq!(capture.recovery_point.service(), "backup");
    stage.tell(AttemptStarted { attempt: stage.attempt(&order, 7) }).await;
    stage.until("it runs", || async { (stage.job(job).await.state == JobState::Running).then_some(()) }).await;
    stage.tell(stage::failed(stage.attempt(&order, 6))).await;
    stage.tell(stage::captured(&order, stage.attempt(&order, 7), 0)).await;
    assert_eq!(stage.ended(job).await.state, JobState::Completed);
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_planner_stands_by_until_the_first_is_gone() {
    let mut stage = Stage::start().await;
    let second = stage.second_planner();
    stage.until("the second stands by", || async { second.stands_by().then_some(()) }).await;
    assert!(stage.is_ready());
    stage.stop_planner().await;
    stage.until("the second is active", || async { second.is_ready().then_some(()) }).await;
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_vault_that_cannot_be_made_is_failed_and_says_why() {
    let stage = Stage::start().await;
    let workers = stage.workers();
    workers.fail_vaults();
    let job = stage.create_vault(NEAR).await;
    assert_eq!(stage.ended(job).await.state, JobState::Failed);
    let Answer::Vaults(vaults) = stage.ask(&Query::ListVaults).await else { panic!("vaults") };
    assert_eq!(vaults[0].state, VaultState::Failed);
    assert!(vaults[0].state_message.as_ref().unwrap().contains("VAULT_LOCATION_TAKEN"));
    stage.register().await;
    let refused = stage.rejected(start_backup(Vec::new())).await;
    assert_eq!((refused.code.as_str(), refused.field.as_str()), ("InvalidRequestException", "vault"));
    stage.stop().await;
}
