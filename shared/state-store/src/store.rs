//! The handle that a service holds.

use std::any::Any;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot, watch};

use crate::backend::memory::Memory;
use crate::config::OnFatal;
use crate::engine::{Engine, Job};
use crate::error::{ExportError, ImportError, OpenError, StoreError, TransactError};
use crate::scan::Verified;
use crate::tx::Tx;
use crate::{ImportSummary, Opened, StoreConfig, export, open, scan};

/// Requests that may wait for the writer before callers do.
const QUEUE: usize = 1024;

/// Requests that share one barrier at most.
const GROUP: usize = 256;

/// Numbers the stores in memory of a process, so that each has an identity.
static IN_MEMORY: AtomicU64 = AtomicU64::new(1);

/// Durable state. Clones share it; the writer ends when the last one is dropped.
#[derive(Clone, Debug)]
pub struct StateStore {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    route: Route,
    name: String,
    instance: String,
    export_dir: Option<PathBuf>,
    failed: watch::Receiver<Option<StoreError>>,
}

/// How a request reaches the engine.
#[derive(Debug)]
enum Route {
    /// To the writer thread.
    Thread { requests: Option<mpsc::Sender<Request>>, writer: Option<JoinHandle<()>> },
    /// In the caller, so that simulated time does not run while another thread works.
    Inline(Mutex<Engine>),
}

enum Request {
    Job(Box<dyn Job>),
    Export { dir: PathBuf, at: Timestamp, answer: oneshot::Sender<Result<PathBuf, ExportError>> },
    Close(oneshot::Sender<()>),
}

/// A closure of [`StateStore::transact`] and where its answer goes.
struct Transaction<T, E, F> {
    closure: Option<F>,
    outcome: Option<Result<Result<T, E>, Box<dyn Any + Send>>>,
    answer: oneshot::Sender<Answer<T, E>>,
}

/// The closure's result or panic, or the store's error.
type Answer<T, E> = Result<Result<Result<T, E>, Box<dyn Any + Send>>, StoreError>;

impl<T, E, F> Job for Transaction<T, E, F>
where
    F: FnOnce(&mut Tx<'_>) -> Result<T, E> + Send,
    T: Send,
    E: Send,
{
    fn run(&mut self, tx: &mut Tx<'_>) -> bool {
        let Some(closure) = self.closure.take() else { return false };
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| closure(tx)));
        let keep = matches!(outcome, Ok(Ok(_)));
        self.outcome = Some(outcome);
        keep
    }

    fn finish(self: Box<Self>, outcome: Result<(), StoreError>) {
        let answer = match (outcome, self.outcome) {
            (Err(error), _) => Err(error),
            (Ok(()), Some(outcome)) => Ok(outcome),
            // Dropping the sender tells the caller that the store is closed.
            (Ok(()), None) => return,
        };
        // A caller that no longer waits is told nothing; its transaction stands.
        let _gone = self.answer.send(answer);
    }
}

impl StateStore {
    /// Opens the directory of a service, or makes it. Blocks: call it before the runtime is busy, or from
    /// `spawn_blocking`. Every row is read and checked; damage leads to [`crate::Recovery::Rebuilt`].
    ///
    /// # Errors
    /// When another process has the directory, when the file system refuses, or when opening stalls.
    pub fn open(config: &StoreConfig) -> Result<Opened, OpenError> {
        open::open(config)
    }

    /// A store in memory: same semantics, no thread, nothing durable.
    #[must_use]
    pub fn in_memory() -> Self {
        let number = IN_MEMORY.fetch_add(1, Ordering::Relaxed);
        Self::in_memory_as(format!("memory-{number}"))
    }

    /// A store in memory with an identity of the caller's choice, for simulations that must repeat.
    #[must_use]
    pub fn in_memory_as(instance: String) -> Self {
        Self::inline(Memory::default(), instance)
    }

