use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use jiff::SignedDuration;
use job_events::{Disposition, Fact};
use job_model::{FailureCode, Progress};
use order_runner::{Attempt, StopReason, WorkFailure};
use service_host::{Clock, SystemClock};

use crate::fixture::{Fixture, PATIENT, TIMING, WAIT, removed};

/// Runs until it is told to stop.
async fn until_stopped(attempt: Attempt) -> Result<Fact, WorkFailure> {
    attempt.control().stopped().await;
    Err(WorkFailure::stopped())
}

#[tokio::test]
async fn an_order_is_carried_out_told_and_settled() {
    let f = Fixture::patient().await;
    let job = f.order(1).await;
    let worker = f.worker("a").start(async |_, attempt| Ok(removed(&attempt)));
    let mut facts = f.facts().await;
    let (envelope, started) = facts.next().await;
    let Fact::AttemptStarted(started) = started else { panic!("{started:?}") };
    assert_eq!(envelope.source, "/holdfast/restore-worker/a");
    assert_eq!(envelope.causation, Some(format!("order-{job}-1-5")));
    assert_eq!(envelope.generation, Some(5));
    let (_, ended) = facts.next().await;
    let Fact::SandboxRemoved(ended) = ended else { panic!("{ended:?}") };
    assert_eq!((ended.attempt.job_id, ended.attempt.attempt), (job, 1));
    assert_eq!((ended.attempt.epoch, &*ended.attempt.worker), (started.attempt.epoch, "restore-worker/a"));
    f.settled().await;
    worker.end().await;
    assert_eq!(f.told().await, ["attempt-started", "sandbox-removed"]);
}

#[tokio::test]
async fn long_work_keeps_its_order_and_tells_its_progress() {
    let f = Fixture::new().await;
    f.order(1).await;
    let _worker = f.worker("a").start(async |_, attempt| {
        attempt.control().advance(Progress { bytes_total: Some(10), bytes_done: 4, ..Progress::default() });
        tokio::time::sleep(TIMING.lease_ttl * 2).await;
        attempt.control().guard()?;
        Ok(removed(&attempt))
    });
    let mut facts = f.facts().await;
    let (_, progress) = facts.named("attempt-progressed").await;
    let Fact::AttemptProgressed(progress) = progress else { panic!("{progress:?}") };
    assert_eq!((progress.progress.bytes_total, progress.progress.bytes_done), (Some(10), 4));
    f.settled().await;
    assert_eq!(f.told().await, ["attempt-started", "sandbox-removed"]);
}

#[tokio::test]
async fn a_failure_is_told_with_code_message_and_progress_and_the_order_is_not_repeated() {
    let f = Fixture::patient().await;
    f.order(1).await;
    let _worker = f.worker("a").start(async |_, attempt| {
        attempt.control().advance(Progress { items_done: 3, ..Progress::default() });
        Err(WorkFailure::new(FailureCode::NoSpace, "`/srv` is full"))
    });
    let (_, failed) = f.facts().await.named("attempt-failed").await;
    let Fact::AttemptFailed(failed) = failed else { panic!("{failed:?}") };
    assert_eq!((failed.code.as_str(), failed.message.as_str()), ("NO_SPACE", "`/srv` is full"));
    assert_eq!((failed.disposition, failed.progress.items_done), (Disposition::Retry, 3));
    f.settled().await;
    assert_eq!(f.told().await, ["attempt-started", "attempt-failed"]);
}

#[tokio::test]
async fn work_that_panics_fails_its_order_and_not_the_worker() {
    let f = Fixture::patient().await;
    f.order(1).await;
    let _worker = f.worker("a").start(async |order, attempt| {
        assert_ne!(order.header().job_id.as_uuid().as_u128(), 1, "the first order is poison");
        Ok(removed(&attempt))
    });
    let (_, failed) = f.facts().await.named("attempt-failed").await;
    assert!(matches!(failed, Fact::AttemptFailed(failed) if failed.code == "INTERNAL"));
    f.order(2).await;
    f.facts().await.named("sandbox-removed").await;
    f.settled().await;
}

#[tokio::test]
async fn a_running_order_stops_when_somebody_asks() {
    let f = Fixture::patient().await;
    let job = f.order(1).await;
    let _worker = f.worker("a").start(async |_, attempt| until_stopped(attempt).await);
    let mut facts = f.facts().await;
    facts.named("attempt-started").await;
    f.stop_job(job).await;
    let (_, stopped) = facts.named("attempt-stopped").await;
    assert!(matches!(stopped, Fact::AttemptStopped(stopped) if stopped.attempt.job_id == job));
    f.settled().await;
}

