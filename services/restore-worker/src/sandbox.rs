//! Sandboxes: where they lie, and the durable list of those that exist.
//!
//! A sandbox is written down before its directory is made, and struck out after its directory is gone: whatever happens
//! in between, no directory is forgotten.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use job_model::JobId;
use serde::{Deserialize, Serialize};
use state_store::{Record, StateStore, StoreError, Table, TransactError};

/// One sandbox that exists or may exist.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SandboxRow {
    /// The restore job that made it.
    pub(crate) job_id: JobId,
    /// When an attempt of that job last began or ended.
    pub(crate) used_at: Timestamp,
}

impl Record for SandboxRow {
    const VERSION: u8 = 1;
}

const SANDBOXES: Table<SandboxRow> = Table::new("sandboxes");

/// The sandboxes of this worker.
#[derive(Clone, Debug)]
pub(crate) struct Sandboxes {
    store: StateStore,
    root: PathBuf,
}

impl Sandboxes {
    /// Those below the directory, listed in the store.
    pub(crate) const fn new(store: StateStore, root: PathBuf) -> Self {
        Self { store, root }
    }

    /// The directory of a job's sandbox. A job id has no `/` and no `..`: it cannot lead out.
    pub(crate) fn directory(&self, job: JobId) -> PathBuf {
        self.root.join(job.to_string())
    }

    /// Below which directory all sandboxes lie.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Writes down that the job's sandbox exists or is about to, and is in use now.
    pub(crate) async fn register(&self, job: JobId, at: Timestamp) -> Result<(), StoreError> {
        let row = SandboxRow { job_id: job, used_at: at };
        self.store.transact(move |tx| tx.put(&SANDBOXES, job.as_uuid().as_bytes(), &row)).await.map_err(only_store)
    }

    /// Strikes out a sandbox whose directory is gone.
    pub(crate) async fn strike_out(&self, job: JobId) -> Result<(), StoreError> {
        self.store
            .transact(move |tx| tx.delete(&SANDBOXES, job.as_uuid().as_bytes()).map(|_| ()))
            .await
            .map_err(only_store)
    }

    /// All that are written down.
    pub(crate) async fn all(&self) -> Result<Vec<SandboxRow>, StoreError> {
        let rows = self.store.read(|tx| tx.scan(&SANDBOXES, b"")).await?;
        Ok(rows.into_iter().map(|(_, row)| row).collect())
    }
}

/// Both sides of a refused transaction are the store's here.
fn only_store(error: TransactError<StoreError>) -> StoreError {
    match error {
        TransactError::Refused(error) | TransactError::Store(error) => error,
    }
}
