//! An OpenTelemetry back end in this process: takes traces, metrics and logs over OTLP and keeps them for questions.

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use opentelemetry_proto::tonic::collector::logs::v1::logs_service_server::{LogsService, LogsServiceServer};
use opentelemetry_proto::tonic::collector::logs::v1::{ExportLogsServiceRequest, ExportLogsServiceResponse};
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{ExportMetricsServiceRequest, ExportMetricsServiceResponse};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

/// One span as it arrived.
#[derive(Clone, Debug)]
pub struct SeenSpan {
    /// `service.name` of its resource.
    pub service: String,
    /// Its name.
    pub name: String,
    /// 32 hexadecimal digits.
    pub trace_id: String,
    /// 16 hexadecimal digits.
    pub span_id: String,
    /// 16 hexadecimal digits; empty for a root.
    pub parent_id: String,
    /// Its attributes as text.
    pub attributes: Vec<(String, String)>,
}

#[derive(Debug, Default)]
struct Seen {
    spans: Vec<SeenSpan>,
    metrics: BTreeSet<String>,
    logs: Vec<String>,
}

#[derive(Clone, Debug, Default)]
struct Collector(Arc<Mutex<Seen>>);

impl Collector {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// A running sink; it ends when this is dropped.
#[derive(Debug)]
pub struct OtlpSink {
    address: SocketAddr,
    collector: Collector,
    task: JoinHandle<()>,
}

fn text(attributes: &[KeyValue]) -> Vec<(String, String)> {
    attributes
        .iter()
        .map(|kv| {
            let value = match kv.value.as_ref().and_then(|v| v.value.as_ref()) {
                Some(any_value::Value::StringValue(text)) => text.clone(),
                Some(any_value::Value::IntValue(number)) => number.to_string(),
                Some(any_value::Value::BoolValue(flag)) => flag.to_string(),
                Some(any_value::Value::DoubleValue(number)) => number.to_string(),
                _ => String::new(),
            };
            (kv.key.clone(), value)
        })
        .collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        for resource_spans in request.into_inner().resource_spans {
            let resource = text(&resource_spans.resource.unwrap_or_default().attributes);
            let service = resource.into_iter().find(|(key, _)| key == "service.name").map(|(_, value)| value);
            for span in resource_spans.scope_spans.into_iter().flat_map(|scope| scope.spans) {
                self.seen().spans.push(SeenSpan {
                    service: service.clone().unwrap_or_default(),
                    name: span.name,
                    trace_id: hex(&span.trace_id),
                    span_id: hex(&span.span_id),
                    parent_id: hex(&span.parent_span_id),
                    attributes: text(&span.attributes),
                });
            }
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl MetricsService for Collector {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        let resources = request.into_inner().resource_metrics.into_iter();
        let names = resources.flat_map(|r| r.scope_metrics).flat_map(|s| s.metrics).map(|metric| metric.name);
        self.seen().metrics.extend(names);
        Ok(Response::new(ExportMetricsServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl LogsService for Collector {
    async fn export(
        &self,
        request: Request<ExportLogsServiceRequest>,
    ) -> Result<Response<ExportLogsServiceResponse>, Status> {
        let resources = request.into_inner().resource_logs.into_iter();
        for record in resources.flat_map(|r| r.scope_logs).flat_map(|s| s.log_records) {
            if let Some(any_value::Value::StringValue(body)) = record.body.and_then(|b| b.value) {
                self.seen().logs.push(body);
            }
        }
        Ok(Response::new(ExportLogsServiceResponse::default()))
    }
}

impl OtlpSink {
    /// Listens on loopback.
    ///
    /// # Errors
    /// When no port can be had.
    pub async fn start() -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let collector = Collector::default();
        let server = Server::builder()
            .add_service(TraceServiceServer::new(collector.clone()))
            .add_service(MetricsServiceServer::new(collector.clone()))
            .add_service(LogsServiceServer::new(collector.clone()));
        // The server ends with the task; an error then has nobody left to hear it.
        let task =
            tokio::spawn(async move { drop(server.serve_with_incoming(TcpListenerStream::new(listener)).await) });
        Ok(Self { address, collector, task })
    }

    /// `http://127.0.0.1:<port>`: what services are configured with.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// All spans so far.
    #[must_use]
    pub fn spans(&self) -> Vec<SeenSpan> {
        self.collector.seen().spans.clone()
    }

    /// Names of all metrics so far.
    #[must_use]
    pub fn metrics(&self) -> BTreeSet<String> {
        self.collector.seen().metrics.clone()
    }

    /// Bodies of all log records so far.
    #[must_use]
    pub fn logs(&self) -> Vec<String> {
        self.collector.seen().logs.clone()
    }
}

impl Drop for OtlpSink {
    fn drop(&mut self) {
        self.task.abort();
    }
}