#[tokio::test]
async fn an_order_that_was_stopped_before_it_began_is_not_carried_out() {
    let f = Fixture::patient().await;
    let job = f.order(1).await;
    f.stop_job(job).await;
    let _worker = f.worker("a").start(async |_, _| panic!("it must not run"));
    f.facts().await.named("attempt-stopped").await;
    f.settled().await;
}

#[tokio::test]
async fn an_order_whose_deadline_passes_stops_and_fails_for_good() {
    let f = Fixture::patient().await;
    f.order_with(1, |body, _| {
        body.order.deadline = Some(SystemClock::new().now() + SignedDuration::from_millis(700));
    })
    .await;
    let _worker = f.worker("a").start(async |_, attempt| {
        let control = attempt.control();
        control.stopped().await;
        assert_eq!(control.stop_reason(), Some(StopReason::DeadlinePassed));
        Err(WorkFailure::stopped())
    });
    let (_, failed) = f.facts().await.named("attempt-failed").await;
    let Fact::AttemptFailed(failed) = failed else { panic!("{failed:?}") };
    assert_eq!((failed.code.as_str(), failed.disposition), ("DEADLINE_PASSED", Disposition::Fail));
    f.settled().await;
}

#[tokio::test]
async fn a_done_order_that_comes_again_is_told_again_and_not_done_again() {
    let f = Fixture::patient().await;
    let runs = Arc::new(AtomicU32::new(0));
    let script = |runs: Arc<AtomicU32>| {
        move |_, attempt: Attempt| {
            runs.fetch_add(1, Ordering::SeqCst);
            async move { Ok(removed(&attempt)) }
        }
    };
    let job = f.order(1).await;
    let worker = f.worker("a").start(script(Arc::clone(&runs)));
    f.facts().await.named("sandbox-removed").await;
    f.settled().await;
    // The planner issues it once more under another message id, as after a stream that was lost.
    let lost = f.order_with(1, |_, envelope| envelope.generation = Some(6)).await;
    assert_eq!(lost, job);
    f.settled().await;
    let store = worker.end().await;
    assert_eq!(f.told().await, ["attempt-started", "sandbox-removed"]);

    // Also after a restart, and when the facts were lost too: it is told again, under the same id.
    let raw = async_nats_facts(&f).await;
    f.order_with(1, |_, envelope| envelope.generation = Some(7)).await;
    let _again = f.worker_on(f.bus.clone(), store, "a").start(script(Arc::clone(&runs)));
    let (envelope, _) = f.facts().await.named("sandbox-removed").await;
    assert_eq!(envelope.id, raw);
    f.settled().await;
    assert_eq!(runs.load(Ordering::SeqCst), 1);
}

/// Loses the stream of facts, and returns the id of the result that was in it.
async fn async_nats_facts(f: &Fixture) -> String {
    let (envelope, _) = f.facts().await.named("sandbox-removed").await;
    let stream = job_events::subjects::fact_stream(&f.region);
    let request = f.bus.query(&format!("$JS.API.STREAM.DELETE.{stream}"), Vec::new(), Duration::from_secs(10)).await;
    assert!(String::from_utf8_lossy(&request.unwrap()).contains("\"success\":true"));
    f.bus.provision(&f.region).await.unwrap();
    envelope.id
}

#[tokio::test]
async fn an_order_of_a_lower_generation_or_an_earlier_attempt_is_dropped() {
    let f = Fixture::patient().await;
    f.order_with(1, |body, _| body.order.attempt = 2).await;
    let _worker = f.worker("a").start(async |order, attempt| {
        assert_eq!(order.header().attempt, 2);
        Ok(removed(&attempt))
    });
    f.settled().await;
    f.order_with(1, |body, _| body.order.attempt = 1).await;
    f.settled().await;
    f.order_with(2, |_, envelope| envelope.generation = Some(4)).await;
    f.settled().await;
    assert_eq!(f.told().await, ["attempt-started", "sandbox-removed"]);
}

#[tokio::test]
async fn what_is_no_order_goes_to_the_dead_letters() {
    let f = Fixture::patient().await;
    f.publish_order("x", b"not an order".to_vec(), "x").await;
    let _worker = f.worker("a").start(async |_, _| panic!("nothing to run"));
    f.settled().await;
    let letters = f.bus.dead_letters(&f.region, 10).await.unwrap();
    assert_eq!(letters.len(), 1);
    let letter = letters[0].letter.as_ref().unwrap();
    assert_eq!(letter.payload.as_deref(), Some("not an order"));
    assert!(f.told().await.is_empty());
}

