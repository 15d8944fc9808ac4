//! A stream that somebody configured otherwise.

use std::fs;
use std::time::Duration;

use integration_tests::installation::{Failure, Installation, Instance, Options, wait_until};
use job_bus::Bus;
use job_events::subjects::{Queue, Service};
use serde_json::Value;

/// One call of the JetStream API, as any NATS client makes it.
async fn api(bus: &Bus, call: &str, payload: &Value) -> Result<Value, Failure> {
    let answer = bus.query(&format!("$JS.API.{call}"), serde_json::to_vec(payload)?, Duration::from_secs(5)).await?;
    let answer: Value = serde_json::from_slice(&answer)?;
    if answer["error"].is_null() { Ok(answer) } else { Err(format!("{call}: {}", answer["error"]).into()) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_with_other_settings_is_named_with_its_field_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let installation = Installation::start(dir.path(), Options::default()).await.unwrap();
    let bus = &installation.buses[0];
    let stream = Queue::Snapshot.stream(&installation.regions[0]);
    let mut config = api(bus, &format!("STREAM.INFO.{stream}"), &Value::Null).await.unwrap()["config"].take();
    let wanted = config["max_msgs_per_subject"].take();
    assert_eq!(wanted, 1, "the server refuses a second open order for a resource");
    config["max_msgs_per_subject"] = 7.into();
    api(bus, &format!("STREAM.UPDATE.{stream}"), &config).await.unwrap();

    let planner = Instance::single(Service::Planner);
    installation.kill9(&planner);
    installation.spawn(&planner, None).unwrap();
    let status = wait_until("the planner to refuse", || async { Ok(installation.ended(&planner)) }).await.unwrap();
    let log = fs::read_to_string(installation.log_file(&planner)).unwrap();
    assert_eq!(status.code(), Some(75), "{log}");
    for word in [stream.as_str(), "max_msgs_per_subject", "nats stream edit"] {
        assert!(log.contains(word), "`{word}` is not named in: {log}");
    }
    let left = api(bus, &format!("STREAM.INFO.{stream}"), &Value::Null).await.unwrap()["config"].take();
    assert_eq!(left["max_msgs_per_subject"], 7, "what somebody set is his to correct");

    config["max_msgs_per_subject"] = wanted;
    api(bus, &format!("STREAM.UPDATE.{stream}"), &config).await.unwrap();
    installation.spawn(&planner, None).unwrap();
    installation.wait_until_ready().await.unwrap();
    let stage = installation.make_vaults().await.unwrap();
    let resource = installation.make_resource("after").await.unwrap();
    installation.backed_up(&resource, &stage.primary).await.unwrap();
}
