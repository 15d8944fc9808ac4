//! What is kept beside resources between captures: the durable list of it, and when it goes.
//!
//! A row is written before anything is made, completed with the recovery point's tree before that is committed, and struck
//! out when what it names is gone. So a crash at any instant leaves nothing that no row names: rows without a tree are of
//! captures that never came to their end and are swept at the start; of those with one, only that of the newest committed
//! recovery point is of use, and the next capture that commits sweeps the others.

use std::path::PathBuf;
use std::sync::Mutex;

use driver_api::{DriverError, QuiesceOutcome, Quiesced, Thawed, Tracking, TrackingSettings};
use jiff::{SignedDuration, Timestamp};
use job_events::CaptureSnapshot;
use job_model::{Arn, RecoveryPointId, ResourceType};
use serde::{Deserialize, Serialize};
use service_host::error_chain;
use state_store::{Record, StateStore, StoreError, Table, TransactError};
use tokio::runtime::Handle;
use vault_format::Id;

use crate::drivers::{DriverSettings, driver};

/// Something that a capture made or was about to make beside its resource.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KeptRow {
    resource: Arn,
    resource_type: ResourceType,
    vault: Arn,
    recovery_point_id: RecoveryPointId,
    /// The root tree of the recovery point, from shortly before it is committed on.
    tree_id: Option<String>,
    /// The driver's own words.
    remains: serde_json::Value,
    noted_at: Timestamp,
}

impl Record for KeptRow {
    const VERSION: u8 = 1;
}

const KEPT: Table<KeptRow> = Table::new("kept-for-captures");

/// Numbers attempts, so that two of one recovery point never use the same name.
const COUNTER: &str = "kept-for-captures";

/// The list, for use outside of the async runtime.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    store: StateStore,
    runtime: Handle,
    /// What a driver is made with.
    drivers: DriverSettings,
}

impl Kept {
    /// Those listed in the store. Called on the runtime.
    pub(crate) fn new(store: StateStore, drivers: DriverSettings) -> Self {
        Self { store, runtime: Handle::current(), drivers }
    }

    fn all(&self) -> Result<Vec<(String, KeptRow)>, StoreError> {
        let rows = self.runtime.block_on(self.store.read(|tx| tx.scan(&KEPT, b"")))?;
        Ok(rows.into_iter().map(|(key, row)| (String::from_utf8_lossy(&key).into_owned(), row)).collect())
    }

    fn put(&self, name: &str, row: KeptRow) -> Result<(), StoreError> {
        let key = name.as_bytes().to_vec();
        self.runtime.block_on(self.store.transact(move |tx| tx.put(&KEPT, &key, &row))).map_err(only_store)
    }

    fn strike_out(&self, name: &str) -> Result<(), StoreError> {
        let key = name.as_bytes().to_vec();
        self.runtime.block_on(self.store.transact(move |tx| tx.delete(&KEPT, &key).map(|_| ()))).map_err(only_store)
    }

    /// Removes what a row names and then the row. What cannot be removed stays listed and is tried again.
    fn discard(&self, name: &str, row: &KeptRow) {
        let removed = driver(row.resource_type, &self.drivers)
            .map_err(|error| error_chain(&error))
            .and_then(|driver| driver.discard(&row.remains).map_err(|error| error_chain(&error)));
        let struck = removed.and_then(|()| self.strike_out(name).map_err(|error| error_chain(&error)));
        match struck {
            Ok(()) => tracing::debug!(resource = %row.resource, name, "what was kept for captures is removed"),
            Err(error) => {
                tracing::warn!(resource = %row.resource, name, error, "what was kept for captures cannot be removed; it is tried again");
            }
        }
    }

    fn discard_where(&self, unneeded: impl Fn(&str, &KeptRow) -> bool) {
        match self.all() {
            Ok(rows) => rows.iter().filter(|(name, row)| unneeded(name, row)).for_each(|(n, r)| self.discard(n, r)),
            Err(error) => tracing::error!(error = error_chain(&error), "the list of what is kept cannot be read"),
        }
    }

    /// At the start of the process, when no capture is under way: removes what captures that never ended left, and what
    /// nobody replaced for too long.
    pub(crate) fn sweep(&self, now: Timestamp, keep_days: u32) {
        self.discard_where(|_, row| row.tree_id.is_none());
        self.discard_old(now, keep_days);
    }

    /// Removes what no newer capture has replaced for too long.
    pub(crate) fn discard_old(&self, now: Timestamp, keep_days: u32) {
        let life = SignedDuration::from_hours(24 * i64::from(keep_days));
        self.discard_where(|_, row| now.duration_since(row.noted_at) > life);
    }

    /// Removes what was kept of a recovery point that is deleted.
    pub(crate) fn discard_of(&self, id: RecoveryPointId) {
        self.discard_where(|_, row| row.recovery_point_id == id);
    }

    /// After an earlier attempt was found to have committed: keeps what that one left.
    pub(crate) fn recognised(&self, order: &CaptureSnapshot, tree: Id) {
        let tree = tree.to_hex();
        self.discard_where(|_, row| is_of(row, order) && row.tree_id.as_ref() != Some(&tree));
    }
}

