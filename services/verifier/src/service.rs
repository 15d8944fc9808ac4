//! Composition: what a verifier consists of.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::SignedDuration;
use job_bus::Bus;
use job_events::subjects::{self, Queue, Service as ServiceName};
use job_model::Region;
use message_ledger::Ledger;
use order_runner::Runner;
use service_host::{ConfigProblem, Host, Service, ServiceError, error_chain};
use state_store::{Recovery, StateStore, StoreConfig};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::loops::{self, Surroundings};
use crate::reading::Reading;
use crate::runs::Rules;
use crate::speak::Speaker;
use crate::verify::VerifyWork;
use crate::{rebuild, timers, upkeep};

/// How often a region whose streams are not there yet is looked at.
const REGION_GLANCE: Duration = Duration::from_secs(1);
/// How often the outbox is looked at while it empties.
const FLUSH_GLANCE: Duration = Duration::from_millis(20);
/// How long the last messages may take to reach the bus at the end; the next process publishes the others.
const RELAY_GRACE: Duration = Duration::from_secs(5);

/// The service.
#[derive(Debug)]
pub struct Verifier;

#[async_trait]
impl Service for Verifier {
    const NAME: &'static str = "verifier";
    type Config = Config;

    fn validate(config: &Config) -> Result<(), ConfigProblem> {
        config.check()
    }

    async fn run(config: Config, host: Host) -> Result<(), ServiceError> {
        host.health.not_ready("regions", "starting");
        let (state, is_new) = open_state(&config).await?;
        let buses = connect(&config).await?;
        let source = format!("/holdfast/verifier/{}", config.common.instance);
        let ledger = Ledger::new(state.clone(), buses.clone(), source.clone());
        let rules = Rules {
            speaker: Speaker::new(&source, host.clock.now()),
            regions: buses.keys().cloned().collect(),
            account: config.account()?,
            run_timeout: SignedDuration::try_from(config.run_timeout).unwrap_or(SignedDuration::MAX),
        };
        let relay_stop = CancellationToken::new();
        let relay = tokio::spawn({
            let (ledger, stop) = (ledger.clone(), relay_stop.clone());
            async move { ledger.relay(stop).await }
        });
        let served = serve(&config, &host, &state, &buses, &ledger, &rules, is_new).await;
        flush(&state, &buses).await;
        relay_stop.cancel();
        if tokio::time::timeout(RELAY_GRACE, relay).await.is_err() {
            tracing::warn!("the relay did not end in time; the next process publishes again what it had under way");
        }
        for bus in buses.values() {
            bus.drain().await;
        }
        state.close().await;
        served
    }
}

/// Everything that runs until the process is told to stop.
async fn serve(
    config: &Config,
    host: &Host,
    state: &StateStore,
    buses: &BTreeMap<Region, Bus>,
    ledger: &Ledger,
    rules: &Rules,
    is_new: bool,
) -> Result<(), ServiceError> {
    let mut tasks = JoinSet::new();
    let mut learned = false;
    let reading = Reading::new(buses.clone(), host.clock.clone());
    tasks.spawn(upkeep::run(state.clone(), buses.clone(), host.clone(), config.keep_runs));
    for (region, bus) in buses {
        let around = Arc::new(Surroundings {
            state: state.clone(),
            ledger: ledger.clone(),
            rules: rules.clone(),
            host: host.clone(),
            bus: bus.clone(),
            region: region.clone(),
            reading: reading.clone(),
        });
        // First, so that the requests on the same connection below prove that the server knows of it.
        let questions = loops::listen(&around)
            .await
            .map_err(|error| ServiceError::dependency(format!("listen to queries in region `{region}`"), error))?;
        if !region_is_there(bus, region, host).await {
            break;
        }
        // One planner knows the recovery points of all regions.
        if is_new && !learned {
            rebuild::recovery_points(state, bus, region, host).await;
            learned = true;
        }
        tasks.spawn(loops::requests(around.clone()));
        tasks.spawn(loops::facts(around.clone()));
        tasks.spawn(loops::queries(around, questions));
        let runner = Runner {
            bus: bus.clone(),
            store: state.clone(),
            ledger: ledger.clone(),
            region: region.clone(),
            queue: Queue::Verify,
            instance: config.common.instance.clone(),
            slots: config.slots,
            clock: host.clock.clone(),
            drain: config.common.stop_wait,
        };
        tasks.spawn(runner.run(work(config, host), host.stop.clone(), host.hard_stop.clone()));
    }
    if !host.stop.is_cancelled() {
        host.health.ready("regions");
    }
    let moments = (host.clock.clone(), host.ids.clone());
    tasks.spawn(timers::serve(state.clone(), ledger.clone(), rules.clone(), reading, moments, host.stop.clone()));
    while let Some(ended) = tasks.join_next().await {
        if let Err(error) = ended {
            // A panic is a bug; the process ends, and the next one goes on from what is durable.
            host.stop.cancel();
            host.hard_stop.cancel();
            return Err(ServiceError::internal("run the verifier", error));
        }
    }
    Ok(())
}

