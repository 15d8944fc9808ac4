//! How long rows stay.

use message_ledger::{Depth, Ledger, ToldUpTo};

use crate::fake::{Fixture, at, fact, job, order, region, request};

#[tokio::test(start_paused = true)]
async fn an_order_stays_until_it_is_confirmed_and_everything_else_goes_when_it_is_published() {
    let fixture = Fixture::running();
    let first = fixture.enqueue(order("o1", "volume-a", job(1))).await;
    let second = fixture.enqueue(order("o2", "volume-b", job(2))).await;
    for outgoing in [fact("f", job(1), 1), request("r")] {
        let row = fixture.enqueue(outgoing).await;
        fixture.ledger.published(row).await.unwrap();
    }
    fixture.ledger.published(second).await.unwrap();
    assert_eq!(fixture.unconfirmed().await, [first, second]);
    assert_eq!(fixture.confirm(job(1)).await, 1);
    assert_eq!(fixture.unconfirmed().await, [second]);
    assert_eq!(fixture.confirm(job(1)).await, 0);
    fixture.ledger.published(first).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_order_that_is_confirmed_before_it_left_is_never_published() {
    let mut fixture = Fixture::new();
    let row = fixture.enqueue(order("o1", "volume-a", job(1))).await;
    assert_eq!(fixture.confirm(job(1)).await, 1);
    fixture.start();
    fixture.ledger.published(row).await.unwrap();
    let other = fixture.enqueue(request("r")).await;
    fixture.ledger.published(other).await.unwrap();
    assert_eq!(fixture.bus.ids(), ["r"]);
}

#[tokio::test(start_paused = true)]
async fn an_order_that_the_bus_lost_is_issued_again_under_another_bus_id_with_the_same_content() {
    let fixture = Fixture::running();
    let row = fixture.enqueue(order("o1", "volume-a", job(1))).await;
    assert!(!fixture.reissue(row).await, "it waits for its acknowledgement anyway");
    fixture.ledger.published(row).await.unwrap();
    fixture.bus.settle(&order("", "volume-a", job(1)).subject);
    assert!(fixture.reissue(row).await);
    assert!(fixture.unconfirmed().await.is_empty());
    fixture.ledger.published(row).await.unwrap();
    assert_eq!(fixture.unconfirmed().await, [row]);
    assert_eq!(fixture.bus.ids(), ["o1", "o1:1"]);
    let payloads: Vec<_> = fixture.bus.state().stored.iter().map(|message| message.payload.clone()).collect();
    assert_eq!(payloads[0], payloads[1]);
    fixture.confirm(job(1)).await;
    assert!(!fixture.reissue(row).await, "it is gone");
}

#[tokio::test(start_paused = true)]
async fn depth_and_age_tell_what_waits() {
    let mut fixture = Fixture::new();
    assert_eq!(fixture.store.read(Ledger::depth_and_oldest).await.unwrap(), Depth::default());
    for (id, second) in [("a", 30), ("b", 10), ("c", 20)] {
        let outgoing = request(id);
        fixture.store.transact(move |tx| Ledger::enqueue(tx, &outgoing, at(second))).await.unwrap();
    }
    let depth = fixture.store.read(Ledger::depth_and_oldest).await.unwrap();
    assert_eq!(depth, Depth { pending: 3, oldest: Some(at(10)) });
    fixture.start();
    fixture.ledger.published(3).await.unwrap();
    assert_eq!(fixture.pending().await, 0);
}

#[tokio::test(start_paused = true)]
async fn facts_are_told_up_to_the_first_that_waits_and_orders_that_wait_do_not_count() {
    let mut fixture = Fixture::running();
    let told = async |fixture: &Fixture| fixture.store.read(|tx| Ledger::told_up_to(tx, &region())).await.unwrap();
    assert_eq!(told(&fixture).await, ToldUpTo { written: 0, told: 0 });
    let open = fixture.enqueue(order("o1", "volume-a", job(1))).await;
    fixture.ledger.published(open).await.unwrap();
    fixture.enqueue(order("o2", "volume-a", job(2))).await;
    let fact_before = fixture.enqueue(fact("before", job(1), 1)).await;
    fixture.ledger.published(fact_before).await.unwrap();
    assert_eq!(fixture.pending().await, 1, "the second order finds the subject busy");
    assert_eq!(told(&fixture).await, ToldUpTo { written: 3, told: 3 });
    fixture.bus.state().away = true;
    for number in 4..=5 {
        fixture.enqueue(fact(&format!("f{number}"), job(3), number)).await;
    }
    let mut elsewhere = fact("elsewhere", job(3), 6);
    elsewhere.region = "eu-central-1".parse().unwrap();
    fixture.enqueue(elsewhere).await;
    assert_eq!(told(&fixture).await, ToldUpTo { written: 6, told: 3 });
    fixture.bus.state().away = false;
    fixture.crash().await;
    fixture.start();
    fixture.ledger.published(5).await.unwrap();
    assert_eq!(told(&fixture).await, ToldUpTo { written: 6, told: 6 }, "what is told elsewhere does not count here");
}
