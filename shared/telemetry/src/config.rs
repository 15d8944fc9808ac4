//! What of telemetry is configurable, and what a process says of itself.

use serde::{Deserialize, Serialize};

/// How log lines on standard error look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// One JSON object per line.
    Json,
    /// For a person at a terminal.
    #[default]
    Text,
}

/// The `[telemetry]` section of every service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TelemetryConfig {
    /// An OTLP collector that speaks gRPC without TLS, for example `http://127.0.0.1:4317`; nothing is exported without
    /// it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub otlp_endpoint: Option<String>,
    /// How log lines on standard error look: `text` or `json`.
    pub log_format: LogFormat,
    /// What is logged, in the syntax of `tracing_subscriber::EnvFilter`: `info,snapshot_worker=debug`.
    pub log_filter: String,
}

impl Default for TelemetryConfig {
    fn default() -> Self {
        Self { otlp_endpoint: None, log_format: LogFormat::default(), log_filter: "info".to_owned() }
    }
}

/// What a process says of itself in everything it exports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    /// The service: `snapshot-worker`.
    pub service: String,
    /// The instance, unique among those of the service.
    pub instance: String,
    /// The region it works for; none where it works for all.
    pub region: Option<String>,
    /// The version of the program.
    pub version: String,
}
