//! What restores build beside their targets until it is whole: the durable list of it, and when it may go.
//!
//! A place is written down before a driver is let at it, and struck out once the restore is done or what it left is gone:
//! a restore that is given up leaves nothing that nobody knows of.

use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use job_events::Disposition;
use job_model::JobId;
use order_runner::{StopReason, WorkFailure};
use serde::{Deserialize, Serialize};
use state_store::{Record, StateStore, StoreError, Table, TransactError};

/// A place beside a target that exists or may exist.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StagingRow {
    /// The restore job that was there last.
    pub(crate) job_id: JobId,
    /// Where; absolute, its links resolved.
    pub(crate) path: PathBuf,
    /// When an attempt of that job last began.
    pub(crate) used_at: Timestamp,
}

impl Record for StagingRow {
    const VERSION: u8 = 1;
}

const STAGINGS: Table<StagingRow> = Table::new("stagings");

/// What this worker's restores may have left beside their targets.
#[derive(Clone, Debug)]
pub(crate) struct Stagings {
    store: StateStore,
}

impl Stagings {
    /// Those listed in the store.
    pub(crate) const fn new(store: StateStore) -> Self {
        Self { store }
    }

    /// Writes down that the place exists or is about to. The next job that uses it takes it over.
    pub(crate) async fn register(&self, row: StagingRow) -> Result<(), StoreError> {
        self.store.transact(move |tx| tx.put(&STAGINGS, &key(&row.path), &row)).await.map_err(only_store)
    }

    /// Strikes out a place where nothing is any more.
    pub(crate) async fn strike_out(&self, path: &Path) -> Result<(), StoreError> {
        let key = key(path);
        self.store.transact(move |tx| tx.delete(&STAGINGS, &key).map(|_| ())).await.map_err(only_store)
    }

    /// All that are written down.
    pub(crate) async fn all(&self) -> Result<Vec<StagingRow>, StoreError> {
        let rows = self.store.read(|tx| tx.scan(&STAGINGS, b"")).await?;
        Ok(rows.into_iter().map(|(_, row)| row).collect())
    }
}

/// The file name: a digest of target and recovery point, where the whole path could be too long for a key.
fn key(path: &Path) -> Vec<u8> {
    path.file_name().unwrap_or(path.as_os_str()).as_bytes().to_vec()
}

/// Whether the restore is given up: no other attempt goes on from what this one left. Told by the runner's rules.
pub(crate) fn is_given_up(failure: &WorkFailure, stop: Option<StopReason>) -> bool {
    match stop {
        // Another worker may be at it, or goes on.
        Some(StopReason::LostLease | StopReason::Shutdown) => false,
        Some(StopReason::Requested | StopReason::DeadlinePassed) if failure.stopped => true,
        _ => failure.disposition == Disposition::Fail,
    }
}

/// Both sides of a refused transaction are the store's here.
fn only_store(error: TransactError<StoreError>) -> StoreError {
    match error {
        TransactError::Refused(error) | TransactError::Store(error) => error,
    }
}

#[cfg(test)]
mod tests {
    use job_model::FailureCode;

    use super::*;

    fn failure(disposition: Disposition, stopped: bool) -> WorkFailure {
        WorkFailure { disposition, stopped, ..WorkFailure::new(FailureCode::TargetWriteFailed, "x".to_owned()) }
    }

    #[test]
    fn what_another_attempt_goes_on_from_is_kept() {
        assert!(!is_given_up(&failure(Disposition::Retry, false), None));
        for stop in [StopReason::LostLease, StopReason::Shutdown] {
            assert!(!is_given_up(&failure(Disposition::Retry, true), Some(stop)));
            assert!(!is_given_up(&failure(Disposition::Fail, false), Some(stop)), "it failed because of {stop}");
        }
    }

    #[test]
    fn what_failed_or_was_stopped_for_good_is_given_up() {
        assert!(is_given_up(&failure(Disposition::Fail, false), None));
        assert!(is_given_up(&failure(Disposition::Retry, true), Some(StopReason::Requested)));
        assert!(is_given_up(&failure(Disposition::Retry, true), Some(StopReason::DeadlinePassed)));
    }
}
