use job_bus::ProvisionError;
use job_events::subjects::{self, Queue};

use crate::fixture::{empty, provisioned};

#[tokio::test]
async fn provisioning_twice_changes_nothing() {
    let f = provisioned().await;
    let before = f.bus.stream_identity(&f.orders()).await.unwrap();
    f.bus.provision(&f.region).await.unwrap();
    assert_eq!(f.bus.stream_identity(&f.orders()).await.unwrap(), before);
}

#[tokio::test]
async fn one_server_holds_two_regions() {
    let f = provisioned().await;
    let other = "eu-central-1".parse().unwrap();
    f.bus.provision(&other).await.unwrap();
    f.bus.publish(&f.order("vol1", "j1")).await.unwrap();
    assert_eq!(f.bus.stream_identity(&Queue::Snapshot.stream(&other)).await.unwrap().messages, 0);
}

#[tokio::test]
async fn a_stream_with_another_setting_is_named_with_both_values_and_left_alone() {
    let f = empty().await;
    let raw = f.raw().await;
    raw.create_stream(async_nats::jetstream::stream::Config {
        name: f.orders(),
        subjects: vec![subjects::orders(&f.region, Queue::Snapshot)],
        retention: async_nats::jetstream::stream::RetentionPolicy::Limits,
        ..Default::default()
    })
    .await
    .unwrap();
    let error = f.bus.provision(&f.region).await.unwrap_err();
    assert!(matches!(error, ProvisionError::Differs { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains(&f.orders()), "{text}");
    let config = raw.get_stream(f.orders()).await.unwrap().cached_info().config.clone();
    assert_eq!(config.retention, async_nats::jetstream::stream::RetentionPolicy::Limits);
}

#[tokio::test]
async fn a_single_setting_that_differs_is_named() {
    let f = provisioned().await;
    let raw = f.raw().await;
    let mut config = raw.get_stream(f.orders()).await.unwrap().cached_info().config.clone();
    config.max_messages_per_subject = 2;
    raw.update_stream(config).await.unwrap();
    match f.bus.provision(&f.region).await {
        Err(ProvisionError::Differs { object, field, wanted, found }) => {
            assert_eq!((object, field.as_str()), (f.orders(), "max_msgs_per_subject"));
            assert_eq!((wanted.as_str(), found.as_str()), ("1", "2"));
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_consumer_that_differs_is_named() {
    let f = provisioned().await;
    let raw = f.raw().await;
    let stream = raw.get_stream(f.orders()).await.unwrap();
    let mut config = stream.consumer_info("snapshot-worker").await.unwrap().config;
    config.max_deliver = 3;
    stream.update_consumer(PullOf(config).into_pull()).await.unwrap();
    match f.bus.provision(&f.region).await {
        Err(ProvisionError::Differs { object, field, .. }) => {
            assert_eq!((object, field.as_str()), (format!("{}/snapshot-worker", f.orders()), "max_deliver"));
        }
        other => panic!("{other:?}"),
    }
}

/// The general configuration as that of a pull consumer.
struct PullOf(async_nats::jetstream::consumer::Config);

impl PullOf {
    fn into_pull(self) -> async_nats::jetstream::consumer::pull::Config {
        use async_nats::jetstream::consumer::FromConsumer;
        async_nats::jetstream::consumer::pull::Config::try_from_consumer_config(self.0).unwrap()
    }
}
