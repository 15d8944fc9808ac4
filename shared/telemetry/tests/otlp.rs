//! Everything a process exports, as an OTLP collector sees it.
//!
//! One test: a process has one global subscriber.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::sync::{Arc, Mutex};

use opentelemetry_proto::tonic::collector::logs::v1::logs_service_server::{LogsService, LogsServiceServer};
use opentelemetry_proto::tonic::collector::logs::v1::{ExportLogsServiceRequest, ExportLogsServiceResponse};
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{ExportMetricsServiceRequest, ExportMetricsServiceResponse};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{HistogramDataPoint, Metric};
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use telemetry::{MessageSpan, Settlement};
use tonic::{Request, Response, Status};

#[derive(Clone, Default)]
struct Sink {
    traces: Arc<Mutex<Vec<ExportTraceServiceRequest>>>,
    metrics: Arc<Mutex<Vec<ExportMetricsServiceRequest>>>,
    logs: Arc<Mutex<Vec<ExportLogsServiceRequest>>>,
}

#[tonic::async_trait]
impl TraceService for Sink {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.traces.lock().unwrap().push(request.into_inner());
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl MetricsService for Sink {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        self.metrics.lock().unwrap().push(request.into_inner());
        Ok(Response::new(ExportMetricsServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl LogsService for Sink {
    async fn export(
        &self,
        request: Request<ExportLogsServiceRequest>,
    ) -> Result<Response<ExportLogsServiceResponse>, Status> {
        self.logs.lock().unwrap().push(request.into_inner());
        Ok(Response::new(ExportLogsServiceResponse::default()))
    }
}

impl Sink {
    async fn start(&self) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tonic::transport::Server::builder()
            .add_service(TraceServiceServer::new(self.clone()))
            .add_service(MetricsServiceServer::new(self.clone()))
            .add_service(LogsServiceServer::new(self.clone()))
            .serve_with_incoming(tokio_stream::wrappers::TcpListenerStream::new(listener));
        tokio::spawn(server);
        format!("http://{address}")
    }

    fn spans(&self) -> Vec<Span> {
        let requests = self.traces.lock().unwrap();
        let scopes = requests.iter().flat_map(|r| &r.resource_spans).flat_map(|r| &r.scope_spans);
        scopes.flat_map(|s| s.spans.clone()).collect()
    }

    fn span(&self, name: &str) -> Span {
        let spans = self.spans();
        let names: Vec<_> = spans.iter().map(|s| s.name.clone()).collect();
        spans.into_iter().find(|s| s.name == name).unwrap_or_else(|| panic!("no span `{name}` in {names:?}"))
    }

    fn metric(&self, name: &str) -> Metric {
        let requests = self.metrics.lock().unwrap();
        let scopes = requests.iter().flat_map(|r| &r.resource_metrics).flat_map(|r| &r.scope_metrics);
        scopes.flat_map(|s| s.metrics.clone()).find(|m| m.name == name).expect("the metric")
    }

    fn records(&self) -> Vec<LogRecord> {
        let requests = self.logs.lock().unwrap();
        let scopes = requests.iter().flat_map(|r| &r.resource_logs).flat_map(|r| &r.scope_logs);
        scopes.flat_map(|s| s.log_records.clone()).collect()
    }
}

fn text(attributes: &[KeyValue], key: &str) -> Option<String> {
    let value = attributes.iter().find(|a| a.key == key)?.value.clone()?;
    match value {
        AnyValue { value: Some(Value::StringValue(text)) } => Some(text),
        AnyValue { value: Some(Value::IntValue(number)) } => Some(number.to_string()),
        _ => None,
    }
}

fn only_point(metric: &Metric) -> HistogramDataPoint {
    match metric.data.as_ref().unwrap() {
        Data::Histogram(histogram) => histogram.data_points[0].clone(),
        other => panic!("no histogram: {other:?}"),
    }
}

const SUBJECT: &str = "hf.v1.ap-northeast-1.order.snapshot.0123";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn spans_metrics_and_logs_reach_the_collector_connected() {
    let sink = Sink::default();
    let config = telemetry::TelemetryConfig {
        otlp_endpoint: Some(sink.start().await),
        log_format: telemetry::LogFormat::Json,
        log_filter: "trace".to_owned(),
    };
    let resource = telemetry::Resource {
        service: "snapshot-worker".to_owned(),
        instance: "7".to_owned(),
        region: Some("ap-northeast-1".to_owned()),
        version: "1.2.3".to_owned(),
    };
    let guard = telemetry::init(&config, &resource).unwrap();

    // The planner's side.
    let root = telemetry::new_root("job plan");
    let message =
        MessageSpan { subject: SUBJECT, message_id: Some("m-1"), job_id: Some("j-1"), ..MessageSpan::default() };
    let written_under = root.in_scope(telemetry::current_traceparent);
    assert!(telemetry::is_traceparent(written_under.as_deref().unwrap()));
    let publish = telemetry::publish_span(&message, written_under.as_deref());
    let sent = publish.in_scope(telemetry::current_traceparent);
    drop((root, publish));

    // The worker's side: all it has is the message.
    let received = MessageSpan { stream: Some("ORDERS"), delivered: Some(2), sequence: Some(5), ..message };
    let process = telemetry::process_span(&received, sent.as_deref());
    process.in_scope(|| {
        tracing::info!(job.id = "j-1", "taken");
        drop(telemetry::settle_span(&received, Settlement::Ack));
    });
    drop(process);
    let broken = telemetry::process_span(&MessageSpan { subject: "broken", ..received }, Some("garbage"));
    broken.in_scope(|| ());
    drop(broken);
    telemetry::metrics().job_duration.record(20_000.0, &[telemetry::KeyValue::new("kind", "backup")]);

    guard.shutdown().await;

    let root = sink.span("job plan");
    let publish = sink.span("publish hf.v1.ap-northeast-1.order.snapshot");
    let process = sink.span("process hf.v1.ap-northeast-1.order.snapshot");
    let ack = sink.span("ack hf.v1.ap-northeast-1.order.snapshot");
    assert!(root.parent_span_id.is_empty());
    assert_eq!(publish.parent_span_id, root.span_id);
    assert_eq!(process.parent_span_id, publish.span_id);
    assert_eq!(process.links[0].span_id, publish.span_id);
    assert_eq!(ack.parent_span_id, process.span_id);
    for span in [&publish, &process, &ack] {
        assert_eq!(span.trace_id, root.trace_id, "{}", span.name);
        assert_eq!(text(&span.attributes, "messaging.system").as_deref(), Some("nats"), "{}", span.name);
        assert_eq!(
            text(&span.attributes, "messaging.message.conversation_id").as_deref(),
            Some("j-1"),
            "{}",
            span.name
        );
    }
    assert_eq!(publish.kind(), SpanKind::Producer);
    assert_eq!(process.kind(), SpanKind::Consumer);
    assert_eq!(ack.kind(), SpanKind::Client);
    assert_eq!(text(&process.attributes, "messaging.nats.delivered").as_deref(), Some("2"));
    assert_eq!(
        text(&process.attributes, "messaging.destination.template").as_deref(),
        Some("hf.v1.ap-northeast-1.order.snapshot.>")
    );
    assert_eq!(text(&publish.attributes, "messaging.nats.delivered"), None);
    assert_ne!(sink.span("process broken").trace_id, root.trace_id);

    let resource = sink.traces.lock().unwrap()[0].resource_spans[0].resource.clone().unwrap();
    for (key, value) in [
        ("service.name", "snapshot-worker"),
        ("service.instance.id", "7"),
        ("service.version", "1.2.3"),
        ("cloud.region", "ap-northeast-1"),
    ] {
        assert_eq!(text(&resource.attributes, key).as_deref(), Some(value), "{key}");
    }

    let records = sink.records();
    let taken = records
        .iter()
        .find(|r| r.body.as_ref().is_some_and(|b| matches!(&b.value, Some(Value::StringValue(t)) if t == "taken")))
        .expect("the log record");
    assert_eq!(taken.trace_id, process.trace_id);
    assert_eq!(taken.span_id, process.span_id);
    assert_eq!(text(&taken.attributes, "job.id").as_deref(), Some("j-1"));

    // At this filter the exporters' own crates talk a lot; none of it may be exported.
    let own = ["hyper", "h2", "tonic", "tower", "opentelemetry"];
    for span in sink.spans() {
        let target = text(&span.attributes, "target").unwrap_or_default();
        assert!(!own.iter().any(|o| target.starts_with(o)), "span of `{target}` was exported");
    }
    let scopes: Vec<String> = sink
        .logs
        .lock()
        .unwrap()
        .iter()
        .flat_map(|r| &r.resource_logs)
        .flat_map(|r| &r.scope_logs)
        .map(|s| s.scope.as_ref().map(|s| s.name.clone()).unwrap_or_default())
        .collect();
    assert!(scopes.iter().all(|s| !own.iter().any(|o| s.starts_with(o))), "{scopes:?}");

    let point = only_point(&sink.metric("holdfast.job.duration"));
    assert_eq!(point.count, 1);
    assert_eq!(point.explicit_bounds.last(), Some(&172_800.0));
    assert_eq!(text(&point.attributes, "kind").as_deref(), Some("backup"));
}
