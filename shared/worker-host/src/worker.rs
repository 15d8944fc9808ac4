//! The life of a worker: open, connect, wait for the region's queue, work, drain.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use job_bus::Bus;
use job_events::subjects::{Queue, Service};
use job_model::Region;
use message_ledger::Ledger;
use order_runner::{Runner, Work};
use service_host::{Host, ServiceError, error_chain};
use state_store::{Recovery, StateStore, StoreConfig};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::WorkerSettings;
use crate::upkeep::{self, Upkeep};

/// How often a queue that is not there yet is looked for.
const QUEUE_GLANCE: Duration = Duration::from_secs(1);
/// How often the outbox is looked at while it empties.
const FLUSH_GLANCE: Duration = Duration::from_millis(20);
/// How long the last facts may take to reach the bus at the end; what does not is published by the next process.
const RELAY_GRACE: Duration = Duration::from_secs(5);

/// A worker with its state open and its bus connected.
#[derive(Debug)]
pub struct Worker {
    store: StateStore,
    bus: Bus,
    ledger: Ledger,
    host: Host,
    service: Service,
    queue: Queue,
    region: Region,
    instance: String,
    slots: usize,
    patience: Duration,
}

impl Worker {
    /// Opens the durable state and connects to the bus, within the start wait. Afterwards the connection is kept up for
    /// ever.
    ///
    /// # Errors
    /// When the state cannot be opened, or the bus cannot be reached or used.
    pub async fn start(settings: &WorkerSettings<'_>, host: &Host) -> Result<Self, ServiceError> {
        host.health.not_ready("orders", "starting");
        let store = open_store(settings).await?;
        let config = settings.bus();
        let bus = Bus::connect(&config, settings.common.start_wait)
            .await
            .map_err(|e| ServiceError::dependency("connect to the region's bus (section `[nats]`)", e))?;
        let source = format!("/holdfast/{}/{}", settings.service, settings.common.instance);
        let buses = BTreeMap::from([(settings.region.clone(), bus.clone())]);
        let ledger = Ledger::new(store.clone(), buses, source);
        Ok(Self {
            store,
            bus,
            ledger,
            host: host.clone(),
            service: settings.service,
            queue: settings.queue,
            region: settings.region.clone(),
            instance: settings.common.instance.clone(),
            slots: settings.slots,
            patience: settings.common.stop_wait,
        })
    }

    /// The durable state, for tables of the worker's own.
    #[must_use]
    pub const fn store(&self) -> &StateStore {
        &self.store
    }

    /// The region's bus.
    #[must_use]
    pub const fn bus(&self) -> &Bus {
        &self.bus
    }

    /// The outbox.
    #[must_use]
    pub const fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// The region it works for.
    #[must_use]
    pub const fn region(&self) -> &Region {
        &self.region
    }

    /// As it stands in facts and leases: `<service>/<instance>`.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}/{}", self.service, self.instance)
    }

    /// Takes orders until told to stop, then drains.
    pub async fn run(self, work: Arc<dyn Work>) {
        self.run_beside(work, std::future::ready(())).await;
    }

    /// As [`Worker::run`], with something beside the orders that uses the same state, outbox and bus, and ends by itself
    /// when the process is told to stop.
    pub async fn run_beside(self, work: Arc<dyn Work>, beside: impl Future<Output = ()> + Send + 'static) {
        let beside = tokio::spawn(beside);
        let relay_stop = CancellationToken::new();
        let relay = tokio::spawn({
            let (ledger, stop) = (self.ledger.clone(), relay_stop.clone());
            async move { ledger.relay(stop).await }
        });
        let upkeep = tokio::spawn(upkeep::run(Upkeep {
            store: self.store.clone(),
            bus: self.bus.clone(),
            service: self.service,
            region: self.region.clone(),
            clock: self.host.clock.clone(),
            health: self.host.health.clone(),
            stop: self.host.stop.clone(),
        }));
        if self.queue_is_there().await {
            self.host.health.ready("orders");
            self.runner().run(work, self.host.stop.clone(), self.host.hard_stop.clone()).await;
        }
        if let Err(error) = beside.await {
            tracing::error!(%error, "what ran beside the orders ended badly");
        }
        upkeep.abort();
        self.drain(relay_stop, relay).await;
    }

    fn runner(&self) -> Runner {
        Runner {
            bus: self.bus.clone(),
            store: self.store.clone(),
            ledger: self.ledger.clone(),
            region: self.region.clone(),
            queue: self.queue,
            instance: self.instance.clone(),
            slots: self.slots,
            clock: self.host.clock.clone(),
            drain: self.patience,
        }
    }

    /// Waits until the planner has made the region's queue; false when told to stop before.
    async fn queue_is_there(&self) -> bool {
        let (stream, durable) = (self.queue.stream(&self.region), self.queue.service().as_str());
        loop {
            match self.bus.consumer(&stream, durable).await {
                Ok(_) => return true,
                Err(error) => self.host.health.not_ready(
                    "orders",
                    format!("queue `{stream}` is not there yet, the planner makes it: {}", error_chain(&error)),
                ),
            }
            tokio::select! {
                () = self.host.stop.cancelled() => return false,
                () = self.host.clock.sleep(QUEUE_GLANCE) => {}
            }
        }
    }

    async fn drain(&self, relay_stop: CancellationToken, relay: JoinHandle<()>) {
        let flushed = async {
            while self.bus.is_connected() {
                match self.store.read(Ledger::depth_and_oldest).await {
                    Ok(depth) if depth.pending > 0 => tokio::time::sleep(FLUSH_GLANCE).await,
                    _ => return,
                }
            }
        };
        // What is not accepted in time stays in the outbox.
        let _ = tokio::time::timeout(RELAY_GRACE, flushed).await;
        relay_stop.cancel();
        if tokio::time::timeout(RELAY_GRACE, relay).await.is_err() {
            tracing::warn!(
                "the relay did not end in time; what it had under way is published again by the next process"
            );
        }
        self.bus.drain().await;
        self.store.close().await;
    }
}

/// Opens the store beside the runtime; it reads and checks every row.
async fn open_store(settings: &WorkerSettings<'_>) -> Result<StateStore, ServiceError> {
    let action = || format!("open the state in `{}` (key `common.state_dir`)", settings.common.state_dir.display());
    let config = StoreConfig::new(settings.common.state_dir.clone());
    let opened = tokio::task::spawn_blocking(move || StateStore::open(&config))
        .await
        .map_err(|e| ServiceError::internal(action(), e))?
        .map_err(|e| ServiceError::state(action(), e))?;
    match &opened.recovery {
        Recovery::Created => tracing::info!("state is new"),
        Recovery::Clean => tracing::debug!("state is whole"),
        Recovery::Rebuilt { quarantined_to, restored_from, reason } => tracing::error!(
            reason,
            quarantined_to = %quarantined_to.display(),
            restored_from = restored_from.as_ref().map(|p| p.display().to_string()),
            "state was damaged and rebuilt; keep the quarantined directory until the cause is known"
        ),
    }
    Ok(opened.store)
}
