use std::time::{Duration, Instant};

use job_bus::{ConsumeError, Consumer, SettleError};

use crate::fixture::{Fixture, WAIT, provisioned, provisioned_quick, quick};

#[tokio::test]
async fn a_delivery_carries_trace_id_and_counts() {
    let f = provisioned().await;
    let published = f.bus.publish(&f.order("vol1", "j1")).await.unwrap();
    let consumer = f.bus.consumer(&f.orders(), "snapshot-worker").await.unwrap();
    let delivery = consumer.next(WAIT).await.unwrap().unwrap();
    assert_eq!(delivery.traceparent.as_deref(), Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"));
    assert_eq!(delivery.message_id.as_deref(), Some("j1"));
    assert_eq!(delivery.delivered, 1);
    assert_eq!(delivery.sequence, published.sequence);
    assert!(delivery.subject.ends_with(".order.snapshot.vol1"));
    assert!(delivery.published_at.as_second() > 1_700_000_000);
}

#[tokio::test]
async fn an_order_whose_worker_is_lost_goes_to_another_one() {
    let f = provisioned_quick().await;
    f.bus.publish(&f.order("vol1", "j1")).await.unwrap();
    let consumer = f.bus.consumer(&f.orders(), "snapshot-worker").await.unwrap();
    let lost = consumer.next(WAIT).await.unwrap().unwrap();
    let again = consumer.next(WAIT).await.unwrap().unwrap();
    assert_eq!((lost.delivered, again.delivered), (1, 2));
    assert_eq!(lost.sequence, again.sequence);
}

/// Keeps an order with heartbeats for thrice as long as it would stay without. False when this machine stood still between
/// two of them for so long that the order came again by right.
async fn is_kept(f: &Fixture, consumer: &Consumer, number: u32) -> bool {
    f.bus.publish(&f.order(&format!("vol{number}"), &format!("j{number}"))).await.unwrap();
    let mut beat = Instant::now();
    let mine = consumer.next(WAIT).await.unwrap().unwrap();
    let begin = Instant::now();
    let mut stood_still = false;
    while begin.elapsed() < quick().ack_wait * 3 && !stood_still {
        let before = std::mem::replace(&mut beat, Instant::now());
        mine.in_progress().await.unwrap();
        stood_still = before.elapsed() >= quick().ack_wait;
        // The pull is what passes the time.
        let again = consumer.next(quick().ack_wait / 4).await.unwrap();
        stood_still |= beat.elapsed() >= quick().ack_wait;
        assert!(again.is_none() || stood_still, "it came again {:?} after a heartbeat", beat.elapsed());
    }
    mine.ack().await.unwrap();
    !stood_still
}

#[tokio::test]
async fn heartbeats_keep_an_order_with_its_worker() {
    let f = provisioned_quick().await;
    let consumer = f.bus.consumer(&f.orders(), "snapshot-worker").await.unwrap();
    for number in 0..20 {
        if is_kept(&f, &consumer, number).await {
            return;
        }
    }
    panic!("the machine stood still for a second in each of twenty times three");
}

#[tokio::test]
async fn an_order_that_is_given_back_comes_again_after_the_delay_and_not_before() {
    let f = provisioned().await;
    f.bus.publish(&f.order("vol1", "j1")).await.unwrap();
    let consumer = f.bus.consumer(&f.orders(), "snapshot-worker").await.unwrap();
    let delivery = consumer.next(WAIT).await.unwrap().unwrap();
    let begin = Instant::now();
    delivery.retry_after(Duration::from_millis(1500)).await.unwrap();
    let again = consumer.next(WAIT).await.unwrap().unwrap();
    assert!(begin.elapsed() >= Duration::from_millis(1400), "{:?}", begin.elapsed());
    again.retry_after(Duration::ZERO).await.unwrap();
    assert_eq!(consumer.next(WAIT).await.unwrap().unwrap().delivered, 3);
}

#[tokio::test]
async fn a_terminated_order_frees_its_resource() {
    let f = provisioned().await;
    f.bus.publish(&f.order("vol1", "j1")).await.unwrap();
    let consumer = f.bus.consumer(&f.orders(), "snapshot-worker").await.unwrap();
    consumer.next(WAIT).await.unwrap().unwrap().terminate("makes no sense\nto anybody").await.unwrap();
    f.bus.publish(&f.order("vol1", "j2")).await.unwrap();
    assert_eq!(&consumer.next(WAIT).await.unwrap().unwrap().payload[..], b"order j2");
}

#[tokio::test]
async fn settling_after_the_stream_is_gone_is_an_error() {
    let f = provisioned().await;
    f.bus.publish(&f.order("vol1", "j1")).await.unwrap();
    let consumer = f.bus.consumer(&f.orders(), "snapshot-worker").await.unwrap();
    let delivery = consumer.next(WAIT).await.unwrap().unwrap();
    f.raw().await.delete_stream(f.orders()).await.unwrap();
    assert!(matches!(delivery.ack().await, Err(SettleError::Gone { .. })));
    assert!(matches!(delivery.in_progress().await, Err(SettleError::Gone { .. })));
    assert!(matches!(consumer.next(Duration::from_secs(1)).await, Err(ConsumeError::Missing { .. })));
}

#[tokio::test]
async fn a_pull_notices_that_its_consumer_is_deleted() {
    let f = provisioned().await;
    let consumer = f.bus.consumer(&f.orders(), "snapshot-worker").await.unwrap();
    let stream = f.orders();
    let (pulled, ()) = tokio::join!(consumer.next(WAIT), async {
        let raw = f.raw().await;
        // The pull has to be there first; the server says when.
        loop {
            let stream = raw.get_stream(&stream).await.unwrap();
            let info = stream.consumer_info("snapshot-worker").await.unwrap();
            if info.num_waiting > 0 {
                stream.delete_consumer("snapshot-worker").await.unwrap();
                break;
            }
        }
    });
    assert!(matches!(pulled, Err(ConsumeError::Missing { .. })), "{pulled:?}");
}

#[tokio::test]
async fn no_second_message_is_fetched_ahead() {
    let f = provisioned().await;
    for n in 0..3 {
        f.bus.publish(&f.order(&format!("vol{n}"), &format!("j{n}"))).await.unwrap();
    }
    let consumer = f.bus.consumer(&f.orders(), "snapshot-worker").await.unwrap();
    let _mine = consumer.next(WAIT).await.unwrap().unwrap();
    let info = f.raw().await.get_stream(f.orders()).await.unwrap().consumer_info("snapshot-worker").await.unwrap();
    assert_eq!((info.num_ack_pending, info.num_pending), (1, 2));
}
