//! The metrics: their names, units and boundaries.

use std::sync::OnceLock;

use crate::metric_table::metric_table;

/// What kind of instrument a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricKind {
    /// Only grows.
    Counter,
    /// Grows and shrinks.
    UpDownCounter,
    /// Distribution.
    Histogram,
    /// Last value.
    Gauge,
}

impl MetricKind {
    /// As it stands in the reference.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::UpDownCounter => "up-down counter",
            Self::Histogram => "histogram",
            Self::Gauge => "gauge",
        }
    }
}

/// What the reference says of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MetricInfo {
    /// Its name in OTLP.
    pub name: &'static str,
    /// Its kind.
    pub kind: MetricKind,
    /// Its unit in UCUM.
    pub unit: &'static str,
    /// Its attributes.
    pub attributes: &'static [&'static str],
    /// What it means.
    pub description: &'static str,
}

/// Seconds of jobs: one second to two days.
const JOB_SECONDS: &[f64] = &[1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14_400.0, 43_200.0, 86_400.0, 172_800.0];
/// Seconds of data loss: one minute to thirty days.
const RPO_SECONDS: &[f64] =
    &[60.0, 300.0, 900.0, 3600.0, 14_400.0, 43_200.0, 86_400.0, 172_800.0, 604_800.0, 1_209_600.0, 2_592_000.0];
/// Seconds of one message: a millisecond to a minute.
const MESSAGE_SECONDS: &[f64] = &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0];
/// Seconds of one disk barrier: a tenth of a millisecond to ten seconds.
const BARRIER_SECONDS: &[f64] = &[0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 10.0];

