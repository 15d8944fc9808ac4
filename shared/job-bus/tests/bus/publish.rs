use job_bus::{Publish, PublishError};
use job_events::subjects::{self, Service};

use crate::fixture::{WAIT, provisioned};

#[tokio::test]
async fn a_second_open_order_for_a_resource_is_refused_while_queued_and_while_in_flight() {
    let f = provisioned().await;
    let first = f.bus.publish(&f.order("vol1", "j1")).await.unwrap();
    assert!(!first.duplicate);
    assert!(matches!(f.bus.publish(&f.order("vol1", "j2")).await, Err(PublishError::Busy { .. })), "queued");
    f.bus.publish(&f.order("vol2", "j3")).await.unwrap();

    let consumer = f.bus.consumer(&f.orders(), "snapshot-worker").await.unwrap();
    let delivery = consumer.next(WAIT).await.unwrap().unwrap();
    assert_eq!(&delivery.payload[..], b"order j1");
    assert!(matches!(f.bus.publish(&f.order("vol1", "j2")).await, Err(PublishError::Busy { .. })), "in flight");

    delivery.ack().await.unwrap();
    assert!(!f.bus.publish(&f.order("vol1", "j2")).await.unwrap().duplicate);
}

#[tokio::test]
async fn a_repeated_publish_of_an_open_order_is_recognised() {
    let f = provisioned().await;
    let first = f.bus.publish(&f.order("vol1", "j1")).await.unwrap();
    let again = f.bus.publish(&f.order("vol1", "j1")).await.unwrap();
    assert!(again.duplicate);
    assert_eq!(again.sequence, first.sequence);
}

#[tokio::test]
async fn a_fact_is_stored_once_even_when_its_id_is_forgotten() {
    let f = provisioned().await;
    let fact = |id: &str| Publish {
        subject: subjects::fact(&f.region, Service::SnapshotWorker, "snapshot-captured", "job", 7, 1),
        id: id.to_owned(),
        payload: "{}".into(),
        traceparent: None,
        expect_stream: subjects::fact_stream(&f.region),
        once_per_subject: true,
    };
    let first = f.bus.publish(&fact("a")).await.unwrap();
    assert!(!first.duplicate);
    // Another id stands for a server that has forgotten the first one.
    let again = f.bus.publish(&fact("b")).await.unwrap();
    assert!(again.duplicate);
    assert_eq!(again.sequence, first.sequence);
    let identity = f.bus.stream_identity(&subjects::fact_stream(&f.region)).await.unwrap();
    assert_eq!(identity.messages, 1);
}

#[tokio::test]
async fn a_message_for_another_stream_or_none_is_refused() {
    let f = provisioned().await;
    let mut wrong = f.order("vol1", "j1");
    wrong.expect_stream = subjects::fact_stream(&f.region);
    assert!(matches!(f.bus.publish(&wrong).await, Err(PublishError::StreamMissing { .. })));
    wrong.subject = "hf.v1.nowhere".to_owned();
    assert!(matches!(f.bus.publish(&wrong).await, Err(PublishError::StreamMissing { .. })));
}

#[tokio::test]
async fn a_message_above_the_server_s_limit_is_refused_before_it_is_sent() {
    let f = provisioned().await;
    let mut large = f.order("vol1", "j1");
    large.payload = vec![0; 2 * 1024 * 1024].into();
    assert!(matches!(f.bus.publish(&large).await, Err(PublishError::TooLarge { bytes: 2_097_152, .. })));
}

#[tokio::test]
async fn what_was_acknowledged_survives_a_killed_server() {
    let mut f = provisioned().await;
    f.bus.publish(&f.order("vol1", "j1")).await.unwrap();
    f.server.kill9();
    f.server.restart().unwrap();
    // A request that went into the dying connection has no answer; the next one has.
    let consumer = loop {
        if let Ok(consumer) = f.bus.consumer(&f.orders(), "snapshot-worker").await {
            break consumer;
        }
    };
    let delivery = consumer.next(WAIT).await.unwrap().unwrap();
    assert_eq!(&delivery.payload[..], b"order j1");
    assert!(f.bus.counters().disconnects >= 1);
}