#[tokio::test]
async fn an_order_nobody_understands_fails_its_job_and_is_kept_as_a_dead_letter() {
    let f = Fixture::patient().await;
    let job = f.order_with(1, |_, envelope| envelope.event_type = "holdfast.order.dance.v9".to_owned()).await;
    let _worker = f.worker("a").start(async |_, _| panic!("nothing to run"));
    let (_, failed) = f.facts().await.named("attempt-failed").await;
    let Fact::AttemptFailed(failed) = failed else { panic!("{failed:?}") };
    assert_eq!((failed.code.as_str(), failed.attempt.job_id), ("ORDER_INVALID", job));
    assert!(failed.attempt.epoch > 0);
    f.settled().await;
    assert_eq!(f.bus.dead_letters(&f.region, 10).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_soft_stop_gives_back_what_does_not_end_in_time_and_a_checkpoint_is_found_again() {
    let f = Fixture::patient().await;
    f.order(1).await;
    let (saved, mut was_saved) = tokio::sync::watch::channel(false);
    let first = f.worker("a").start(move |_, attempt| {
        let saved = saved.clone();
        async move {
            attempt.save_checkpoint(&41_u32).await.unwrap();
            attempt.control().advance(Progress { items_done: 41, ..Progress::default() });
            saved.send_replace(true);
            until_stopped(attempt).await
        }
    });
    f.facts().await.named("attempt-started").await;
    was_saved.wait_for(|saved| *saved).await.unwrap();
    let store = first.end().await;
    assert_eq!(f.open_orders().await, 1, "given back, not settled");

    let begin = std::time::Instant::now();
    let _second = f.worker_on(f.bus.clone(), store, "a").start(async |_, attempt| {
        match attempt.load_checkpoint::<u32>().await.unwrap() {
            Some(41) => Ok(removed(&attempt)),
            other => Err(WorkFailure::new(FailureCode::Internal, format!("{other:?}"))),
        }
    });
    f.facts().await.named("sandbox-removed").await;
    assert!(begin.elapsed() < PATIENT.lease_ttl, "the lease was given back too: {:?}", begin.elapsed());
    f.settled().await;
    assert_eq!(f.told().await, ["attempt-started", "attempt-started", "sandbox-removed"]);
}

#[tokio::test]
async fn a_soft_stop_lets_short_work_end() {
    let f = Fixture::patient().await;
    f.order(1).await;
    let (go, gone) = tokio::sync::watch::channel(false);
    let mut worker = f.worker("a");
    // However long the work needs to notice that it may end.
    worker.runner.as_mut().unwrap().drain = WAIT;
    let worker = worker.start(move |_, attempt| {
        let mut gone = gone.clone();
        async move {
            gone.wait_for(|go| *go).await.unwrap();
            Ok(removed(&attempt))
        }
    });
    f.facts().await.named("attempt-started").await;
    worker.stop.cancel();
    go.send(true).unwrap();
    f.settled().await;
    worker.end().await;
    assert_eq!(f.told().await, ["attempt-started", "sandbox-removed"]);
}

#[tokio::test]
async fn a_hard_stop_gives_everything_back_at_once() {
    // But for the lease, which has to run out.
    let f = Fixture::new().await;
    f.order(1).await;
    let worker = f.worker("a").start(async |_, _| std::future::pending().await);
    f.facts().await.named("attempt-started").await;
    worker.end_hard().await;
    assert_eq!(f.open_orders().await, 1);
    let _second = f.worker("b").start(async |_, attempt| Ok(removed(&attempt)));
    f.facts().await.named("sandbox-removed").await;
    f.settled().await;
}

#[tokio::test]
async fn a_worker_that_starts_before_its_streams_waits_for_them() {
    let f = Fixture::patient().await;
    let stream = job_events::subjects::Queue::Restore.stream(&f.region);
    f.bus.query(&format!("$JS.API.STREAM.DELETE.{stream}"), Vec::new(), Duration::from_secs(10)).await.unwrap();
    let _worker = f.worker("a").start(async |_, attempt| Ok(removed(&attempt)));
    f.bus.provision(&f.region).await.unwrap();
    f.order(1).await;
    f.facts().await.named("sandbox-removed").await;
    f.settled().await;
}
