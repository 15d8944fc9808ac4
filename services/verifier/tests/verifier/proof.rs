//! From a request to run a plan to its verdicts.

use std::sync::atomic::Ordering;
use std::time::Duration;

use job_events::{
    Answer, Envelope, Fact, Query, RecoveryPointCreated, Request, ResourceUnproven, RestoreTestEnded, RunRestoreTest,
    VerdictReached,
};
use job_model::{FindingKind, JobId, JobState, TestRunId, VerdictStatus};
use uuid::Uuid;

use crate::planner::{TRACE, point_arn, recovery_point, resource, vault_arn};
use crate::plans::{put, rejected};
use crate::vault::{Captured, flip_a_byte, location};
use crate::world::{World, instant};

const HOUR: Duration = Duration::from_secs(3_600);

/// A world with a running verifier and a captured tree `home`.
async fn world_with_a_tree(run_timeout: Duration) -> (World, Captured) {
    let mut world = World::new().await;
    let dir = world.path().to_owned();
    let captured =
        tokio::task::spawn_blocking(move || Captured::new(&dir, vault_arn(), &resource("home"), &point_arn()))
            .await
            .unwrap();
    world.start(captured.profiles.clone(), run_timeout).await;
    (world, captured)
}

async fn restored(captured: Captured, name: &'static str) -> (Captured, std::path::PathBuf) {
    tokio::task::spawn_blocking(move || {
        let path = captured.restore(name);
        (captured, path)
    })
    .await
    .unwrap()
}

async fn run(world: &mut World) -> TestRunId {
    match world.ask(RunRestoreTest { name: "proof".to_owned() }).await {
        Fact::RequestAccepted(accepted) => accepted.result.unwrap().parse().unwrap(),
        other => panic!("{other:?}"),
    }
}

async fn verdict(world: &mut World) -> (Envelope, VerdictReached) {
    match world.hear(|fact| matches!(fact, Fact::VerdictReached(_))).await {
        (envelope, Fact::VerdictReached(reached)) => (envelope, reached),
        _ => unreachable!(),
    }
}

async fn ended(world: &mut World) -> RestoreTestEnded {
    match world.hear(|fact| matches!(fact, Fact::RestoreTestEnded(_))).await.1 {
        Fact::RestoreTestEnded(ended) => ended,
        _ => unreachable!(),
    }
}

