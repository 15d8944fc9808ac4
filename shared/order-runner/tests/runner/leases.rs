use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use job_events::Fact;
use job_model::resource_key;
use order_runner::{StopReason, WorkFailure};
use state_store::StateStore;
use tokio::sync::watch;

use crate::fixture::{Fixture, TIMING, VOLUME, connect, removed, until};
use crate::proxy::Proxy;

#[tokio::test]
async fn a_worker_that_stood_still_makes_no_effect_when_another_one_took_over() {
    let f = Fixture::new().await;
    let proxy = Proxy::before(f.server.port()).await;
    let effects = Arc::new(AtomicU32::new(0));
    let refused = Arc::new(AtomicU32::new(0));
    let (wake, woken) = watch::channel(false);

    f.order(1).await;
    let cut_off = connect(&format!("nats://{}", proxy.address)).await;
    let zombie = f.worker_on(cut_off, StateStore::in_memory(), "zombie").start({
        let (effects, refused) = (Arc::clone(&effects), Arc::clone(&refused));
        move |_, attempt| {
            let (effects, refused, mut woken) = (Arc::clone(&effects), Arc::clone(&refused), woken.clone());
            async move {
                // Knows nothing of stops, as a process that stands still.
                woken.wait_for(|woken| *woken).await.unwrap();
                if let Err(lost) = attempt.control().guard() {
                    refused.fetch_add(1, Ordering::SeqCst);
                    return Err(WorkFailure::from(lost));
                }
                effects.fetch_add(1, Ordering::SeqCst);
                Ok(removed(&attempt))
            }
        }
    });
    let mut facts = f.facts().await;
    let (_, Fact::AttemptStarted(first)) = facts.named("attempt-started").await else { panic!() };
    proxy.close();

    let _heir = f.worker("heir").start({
        let effects = Arc::clone(&effects);
        move |_, attempt| {
            let effects = Arc::clone(&effects);
            async move {
                attempt.control().guard()?;
                effects.fetch_add(1, Ordering::SeqCst);
                Ok(removed(&attempt))
            }
        }
    });
    let (_, Fact::SandboxRemoved(ended)) = facts.named("sandbox-removed").await else { panic!() };
    assert_eq!(ended.attempt.worker, "restore-worker/heir");
    assert!(ended.attempt.epoch > first.attempt.epoch);
    f.settled().await;

    wake.send(true).unwrap();
    proxy.open();
    until(async || refused.load(Ordering::SeqCst) == 1).await;
    zombie.end().await;
    assert_eq!(effects.load(Ordering::SeqCst), 1);
    assert_eq!(
        f.told().await,
        ["attempt-started", "attempt-started", "sandbox-removed"],
        "the zombie said nothing more"
    );
}

#[tokio::test]
async fn work_that_listens_is_told_when_the_lease_is_lost() {
    let f = Fixture::new().await;
    let proxy = Proxy::before(f.server.port()).await;
    f.order(1).await;
    let (told, mut reason) = watch::channel(None);
    let cut_off = connect(&format!("nats://{}", proxy.address)).await;
    let _worker = f.worker_on(cut_off, StateStore::in_memory(), "a").start(move |_, attempt| {
        let told = told.clone();
        async move {
            attempt.control().stopped().await;
            told.send_replace(attempt.control().stop_reason());
            Err(WorkFailure::stopped())
        }
    });
    f.facts().await.named("attempt-started").await;
    let begin = std::time::Instant::now();
    proxy.close();
    reason.wait_for(Option::is_some).await.unwrap();
    assert_eq!(*reason.borrow(), Some(StopReason::LostLease));
    assert!(begin.elapsed() < TIMING.lease_ttl * 2, "before anybody else can have it for long: {:?}", begin.elapsed());
    assert_eq!(f.open_orders().await, 1, "it settled nothing");
}

#[tokio::test]
async fn an_order_waits_in_hand_while_somebody_else_works_on_its_resource() {
    let f = Fixture::new().await;
    let key = resource_key(&VOLUME.parse().unwrap());
    let mut other = f.bus.acquire_lease(&f.region, &key, "snapshot-worker/x", 0).await.unwrap();
    f.order(1).await;
    let _worker = f.worker("a").start(async |_, attempt| Ok(removed(&attempt)));
    // Longer than a delivery and a lease live without heartbeats.
    let begin = std::time::Instant::now();
    while begin.elapsed() < TIMING.ack_wait * 2 {
        other.renew().await.unwrap();
        assert_eq!(f.facts_told().await, 0);
    }
    let epoch = other.epoch();
    other.release().await.unwrap();
    let (_, Fact::SandboxRemoved(ended)) = f.facts().await.named("sandbox-removed").await else { panic!() };
    assert!(ended.attempt.epoch > epoch);
    f.settled().await;
}

#[tokio::test]
async fn orders_that_wait_for_a_resource_leave_the_slots_to_others() {
    let f = Fixture::new().await;
    let key = resource_key(&VOLUME.parse().unwrap());
    let mut other = f.bus.acquire_lease(&f.region, &key, "snapshot-worker/x", 0).await.unwrap();
    // As many as there are slots.
    f.order(1).await;
    f.order(2).await;
    let free = "arn:aws:ec2:ap-northeast-1:123456789012:volume/vol-2";
    let third = f.order_with(3, |body, _| body.order.resource = free.parse().unwrap()).await;
    let _worker = f.worker("a").start(async |_, attempt| Ok(removed(&attempt)));
    let mut facts = f.facts().await;
    let renewing = async {
        loop {
            other.renew().await.unwrap();
            tokio::time::sleep(TIMING.lease_ttl / 4).await;
        }
    };
    tokio::select! {
        (_, fact) = facts.named("sandbox-removed") => {
            assert!(matches!(fact, Fact::SandboxRemoved(ended) if ended.attempt.job_id == third));
        }
        () = renewing => {}
    }
}

#[tokio::test]
async fn a_stop_reaches_an_order_that_waits_for_its_resource() {
    let f = Fixture::new().await;
    let key = resource_key(&VOLUME.parse().unwrap());
    let mut other = f.bus.acquire_lease(&f.region, &key, "snapshot-worker/x", 0).await.unwrap();
    let job = f.order(1).await;
    let _worker = f.worker("a").start(async |_, _| panic!("it must not run"));
    let mut facts = f.facts().await;
    f.stop_job(job).await;
    let stopped = async {
        let (_, fact) = facts.named("attempt-stopped").await;
        f.settled().await;
        fact
    };
    let renewing = async {
        loop {
            other.renew().await.unwrap();
            tokio::time::sleep(TIMING.lease_ttl / 4).await;
        }
    };
    tokio::select! {
        fact = stopped => {
            let Fact::AttemptStopped(stopped) = fact else { panic!("{fact:?}") };
            assert_eq!(stopped.attempt.job_id, job);
        }
        () = renewing => {}
    }
    assert_eq!(f.told().await, ["attempt-stopped"]);
}
