//! Failures of the bus: tried again with the same id, more and more slowly.

use std::time::Duration;

use tokio::time::Instant;

use crate::fake::{Fault, Fixture, fact, job, order, request};

#[tokio::test(start_paused = true)]
async fn an_unknown_outcome_is_tried_again_with_the_same_id_and_stored_once() {
    let fixture = Fixture::running();
    fixture.bus.state().faults.extend([Fault::AckLost, Fault::MessageLost, Fault::AckLost]);
    for outgoing in [request("r"), fact("f", job(1), 1), order("o", "volume-a", job(1))] {
        let row = fixture.enqueue(outgoing).await;
        fixture.ledger.published(row).await.unwrap();
    }
    let mut ids = fixture.bus.ids();
    ids.sort();
    assert_eq!(ids, ["f", "o", "r"]);
    assert!(fixture.bus.state().attempts.len() >= 6);
}

#[tokio::test(start_paused = true)]
async fn a_fact_is_stored_once_even_by_a_server_that_forgot_its_id() {
    let fixture = Fixture::running();
    fixture.bus.state().forgetful = true;
    fixture.bus.state().faults.extend([Fault::AckLost, Fault::AckLost]);
    let row = fixture.enqueue(fact("f", job(1), 1)).await;
    fixture.ledger.published(row).await.unwrap();
    assert_eq!(fixture.bus.ids(), ["f"]);
    assert_eq!(fixture.bus.state().attempts.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn the_header_carries_the_trace_of_the_row() {
    let fixture = Fixture::running();
    let row = fixture.enqueue(request("r")).await;
    fixture.ledger.published(row).await.unwrap();
    let stored = fixture.bus.state().stored[0].clone();
    assert!(stored.traceparent.is_some_and(|trace| trace.starts_with("00-0af7651916cd43dd8448eb211c80319c-")));
}

#[tokio::test(start_paused = true)]
async fn a_bus_that_is_away_is_tried_twice_a_minute_at_most_and_kicks_do_not_hurry() {
    let fixture = Fixture::running();
    fixture.bus.state().away = true;
    let row = fixture.enqueue(request("r")).await;
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(3600) {
        fixture.ledger.kick();
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let attempts = fixture.bus.state().attempts.len();
    // Ten seconds without an answer, then 15 to 30 seconds of waiting.
    assert!((80..160).contains(&attempts), "{attempts} attempts in an hour");
    fixture.bus.state().away = false;
    fixture.ledger.published(row).await.unwrap();
    assert_eq!(fixture.bus.ids(), ["r"]);
}

#[tokio::test(start_paused = true)]
async fn a_message_that_the_bus_refuses_waits_alone_until_somebody_mends_it() {
    let fixture = Fixture::running();
    fixture.bus.state().faults.extend([Fault::Refused; 20]);
    let refused = fixture.enqueue(order("o", "volume-a", job(1))).await;
    fixture.ledger.kick();
    tokio::time::sleep(Duration::from_millis(1)).await;
    fixture.bus.state().faults.clear();
    let other = fixture.enqueue(request("r")).await;
    fixture.ledger.published(other).await.unwrap();
    assert_eq!(fixture.bus.ids(), ["r"]);
    fixture.ledger.published(refused).await.unwrap();
    assert_eq!(fixture.bus.ids(), ["r", "o"]);
}
