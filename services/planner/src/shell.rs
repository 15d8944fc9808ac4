//! The shell around the decisions: loads the state once, then runs one step at a time, each in one transaction of the
//! store together with its outbox and inbox. When [`Shell::step`] returns, all of it is on disk.

use std::sync::Arc;

use jiff::Timestamp;
use message_ledger::Ledger;
use service_host::{Clock, Ids};
use state_store::{StateStore, StoreError, TransactError};
use tokio::sync::{Mutex, Notify, watch};

use crate::decide::{Out, Settings, Step};
use crate::state::State;
use crate::wire::Sender;
use crate::{measure, store, wire};

/// Why a step was not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StepError {
    /// It cannot be made durable.
    #[error("cannot commit a decision")]
    Store(#[from] StoreError),
    /// A message cannot be written as JSON: a bug.
    #[error("cannot write a message")]
    Message(#[from] serde_json::Error),
    /// An earlier step failed, so that memory and store may differ.
    #[error("an earlier decision could not be committed; restart the planner")]
    Lost,
}

/// What caused a step.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cause {
    /// The message, to be marked as handled; a message that was handled before takes no step.
    pub(crate) inbox: Option<String>,
    /// Its id, for those that follow from it.
    pub(crate) causation: Option<String>,
}

/// The planner's state and how it changes.
#[derive(Clone, Debug)]
pub(crate) struct Shell {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// Taken out while a step runs, and only put back when it is committed.
    state: Mutex<Option<State>>,
    settings: Settings,
    store: StateStore,
    ledger: Ledger,
    sender: Sender,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn Ids>,
    stepped: Notify,
    /// Counts steps that left orders to be taken from the bus; every region's reconciler looks.
    to_withdraw: watch::Sender<u64>,
}

/// What a shell works with.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) state: State,
    pub(crate) settings: Settings,
    pub(crate) store: StateStore,
    pub(crate) ledger: Ledger,
    pub(crate) generation: u64,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) ids: Arc<dyn Ids>,
}

impl Shell {
    /// A shell around a loaded state.
    pub(crate) fn new(parts: Parts) -> Self {
        let Parts { state, settings, store, ledger, generation, clock, ids } = parts;
        let sender =
            Sender { source: ledger.source().to_owned(), state: store.instance_id(), generation, causation: None };
        let inner = Inner {
            state: Mutex::new(Some(state)),
            settings,
            store,
            ledger,
            sender,
            clock,
            ids,
            stepped: Notify::new(),
            to_withdraw: watch::Sender::new(0),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Takes a step. `None`: its message was handled before.
    pub(crate) async fn step<T, F>(&self, cause: Cause, decide: F) -> Result<Option<T>, StepError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Step<'_>) -> T + Send + 'static,
    {
        let inner = &self.inner;
        let mut slot = inner.state.lock().await;
        let mut state = slot.take().ok_or(StepError::Lost)?;
        let (now, draw) = (inner.clock.now(), inner.ids.uuid());
        let traceparent = telemetry::current_traceparent();
        let settings = inner.settings.clone();
        let sender = Sender { causation: cause.causation, ..inner.sender.clone() };
        let committed = inner.store.transact(move |tx| {
            if let Some(message) = &cause.inbox
                && Ledger::seen(tx, message)?
            {
                return Ok((state, None));
            }
            let mut step = Step::new(&mut state, &settings, now, draw, traceparent);
            let answer = decide(&mut step);
            let out = step.finish();
            store::save(tx, &mut state)?;
            for said in &out {
                if let Out::Confirm(job) = said {
                    Ledger::confirm(tx, *job)?;
                }
                if let Some(message) = wire::message(&sender, said, now)? {
                    Ledger::enqueue(tx, &message, now)?;
                }
            }
            if let Some(message) = &cause.inbox {
                Ledger::mark_seen(tx, message, now)?;
            }
            Ok((state, Some((answer, out))))
        });
        let (state, done) = committed.await.map_err(|error: TransactError<StepError>| match error {
            TransactError::Refused(error) => error,
            TransactError::Store(error) => StepError::Store(error),
        })?;
        let withdraw = !state.to_withdraw().is_empty();
        *slot = Some(state);
        drop(slot);
        let Some((answer, out)) = done else {
            measure::duplicate();
            return Ok(None);
        };
        if !out.is_empty() {
            inner.ledger.kick();
            measure::said(&out);
        }
        if withdraw {
            inner.to_withdraw.send_modify(|count| *count += 1);
        }
        inner.stepped.notify_one();
        Ok(Some(answer))
    }

    /// Looks at the state as it was committed last.
    pub(crate) async fn look<T>(&self, look: impl FnOnce(&State) -> T) -> Result<T, StepError> {
        let slot = self.inner.state.lock().await;
        slot.as_ref().map(look).ok_or(StepError::Lost)
    }

    /// The time.
    pub(crate) fn now(&self) -> Timestamp {
        self.inner.clock.now()
    }

    /// The clock.
    pub(crate) fn clock(&self) -> &dyn Clock {
        &*self.inner.clock
    }

    /// What decisions depend on.
    pub(crate) fn settings(&self) -> &Settings {
        &self.inner.settings
    }

    /// The durable state.
    pub(crate) fn store(&self) -> &StateStore {
        &self.inner.store
    }

    /// The outbox.
    pub(crate) fn ledger(&self) -> &Ledger {
        &self.inner.ledger
    }

    /// Waits for the next step somebody takes.
    pub(crate) async fn stepped(&self) {
        self.inner.stepped.notified().await;
    }

    /// Tells of orders that have to be taken from the bus.
    pub(crate) fn withdrawals(&self) -> watch::Receiver<u64> {
        self.inner.to_withdraw.subscribe()
    }
}