metric_table! {
    /// Time from taking an order to its end.
    job_duration: histogram, "holdfast.job.duration", "s", ["kind", "outcome", "region"], JOB_SECONDS;
    /// Orders that ended; the outcome is completed, failed or stopped.
    jobs_ended: counter, "holdfast.jobs.ended", "{job}", ["kind", "outcome", "region"];
    /// Orders a worker is at.
    jobs_active: up_down_counter, "holdfast.jobs.active", "{job}", ["kind", "region"];
    /// Attempts begun, repeated ones included.
    job_attempts: counter, "holdfast.job.attempts", "{attempt}", ["kind", "region"];
    /// Time of one phase of a job.
    phase_duration: histogram, "holdfast.job.phase.duration", "s", ["kind", "phase", "region"], JOB_SECONDS;
    /// Content read from sources.
    bytes_read: counter, "holdfast.bytes.read", "By", ["kind", "region"];
    /// Content that a vault did not have yet.
    bytes_new: counter, "holdfast.bytes.new", "By", ["kind", "region"];
    /// Bytes written to vaults, compressed and encrypted.
    bytes_stored: counter, "holdfast.bytes.stored", "By", ["kind", "region"];
    /// Entries that were not captured as they should be.
    capture_exceptions: counter, "holdfast.capture.exceptions", "{entry}", ["resource_type", "region"];
    /// Captures that read more than had changed because changes could not be tracked.
    tracking_fallbacks: counter, "holdfast.capture.tracking_fallbacks", "{capture}", ["resource_type", "region"];
    /// Bytes that a followed resource has written and that are not durable in the vault yet; the worst of a worker.
    follow_lag_bytes: gauge, "holdfast.follow.lag", "By", ["region"];
    /// Time that the newest bytes took from a followed resource until they were durable; the worst of a worker.
    follow_delay: gauge, "holdfast.follow.delay", "ms", ["region"];
    /// Bytes of log that a followed resource keeps for its follower; the most of a worker.
    follow_retained_bytes: gauge, "holdfast.follow.retained", "By", ["region"];
    /// Whether some followed resource is about to give up the log that was not received yet, or has.
    follow_in_danger: gauge, "holdfast.follow.in_danger", "1", ["region"];
    /// Length of what can be restored to any second; the shortest of a worker.
    follow_window: gauge, "holdfast.follow.window", "s", ["region"];
    /// Measured recovery time: from the restore order to the first correct read.
    rto_seconds: histogram, "holdfast.rto", "s", ["resource_type", "region"], JOB_SECONDS;
    /// Measured recovery point: age of the newest restorable and checked state.
    rpo_seconds: histogram, "holdfast.rpo", "s", ["resource_type", "region"], RPO_SECONDS;
    /// Age of the newest state that a vault can bring back, of the resource for which it is oldest.
    restorable_age: gauge, "holdfast.restorable.age", "s", ["region", "vault"];
    /// Age of the newest state that a restore test brought back from a vault and found right, of the resource for which it is
    /// oldest. What was never checked counts from its first recovery point.
    checked_age: gauge, "holdfast.checked.age", "s", ["region", "vault"];
    /// Verdicts of restore tests.
    verdicts: counter, "holdfast.verdicts", "{verdict}", ["status", "resource_type", "region"];
    /// Resources that a plan protects.
    resources_protected: gauge, "holdfast.resources.protected", "{resource}", ["region"];
    /// Resources proven restorable by the newest run of a restore testing plan.
    resources_proven: gauge, "holdfast.resources.proven", "{resource}", ["region"];
    /// Recovery points of a vault that the last check found damaged.
    recovery_points_damaged: gauge, "holdfast.recovery_points.damaged", "{recovery_point}", ["region", "vault"];
    /// Runs of a schedule that did not happen as planned.
    runs_missed: counter, "holdfast.runs.missed", "{run}", ["region"];
    /// Messages written down and not yet accepted by the bus.
    outbox_depth: gauge, "holdfast.outbox.depth", "{message}", ["service"];
    /// Age of the oldest of them.
    outbox_oldest_age: gauge, "holdfast.outbox.oldest_age", "s", ["service"];
    /// Messages that had been handled before.
    inbox_duplicates: counter, "holdfast.inbox.duplicates", "{message}", ["service"];
    /// Leases lost while an attempt was under way; its work stopped.
    lease_lost: counter, "holdfast.lease.lost", "{lease}", ["kind", "region"];
    /// Messages put aside because nobody could handle them.
    dead_letters: counter, "holdfast.dead_letters", "{message}", ["service", "region"];
    /// Time of making a commit durable.
    barrier_duration: histogram, "holdfast.state.barrier.duration", "s", [], BARRIER_SECONDS;
    /// Size of the state directory.
    state_size: gauge, "holdfast.state.size", "By", [];
    /// Sandboxes of restore tests that exist.
    sandboxes: gauge, "holdfast.sandboxes", "{sandbox}", ["region"];
    /// Time of one publish or settle with its answer.
    client_operation_duration: histogram, "messaging.client.operation.duration", "s", ["messaging.operation.name", "error.type"], MESSAGE_SECONDS;
    /// Time of handling one message, jobs excluded.
    process_duration: histogram, "messaging.process.duration", "s", ["messaging.consumer.group.name", "error.type"], MESSAGE_SECONDS;
    /// Messages published.
    sent_messages: counter, "messaging.client.sent.messages", "{message}", ["messaging.operation.name", "error.type"];
    /// Messages received.
    consumed_messages: counter, "messaging.client.consumed.messages", "{message}", ["messaging.consumer.group.name"];
    /// Messages a consumer has not been given yet.
    consumer_pending: gauge, "nats.consumer.pending", "{message}", ["stream", "consumer"];
    /// Messages given and not yet settled.
    consumer_ack_pending: gauge, "nats.consumer.ack_pending", "{message}", ["stream", "consumer"];
    /// Messages given more than once.
    consumer_redelivered: gauge, "nats.consumer.redelivered", "{message}", ["stream", "consumer"];
    /// Whether the connection to the bus is up: 1 or 0.
    bus_connected: gauge, "nats.connection.state", "1", ["region"];
}

/// The instruments. They lead nowhere when [`crate::init`] was not called before the first use or had no endpoint.
pub fn metrics() -> &'static Metrics {
    static INSTRUMENTS: OnceLock<Metrics> = OnceLock::new();
    INSTRUMENTS.get_or_init(|| Metrics::new(&opentelemetry::global::meter("holdfast")))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_unique_and_in_the_form_of_opentelemetry() {
        let names: BTreeSet<_> = METRICS.iter().map(|m| m.name).collect();
        assert_eq!(names.len(), METRICS.len());
        for metric in METRICS {
            let allowed = |c: char| c.is_ascii_lowercase() || c == '.' || c == '_';
            assert!(metric.name.chars().all(allowed), "{}", metric.name);
            assert!(metric.description.trim().ends_with('.'), "{}", metric.name);
        }
    }

    #[test]
    fn no_attribute_names_a_job_or_a_resource() {
        for metric in METRICS {
            for attribute in metric.attributes {
                assert!(!attribute.contains("id") && *attribute != "resource", "{}: {attribute}", metric.name);
            }
        }
    }

    #[test]
    fn recording_without_set_up_does_nothing() {
        metrics().jobs_ended.add(1, &[opentelemetry::KeyValue::new("kind", "backup")]);
    }
}