    pub(crate) fn inline(backend: Memory, instance: String) -> Self {
        let (failed, watched) = watch::channel(None);
        let verified = Verified { instance: instance.clone(), number: 0, digests: std::collections::BTreeMap::new() };
        let name = "in memory".to_owned();
        let mut backend: Box<dyn crate::backend::Backend> = Box::new(backend);
        // The maps take any change; only a test's injected fault could refuse it, and those start later.
        let founded = backend.commit(&scan::founding(&verified)).and_then(|()| backend.barrier(0));
        debug_assert!(founded.is_ok());
        let engine = Engine::new(backend, verified, name.clone(), OnFatal::Report, failed);
        let route = Route::Inline(Mutex::new(engine));
        Self { inner: Arc::new(Inner { route, name, instance, export_dir: None, failed: watched }) }
    }

    /// Starts the writer thread. `guard` is kept until the database is closed.
    pub(crate) fn start(
        engine: Engine,
        failed: watch::Receiver<Option<StoreError>>,
        instance: String,
        config: &StoreConfig,
        guard: impl Send + 'static,
    ) -> std::io::Result<Self> {
        let (requests, queue) = mpsc::channel(QUEUE);
        let writer = std::thread::Builder::new().name("state-writer".to_owned()).spawn(move || {
            let writing = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| write(engine, queue)));
            let closing = writing.unwrap_or_else(|_| {
                // A writer that is gone is a store that lost its memory of what is durable.
                tracing::error!("the writer of the state panicked");
                std::process::abort()
            });
            drop(guard);
            if let Some(closing) = closing {
                let _gone = closing.send(());
            }
        })?;
        let route = Route::Thread { requests: Some(requests), writer: Some(writer) };
        let (name, export_dir) = (config.dir.display().to_string(), Some(config.exports()));
        Ok(Self { inner: Arc::new(Inner { route, name, instance, export_dir, failed }) })
    }

    /// The identity of this state: drawn when its directory was made, the same after a restart, new after an import or a
    /// rebuild. Two stores never share one.
    #[must_use]
    pub fn instance_id(&self) -> String {
        self.inner.instance.clone()
    }

    /// Runs `f` against the state, commits what it wrote in all tables at once, and returns when that is on disk. An `Err`
    /// of `f` discards everything. `f` runs once, on the writer thread: it must not block.
    ///
    /// Not cancellation-safe: a future that is dropped while it waits leaves it open whether the transaction happens.
    ///
    /// # Errors
    /// [`TransactError::Refused`] is the error of `f`; [`TransactError::Store`] says that the state cannot be made durable.
    ///
    /// # Panics
    /// With the panic of `f`; nothing is changed then.
    pub async fn transact<T, E, F>(&self, f: F) -> Result<T, TransactError<E>>
    where
        F: FnOnce(&mut Tx<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        self.send(Request::Job(Box::new(Transaction { closure: Some(f), outcome: None, answer }))).await?;
        match answered.await.map_err(|_| self.closed())?? {
            Ok(outcome) => outcome.map_err(TransactError::Refused),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }

    /// Runs `f` against the state. What it sees is durable when this returns.
    ///
    /// # Errors
    /// The error of `f`, or of the store.
    ///
    /// # Panics
    /// With the panic of `f`.
    pub async fn read<T, F>(&self, f: F) -> Result<T, StoreError>
    where
        F: FnOnce(&Tx<'_>) -> Result<T, StoreError> + Send + 'static,
        T: Send + 'static,
    {
        match self.transact(move |tx| f(tx)).await {
            Ok(value) => Ok(value),
            Err(TransactError::Refused(error) | TransactError::Store(error)) => Err(error),
        }
    }

    /// Writes all rows to a new file of the export directory and removes all but the newest 48. Transactions wait
    /// meanwhile. `at` names the file.
    ///
    /// # Errors
    /// When the state cannot be read or the file not be written; the store goes on.
    pub async fn export(&self, at: Timestamp) -> Result<PathBuf, ExportError> {
        let dir = self.inner.export_dir.clone().ok_or(ExportError::NoDirectory)?;
        let (answer, answered) = oneshot::channel();
        self.send(Request::Export { dir, at, answer }).await?;
        answered.await.map_err(|_| self.closed())?
    }

    /// Makes a new state directory from an export. The new state has an identity of its own.
    ///
    /// # Errors
    /// When the file is not a whole export, or the directory holds something already.
    pub fn import(file: &std::path::Path, into: &StoreConfig) -> Result<ImportSummary, ImportError> {
        open::import(file, into)
    }

    /// Waits until a commit or a barrier has failed, for a service to end with an error. Only with
    /// [`OnFatal::Report`]: otherwise the process is gone by then. Never returns for a healthy store.
    pub async fn failed(&self) -> StoreError {
        let mut failed = self.inner.failed.clone();
        loop {
            if let Some(error) = failed.borrow_and_update().clone() {
                return error;
            }
            if failed.changed().await.is_err() {
                // The writer ended in good health.
                std::future::pending::<()>().await;
            }
        }
    }

    /// Ends the writer and closes the database, also for all clones; returns when another process may open it.
    pub async fn close(&self) {
        let (answer, answered) = oneshot::channel();
        if self.send(Request::Close(answer)).await.is_ok() {
            // The sender is dropped when the writer ends, answer or not.
            let _ended = answered.await;
        }
    }

    fn closed(&self) -> StoreError {
        StoreError::Closed { store: self.inner.name.clone() }
    }

    async fn send(&self, request: Request) -> Result<(), StoreError> {
        match &self.inner.route {
            Route::Thread { requests: Some(requests), .. } => requests
                .send(request)
                .await
                .map_err(|_| self.inner.failed.borrow().clone().unwrap_or_else(|| self.closed())),
            Route::Thread { requests: None, .. } => Err(self.closed()),
            Route::Inline(engine) => {
                let mut engine = engine.lock().unwrap_or_else(PoisonError::into_inner);
                match request {
                    Request::Job(job) => engine.run_group(vec![job]),
                    Request::Export { answer, .. } => {
                        let _gone = answer.send(Err(ExportError::NoDirectory));
                    }
                    Request::Close(answer) => {
                        let _gone = answer.send(());
                    }
                }
                Ok(())
            }
        }
    }
}

impl Drop for Inner {
    /// Waits for the writer, so that the directory is free when the last handle is gone.
    fn drop(&mut self) {
        if let Route::Thread { requests, writer } = &mut self.route {
            drop(requests.take());
            let Some(writer) = writer.take() else { return };
            // The last handle may have been held by a closure, on the writer itself.
            if writer.thread().id() != std::thread::current().id() {
                // The thread turns its own panics into an abort.
                let _ended = writer.join();
            }
        }
    }
}

/// The writer thread: drains what waits, one barrier for all of it. Closes the database; whoever asked for that hears of it
/// when its lock is free, too.
fn write(mut engine: Engine, mut queue: mpsc::Receiver<Request>) -> Option<oneshot::Sender<()>> {
    engine.report_size();
    let mut closing = None;
    while closing.is_none()
        && let Some(first) = queue.blocking_recv()
    {
        let mut jobs = Vec::new();
        let mut next = Some(first);
        while let Some(request) = next.take() {
            match request {
                Request::Job(job) => {
                    jobs.push(job);
                    if jobs.len() < GROUP {
                        next = queue.try_recv().ok();
                    }
                }
                Request::Export { dir, at, answer } => {
                    engine.run_group(std::mem::take(&mut jobs));
                    let _gone = answer.send(export::export(&engine, &dir, at));
                    engine.report_size();
                }
                Request::Close(answer) => {
                    queue.close();
                    closing = Some(answer);
                }
            }
        }
        engine.run_group(jobs);
    }
    closing
}
