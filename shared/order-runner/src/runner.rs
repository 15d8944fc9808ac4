//! Pulls orders as slots get free, until it is told to stop.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use futures::StreamExt;
use job_bus::{Bus, Consumer, Delivery};
use job_events::subjects::Queue;
use job_model::{JobId, Region};
use message_ledger::Ledger;
use service_host::Clock;
use state_store::{StateStore, StoreError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::life;
use crate::record;
use crate::{AttemptControl, StopReason, Work};

/// How long one pull waits at the server.
const PULL_WAIT: Duration = Duration::from_secs(30);
/// After a pull that failed.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// How often old attempts are forgotten.
const PRUNE_EVERY: Duration = Duration::from_secs(60 * 60);
/// Orders that may wait for their resource, beside those in the slots.
const WAITING_MAX: usize = 64;

/// What a worker runs.
pub struct Runner {
    /// The region's bus.
    pub bus: Bus,
    /// The worker's state; the runner keeps its own tables in it.
    pub store: StateStore,
    /// The worker's outbox; its relay has to run for as long as the runner does.
    pub ledger: Ledger,
    /// Whose orders.
    pub region: Region,
    /// Which orders.
    pub queue: Queue,
    /// Tells this process from others of its kind; the same after a restart.
    pub instance: String,
    /// Orders that are carried out at once.
    pub slots: usize,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// How long running orders may go on after the soft stop before they are given back.
    pub drain: Duration,
}

/// What all orders in hand share.
pub(crate) struct Shared {
    pub(crate) bus: Bus,
    pub(crate) store: StateStore,
    pub(crate) ledger: Ledger,
    pub(crate) region: Region,
    pub(crate) queue: Queue,
    /// `<service>/<instance>`.
    pub(crate) worker: String,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) drain: Duration,
    pub(crate) slots: Arc<Semaphore>,
    /// Orders that have their resource and want a slot: they go before those that are still to be pulled.
    pub(crate) wanting: watch::Sender<usize>,
    pub(crate) stops: Stops,
    pub(crate) stop: CancellationToken,
    pub(crate) hard_stop: CancellationToken,
}

impl Shared {
    /// A slot, before those that are still to be pulled. None when the control says stop first.
    pub(crate) async fn slot(&self, control: &AttemptControl) -> Option<OwnedSemaphorePermit> {
        let acquiring = Arc::clone(&self.slots).acquire_owned();
        tokio::pin!(acquiring);
        // In the queue before it is said, so that a slot that is given up for it comes here.
        if let std::task::Poll::Ready(slot) = futures::poll!(&mut acquiring) {
            return slot.ok();
        }
        let _wanted = Wanted::new(&self.wanting);
        tokio::select! {
            slot = &mut acquiring => slot.ok(),
            () = control.stopped() => None,
        }
    }

    pub(crate) fn service(&self) -> &'static str {
        self.queue.service().as_str()
    }
}

impl fmt::Debug for Runner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { region, queue, instance, slots, .. } = self;
        f.debug_struct("Runner")
            .field("region", region)
            .field("queue", queue)
            .field("instance", instance)
            .field("slots", slots)
            .finish_non_exhaustive()
    }
}

impl Runner {
    /// Carries out orders until `stop`; then takes no more, gives those that run the drain time, and gives back what is
    /// not done by then. `hard_stop` gives everything back at once. Returns when nothing is in hand any more.
    pub async fn run(self, work: Arc<dyn Work>, stop: CancellationToken, hard_stop: CancellationToken) {
        let worker = format!("{}/{}", self.queue.service(), self.instance);
        let slots = Arc::new(Semaphore::new(self.slots.max(1)));
        let hands = Arc::new(Semaphore::new(self.slots.max(1) + WAITING_MAX));
        let shared = Arc::new(Shared {
            bus: self.bus,
            store: self.store,
            ledger: self.ledger,
            region: self.region,
            queue: self.queue,
            worker,
            clock: self.clock,
            drain: self.drain,
            slots,
            wanting: watch::Sender::new(0),
            stops: Stops::default(),
            stop: stop.clone(),
            hard_stop: hard_stop.clone(),
        });
        let mut orders = JoinSet::new();
        let pulling = async {
            while let Some((delivery, hand, slot)) = take_next(&shared, &hands, &stop).await {
                while orders.try_join_next().is_some() {}
                let (shared, work) = (Arc::clone(&shared), Arc::clone(&work));
                orders.spawn(async move {
                    life::live(shared, work, delivery, slot).await;
                    drop(hand);
                });
            }
        };
        tokio::select! {
            () = pulling => {}
            () = listen_for_stops(&shared) => {}
            () = prune_now_and_then(&shared) => {}
        }
        tracing::info!(worker = shared.worker, orders = orders.len(), "taking no more orders");
        let drained = async { while orders.join_next().await.is_some() {} };
        tokio::select! {
            () = drained => {}
            // Neither of them ends by itself.
            () = listen_for_stops(&shared) => {}
        }
    }
}

/// Counts one order that wants a slot.
struct Wanted<'a>(&'a watch::Sender<usize>);

