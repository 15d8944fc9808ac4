//! What runs for long: services, `up`, the demo.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// The services that this binary holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[expect(missing_docs, reason = "the names are those of ARCHITECTURE.md")]
pub enum ServiceName {
    Planner,
    SnapshotWorker,
    CopyReplicator,
    RestoreWorker,
    Verifier,
    Gateway,
}

/// `holdfast service`.
#[derive(Debug, Args)]
pub struct ServiceArgs {
    /// Which one
    #[arg(value_enum)]
    pub name: ServiceName,
    /// Its configuration, TOML
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// Read the configuration, say what is wrong with it, and end
    #[arg(long)]
    pub check_config: bool,
}

/// `holdfast guard`: between `up` and a child, so that the child ends with `up` however `up` ends.
#[derive(Debug, Args)]
pub struct GuardArgs {
    /// Process id of the supervisor; when it is not our parent any more, there is nothing to do
    #[arg(long, value_name = "PID")]
    pub supervisor: i32,
    /// The program and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    pub program: Vec<OsString>,
}

/// `holdfast up`.
#[derive(Debug, Args)]
pub struct UpArgs {
    /// Send traces, metrics and logs to this OTLP gRPC endpoint
    #[arg(long, env = "OTEL_EXPORTER_OTLP_ENDPOINT", value_name = "URL")]
    pub otlp_endpoint: Option<String>,
    /// Make a key profile of this name, with a random password of its own, unless it exists; may be repeated.
    /// The profile `default` is always made
    #[arg(long = "key-profile", value_name = "NAME")]
    pub key_profiles: Vec<String>,
    /// Where the AWS Backup API is answered; unless given, on the loopback address at the port of an earlier run, 9480, or
    /// another one that is free
    #[arg(long, env = "HOLDFAST_API_LISTEN", value_name = "ADDRESS")]
    pub api_listen: Option<SocketAddr>,
    /// AWS's own limits, exactly
    #[arg(long)]
    pub aws_strict: bool,
    /// Seconds from one word of what can be restored of a followed resource to the next; unless given, five minutes
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub window_report_seconds: Option<u64>,
    /// Seconds a service gets to finish what it does when everything is stopped
    #[arg(long, default_value_t = 25, value_name = "SECONDS")]
    pub stop_timeout: u64,
}

/// `holdfast demo`.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Directory whose content is shown to be protected; it is only read, the demo works on a copy of at most 256 MiB and 5 000 files
    #[arg(long, default_value = ".", value_name = "DIR")]
    pub path: PathBuf,
    /// Write exactly one JSON document to standard output (the same as --output json)
    #[arg(long)]
    pub json: bool,
    /// Keep vaults, keys, state and the report in this directory; a second run with it stores only what changed
    #[arg(long, value_name = "DIR")]
    pub keep: Option<PathBuf>,
    /// Send traces, metrics and logs to this OTLP gRPC endpoint
    #[arg(long, env = "OTEL_EXPORTER_OTLP_ENDPOINT", value_name = "URL")]
    pub otlp_endpoint: Option<String>,
}