fn unproven(world: &World) -> Vec<ResourceUnproven> {
    let unproven = world.heard.iter().filter_map(|(_, fact)| match fact {
        Fact::ResourceUnproven(unproven) => Some(unproven.clone()),
        _ => None,
    });
    unproven.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_restore_is_proven_and_a_resource_without_recovery_points_is_not_forgotten() {
    let (mut world, captured) = world_with_a_tree(HOUR).await;
    world.say_created(recovery_point(&captured, "home")).await;
    world.ask(put(&["home", "ghost"])).await;
    let run = run(&mut world).await;

    let (request, restore) = world.next_restore().await;
    assert_eq!(restore.recovery_point, point_arn());
    assert_eq!(restore.test.as_ref().unwrap().test_run, run);
    assert_eq!(request.traceparent.as_deref(), Some(TRACE));
    assert_eq!(request.id, run.derive(&format!("restore:{}", resource("home"))).to_string());
    let job = JobId::new(Uuid::from_u128(8));
    world.accept(&request, job).await;

    let (captured, path) = restored(captured, "good").await;
    world
        .order(&captured, "home", |order| {
            order.test_run = run;
            order.restored_location = location(&path);
        })
        .await;
    let (envelope, reached) = verdict(&mut world).await;
    assert_eq!(reached.verdict.status, VerdictStatus::Successful, "{reached:#?}");
    assert_eq!(reached.verdict.restore_job_id, Some(job));
    assert!(reached.verdict.rto_ms >= 1 && reached.verdict.rpo_ms >= reached.verdict.rto_ms, "{reached:#?}");
    let phases: u64 = reached.rto_phases.iter().map(|phase| phase.duration_ms).sum();
    assert_eq!(phases, reached.verdict.rto_ms);
    assert!(reached.progress.bytes_done >= 100_020, "{reached:#?}");
    assert_eq!(&envelope.traceparent.unwrap()[3..35], &TRACE[3..35]);

    let ended = ended(&mut world).await;
    assert_eq!((ended.test_run, ended.proven, ended.unproven), (run, 1, 1));
    let unproven = unproven(&world);
    assert_eq!(unproven.len(), 1);
    assert_eq!(unproven[0].resource, resource("ghost"));
    assert_eq!(unproven[0].finding.kind, FindingKind::NoEligibleRecoveryPoint);

    let Answer::TestRun(shown) = world.query(&Query::ShowTestRun { test_run: run }).await else { panic!() };
    assert!(shown.ended_at.is_some());
    let verdicts: Vec<_> =
        shown.entries.iter().map(|e| (e.resource.clone(), e.verdict.as_ref().unwrap().status)).collect();
    assert_eq!(verdicts, [(resource("ghost"), VerdictStatus::Failed), (resource("home"), VerdictStatus::Successful)]);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_waits_for_what_the_planner_had_decided_and_not_told() {
    let (mut world, captured) = world_with_a_tree(HOUR).await;
    world.ask(put(&["home"])).await;
    world.outbox.waiting.store(1, Ordering::SeqCst);
    let asked = world.send(RunRestoreTest { name: "proof".to_owned() }).await;
    world.outbox.is_waited_for().await;
    world.say(RecoveryPointCreated { recovery_point: recovery_point(&captured, "home") }).await;
    world.outbox.waiting.store(0, Ordering::SeqCst);
    assert!(matches!(world.answer_to(&asked).await, Fact::RequestAccepted(_)));
    assert_eq!(world.next_restore().await.1.recovery_point, point_arn());
}

#[tokio::test(flavor = "multi_thread")]
async fn one_flipped_byte_fails_the_verdict_and_names_the_file() {
    let (mut world, captured) = world_with_a_tree(HOUR).await;
    let (captured, path) = restored(captured, "bad").await;
    flip_a_byte(&path.join("etc/hosts"));
    world.order(&captured, "home", |order| order.restored_location = location(&path)).await;
    let (_, reached) = verdict(&mut world).await;
    assert_eq!(reached.verdict.status, VerdictStatus::Failed, "{reached:#?}");
    assert!(reached.verdict.message.contains("etc/hosts"), "{reached:#?}");
    let finding = reached.findings.iter().find(|f| f.kind == FindingKind::ContentDiffers).unwrap();
    assert!(finding.subject.ends_with("etc/hosts"), "{finding:?}");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_file_a_missing_tree_and_a_strange_digest_fail_the_verdict() {
    let (mut world, captured) = world_with_a_tree(HOUR).await;
    let (captured, path) = restored(captured, "missing").await;
    std::fs::remove_file(path.join("notes.txt")).unwrap();
    world.order(&captured, "home", |order| order.restored_location = location(&path)).await;
    let reached = verdict(&mut world).await.1;
    assert_eq!(reached.verdict.status, VerdictStatus::Failed);
    assert!(reached.findings.iter().any(|f| f.kind == FindingKind::EntryMissing), "{reached:#?}");

    std::fs::remove_dir_all(&path).unwrap();
    world.order(&captured, "home", |order| order.restored_location = location(&path)).await;
    let reached = verdict(&mut world).await.1;
    assert_eq!((reached.verdict.status, reached.verdict.rto_ms), (VerdictStatus::Failed, 0));

    let (captured, path) = restored(captured, "tampered").await;
    world
        .order(&captured, "home", |order| {
            order.restored_location = location(&path);
            order.tree_id = "0".repeat(64);
        })
        .await;
    let reached = verdict(&mut world).await.1;
    assert_eq!(reached.findings[0].kind, FindingKind::TreeDiffers);
    assert_eq!(reached.verdict.status, VerdictStatus::Failed);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_incomplete_capture_fails_the_verdict_with_its_count() {
    let (mut world, captured) = world_with_a_tree(HOUR).await;
    let (captured, path) = restored(captured, "incomplete").await;
    world
        .order(&captured, "home", |order| {
            order.restored_location = location(&path);
            order.exception_count = 3;
        })
        .await;
    let reached = verdict(&mut world).await.1;
    assert_eq!(reached.verdict.status, VerdictStatus::Failed);
    assert!(reached.verdict.message.starts_with("3 entries were not captured"), "{reached:#?}");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_that_fails_or_is_refused_leaves_its_resource_unproven() {
    let (mut world, captured) = world_with_a_tree(HOUR).await;
    world.say_created(recovery_point(&captured, "home")).await;
    world.ask(put(&["*"])).await;

    let first = run(&mut world).await;
    let (request, _) = world.next_restore().await;
    let job = JobId::new(Uuid::from_u128(8));
    world.accept(&request, job).await;
    world.say_restore_ended(job, first, "home", JobState::Failed, "no space left at the target").await;
    let end = ended(&mut world).await;
    assert_eq!((end.test_run, end.proven, end.unproven), (first, 0, 1));
    let said = unproven(&world).pop().unwrap();
    assert_eq!(said.finding.kind, FindingKind::RestoreFailed);
    assert_eq!(said.verdict.restore_job_id, Some(job));
    assert_eq!(said.recovery_point, Some(point_arn()));
    assert!(said.verdict.message.contains("no space left at the target"), "{said:?}");

    let second = run(&mut world).await;
    let (request, _) = world.next_restore().await;
    world
        .say(job_events::RequestRejected {
            request_id: request.id,
            code: "ResourceNotFoundException".to_owned(),
            field: "recovery_point".to_owned(),
            message: "gone".to_owned(),
            arn: None,
            creator_request_id: None,
        })
        .await;
    assert_eq!(ended(&mut world).await.test_run, second);
    assert!(unproven(&world).pop().unwrap().verdict.message.contains("ResourceNotFoundException"));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_whose_restore_never_ends_times_out_and_stops_it() {
    let (mut world, captured) = world_with_a_tree(HOUR).await;
    world.say_created(recovery_point(&captured, "home")).await;
    world.ask(put(&["*"])).await;
    run(&mut world).await;
    let (request, _) = world.next_restore().await;
    let job = JobId::new(Uuid::from_u128(8));
    world.accept(&request, job).await;
    world.has_taken_over().await;
    // Two hours pass while it is away.
    world.stop().await;
    world.start_later(captured.profiles.clone(), HOUR, 2 * HOUR).await;
    assert_eq!(ended(&mut world).await.unproven, 1);
    assert_eq!(unproven(&world)[0].finding.kind, FindingKind::TimedOut);
    assert!(matches!(world.next_for_planner().await.1, Request::StopJob(stop) if stop.job_id == job));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_request_starts_no_second_run_and_a_restart_forgets_none() {
    let (mut world, captured) = world_with_a_tree(HOUR).await;
    world.say_created(recovery_point(&captured, "home")).await;
    world.ask(put(&["*"])).await;
    let request: Request = RunRestoreTest { name: "proof".to_owned() }.into();
    let envelope = Envelope::new(
        "once".to_owned(),
        "/test".to_owned(),
        request.event_type(),
        instant(),
        request.to_value().unwrap(),
    );
    world.ask_with(&request, &envelope).await;
    // Another message with the same id, which the server does not recognise as a repetition.
    let subject = job_events::subjects::request(&crate::world::region(), request.service(), request.name());
    let again = job_bus::Publish {
        subject,
        id: "another-id-for-the-server".to_owned(),
        payload: envelope.to_bytes().unwrap().into(),
        traceparent: None,
        expect_stream: job_events::subjects::request_stream(&crate::world::region()),
        once_per_subject: false,
    };
    world.bus.publish(&again).await.unwrap();
    // Requests are handled in order: when the answer to a later one is there, the repetition was handled.
    let later = rejected(world.ask(RunRestoreTest { name: "ghost".to_owned() }).await);
    assert_eq!(later.field, "name");
    world.stop().await;
    world.start(captured.profiles.clone(), HOUR).await;
    let Answer::TestRuns(runs) = world.query(&Query::ListTestRuns { account: None, limit: None }).await else {
        panic!()
    };
    assert_eq!(runs.len(), 1);
    assert_eq!(runs[0].entries.len(), 1);
    assert!(runs[0].ended_at.is_none());
    world.stop().await;
}