impl<'a> Wanted<'a> {
    fn new(wanting: &'a watch::Sender<usize>) -> Self {
        wanting.send_modify(|count| *count += 1);
        Self(wanting)
    }
}

impl Drop for Wanted<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

type Taken = (Delivery, OwnedSemaphorePermit, OwnedSemaphorePermit);

/// The next order and the right to carry it out; none when the runner is to stop.
async fn take_next(shared: &Shared, hands: &Arc<Semaphore>, stop: &CancellationToken) -> Option<Taken> {
    let permits = async {
        let hand = Arc::clone(hands).acquire_owned().await;
        let slot = Arc::clone(&shared.slots).acquire_owned().await;
        // Neither semaphore is ever closed.
        hand.ok().zip(slot.ok())
    };
    let (hand, mut slot) = tokio::select! {
        biased;
        () = stop.cancelled() => return None,
        () = shared.hard_stop.cancelled() => return None,
        permits = permits => permits?,
    };
    let mut wanting = shared.wanting.subscribe();
    let mut consumer: Option<Consumer> = None;
    let mut told = false;
    loop {
        let pull = async {
            let consumer = match &mut consumer {
                Some(consumer) => consumer,
                none => {
                    let stream = shared.queue.stream(&shared.region);
                    none.insert(shared.bus.consumer(&stream, shared.service()).await?)
                }
            };
            consumer.next(PULL_WAIT).await
        };
        let pulled = tokio::select! {
            biased;
            () = stop.cancelled() => return None,
            () = shared.hard_stop.cancelled() => return None,
            // The sender lives in `shared`.
            true = async { wanting.wait_for(|wanting| *wanting > 0).await.is_ok() } => {
                // The semaphore is fair: who waited longer has the slot before this comes back with one.
                drop(slot);
                slot = tokio::select! {
                    biased;
                    () = stop.cancelled() => return None,
                    () = shared.hard_stop.cancelled() => return None,
                    slot = Arc::clone(&shared.slots).acquire_owned() => slot.ok()?,
                };
                continue;
            }
            pulled = pull => pulled,
        };
        match pulled {
            Ok(Some(delivery)) => return Some((delivery, hand, slot)),
            Ok(None) => {}
            Err(error) => {
                let cause = service_host::error_chain(&error);
                if told {
                    tracing::debug!(error = cause, "still cannot take orders");
                } else {
                    tracing::warn!(error = cause, "cannot take orders, trying again");
                }
                told = true;
                consumer = None;
                tokio::select! {
                    () = stop.cancelled() => return None,
                    () = tokio::time::sleep(RETRY_AFTER) => {}
                }
            }
        }
    }
}

/// Passes the fast hints on; never ends.
async fn listen_for_stops(shared: &Shared) {
    loop {
        match shared.bus.watch_stops(&shared.region).await {
            Ok(mut heard) => {
                while let Some(job) = heard.next().await {
                    shared.stops.tell(job);
                }
            }
            Err(error) => tracing::warn!(%error, "cannot listen for stops; marks are still looked for"),
        }
        tokio::time::sleep(RETRY_AFTER).await;
    }
}

/// Forgets old attempts; never ends.
async fn prune_now_and_then(shared: &Shared) {
    loop {
        let now = shared.clock.now();
        match shared.store.transact(move |tx| record::prune(tx, now)).await {
            Ok(forgotten) => tracing::debug!(forgotten, "old attempts forgotten"),
            Err(error) => {
                let error: state_store::TransactError<StoreError> = error;
                tracing::error!(%error, "cannot forget old attempts");
            }
        }
        tokio::time::sleep(PRUNE_EVERY).await;
    }
}

/// Who is to be told of a stop.
#[derive(Debug, Default)]
pub(crate) struct Stops {
    controls: Arc<Mutex<HashMap<JobId, Vec<Weak<AttemptControl>>>>>,
}

/// Ends the telling when it is dropped.
#[derive(Debug)]
pub(crate) struct Registered {
    controls: Arc<Mutex<HashMap<JobId, Vec<Weak<AttemptControl>>>>>,
    job: JobId,
    control: Weak<AttemptControl>,
}

impl Stops {
    pub(crate) fn register(&self, job: JobId, control: &Arc<AttemptControl>) -> Registered {
        let mut controls = self.controls.lock().unwrap_or_else(PoisonError::into_inner);
        controls.entry(job).or_default().push(Arc::downgrade(control));
        Registered { controls: Arc::clone(&self.controls), job, control: Arc::downgrade(control) }
    }

    fn tell(&self, job: JobId) {
        let controls = self.controls.lock().unwrap_or_else(PoisonError::into_inner);
        for control in controls.get(&job).into_iter().flatten().filter_map(Weak::upgrade) {
            control.stop(StopReason::Requested);
        }
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        let mut controls = self.controls.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(of_job) = controls.get_mut(&self.job) {
            of_job.retain(|control| !control.ptr_eq(&self.control));
            if of_job.is_empty() {
                controls.remove(&self.job);
            }
        }
    }
}
