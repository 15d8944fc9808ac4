//! The planner as a service: what it opens, takes and runs, in which order, and how it ends.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use job_bus::{Bus, Lease, LeaseError};
use job_model::Region;
use message_ledger::Ledger;
use service_host::{ConfigProblem, Host, Service, ServiceError};
use state_store::{Opened, Recovery, StateStore, StoreConfig};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::config::PlannerConfig;
use crate::consume::{Feed, Listener};
use crate::reconcile::Reconciler;
use crate::shell::{Cause, Parts, Shell};
use crate::{housekeeping, serve, store, timers};

/// The key of the lease that makes a planner the active one.
const LEASE: &str = "planner";
/// How often a planner that waits looks whether the active one is gone.
const STANDBY: Duration = Duration::from_secs(2);
/// How long the outbox may take to empty after the last decision.
const DRAIN: Duration = Duration::from_secs(5);

/// The only decider.
#[derive(Debug)]
pub struct Planner;

type Failure = Box<dyn std::error::Error + Send + Sync>;
type Tasks = JoinSet<(&'static str, Result<(), Failure>)>;

#[async_trait]
impl Service for Planner {
    const NAME: &'static str = "planner";

    type Config = PlannerConfig;

    fn validate(config: &PlannerConfig) -> Result<(), ConfigProblem> {
        config.settings()?;
        config.home().map(|_| ())
    }

    async fn run(config: PlannerConfig, host: Host) -> Result<(), ServiceError> {
        let settings = config.settings()?;
        let home = config.home()?;
        host.health.not_ready("planner", "starting");
        let store = open(&config).await?;
        let buses = connect(&config).await?;
        let floor =
            store.read(store::load).await.map_err(|e| ServiceError::state("read the state", e))?.meta().generation;
        // The lock on the state directory says that an earlier life of this very state is over.
        let holder = format!("planner/{}/{}", config.common.instance, store.instance_id());
        let Some(home_bus) = buses.get(&home) else {
            return Err(ConfigProblem::new("home_region", home, "none of `regions`").into());
        };
        let Some(lease) = become_active(home_bus, &home, &holder, floor, &host).await? else { return Ok(()) };
        let generation = lease.epoch();
        // Loaded after the lease was taken: from here on nobody else changes it.
        let state = store.read(store::load).await.map_err(|e| ServiceError::state("read the state", e))?;
        let source = format!("/holdfast/planner/{}", config.common.instance);
        let ledger = Ledger::new(store.clone(), buses.clone(), source);
        let shell = Shell::new(Parts {
            state,
            settings,
            store: store.clone(),
            ledger,
            generation,
            clock: host.clock.clone(),
            ids: host.ids.clone(),
        });
        // The number is durable before the first order carries it.
        let begun = shell.step(Cause::default(), move |step| {
            let mut meta = step.state.meta();
            meta.generation = generation;
            step.state.meta.put((), meta);
        });
        begun.await.map_err(|e| ServiceError::state("store the generation", e))?;
        tracing::info!(generation, regions = buses.len(), "active");
        let ended = live(&shell, &buses, lease, &host).await;
        store.close().await;
        ended
    }
}

async fn open(config: &PlannerConfig) -> Result<StateStore, ServiceError> {
    let store = StoreConfig::new(config.common.state_dir.clone());
    let opened = tokio::task::spawn_blocking(move || StateStore::open(&store)).await;
    let opened = opened.map_err(|e| ServiceError::internal("open the state", e))?;
    let Opened { store, recovery } = opened.map_err(|e| ServiceError::state("open the state", e))?;
    match recovery {
        Recovery::Created => tracing::info!("new state"),
        Recovery::Clean => {}
        rebuilt @ Recovery::Rebuilt { .. } => {
            tracing::error!(
                ?rebuilt,
                "the state was damaged and is that of the newest export; compare it with the vaults"
            );
        }
    }
    Ok(store)
}

async fn connect(config: &PlannerConfig) -> Result<BTreeMap<Region, Bus>, ServiceError> {
    let mut buses = BTreeMap::new();
    for (region, bus) in config.buses()? {
        let connected = Bus::connect(&bus, config.common.start_wait).await;
        let connected =
            connected.map_err(|e| ServiceError::dependency(format!("connect to the bus of `{region}`"), e))?;
        let provisioned = connected.provision(&region).await;
        provisioned.map_err(|e| ServiceError::dependency(format!("provision the streams of `{region}`"), e))?;
        buses.insert(region, connected);
    }
    Ok(buses)
}

/// Waits until this planner is the active one; none when told to stop first.
async fn become_active(
    bus: &Bus,
    home: &Region,
    holder: &str,
    floor: u64,
    host: &Host,
) -> Result<Option<Lease>, ServiceError> {
    loop {
        match bus.succeed_lease(home, LEASE, holder, floor).await {
            Ok(lease) => return Ok(Some(lease)),
            Err(LeaseError::Held { holder, .. }) => {
                host.health.not_ready("planner", format!("standing by: `{holder}` is the active planner"));
            }
            Err(error @ LeaseError::Bus { .. }) => {
                host.health.not_ready("planner", format!("waiting for the bus: {}", service_host::error_chain(&error)));
            }
            Err(error) => return Err(ServiceError::dependency("take the planner's lease", error)),
        }
        tokio::select! {
            () = host.clock.sleep(STANDBY) => {}
            () = host.stop.cancelled() => return Ok(None),
        }
    }
}

/// Runs everything until told to stop, or until one part ends by itself.
async fn live(shell: &Shell, buses: &BTreeMap<Region, Bus>, lease: Lease, host: &Host) -> Result<(), ServiceError> {
    let stop = host.stop.child_token();
    let relay_stop = CancellationToken::new();
    let ledger = shell.ledger().clone();
    let relay = tokio::spawn({
        let relay_stop = relay_stop.clone();
        async move { ledger.relay(relay_stop).await }
    });
    let mut tasks: Tasks = JoinSet::new();
    tasks.spawn(part("keep the lease", keep(lease, shell.clone(), stop.clone())));
    tasks.spawn(part("run timers", timers::run(shell.clone(), stop.clone())));
    tasks.spawn(part("keep house", housekeeping::run(shell.clone(), stop.clone())));
    for (region, bus) in buses {
        for feed in [Feed::Requests, Feed::Facts] {
            let listener = Listener { shell: shell.clone(), bus: bus.clone(), region: region.clone(), feed };
            tasks.spawn(part("listen", listener.run(stop.clone())));
        }
        tasks.spawn(part("serve queries", serve::run(shell.clone(), bus.clone(), region.clone(), stop.clone())));
        let reconciler = Reconciler { shell: shell.clone(), bus: bus.clone(), region: region.clone() };
        tasks.spawn(part("reconcile", reconciler.run(stop.clone())));
    }
    host.health.ready("planner");
    let mut outcome = Ok(());
    while let Some(ended) = tasks.join_next().await {
        let failure = match ended {
            Ok((_, Ok(()))) if stop.is_cancelled() => continue,
            Ok((action, Ok(()))) => ServiceError::internal(action, "it ended by itself"),
            Ok((action, Err(error))) => ServiceError::internal(action, error),
            Err(error) => ServiceError::internal("run", error),
        };
        stop.cancel();
        if outcome.is_ok() {
            outcome = Err(failure);
        }
    }
    host.health.not_ready("planner", "stopping");
    // What was decided is on disk; what is not published now is published by the next one.
    wait_for_outbox(shell).await;
    relay_stop.cancel();
    if let Err(error) = relay.await {
        tracing::error!(%error, "the relay ended badly");
    }
    outcome
}

async fn part<E>(action: &'static str, work: impl Future<Output = Result<(), E>>) -> (&'static str, Result<(), Failure>)
where
    E: std::error::Error + Send + Sync + 'static,
{
    (action, work.await.map_err(Into::into))
}

/// Renews the lease; losing it ends the planner, because somebody else may decide now.
async fn keep(mut lease: Lease, shell: Shell, stop: CancellationToken) -> Result<(), LeaseError> {
    loop {
        let wait = lease.remaining() / 3;
        tokio::select! {
            () = shell.clock().sleep(wait) => {}
            () = stop.cancelled() => {
                if let Err(error) = lease.release().await {
                    tracing::warn!(error = %service_host::error_chain(&error), "the lease was not given back; it runs out");
                }
                return Ok(());
            }
        }
        match lease.renew().await {
            Ok(()) => {}
            Err(error @ LeaseError::Bus { .. }) if !lease.remaining().is_zero() => {
                tracing::warn!(error = %service_host::error_chain(&error), "the lease was not renewed yet");
                shell.clock().sleep(Duration::from_millis(500)).await;
            }
            Err(error) => return Err(error),
        }
    }
}

async fn wait_for_outbox(shell: &Shell) {
    let emptied = async {
        loop {
            match shell.store().read(Ledger::depth_and_oldest).await {
                Ok(depth) if depth.pending > 0 => shell.clock().sleep(Duration::from_millis(50)).await,
                _ => return,
            }
        }
    };
    tokio::select! {
        () = emptied => {}
        () = shell.clock().sleep(DRAIN) => tracing::warn!("messages stay in the outbox until the next start"),
    }
}
