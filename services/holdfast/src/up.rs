//! `holdfast up`: a private bus and all services as child processes, on one machine, supervised.

mod api_address;
mod api_keys;
mod backoff;
mod child;
mod guard;
mod guarded;
mod layout;
mod lock;
mod secrets;
mod server;
mod settings;
mod supervise;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use driver_postgres::PostgresSettings;
use job_bus::permissions::Role;
use job_model::Region;
use serde::Serialize;
use service_host::{Clock, SystemClock};
use snapshot_worker::FollowConfig;
use tokio::signal::unix::{Signal, SignalKind, signal};

use self::api_address::ApiAddress;
use self::layout::Layout;
use self::lock::InstanceLock;
use self::supervise::{LOOK_EVERY, Managed, Seen, Start};
use crate::args::{Connection, UpArgs};
use crate::endpoint::{Endpoint, write_private};
use crate::error::CliError;
use crate::render::{Output, note};

pub(crate) use guard::guard;
pub(crate) use guarded::Guarded;

/// Regions unless some are given: where the project's own demonstration takes place.
const DEFAULT_REGIONS: [&str; 2] = ["ap-northeast-1", "ap-northeast-3"];
/// The key profile that is always there.
const DEFAULT_KEY: &str = "default";
/// A file in the state directory, written by the operator: what services are told about PostgreSQL.
pub(crate) const POSTGRES_FILE: &str = "postgres.toml";
/// All services are ready within this time, or the start failed.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// How often a running service is asked whether it is still ready.
const HEALTH_EVERY: Duration = Duration::from_secs(5);
/// How long the bus gets to write its last words to disk.
const BUS_STOP_WITHIN: Duration = Duration::from_secs(10);

/// Said once everything is ready.
#[derive(Serialize)]
struct Ready<'a> {
    status: &'static str,
    endpoint: &'a Endpoint,
}

/// Runs until a signal comes.
///
/// # Errors
/// When another one works in the directory, a program is missing, or the services do not become ready.
pub(crate) async fn run(
    args: &UpArgs,
    connection: &Connection,
    state: &Path,
    clock: &SystemClock,
    output: Output,
) -> Result<(), CliError> {
    let regions = regions(connection)?;
    let mut signals = StopSignals::new()?;
    let layout =
        Layout::create(state).map_err(CliError::io(format!("make the state directory `{}`", state.display())))?;
    let _lock = InstanceLock::take(&layout.lock_file(), layout.root())?;
    Endpoint::remove(layout.root()).map_err(CliError::io("take the description of an earlier run away"))?;
    let bus = server::prepare(&layout, &regions)?;
    api_keys::prepare(&layout)?;
    let api = ApiAddress::choose(&layout, args.api_listen)?;
    let settings = Arc::new(settings(args, &layout, &bus.url, api.listen, &regions)?);
    let endpoint = endpoint(&settings, clock);

    let mut buses = [bus_child(&layout, &bus)];
    let mut services = service_children(&layout, &settings)?;
    let started = tokio::select! {
        started = start(&mut buses, &bus, &mut services, &settings) => started,
        () = signals.next() => Err(CliError::Interrupted),
    };
    let ended = match started {
        Ok(()) => {
            endpoint.write(layout.root()).map_err(CliError::io("write `endpoint.json`"))?;
            announce(&endpoint, layout.root(), output)?;
            tokio::select! {
                never = watch(&mut buses, &mut services) => match never {},
                () = signals.next() => {}
            }
            note("stopping; press Ctrl-C again to cut running work short");
            Ok(())
        }
        Err(error) => Err(error),
    };
    let _ = Endpoint::remove(layout.root());
    supervise::stop(&mut services, Duration::from_secs(args.stop_timeout), signals.next()).await;
    supervise::stop(&mut buses, BUS_STOP_WITHIN, std::future::pending()).await;
    ended
}

fn regions(connection: &Connection) -> Result<Vec<Region>, CliError> {
    let mut regions = connection.region.clone();
    if regions.is_empty() {
        for region in DEFAULT_REGIONS {
            regions.push(region.parse().map_err(|e: job_model::InvalidArn| CliError::usage(e.to_string()))?);
        }
    }
    for (index, region) in regions.iter().enumerate() {
        if regions[..index].contains(region) {
            return Err(CliError::usage(format!("the region `{region}` is given twice")));
        }
    }
    Ok(regions)
}

