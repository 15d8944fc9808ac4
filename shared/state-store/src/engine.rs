//! Group commit: run every waiting closure, then one barrier, then answer all.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use fail::fail_point;
use tokio::sync::watch;

use crate::backend::{Backend, Writes};
use crate::config::OnFatal;
use crate::error::{BackendError, StoreError};
use crate::scan::{self, Digest, Verified};
use crate::tx::Tx;

/// One caller's closure with the way to answer it.
pub(crate) trait Job: Send {
    /// Runs the closure; tells whether its changes are to be kept.
    fn run(&mut self, tx: &mut Tx<'_>) -> bool;
    /// Answers the caller, after the barrier.
    fn finish(self: Box<Self>, outcome: Result<(), StoreError>);
}

/// The only one that touches the database.
pub(crate) struct Engine {
    backend: Box<dyn Backend>,
    name: String,
    instance: String,
    on_fatal: OnFatal,
    digests: BTreeMap<String, Digest>,
    /// Number of the newest commit.
    number: u64,
    /// Commits that no barrier covers yet.
    unsynced: usize,
    failed: watch::Sender<Option<StoreError>>,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("backend", &self.backend).field("number", &self.number).finish_non_exhaustive()
    }
}

impl Engine {
    pub(crate) fn new(
        backend: Box<dyn Backend>,
        verified: Verified,
        name: String,
        on_fatal: OnFatal,
        failed: watch::Sender<Option<StoreError>>,
    ) -> Self {
        let Verified { instance, digests, number } = verified;
        Self { backend, name, instance, on_fatal, digests, number, unsynced: 0, failed }
    }

    pub(crate) fn backend(&self) -> &dyn Backend {
        self.backend.as_ref()
    }

    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    pub(crate) fn instance(&self) -> &str {
        &self.instance
    }

    pub(crate) fn digests(&self) -> &BTreeMap<String, Digest> {
        &self.digests
    }

    /// Reports the size of the database; with every export, which is often enough to see it grow.
    pub(crate) fn report_size(&self) {
        match self.backend.size() {
            Ok(bytes) => telemetry::metrics().state_size.record(bytes, &[]),
            Err(error) => {
                tracing::warn!(store = %self.name, error = causes(&error), "the size of the state is unknown")
            }
        }
    }

    /// The first failure, if there was one.
    pub(crate) fn failure(&self) -> Option<StoreError> {
        self.failed.borrow().clone()
    }

    /// Runs the closures in order, makes their changes durable with one barrier, and answers them.
    pub(crate) fn run_group(&mut self, mut jobs: Vec<Box<dyn Job>>) {
        let mut outcome = self.failure().map_or(Ok(()), Err);
        for job in &mut jobs {
            if outcome.is_ok() {
                outcome = self.run(job.as_mut());
            }
        }
        if outcome.is_ok() && self.unsynced > 0 {
            after_transaction_before_barrier();
            outcome = self.barrier();
            after_barrier();
        }
        for job in jobs {
            job.finish(outcome.clone());
        }
    }

    fn run(&mut self, job: &mut dyn Job) -> Result<(), StoreError> {
        let mut tx = Tx::new(self.backend.as_ref());
        let keep = job.run(&mut tx);
        let (writes, broken) = tx.finish();
        if let Some(broken) = broken {
            return Err(self.fail(broken));
        }
        if keep { self.commit(writes) } else { Ok(()) }
    }

    fn commit(&mut self, mut writes: Writes) -> Result<(), StoreError> {
        let backend = self.backend.as_ref();
        let changed = match scan::account(backend, &self.digests, &mut writes) {
            Ok(changed) => changed,
            Err(source) => return Err(self.fail_backend(source)),
        };
        if writes.is_empty() {
            return Ok(());
        }
        let number = self.number + 1;
        scan::write_meta(&mut writes, number, &changed);
        if let Err(source) = self.backend.commit(&writes) {
            return Err(self.fail_backend(source));
        }
        self.digests.extend(changed);
        self.number = number;
        self.unsynced += 1;
        Ok(())
    }

    fn barrier(&mut self) -> Result<(), StoreError> {
        let begun = Instant::now();
        let synced = self.backend.barrier(self.number);
        let took = begun.elapsed();
        if let Err(source) = synced {
            return Err(self.fail_backend(source));
        }
        let transactions = std::mem::take(&mut self.unsynced);
        tracing::trace!(store = %self.name, barrier_us = took.as_micros(), transactions, "state is durable");
        telemetry::metrics().barrier_duration.record(took.as_secs_f64(), &[]);
        Ok(())
    }

    fn fail_backend(&self, source: BackendError) -> StoreError {
        self.fail(StoreError::Failed { store: self.name.clone(), source: Arc::new(source) })
    }

    /// Nothing is acknowledged after this. The kernel may have dropped the pages that could not be written, so trying again
    /// would report success for data that is gone.
    fn fail(&self, error: StoreError) -> StoreError {
        let cause = std::error::Error::source(&error).map(causes).unwrap_or_default();
        tracing::error!(store = %self.name, %error, cause, "state failed; what was not acknowledged is done again after a restart");
        if self.on_fatal == OnFatal::Abort {
            std::process::abort();
        }
        self.failed.send_if_modified(|failed| {
            let first = failed.is_none();
            failed.get_or_insert_with(|| error.clone());
            first
        });
        error
    }
}

/// A chain of causes in one line.
pub(crate) fn causes(first: &(dyn std::error::Error + 'static)) -> String {
    let chain = std::iter::successors(Some(first), |error| error.source());
    chain.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// `return` at this failpoint kills the process as a power cut would.
fn after_transaction_before_barrier() {
    fail_point!("store::after_transaction_before_barrier", |_| std::process::abort());
}

/// `return` at this failpoint kills the process as a power cut would.
fn after_barrier() {
    fail_point!("store::after_barrier", |_| std::process::abort());
}

#[cfg(test)]
mod tests;
