//! The handle that work has on its attempt.

use std::sync::Arc;

use jiff::Timestamp;
use job_events::{AttemptHeader, OrderHeader};
use job_model::JobId;
use serde::Serialize;
use serde::de::DeserializeOwned;
use state_store::{StateStore, StoreError, TransactError};

use crate::AttemptControl;
use crate::record::{self, AttemptKey};

/// One try at an order, as its work sees it. Clones share it.
#[derive(Clone, Debug)]
pub struct Attempt {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    key: AttemptKey,
    epoch: u64,
    worker: String,
    traceparent: Option<String>,
    control: Arc<AttemptControl>,
    store: StateStore,
}

/// Why a checkpoint was not kept or found.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// It does not fit the type that is wanted, or cannot be JSON.
    #[error("the checkpoint of job `{job_id}` does not fit its type")]
    Shape {
        /// The job.
        job_id: JobId,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Attempt {
    /// An attempt outside of a runner, for the tests of a worker: nothing is published, and checkpoints go to `store`.
    #[must_use]
    pub fn detached(order: &OrderHeader, worker: String, store: StateStore, control: Arc<AttemptControl>) -> Self {
        let key = AttemptKey { job: order.job_id, number: order.attempt };
        Self::new(key, 1, worker, None, control, store)
    }

    pub(crate) fn new(
        key: AttemptKey,
        epoch: u64,
        worker: String,
        traceparent: Option<String>,
        control: Arc<AttemptControl>,
        store: StateStore,
    ) -> Self {
        Self { inner: Arc::new(Inner { key, epoch, worker, traceparent, control, store }) }
    }

    /// The job.
    #[must_use]
    pub fn job_id(&self) -> JobId {
        self.inner.key.job
    }

    /// Which try, from 1.
    #[must_use]
    pub fn number(&self) -> u32 {
        self.inner.key.number
    }

    /// The fencing epoch of the lease.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.inner.epoch
    }

    /// What every fact of this attempt begins with.
    #[must_use]
    pub fn header(&self, at: Timestamp) -> AttemptHeader {
        AttemptHeader {
            job_id: self.inner.key.job,
            attempt: self.inner.key.number,
            epoch: self.inner.epoch,
            worker: self.inner.worker.clone(),
            at,
        }
    }

    /// What stops it and counts for it.
    #[must_use]
    pub fn control(&self) -> Arc<AttemptControl> {
        Arc::clone(&self.inner.control)
    }

    /// W3C trace context of the span the attempt runs in.
    #[must_use]
    pub fn traceparent(&self) -> Option<&str> {
        self.inner.traceparent.as_deref()
    }

    /// Keeps what the work wants to find again after a restart or in the job's next attempt; replaces what was kept. On
    /// return it is on disk. Forgotten when the job's work succeeds, is stopped, or fails for good.
    ///
    /// # Errors
    /// When it cannot be JSON or the store fails.
    pub async fn save_checkpoint<T: Serialize + Sync>(&self, checkpoint: &T) -> Result<(), CheckpointError> {
        let job = self.job_id();
        let value =
            serde_json::to_value(checkpoint).map_err(|source| CheckpointError::Shape { job_id: job, source })?;
        let saved = self.inner.store.transact(move |tx| record::save_checkpoint(tx, job, value)).await;
        saved.map_err(store_error).map_err(CheckpointError::Store)
    }

    /// What was kept, by this or an earlier attempt of the job at this worker.
    ///
    /// # Errors
    /// When it does not fit the type or the store fails.
    pub async fn load_checkpoint<T: DeserializeOwned>(&self) -> Result<Option<T>, CheckpointError> {
        let job = self.job_id();
        let value = self.inner.store.read(move |tx| record::load_checkpoint(tx, job)).await?;
        value.map(serde_json::from_value).transpose().map_err(|source| CheckpointError::Shape { job_id: job, source })
    }
}

/// The store's error of a transaction whose closure fails only because of the store.
pub(crate) fn store_error(error: TransactError<StoreError>) -> StoreError {
    match error {
        TransactError::Refused(error) | TransactError::Store(error) => error,
    }
}
