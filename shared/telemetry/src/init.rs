//! Setting telemetry up and shutting it down.

use std::time::Duration;

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_appender_tracing::layer::OpenTelemetryTracingBridge;
use opentelemetry_otlp::ExporterBuildError;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing_subscriber::filter::{EnvFilter, ParseError};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::{SubscriberInitExt as _, TryInitError};
use tracing_subscriber::{Layer, fmt};

use crate::export::{self, Pipelines};
use crate::{LogFormat, Resource, TelemetryConfig};

/// What carries telemetry itself: exporting what these crates say would feed the export with its own work.
const EXPORT_STACK: &[&str] = &["hyper", "hyper_util", "h2", "tonic", "tower", "reqwest", "opentelemetry"];

/// How long each of the three signals may take to empty its queue at the end.
const FLUSH_TIME_MAX: Duration = Duration::from_secs(3);

/// How long the whole shutdown may take, whatever the collector does.
const SHUTDOWN_TIME_MAX: Duration = Duration::from_secs(6);

/// Why telemetry could not be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TelemetryError {
    /// The filter is none.
    #[error("telemetry.log_filter `{value}` cannot be read; write it like `info,snapshot_worker=debug`")]
    Filter {
        /// What was given.
        value: String,
        /// The parser's words.
        #[source]
        source: ParseError,
    },
    /// The endpoint wants TLS.
    #[error("telemetry.otlp_endpoint `{endpoint}` is not `http://host:port`; run a collector beside the service")]
    Endpoint {
        /// What was given.
        endpoint: String,
    },
    /// The exporter could not be made.
    #[error("telemetry.otlp_endpoint `{endpoint}` cannot be used; write it like `http://127.0.0.1:4317`")]
    Exporter {
        /// The collector's address.
        endpoint: String,
        /// The exporter's words.
        #[source]
        source: ExporterBuildError,
    },
    /// Called twice in a process.
    #[error("telemetry is already set up in this process; call `telemetry::init` once, in `main`")]
    Twice(#[source] TryInitError),
}

/// Holds the exporters; [`TelemetryGuard::shutdown`] sends what is queued.
#[must_use = "what is queued is lost when the guard is not shut down"]
pub struct TelemetryGuard {
    pipelines: Pipelines,
}

impl std::fmt::Debug for TelemetryGuard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TelemetryGuard").field("exports", &self.pipelines.meter.is_some()).finish()
    }
}

impl TelemetryGuard {
    /// Sends what is queued and ends the exporters' threads, within a time limit. On a thread of its own: the exporters
    /// block, and would wait for ever for a runtime whose only worker waits for them.
    pub async fn shutdown(self) {
        let Pipelines { tracer, meter, logger } = self.pipelines;
        let flush = tokio::task::spawn_blocking(move || {
            std::thread::scope(|threads| {
                threads.spawn(|| tracer.shutdown_with_timeout(FLUSH_TIME_MAX));
                threads.spawn(|| meter.map(|m| m.shutdown_with_timeout(FLUSH_TIME_MAX)));
                threads.spawn(|| logger.map(|l| l.shutdown_with_timeout(FLUSH_TIME_MAX)));
            });
        });
        // A collector that does not answer loses the last batch; the process ends all the same.
        let _ = tokio::time::timeout(SHUTDOWN_TIME_MAX, flush).await;
    }
}

