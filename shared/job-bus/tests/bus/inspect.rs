use std::time::{Duration, Instant};

use job_bus::DeadLetter;
use job_events::subjects::{self, Service};

use crate::fixture::{Fixture, WAIT, provisioned};

/// Takes the order as often as the consumer allows without ever settling it for good.
async fn give_up(f: &Fixture, payload: &[u8]) {
    let consumer = f.bus.consumer(&f.orders(), "snapshot-worker").await.unwrap();
    for _ in 0..25 {
        let delivery = consumer.next(WAIT).await.unwrap().unwrap();
        assert_eq!(&delivery.payload[..], payload);
        delivery.retry_after(Duration::ZERO).await.unwrap();
    }
    assert!(consumer.next(Duration::from_secs(1)).await.unwrap().is_none(), "it is delivered to nobody any more");
}

#[tokio::test]
async fn an_order_that_was_given_up_is_found_buried_and_removed() {
    let f = provisioned().await;
    f.bus.publish(&f.order("vol1", "j1")).await.unwrap();
    assert!(f.bus.sweep_stuck(&f.orders(), "snapshot-worker").await.unwrap().is_empty(), "queued is not stuck");
    give_up(&f, b"order j1").await;
    f.bus.publish(&f.order("vol2", "j2")).await.unwrap();
    let stuck = f.bus.sweep_stuck(&f.orders(), "snapshot-worker").await.unwrap();
    assert_eq!(stuck.len(), 1);
    assert_eq!(stuck[0].message.message_id.as_deref(), Some("j1"));

    let letter = DeadLetter::of_stuck(&stuck[0]);
    f.bus.bury(&f.region, Service::Planner, &letter).await.unwrap();
    assert!(f.bus.bury(&f.region, Service::Planner, &letter).await.unwrap().duplicate);
    assert!(f.bus.remove_message(&f.orders(), stuck[0].message.sequence).await.unwrap());
    assert!(!f.bus.remove_message(&f.orders(), stuck[0].message.sequence).await.unwrap());

    let letters = f.bus.dead_letters(&f.region, 10).await.unwrap();
    assert_eq!(letters.len(), 1);
    let found = letters[0].letter.as_ref().unwrap();
    assert_eq!(found, &letter);
    assert_eq!(found.payload.as_deref(), Some("order j1"));
    f.bus.publish(&f.order("vol1", "j3")).await.unwrap();
    assert!(f.bus.sweep_stuck(&f.orders(), "snapshot-worker").await.unwrap().is_empty());
}

#[tokio::test]
async fn an_order_that_is_being_handled_is_not_taken_for_stuck() {
    let f = provisioned().await;
    f.bus.publish(&f.order("vol1", "j1")).await.unwrap();
    let consumer = f.bus.consumer(&f.orders(), "snapshot-worker").await.unwrap();
    let _mine = consumer.next(WAIT).await.unwrap().unwrap();
    assert!(f.bus.sweep_stuck(&f.orders(), "snapshot-worker").await.unwrap().is_empty());
}

#[tokio::test]
async fn the_server_s_word_that_it_gave_an_order_up_is_kept() {
    let f = provisioned().await;
    let published = f.bus.publish(&f.order("vol1", "j1")).await.unwrap();
    give_up(&f, b"order j1").await;
    let advisories = f.bus.consumer(&subjects::advisory_stream(&f.region), "planner").await.unwrap();
    let advisory = advisories.next(WAIT).await.unwrap().unwrap();
    let body: serde_json::Value = serde_json::from_slice(&advisory.payload).unwrap();
    assert_eq!(body["stream"], f.orders());
    assert_eq!(body["stream_seq"], published.sequence);
    assert_eq!(body["deliveries"], 25);
}

#[tokio::test]
async fn a_stream_that_was_made_anew_has_another_identity() {
    let f = provisioned().await;
    f.bus.publish(&f.order("vol1", "j1")).await.unwrap();
    let before = f.bus.stream_identity(&f.orders()).await.unwrap();
    assert_eq!((before.messages, before.last_sequence), (1, 1));
    f.raw().await.delete_stream(f.orders()).await.unwrap();
    assert!(f.bus.stream_identity(&f.orders()).await.is_err());
    f.bus.provision(&f.region).await.unwrap();
    let after = f.bus.stream_identity(&f.orders()).await.unwrap();
    assert!(after.created_at > before.created_at);
    assert_eq!(after.last_sequence, 0);
}

#[tokio::test]
async fn the_newest_message_of_a_subject_is_read_without_taking_it() {
    let f = provisioned().await;
    let subject = f.order("vol1", "j1").subject;
    let begin = Instant::now();
    assert_eq!(f.bus.last_on_subject(&f.orders(), &subject).await.unwrap(), None);
    let published = f.bus.publish(&f.order("vol1", "j1")).await.unwrap();
    let found = f.bus.last_on_subject(&f.orders(), &subject).await.unwrap().unwrap();
    assert_eq!((found.sequence, found.subject.as_str()), (published.sequence, subject.as_str()));
    assert_eq!(f.bus.message(&f.orders(), published.sequence).await.unwrap(), Some(found));
    assert!(begin.elapsed() < WAIT);
}
