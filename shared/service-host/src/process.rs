//! From the command line to the exit code.

use std::ffi::OsString;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{CommandFactory as _, FromArgMatches as _, Parser};
use tokio_util::sync::CancellationToken;

use crate::health;
use crate::redact::redact;
use crate::signals::StopSignals;
use crate::{
    ConfigError, HasCommon as _, Health, Host, Service, ServiceError, SystemClock, SystemIds, error_chain, load_config,
};

/// How long a service may take to return after the hard stop; then it is abandoned.
const HARD_STOP_GRACE: Duration = Duration::from_secs(5);
/// How long blocking work may keep the process after its service returned.
const RUNTIME_GRACE: Duration = Duration::from_secs(2);

/// Exit codes, those of `sysexits.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitStatus {
    /// Stopped on request.
    Clean,
    /// The command line or the configuration cannot be used.
    Usage,
    /// A bug, or the service ended by itself.
    Internal,
    /// The state directory cannot be used.
    State,
    /// Something the service needs did not answer within the start wait.
    Unavailable,
}

impl ExitStatus {
    /// The number.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Clean => 0,
            Self::Usage => 64,
            Self::Internal => 70,
            Self::State => 74,
            Self::Unavailable => 75,
        }
    }
}

impl From<ExitStatus> for ExitCode {
    fn from(status: ExitStatus) -> Self {
        Self::from(status.code())
    }
}

#[derive(Debug, Parser)]
#[command(version, disable_help_subcommand = true, no_binary_name = true)]
struct Args {
    /// Configuration file (TOML). Variables named `HOLDFAST__<KEY>__<SUB>` go before it.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Only check the configuration, then exit: 0 when it can be used, 64 when not.
    #[arg(long)]
    check_config: bool,
}

/// The `main` of a stand-alone binary.
#[must_use]
pub fn main<S: Service>() -> ExitCode {
    run_service::<S>(std::env::args_os().skip(1))
}

/// Runs a service with the given arguments (without a program name) until it is stopped, and says how the process is to
/// exit. Takes over signals, panics and the global subscriber: once per process.
#[must_use]
pub fn run_service<S: Service>(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    process_memory::give_large_buffers_back();
    let args = match Args::command().name(S::NAME).try_get_matches_from(args).and_then(|m| Args::from_arg_matches(&m)) {
        Ok(args) => args,
        Err(error) => {
            // Nothing better can be done where even the terminal is gone.
            let _ = error.print();
            return if error.use_stderr() { ExitStatus::Usage.into() } else { ExitStatus::Clean.into() };
        }
    };
    let config = match check_config::<S>(args.config.as_deref()) {
        Ok(config) => config,
        Err(error) => {
            complain::<S>(&error);
            return ExitStatus::Usage.into();
        }
    };
    if args.check_config {
        let _ = writeln!(std::io::stdout(), "{}: configuration can be used", S::NAME);
        return ExitStatus::Clean.into();
    }
    #[cfg(feature = "failpoints")]
    let _planned_crashes = fail::FailScenario::setup();
    let threads = std::thread::available_parallelism().map_or(2, |n| n.get().max(2));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build();
    match runtime {
        Err(error) => {
            complain::<S>(&error);
            ExitStatus::Internal.into()
        }
        Ok(runtime) => {
            let status = runtime.block_on(live::<S>(config));
            runtime.shutdown_timeout(RUNTIME_GRACE);
            status.into()
        }
    }
}

/// Reads and checks a service's configuration, as `--check-config` does.
///
/// # Errors
/// When it cannot be used; the message names the key, where it came from, what is wrong and what to do.
pub fn check_config<S: Service>(file: Option<&Path>) -> Result<S::Config, ConfigError> {
    let config: S::Config = load_config(file)?;
    config.common().validate()?;
    S::validate(&config)?;
    Ok(config)
}

/// Before there is a log.
fn complain<S: Service>(error: &(dyn std::error::Error + 'static)) {
    let _ = writeln!(std::io::stderr(), "{}: {}", S::NAME, error_chain(error));
}

/// The life of the process inside the runtime.
async fn live<S: Service>(config: S::Config) -> ExitStatus {
    let common = config.common();
    let resource = telemetry::Resource {
        service: S::NAME.to_owned(),
        instance: common.instance.clone(),
        region: config.region().map(str::to_owned),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let guard = match telemetry::init(&common.telemetry, &resource) {
        Ok(guard) => guard,
        Err(error) => {
            complain::<S>(&error);
            return ExitStatus::Usage;
        }
    };
    log_panics();
    log_start::<S>(&config);
    let status = match supervise::<S>(config).await {
        Ok(()) => {
            tracing::info!("stopped");
            ExitStatus::Clean
        }
        Err(error) => {
            let status = error.exit_status();
            tracing::error!(error = error_chain(&error), exit_code = status.code(), "ended");
            status
        }
    };
    guard.shutdown().await;
    status
}

/// Runs the service under its signals and health server.
async fn supervise<S: Service>(config: S::Config) -> Result<(), ServiceError> {
    let (stop, hard_stop) = (CancellationToken::new(), CancellationToken::new());
    let signals = StopSignals::new().map_err(|e| ServiceError::internal("take over signals", e))?;
    tokio::spawn(signals.watch(stop.clone(), hard_stop.clone(), config.common().stop_wait));

    let health = Health::new();
    health.not_ready("service", "starting");
    let over = CancellationToken::new();
    let _end_health_server = over.clone().drop_guard();
    if let Some(listen) = config.common().health_listen {
        let bound = health::serve(&health, listen, over)
            .await
            .map_err(|e| ServiceError::dependency(format!("listen on `common.health_listen` = `{listen}`"), e))?;
        tracing::info!(address = %bound, "answering /livez and /readyz");
    }
    let host = Host {
        clock: Arc::new(SystemClock::new()),
        ids: Arc::new(SystemIds),
        stop: stop.clone(),
        hard_stop: hard_stop.clone(),
        health: health.clone(),
    };
    health.ready("service");
    // A task of its own, so that a panic in it is an exit code and not the end of the log.
    let mut run = tokio::spawn(S::run(config, host));
    let ended = tokio::select! {
        ended = &mut run => ended,
        () = abandoned(&hard_stop) => {
            run.abort();
            return Err(ServiceError::internal("stop the service", "it did not return after the hard stop"));
        }
    };
    match ended {
        Ok(Ok(())) if stop.is_cancelled() => Ok(()),
        Ok(Ok(())) => Err(ServiceError::internal("run the service", "it ended without having been asked to")),
        Ok(Err(error)) => Err(error),
        Err(panic) => Err(ServiceError::internal("run the service", panic)),
    }
}

async fn abandoned(hard_stop: &CancellationToken) {
    hard_stop.cancelled().await;
    tokio::time::sleep(HARD_STOP_GRACE).await;
}

/// One line that says what runs and with which configuration, without secrets.
fn log_start<S: Service>(config: &S::Config) {
    let mut shown = serde_json::to_value(config).unwrap_or_default();
    redact(&mut shown);
    tracing::info!(
        service = S::NAME,
        version = env!("CARGO_PKG_VERSION"),
        pid = std::process::id(),
        config = %shown,
        "starting"
    );
}

/// Panics go where the log goes.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let payload = panic.payload();
        let text = payload.downcast_ref::<&str>().copied();
        let message = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message");
        let backtrace = std::backtrace::Backtrace::capture();
        tracing::error!(place, message, %backtrace, "panic: report it with this line");
    }));
}
