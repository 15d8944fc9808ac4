//! OpenTelemetry and tracing set-up, and the names of spans, metrics and fields.
//!
//! [`init`] is called once per process, inside a multi-threaded tokio runtime. With an OTLP endpoint it exports traces,
//! metrics and logs; without one it writes logs to standard error and still makes trace ids, so that a protection cycle
//! is one story in the facts whether anybody collects it or not. Telemetry is lossy by nature: a slow or absent
//! collector costs dropped spans and never time of a job.
//!
//! Knows nothing of buses, stores or jobs: those crates call it.

mod config;
mod export;
mod init;
mod messaging;
mod metric_table;
mod metrics;
mod propagation;

pub use config::{LogFormat, Resource, TelemetryConfig};
pub use init::{TelemetryError, TelemetryGuard, init};
pub use messaging::{MessageSpan, Settlement, process_span, publish_span, settle_span};
pub use metrics::{METRICS, MetricInfo, MetricKind, Metrics, metrics};
pub use opentelemetry::KeyValue;
pub use propagation::{add_link, current_traceparent, is_traceparent, new_root, set_parent, traceparent_of};