fn is_of(row: &KeptRow, order: &CaptureSnapshot) -> bool {
    row.resource == order.order.resource && row.vault == order.vault.arn
}

/// What one capture is given to track changes.
pub(crate) struct Tracker {
    kept: Kept,
    name: String,
    settings: TrackingSettings,
    base: Option<serde_json::Value>,
    row: KeptRow,
    held: Mutex<Held>,
    sealed: bool,
}

/// What is at rest for the capture.
struct Held {
    quiesced: Option<Quiesced>,
    /// Whether all was at rest until the view was taken; none before.
    until_taken: Option<bool>,
}

impl Tracker {
    /// For a capture that is about to begin. What earlier attempts at the same recovery point left is removed.
    pub(crate) fn begin(
        kept: &Kept,
        order: &CaptureSnapshot,
        settings: TrackingSettings,
        at: Timestamp,
    ) -> Result<Self, StoreError> {
        kept.discard_where(|_, row| row.recovery_point_id == order.recovery_point_id && row.tree_id.is_none());
        let number = kept.store.transact(|tx| tx.next_number(COUNTER));
        let number = kept.runtime.block_on(number).map_err(only_store)?;
        let parent = order.parent.as_ref().map(|parent| &parent.tree_id);
        let base = kept.all()?.into_iter().find(|(_, row)| is_of(row, order) && row.tree_id.as_ref() == parent);
        Ok(Self {
            kept: kept.clone(),
            name: format!("{}-{number}", order.recovery_point_id),
            settings,
            base: base.filter(|_| parent.is_some()).map(|(_, row)| row.remains),
            row: KeptRow {
                resource: order.order.resource.clone(),
                resource_type: order.resource_type,
                vault: order.vault.arn.clone(),
                recovery_point_id: order.recovery_point_id,
                tree_id: None,
                remains: serde_json::Value::Null,
                noted_at: at,
            },
            held: Mutex::new(Held { quiesced: None, until_taken: None }),
            sealed: false,
        })
    }

    /// Takes over what is at rest, and says how well.
    pub(crate) fn hold(&self, quiesced: Option<Quiesced>) -> QuiesceOutcome {
        let outcome = quiesced.as_ref().map_or(QuiesceOutcome::NotQuiesced, Quiesced::outcome);
        self.held().quiesced = quiesced;
        outcome
    }

    /// Ends the rest if the driver has not; whether it lasted as long as it had to.
    pub(crate) fn thaw(&self) -> Result<bool, DriverError> {
        let mut held = self.held();
        let quiesced = held.quiesced.take();
        let Some(quiesced) = quiesced else { return Ok(held.until_taken.unwrap_or(true)) };
        let Thawed { held: until_now } = quiesced.thaw()?;
        Ok(*held.until_taken.get_or_insert(until_now))
    }

    /// Right before the recovery point with this tree is committed: what stays is of it.
    pub(crate) fn seal(&mut self, remains: Option<serde_json::Value>, tree: Id) -> Result<(), StoreError> {
        let Some(remains) = remains else { return Ok(()) };
        let row = KeptRow { remains, tree_id: Some(tree.to_hex()), ..self.row.clone() };
        self.kept.put(&self.name, row)?;
        self.sealed = true;
        Ok(())
    }

    /// After the commit: what was kept of this resource for this vault before is no longer needed.
    pub(crate) fn committed(&self) {
        let (own, of) = (&self.name, &self.row);
        self.kept.discard_where(|name, row| {
            row.resource == of.resource && row.vault == of.vault && (name != own || !self.sealed)
        });
    }

    fn held(&self) -> std::sync::MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Tracking for Tracker {
    fn base(&self) -> Option<&serde_json::Value> {
        self.base.as_ref()
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn settings(&self) -> &TrackingSettings {
        &self.settings
    }

    fn intend(&self, remains: &serde_json::Value) -> Result<(), DriverError> {
        let row = KeptRow { remains: remains.clone(), ..self.row.clone() };
        let noted = self.kept.put(&self.name, row);
        fail::fail_point!("snapshot-worker::after_intent", |_| std::process::abort());
        noted.map_err(|error| DriverError::Io {
            action: "write down in the worker's state",
            path: PathBuf::from(&self.name).display().to_string(),
            source: std::io::Error::other(error),
        })
    }

    fn view_taken(&self) -> Result<(), DriverError> {
        fail::fail_point!("snapshot-worker::after_clone", |_| std::process::abort());
        let held = self.thaw()?;
        self.held().until_taken = Some(held);
        Ok(())
    }
}

/// A capture that fails before its recovery point could be committed leaves nothing.
impl Drop for Tracker {
    fn drop(&mut self) {
        if !self.sealed {
            let own = self.name.clone();
            self.kept.discard_where(|name, _| name == own);
        }
    }
}

/// Both sides of a refused transaction are the store's here.
fn only_store(error: TransactError<StoreError>) -> StoreError {
    match error {
        TransactError::Refused(error) | TransactError::Store(error) => error,
    }
}
