//! The streams, consumers and the lease bucket of one region, as data: what provisioning makes and checks.

use std::time::Duration;

use job_events::subjects::{self, Queue, Service};
use job_model::Region;
use serde_json::{Value, json};

use crate::Timing;

/// A message that was not settled after this many deliveries is stuck and swept into the dead letters.
pub(crate) const MAX_DELIVERIES: u32 = 25;
/// How long the server recognises a repeated `Nats-Msg-Id`.
const DUPLICATE_WINDOW: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// One stream and its durable consumers, in the JSON of the JetStream API.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct StreamPlan {
    pub(crate) name: String,
    pub(crate) config: Value,
    pub(crate) consumers: Vec<ConsumerPlan>,
}

/// One durable consumer.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ConsumerPlan {
    pub(crate) durable: String,
    pub(crate) config: Value,
}

/// The name of the stream behind a key-value bucket. Source: NATS ADR-8.
pub(crate) fn bucket_stream(bucket: &str) -> String {
    format!("KV_{bucket}")
}

/// Where a bucket's key is published. Source: NATS ADR-8.
pub(crate) fn bucket_subject(bucket: &str, key: &str) -> String {
    format!("$KV.{bucket}.{key}")
}

/// All streams of a region but the lease bucket.
pub(crate) fn streams(region: &Region, timing: Timing, replicas: u8) -> Vec<StreamPlan> {
    let mut plans: Vec<StreamPlan> = Queue::ALL.iter().map(|queue| orders(region, *queue, timing)).collect();
    plans.push(requests(region, timing));
    plans.push(facts(region, timing));
    plans.push(control(region));
    plans.push(assignments(region));
    plans.push(dead_letters(region));
    plans.push(advisories(region, timing));
    for plan in &mut plans {
        merge(&mut plan.config, json!({ "storage": "file", "num_replicas": replicas, "allow_direct": true }));
    }
    plans
}

/// A WorkQueue that holds at most one order per resource; the server itself refuses the second.
fn orders(region: &Region, queue: Queue, timing: Timing) -> StreamPlan {
    let filter = subjects::orders(region, queue);
    StreamPlan {
        name: queue.stream(region),
        config: json!({
            "name": queue.stream(region),
            "description": "Open orders, at most one per resource",
            "subjects": [filter],
            "retention": "workqueue",
            "discard": "new",
            "discard_new_per_subject": true,
            "max_msgs_per_subject": 1,
            // Orders expire by the planner's word only: an order that vanishes would never be missed.
            "max_age": 0,
            "duplicate_window": nanoseconds(DUPLICATE_WINDOW),
        }),
        consumers: vec![consumer(queue.service(), &filter, MAX_DELIVERIES.into(), timing)],
    }
}

fn requests(region: &Region, timing: Timing) -> StreamPlan {
    let services = [Service::Planner, Service::Verifier];
    StreamPlan {
        name: subjects::request_stream(region),
        config: json!({
            "name": subjects::request_stream(region),
            "description": "What somebody wants, until its service answered",
            "subjects": services.map(|service| subjects::requests_to(region, service)),
            "retention": "workqueue",
            "discard": "new",
            // A flood of requests is refused at its sender and does not fill the disk.
            "max_msgs": 100_000,
            "max_age": 0,
            "duplicate_window": nanoseconds(DUPLICATE_WINDOW),
        }),
        consumers: services
            .iter()
            .map(|service| consumer(*service, &subjects::requests_to(region, *service), MAX_DELIVERIES.into(), timing))
            .collect(),
    }
}

fn facts(region: &Region, timing: Timing) -> StreamPlan {
    let filter = subjects::facts(region);
    StreamPlan {
        name: subjects::fact_stream(region),
        config: json!({
            "name": subjects::fact_stream(region),
            "description": "What happened",
            "subjects": [filter],
            "retention": "limits",
            "discard": "old",
            "max_age": nanoseconds(DAY * 90),
            "duplicate_window": nanoseconds(DUPLICATE_WINDOW),
            "deny_delete": true,
            "deny_purge": true,
        }),
        // A fact is never given up: who cannot handle it buries it itself.
        consumers: [Service::Planner, Service::Verifier]
            .iter()
            .map(|service| consumer(*service, &filter, -1, timing))
            .collect(),
    }
}

