//! In which order messages leave, and who waits for whom.

use std::time::Duration;

use state_store::{StateStore, StoreError, TransactError};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use message_ledger::Ledger;

use crate::fake::{FakeBus, Fault, Fixture, TIMEOUT, at, fact, job, ledger, order, region, request};

#[tokio::test(start_paused = true)]
async fn a_kick_publishes_at_once_and_without_one_it_takes_a_second() {
    let fixture = Fixture::running();
    tokio::time::sleep(Duration::from_millis(10)).await;
    let begun = Instant::now();
    let row = fixture.enqueue(request("kicked")).await;
    fixture.ledger.published(row).await.unwrap();
    assert_eq!(begun.elapsed(), Duration::ZERO);
    fixture.enqueue(request("found")).await;
    tokio::time::sleep(Duration::from_millis(1001)).await;
    assert_eq!(fixture.bus.ids(), ["kicked", "found"]);
}

#[tokio::test(start_paused = true)]
async fn no_wake_up_is_lost_however_enqueueing_and_looking_interleave() {
    let fixture = Fixture::running();
    let mut callers = tokio::task::JoinSet::new();
    for number in 0..200_u32 {
        let (store, ledger) = (fixture.store.clone(), fixture.ledger.clone());
        callers.spawn(async move {
            for _ in 0..number % 7 {
                tokio::task::yield_now().await;
            }
            let outgoing = request(&number.to_string());
            let row = store.transact(move |tx| Ledger::enqueue(tx, &outgoing, at(0))).await.unwrap();
            ledger.published(row).await.unwrap();
        });
    }
    let begun = Instant::now();
    callers.join_all().await;
    assert_eq!(begun.elapsed(), Duration::ZERO, "somebody waited for the clock");
    assert_eq!(fixture.bus.ids().len(), 200);
}

#[tokio::test(start_paused = true)]
async fn the_facts_of_a_job_arrive_in_order_whatever_is_lost_on_the_way() {
    let fixture = Fixture::new();
    fixture.bus.state().faults.extend([Fault::None, Fault::MessageLost, Fault::AckLost, Fault::Refused]);
    let mut last = 0;
    for n in 0..10 {
        last = fixture.enqueue(fact(&format!("f{n}"), job(1), n)).await;
    }
    let ledger = fixture.ledger.clone();
    tokio::spawn(async move { ledger.relay(CancellationToken::new()).await });
    fixture.ledger.published(last).await.unwrap();
    assert_eq!(fixture.bus.ids(), (0..10).map(|n| format!("f{n}")).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn an_order_for_a_busy_resource_waits_and_blocks_nobody_else() {
    let fixture = Fixture::running();
    let first = fixture.enqueue(order("o1", "volume-a", job(1))).await;
    fixture.ledger.published(first).await.unwrap();
    let busy = fixture.enqueue(order("o2", "volume-a", job(2))).await;
    let other = fixture.enqueue(order("o3", "volume-b", job(3))).await;
    let told = fixture.enqueue(fact("f1", job(2), 1)).await;
    let begun = Instant::now();
    fixture.ledger.published(other).await.unwrap();
    fixture.ledger.published(told).await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(1));
    assert_eq!(fixture.pending().await, 1);

    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!(fixture.pending().await, 1, "it waits as long as it takes");
    fixture.bus.settle(&order("", "volume-a", job(1)).subject);
    let begun = Instant::now();
    fixture.ledger.published(busy).await.unwrap();
    assert!(begun.elapsed() <= Duration::from_secs(6), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_region_that_is_away_slows_no_other_one() {
    let (store, near, far) = (StateStore::in_memory(), FakeBus::default(), FakeBus::default());
    far.state().away = true;
    let other: job_model::Region = "eu-central-1".parse().unwrap();
    let ledger = ledger(&store, &[(region(), near.clone()), (other.clone(), far.clone())]);
    tokio::spawn({
        let ledger = ledger.clone();
        async move { ledger.relay(CancellationToken::new()).await }
    });
    let rows = store
        .transact(move |tx| {
            let mut away = request("far");
            away.region = other;
            let away = Ledger::enqueue(tx, &away, at(0))?;
            Ok::<_, StoreError>((away, Ledger::enqueue(tx, &request("near"), at(0))?))
        })
        .await
        .unwrap();
    let begun = Instant::now();
    ledger.published(rows.1).await.unwrap();
    assert!(begun.elapsed() < TIMEOUT / 2);
    tokio::time::sleep(Duration::from_secs(600)).await;
    far.state().away = false;
    let begun = Instant::now();
    ledger.published(rows.0).await.unwrap();
    assert!(begun.elapsed() <= TIMEOUT + Duration::from_secs(31), "{:?}", begun.elapsed());
    assert_eq!(far.ids(), ["far"]);
}

#[tokio::test(start_paused = true)]
async fn a_long_backlog_of_busy_orders_does_not_hide_what_comes_after_it() {
    let fixture = Fixture::running();
    let first = fixture.enqueue(order("open", "volume-a", job(1))).await;
    fixture.ledger.published(first).await.unwrap();
    fixture
        .store
        .transact(|tx| {
            for number in 0..1500 {
                Ledger::enqueue(tx, &order(&format!("o{number}"), "volume-a", job(2)), at(0))?;
            }
            Ok::<_, StoreError>(())
        })
        .await
        .unwrap();
    let last = fixture.enqueue(request("behind")).await;
    let begun = Instant::now();
    fixture.ledger.published(last).await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_transaction_that_is_refused_leaves_no_message() {
    let fixture = Fixture::running();
    let refused: Result<(), TransactError<StoreError>> = fixture
        .store
        .transact(|tx| {
            Ledger::enqueue(tx, &request("never"), at(0))?;
            Ledger::mark_seen(tx, "never", at(0))?;
            Err(StoreError::Closed { store: "refused".to_owned() })
        })
        .await;
    assert!(refused.is_err());
    let row = fixture.enqueue(request("after")).await;
    fixture.ledger.published(row).await.unwrap();
    assert_eq!(fixture.bus.ids(), ["after"]);
    assert!(!fixture.store.read(|tx| Ledger::seen(tx, "never")).await.unwrap());
}