fn endpoint(settings: &settings::Settings, clock: &SystemClock) -> Endpoint {
    let layout = &settings.layout;
    Endpoint {
        url: settings.url.clone(),
        user: Role::Operator.as_str().to_owned(),
        password_file: layout.bus_password_file(Role::Operator.as_str()),
        regions: settings.regions.clone(),
        profiles_file: layout.profiles_file(),
        vaults_dir: layout.vaults_dir(),
        api_url: Some(format!("http://{}", settings.api_listen)),
        aws_credentials_file: Some(layout.aws_credentials_file()),
        pid: std::process::id(),
        started_at: clock.now(),
    }
}

/// What the operator wrote about PostgreSQL; nothing where there is no such file.
fn postgres(layout: &Layout) -> Result<PostgresSettings, CliError> {
    let path = layout.postgres_file();
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(PostgresSettings::default()),
        Err(source) => return Err(CliError::ReadFile { path, source }),
    };
    let settings: PostgresSettings =
        toml::from_str(&text).map_err(|e| CliError::usage(format!("`{}`: {e}", path.display())))?;
    settings.validate().map_err(|(key, mend)| CliError::usage(format!("`{}`: `{key}`: {mend}", path.display())))?;
    Ok(settings)
}

fn follow(args: &UpArgs) -> FollowConfig {
    let usual = FollowConfig::default();
    FollowConfig { report_seconds: args.window_report_seconds.unwrap_or(usual.report_seconds), ..usual }
}

/// Makes missing keys, and the file that lets the command line open vaults with them.
fn settings(
    args: &UpArgs,
    layout: &Layout,
    url: &str,
    api_listen: SocketAddr,
    regions: &[Region],
) -> Result<settings::Settings, CliError> {
    let mut wanted = vec![DEFAULT_KEY.to_owned()];
    wanted.extend(args.key_profiles.iter().cloned());
    let profiles = secrets::key_profiles(&layout.keys_dir(), &wanted)?;
    let path = layout.profiles_file();
    let failed = |step: &str| format!("{step} `{}`", path.display());
    let text = toml::to_string(&profiles)
        .map_err(|e| CliError::Start { step: failed("make the text of"), source: Box::new(e) })?;
    write_private(&path, text.as_bytes()).map_err(CliError::io(failed("write")))?;
    Ok(settings::Settings {
        url: url.to_owned(),
        regions: regions.to_vec(),
        profiles,
        postgres: postgres(layout)?,
        otlp_endpoint: args.otlp_endpoint.clone(),
        stop_wait: Duration::from_secs(args.stop_timeout),
        layout: layout.clone(),
        api_listen,
        aws_strict: args.aws_strict,
        follow: follow(args),
    })
}

fn bus_child(layout: &Layout, bus: &server::BusProcess) -> Managed {
    let program = bus.program.clone();
    let prepare = move || Ok(Start { program: program.clone(), health: None });
    Managed::new(server::NAME.to_owned(), layout.log_file(server::NAME), Box::new(prepare))
}

/// One child per service, and per region where a service works in one.
fn service_children(layout: &Layout, settings: &Arc<settings::Settings>) -> Result<Vec<Managed>, CliError> {
    let this = std::env::current_exe().map_err(CliError::io("find this program"))?;
    let mut children = Vec::new();
    for process in settings.processes() {
        let name = process.name();
        let (settings, config) = (settings.clone(), layout.config_file(&name));
        let this = this.clone();
        let prepare = move || {
            let health = child::free_address().map_err(CliError::io("choose a port for health checks"))?;
            let text = settings.text(&process, health)?;
            write_private(&config, text.as_bytes()).map_err(CliError::io(format!("write `{}`", config.display())))?;
            let program: Vec<OsString> = vec![
                this.clone().into(),
                "service".into(),
                process.role().as_str().into(),
                "--config".into(),
                config.clone().into(),
            ];
            Ok(Start { program, health: Some(health) })
        };
        children.push(Managed::new(name.clone(), layout.log_file(&name), Box::new(prepare)));
    }
    Ok(children)
}

