//! The three OTLP pipelines: traces, metrics, logs.

use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry_otlp::{ExporterBuildError, LogExporter, MetricExporter, SpanExporter, WithExportConfig};
use opentelemetry_sdk::logs::{BatchConfigBuilder as LogBatchConfigBuilder, BatchLogProcessor, SdkLoggerProvider};
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider};
use opentelemetry_sdk::trace::{BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracerProvider};

use crate::Resource;

/// How long one export may take; a collector that is slower loses the batch.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(3);
/// How often metrics are read and sent.
const METRICS_INTERVAL: Duration = Duration::from_secs(10);
/// Spans and logs that may wait for export; more are dropped and counted on standard error.
const QUEUE_LENGTH_MAX: usize = 8192;
/// How long spans and logs wait at most before they are sent.
const EXPORT_DELAY: Duration = Duration::from_secs(1);

/// The three providers; those without an endpoint are absent, except traces: ids are always made.
pub(crate) struct Pipelines {
    pub(crate) tracer: SdkTracerProvider,
    pub(crate) meter: Option<SdkMeterProvider>,
    pub(crate) logger: Option<SdkLoggerProvider>,
}

/// The attributes of everything a process exports.
fn attributes(resource: &Resource) -> opentelemetry_sdk::Resource {
    let mut attributes = vec![
        KeyValue::new("service.namespace", "holdfast"),
        KeyValue::new("service.version", resource.version.clone()),
        KeyValue::new("service.instance.id", resource.instance.clone()),
    ];
    if let Some(region) = &resource.region {
        attributes.push(KeyValue::new("cloud.region", region.clone()));
    }
    opentelemetry_sdk::Resource::builder()
        .with_service_name(resource.service.clone())
        .with_attributes(attributes)
        .build()
}

/// Traces without an exporter: spans get ids and parents and go nowhere.
pub(crate) fn unexported(resource: &Resource) -> Pipelines {
    let tracer = SdkTracerProvider::builder()
        .with_resource(attributes(resource))
        .with_sampler(Sampler::ParentBased(Box::new(Sampler::AlwaysOn)))
        .build();
    Pipelines { tracer, meter: None, logger: None }
}

/// All three signals to one collector. Connects lazily: an absent collector is no error.
pub(crate) fn otlp(resource: &Resource, endpoint: &str) -> Result<Pipelines, ExporterBuildError> {
    let spans = SpanExporter::builder().with_tonic().with_endpoint(endpoint).with_timeout(EXPORT_TIMEOUT).build()?;
    let batch =
        BatchConfigBuilder::default().with_max_queue_size(QUEUE_LENGTH_MAX).with_scheduled_delay(EXPORT_DELAY).build();
    let tracer = SdkTracerProvider::builder()
        .with_resource(attributes(resource))
        .with_sampler(Sampler::ParentBased(Box::new(Sampler::AlwaysOn)))
        .with_span_processor(BatchSpanProcessor::builder(spans).with_batch_config(batch).build())
        .build();

    let points = MetricExporter::builder().with_tonic().with_endpoint(endpoint).with_timeout(EXPORT_TIMEOUT).build()?;
    let reader = PeriodicReader::builder(points).with_interval(METRICS_INTERVAL).build();
    let meter = SdkMeterProvider::builder().with_resource(attributes(resource)).with_reader(reader).build();

    let records = LogExporter::builder().with_tonic().with_endpoint(endpoint).with_timeout(EXPORT_TIMEOUT).build()?;
    let batch = LogBatchConfigBuilder::default()
        .with_max_queue_size(QUEUE_LENGTH_MAX)
        .with_scheduled_delay(EXPORT_DELAY)
        .build();
    let logger = SdkLoggerProvider::builder()
        .with_resource(attributes(resource))
        .with_log_processor(BatchLogProcessor::builder(records).with_batch_config(batch).build())
        .build();
    Ok(Pipelines { tracer, meter: Some(meter), logger: Some(logger) })
}