fn control(region: &Region) -> StreamPlan {
    StreamPlan {
        name: subjects::control_stream(region),
        config: json!({
            "name": subjects::control_stream(region),
            "description": "Jobs that are to stop",
            "subjects": [subjects::stops(region)],
            "retention": "limits",
            "discard": "old",
            "max_msgs_per_subject": 1,
            "max_age": nanoseconds(DAY * 30),
        }),
        consumers: Vec::new(),
    }
}

/// The newest word on each subject, for as long as it holds.
fn assignments(region: &Region) -> StreamPlan {
    StreamPlan {
        name: subjects::assignment_stream(region),
        config: json!({
            "name": subjects::assignment_stream(region),
            "description": "What workers do until they are told otherwise",
            "subjects": [subjects::assignments_to(region, Service::SnapshotWorker)],
            "retention": "limits",
            "discard": "old",
            "max_msgs_per_subject": 1,
            "max_age": 0,
        }),
        consumers: Vec::new(),
    }
}

fn dead_letters(region: &Region) -> StreamPlan {
    StreamPlan {
        name: subjects::dead_letter_stream(region),
        config: json!({
            "name": subjects::dead_letter_stream(region),
            "description": "What nobody could handle; kept until somebody looks",
            "subjects": [subjects::dead_letters(region)],
            "retention": "limits",
            "discard": "new",
            "max_age": 0,
            "duplicate_window": nanoseconds(DUPLICATE_WINDOW),
        }),
        consumers: Vec::new(),
    }
}

/// The server tells once, to whoever listens, that it gave a message up. This stream listens.
fn advisories(region: &Region, timing: Timing) -> StreamPlan {
    let name = subjects::advisory_stream(region);
    let watched = Queue::ALL.iter().map(|queue| queue.stream(region)).chain([subjects::request_stream(region)]);
    let subjects: Vec<String> = watched
        .flat_map(|stream| {
            ["MAX_DELIVERIES", "MSG_TERMINATED"].map(|kind| format!("$JS.EVENT.ADVISORY.CONSUMER.{kind}.{stream}.*"))
        })
        .collect();
    StreamPlan {
        config: json!({
            "name": name,
            "description": "The server's word that it gave a message up",
            "subjects": subjects,
            "retention": "limits",
            "discard": "old",
            "max_age": nanoseconds(DAY * 30),
        }),
        name,
        consumers: vec![consumer(Service::Planner, ">", -1, timing)],
    }
}

fn consumer(service: Service, filter: &str, max_deliver: i64, timing: Timing) -> ConsumerPlan {
    let durable = service.as_str();
    ConsumerPlan {
        durable: durable.to_owned(),
        config: json!({
            "durable_name": durable,
            "deliver_policy": "all",
            "ack_policy": "explicit",
            "ack_wait": nanoseconds(timing.ack_wait),
            "max_deliver": max_deliver,
            "max_ack_pending": 1000,
            "max_batch": 1,
            "replay_policy": "instant",
            "filter_subject": filter,
        }),
    }
}

/// The lease bucket: a key lives for the lease's time unless it is written again.
pub(crate) fn lease_bucket(region: &Region, timing: Timing, replicas: u8) -> StreamPlan {
    let bucket = subjects::lease_bucket(region);
    let name = bucket_stream(&bucket);
    StreamPlan {
        config: json!({
            "name": name,
            "description": "Who works on what",
            "subjects": [bucket_subject(&bucket, ">")],
            "retention": "limits",
            "discard": "new",
            "storage": "file",
            "num_replicas": replicas,
            "max_msgs_per_subject": 1,
            "max_age": nanoseconds(timing.lease_ttl),
            "duplicate_window": nanoseconds(timing.lease_ttl.min(Duration::from_secs(120))),
            "allow_rollup_hdrs": true,
            "allow_direct": true,
            "deny_delete": true,
        }),
        name,
        consumers: Vec::new(),
    }
}

/// Adds the members of `more` to an object.
pub(crate) fn merge(object: &mut Value, more: Value) {
    if let (Value::Object(object), Value::Object(more)) = (object, more) {
        object.extend(more);
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