/// Starts the bus, then the services, and waits until all are ready.
async fn start(
    buses: &mut [Managed; 1],
    process: &server::BusProcess,
    services: &mut [Managed],
    settings: &settings::Settings,
) -> Result<(), CliError> {
    let [bus] = buses;
    bus.start()?;
    let ended = async {
        loop {
            if let Seen::Ended { how, .. } = bus.look() {
                return how;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    let problem = tokio::select! {
        answers = server::answers(process.port) => (!answers).then(|| "it does not answer".to_owned()),
        how = ended => Some(how),
    };
    if let Some(problem) = problem {
        return Err(not_ready(bus, &problem));
    }
    server::provision(&settings.layout, &process.url, &settings.regions).await?;
    for service in services.iter_mut() {
        service.start()?;
    }
    let deadline = Instant::now() + READY_WITHIN;
    loop {
        let mut waiting = None;
        for service in services.iter_mut() {
            match service.look() {
                Seen::Ended { how, hopeless: true, .. } => return Err(not_ready(service, &how)),
                seen => tell(service, &seen),
            }
            let problem = match service.health() {
                Some(address) => child::readiness(address).await.err(),
                None => Some("is not running".to_owned()),
            };
            if let Some(problem) = problem {
                waiting.get_or_insert((service, problem));
            }
        }
        match waiting {
            None => return Ok(()),
            Some((service, problem)) if Instant::now() > deadline => return Err(not_ready(service, &problem)),
            Some(_) => tokio::time::sleep(LOOK_EVERY).await,
        }
    }
}

fn not_ready(process: &Managed, problem: &str) -> CliError {
    let log = child::last_lines(&process.log, 6);
    CliError::Start {
        step: format!(
            "{} did not become ready; the end of its log `{}`:\n  {log}\n",
            process.name,
            process.log.display()
        ),
        source: problem.to_owned().into(),
    }
}

/// Looks at the children for ever, starts again what ended, and says what changed.
async fn watch(buses: &mut [Managed], services: &mut [Managed]) -> std::convert::Infallible {
    let mut ask = Instant::now() + HEALTH_EVERY;
    let mut unready: Vec<Option<String>> = vec![None; services.len()];
    loop {
        for process in buses.iter_mut().chain(services.iter_mut()) {
            let seen = process.look();
            tell(process, &seen);
        }
        if Instant::now() >= ask {
            for (service, before) in services.iter().zip(&mut unready) {
                let Some(address) = service.health() else { continue };
                let now = child::readiness(address).await.err();
                // A process may have ended while it was asked; that is told by the next look.
                match (&now, &*before) {
                    (Some(reason), None) => note(&format!("{} is not ready: {reason}", service.name)),
                    (None, Some(_)) => note(&format!("{} is ready again", service.name)),
                    _ => {}
                }
                *before = now;
            }
            ask = Instant::now() + HEALTH_EVERY;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn tell(process: &Managed, seen: &Seen) {
    match seen {
        Seen::Nothing => {}
        Seen::Ended { how, pause, .. } => note(&format!(
            "{} ended ({how}); it starts again in {} ms; its log is `{}`",
            process.name,
            pause.as_millis(),
            process.log.display()
        )),
        Seen::Restarted => note(&format!("{} started again", process.name)),
        Seen::NotStarted(error) => note(&format!("{} could not be started: {error}", process.name)),
    }
}

fn announce(endpoint: &Endpoint, state: &Path, output: Output) -> Result<(), CliError> {
    let ready = Ready { status: "ready", endpoint };
    output.line(&ready, || {
        let regions: Vec<&str> = endpoint.regions.iter().map(Region::as_str).collect();
        let api = match (&endpoint.api_url, &endpoint.aws_credentials_file, regions.first()) {
            (Some(url), Some(credentials), Some(region)) => format!(
                "\n  api     {url}\n  aws     export AWS_SHARED_CREDENTIALS_FILE={} AWS_DEFAULT_REGION={region}\n          \
                 aws --endpoint-url {url} backup list-backup-vaults",
                credentials.display()
            ),
            _ => String::new(),
        };
        format!(
            "holdfast is ready in {}\n  state   {}\n  bus     {}\n  logs    {}\n  try     holdfast resource list --state {}{api}",
            regions.join(", "),
            state.display(),
            endpoint.url,
            state.join("logs").display(),
            state.display()
        )
    })
}

/// SIGTERM and SIGINT.
struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignals {
    fn new() -> Result<Self, CliError> {
        let take = |kind| signal(kind).map_err(CliError::io("take over signals"));
        Ok(Self { terminate: take(SignalKind::terminate())?, interrupt: take(SignalKind::interrupt())? })
    }

    /// Resolves at the next one.
    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