/// Sets up logs on standard error and, with an endpoint, the export of all three signals. Once per process, inside a
/// multi-threaded tokio runtime, before the first use of [`crate::metrics`].
///
/// # Errors
/// When the configuration cannot be used, or when it was called before.
pub fn init(config: &TelemetryConfig, resource: &Resource) -> Result<TelemetryGuard, TelemetryError> {
    let pipelines = match &config.otlp_endpoint {
        None => export::unexported(resource),
        Some(endpoint) => {
            check_endpoint(endpoint)?;
            export::otlp(resource, endpoint)
                .map_err(|source| TelemetryError::Exporter { endpoint: endpoint.clone(), source })?
        }
    };
    let tracer = pipelines.tracer.tracer("holdfast");
    let spans = tracing_opentelemetry::layer()
        .with_tracer(tracer)
        .with_location(false)
        .with_threads(false)
        .with_tracked_inactivity(false)
        .with_filter(export_filter(&config.log_filter)?);
    let records = match &pipelines.logger {
        None => None,
        Some(logger) => Some(OpenTelemetryTracingBridge::new(logger).with_filter(export_filter(&config.log_filter)?)),
    };
    tracing_subscriber::registry()
        .with(stderr_layer(config.log_format).with_filter(filter(&config.log_filter, &config.log_filter)?))
        .with(spans)
        .with(records)
        .try_init()
        .map_err(TelemetryError::Twice)?;

    opentelemetry::global::set_text_map_propagator(TraceContextPropagator::new());
    opentelemetry::global::set_tracer_provider(pipelines.tracer.clone());
    if let Some(meter) = &pipelines.meter {
        opentelemetry::global::set_meter_provider(meter.clone());
    }
    Ok(TelemetryGuard { pipelines })
}

impl TelemetryConfig {
    /// Looks whether [`init`] could use this, without setting anything up.
    ///
    /// # Errors
    /// When the filter or the endpoint cannot be read.
    pub fn check(&self) -> Result<(), TelemetryError> {
        filter(&self.log_filter, &self.log_filter)?;
        self.otlp_endpoint.as_deref().map_or(Ok(()), check_endpoint)
    }
}

/// The exporter is built without TLS; an address that asks for it must not be sent to in the clear.
fn check_endpoint(endpoint: &str) -> Result<(), TelemetryError> {
    let refused = || TelemetryError::Endpoint { endpoint: endpoint.to_owned() };
    let authority = endpoint.strip_prefix("http://").ok_or_else(refused)?.trim_end_matches('/');
    let (host, port) = authority.rsplit_once(':').ok_or_else(refused)?;
    if host.is_empty() || host.contains('/') || port.parse::<u16>().is_err() {
        return Err(refused());
    }
    Ok(())
}

fn filter(directives: &str, value: &str) -> Result<EnvFilter, TelemetryError> {
    EnvFilter::try_new(directives).map_err(|source| TelemetryError::Filter { value: value.to_owned(), source })
}

/// The filter of what is exported: as configured, without the crates that do the exporting.
fn export_filter(configured: &str) -> Result<EnvFilter, TelemetryError> {
    let mut directives = configured.to_owned();
    for target in EXPORT_STACK {
        directives.push_str(&format!(",{target}=off"));
    }
    filter(&directives, configured)
}

fn stderr_layer<S>(format: LogFormat) -> Box<dyn Layer<S> + Send + Sync>
where
    S: tracing::Subscriber + for<'span> LookupSpan<'span>,
{
    let layer = fmt::layer().with_writer(std::io::stderr);
    match format {
        LogFormat::Json => layer.json().flatten_event(true).with_current_span(true).with_span_list(false).boxed(),
        LogFormat::Text => layer.with_ansi(false).compact().boxed(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(text: &str) -> TelemetryConfig {
        TelemetryConfig { otlp_endpoint: Some(text.to_owned()), ..TelemetryConfig::default() }
    }

    #[test]
    fn an_endpoint_is_a_plain_http_address_with_a_port() {
        assert!(endpoint("http://127.0.0.1:4317").check().is_ok());
        assert!(endpoint("http://[::1]:4317/").check().is_ok());
        for wrong in
            ["https://collector:4317", "collector:4317", "http://collector", "http://:4317", "http://a/b:1", ""]
        {
            let error = endpoint(wrong).check().unwrap_err().to_string();
            assert!(error.contains(&format!("`{wrong}`")), "{error}");
        }
    }

    #[test]
    fn an_unreadable_filter_is_named() {
        let config = TelemetryConfig { log_filter: "info,=,".to_owned(), ..TelemetryConfig::default() };
        let error = config.check().unwrap_err().to_string();
        assert!(error.contains("telemetry.log_filter `info,=,`"), "{error}");
    }
}
