//! The handle of a service on its outbox and inbox.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use jiff::Timestamp;
use job_bus::Bus;
use job_model::{JobId, Region};
use state_store::{StateStore, StoreError, Tx};
use tokio::sync::{Notify, watch};

use crate::outbox::{Depth, OutboxRow, Outgoing, ToldUpTo};
use crate::publisher::Publisher;
use crate::{inbox, outbox};

/// Outbox and inbox of one service. Clones share them.
#[derive(Clone)]
pub struct Ledger {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) store: StateStore,
    pub(crate) lines: BTreeMap<Region, Line>,
    source: String,
    /// Changes whenever rows were acknowledged.
    pub(crate) acknowledged: watch::Sender<u64>,
    random: Box<dyn Fn() -> u64 + Send + Sync>,
}

/// The way to one region's bus.
pub(crate) struct Line {
    pub(crate) publisher: Arc<dyn Publisher>,
    /// Holds one permit when nobody waits, so that a kick is never lost.
    pub(crate) kicked: Notify,
}

impl std::fmt::Debug for Ledger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Inner { source, lines, .. } = &*self.inner;
        f.debug_struct("Ledger").field("source", source).field("regions", &lines.keys()).finish_non_exhaustive()
    }
}

impl Ledger {
    /// The ledger of a service. `source` is `/holdfast/<service>/<instance>`.
    #[must_use]
    pub fn new(store: StateStore, buses: BTreeMap<Region, Bus>, source: String) -> Self {
        let publishers = buses.into_iter().map(|(region, bus)| (region, Arc::new(bus) as Arc<dyn Publisher>));
        // Only jitter depends on it, and the identity of the state is random.
        let random = split_mix(
            store.instance_id().bytes().fold(0, |seed: u64, byte| seed.wrapping_mul(31).wrapping_add(u64::from(byte))),
        );
        Self::with_publishers(store, publishers.collect(), source, random)
    }

    /// A ledger that publishes elsewhere, and draws its jitter from `random`.
    #[must_use]
    pub fn with_publishers(
        store: StateStore,
        publishers: BTreeMap<Region, Arc<dyn Publisher>>,
        source: String,
        random: impl Fn() -> u64 + Send + Sync + 'static,
    ) -> Self {
        let line = |(region, publisher)| (region, Line { publisher, kicked: Notify::new() });
        let lines = publishers.into_iter().map(line).collect();
        let (acknowledged, _) = watch::channel(0);
        Self { inner: Arc::new(Inner { store, lines, source, acknowledged, random: Box::new(random) }) }
    }

    /// The `source` of the service's messages.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.inner.source
    }

    pub(crate) fn random(&self) -> u64 {
        (self.inner.random)()
    }

    /// Writes a message down in the caller's transaction and returns its row. [`Ledger::kick`] after the transaction
    /// saves the second until the relay looks by itself.
    ///
    /// # Errors
    /// When the row cannot be written.
    pub fn enqueue(tx: &mut Tx<'_>, outgoing: &Outgoing, at: Timestamp) -> Result<u64, StoreError> {
        outbox::enqueue(tx, outgoing, at)
    }

    /// Whether a message was handled.
    ///
    /// # Errors
    /// When the inbox cannot be read.
    pub fn seen(tx: &Tx<'_>, message_id: &str) -> Result<bool, StoreError> {
        inbox::seen(tx, message_id)
    }

    /// Remembers, in the transaction of its effect, that a message was handled.
    ///
    /// # Errors
    /// When the inbox cannot be written, or the id is empty or longer than 500 bytes.
    pub fn mark_seen(tx: &mut Tx<'_>, message_id: &str, at: Timestamp) -> Result<(), StoreError> {
        inbox::mark_seen(tx, message_id, at)
    }

    /// Makes the relay look at once.
    pub fn kick(&self) {
        for line in self.inner.lines.values() {
            line.kicked.notify_one();
        }
    }

    /// Waits until the bus has acknowledged a row, or the row was confirmed. Needs a running [`Ledger::relay`].
    ///
    /// # Errors
    /// When the store fails.
    pub async fn published(&self, row: u64) -> Result<(), StoreError> {
        let mut acknowledged = self.inner.acknowledged.subscribe();
        self.kick();
        loop {
            // Seen before the look, so that an acknowledgement during the look is not missed.
            acknowledged.borrow_and_update();
            if !self.inner.store.read(move |tx| outbox::is_pending(tx, row)).await? {
                return Ok(());
            }
            if acknowledged.changed().await.is_err() {
                // The sender lives in `self`.
                return Ok(());
            }
        }
    }

    /// The effect of a job's orders is known: their rows go, also those that were not published. Returns how many.
    ///
    /// # Errors
    /// When the outbox cannot be written.
    pub fn confirm(tx: &mut Tx<'_>, job: JobId) -> Result<usize, StoreError> {
        outbox::confirm(tx, job)
    }

    /// Orders that the bus acknowledged and whose effect is not known yet, oldest first.
    ///
    /// # Errors
    /// When the outbox cannot be read.
    pub fn unconfirmed(tx: &Tx<'_>) -> Result<Vec<OutboxRow>, StoreError> {
        outbox::unconfirmed(tx)
    }

    /// Publishes an acknowledged order once more, under a new id of the bus and with the same content. `false` when the
    /// row is gone or waits for its acknowledgement anyway.
    ///
    /// # Errors
    /// When the outbox cannot be written.
    pub fn reissue(tx: &mut Tx<'_>, row: u64) -> Result<bool, StoreError> {
        outbox::reissue(tx, row)
    }

    /// How much waits for the bus, and since when.
    ///
    /// # Errors
    /// When the outbox cannot be read.
    pub fn depth_and_oldest(tx: &Tx<'_>) -> Result<Depth, StoreError> {
        outbox::depth_and_oldest(tx)
    }

    /// How far the facts for a region have come.
    ///
    /// # Errors
    /// When the outbox cannot be read.
    pub fn told_up_to(tx: &Tx<'_>, region: &Region) -> Result<ToldUpTo, StoreError> {
        outbox::told_up_to(tx, region)
    }

    /// Forgets messages that were handled before an instant, at most a thousand; returns how many. Call again while it
    /// returns some, in a transaction of its own each.
    ///
    /// # Errors
    /// When the inbox cannot be written.
    pub fn prune(tx: &mut Tx<'_>, before: Timestamp) -> Result<usize, StoreError> {
        inbox::prune(tx, before)
    }
}

/// The `SplitMix64` sequence (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014).
fn split_mix(seed: u64) -> impl Fn() -> u64 + Send + Sync {
    const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;
    let state = AtomicU64::new(seed);
    move || {
        let mut z = state.fetch_add(GAMMA, Ordering::Relaxed).wrapping_add(GAMMA);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}