fn work(config: &Config, host: &Host) -> Arc<VerifyWork> {
    let clock = host.clock.clone();
    Arc::new(VerifyWork {
        profiles: Arc::new(config.profiles()),
        surroundings: vault_engine::Surroundings::new(move || clock.now()),
        clock: host.clock.clone(),
        threads: config.threads(),
        postgres: Arc::new(config.postgres.clone()),
    })
}

/// Opens the store beside the runtime, because it reads and checks every row. True when it knows nothing of before.
async fn open_state(config: &Config) -> Result<(StateStore, bool), ServiceError> {
    let dir = &config.common.state_dir;
    let action = || format!("open the state in `{}` (key `common.state_dir`)", dir.display());
    std::fs::create_dir_all(dir).map_err(|e| ServiceError::state(action(), e))?;
    // Inside of the configured directory, because a damaged store is renamed, and the configured one may be a mount point.
    let store = StoreConfig::new(dir.join("store"));
    let opened = tokio::task::spawn_blocking(move || StateStore::open(&store))
        .await
        .map_err(|e| ServiceError::internal(action(), e))?
        .map_err(|e| ServiceError::state(action(), e))?;
    if let Recovery::Rebuilt { quarantined_to, restored_from, reason } = &opened.recovery {
        tracing::error!(
            reason,
            quarantined_to = %quarantined_to.display(),
            restored_from = restored_from.as_ref().map(|p| p.display().to_string()),
            "state was damaged and rebuilt; keep the quarantined directory until the cause is known"
        );
    }
    Ok((opened.store, opened.recovery != Recovery::Clean))
}

async fn connect(config: &Config) -> Result<BTreeMap<Region, Bus>, ServiceError> {
    let mut buses = BTreeMap::new();
    for (region, settings) in &config.regions {
        let bus = Bus::connect(&config.bus(settings), config.common.start_wait).await.map_err(|error| {
            ServiceError::dependency(
                format!("connect to the bus of region `{region}` (section `[regions.{region}.nats]`)"),
                error,
            )
        })?;
        buses.insert(region.clone(), bus);
    }
    Ok(buses)
}

/// Waits until the planner has made the region's streams; false when told to stop before.
async fn region_is_there(bus: &Bus, region: &Region, host: &Host) -> bool {
    let verifier = ServiceName::Verifier.as_str();
    let streams = [Queue::Verify.stream(region), subjects::request_stream(region), subjects::fact_stream(region)];
    for stream in streams {
        while let Err(error) = bus.consumer(&stream, verifier).await {
            let reason = format!("`{stream}` is not there yet, the planner makes it: {}", error_chain(&error));
            host.health.not_ready("regions", reason);
            tokio::select! {
                () = host.stop.cancelled() => return false,
                () = host.clock.sleep(REGION_GLANCE) => {}
            }
        }
    }
    true
}

/// Lets the last messages out. What is not accepted in time stays in the outbox.
async fn flush(state: &StateStore, buses: &BTreeMap<Region, Bus>) {
    let emptied = async {
        while buses.values().any(Bus::is_connected) {
            match state.read(Ledger::depth_and_oldest).await {
                Ok(depth) if depth.pending > 0 => tokio::time::sleep(FLUSH_GLANCE).await,
                _ => return,
            }
        }
    };
    let _in_time = tokio::time::timeout(RELAY_GRACE, emptied).await;
}
