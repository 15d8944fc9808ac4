//! Looks after what the bus may lose: orders that vanished, orders that nobody can settle, streams that lost their past,
//! and orders of jobs that were given up.

use std::collections::BTreeSet;
use std::time::Duration;

use job_bus::{ApiError, Bus, DeadLetter, PublishError, StoredMessage};
use job_events::Envelope;
use job_events::subjects::{self, Queue, Service};
use job_model::{JobId, Region};
use message_ledger::{Ledger, OutboxRow};
use telemetry::{KeyValue, metrics};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use crate::decide::lost;
use crate::shell::{Cause, Shell, StepError};
use crate::state::StreamRow;

/// Time between two looks.
const EVERY: Duration = Duration::from_secs(60);
/// Time before an order that is to be taken back is looked for.
const BREATH: Duration = Duration::from_millis(100);

/// The reconciler of one region.
#[derive(Clone, Debug)]
pub(crate) struct Reconciler {
    pub(crate) shell: Shell,
    pub(crate) bus: Bus,
    pub(crate) region: Region,
}

/// Why a look was not finished.
#[derive(Debug, thiserror::Error)]
enum LookError {
    /// The bus did not answer; the next look comes.
    #[error("cannot look into the streams")]
    Bus(#[from] ApiError),
    /// A dead letter could not be put aside; the next look comes.
    #[error("cannot put a dead letter aside")]
    Bury(#[from] PublishError),
    /// Nothing can be decided any more.
    #[error("cannot decide")]
    Step(#[from] StepError),
}

impl From<state_store::StoreError> for LookError {
    fn from(error: state_store::StoreError) -> Self {
        Self::Step(error.into())
    }
}

impl Reconciler {
    /// Looks at the start, every minute, and when an order is to be taken back.
    pub(crate) async fn run(self, stop: CancellationToken) -> Result<(), StepError> {
        let mut withdrawals = self.shell.withdrawals();
        while !stop.is_cancelled() {
            match self.look().instrument(tracing::debug_span!("reconcile", region = %self.region)).await {
                Ok(()) => {}
                Err(LookError::Step(error)) => return Err(error),
                Err(error) => {
                    tracing::warn!(region = %self.region, error = %service_host::error_chain(&error), "looking again later");
                }
            }
            tokio::select! {
                () = self.shell.clock().sleep(EVERY) => {}
                // The sender lives in the shell, so the wait cannot fail; a breath keeps a bus that refuses from being
                // asked without end.
                _ = withdrawals.changed() => self.shell.clock().sleep(BREATH).await,
                () = stop.cancelled() => {}
            }
        }
        Ok(())
    }

    async fn look(&self) -> Result<(), LookError> {
        self.streams().await?;
        self.stuck().await?;
        self.withdraw().await?;
        self.vanished().await
    }

    /// Streams that lost their past: every open order of theirs is published again.
    async fn streams(&self) -> Result<(), LookError> {
        let queues = Queue::ALL.map(|queue| queue.stream(&self.region));
        let others = [
            subjects::fact_stream(&self.region),
            subjects::request_stream(&self.region),
            subjects::control_stream(&self.region),
            subjects::assignment_stream(&self.region),
        ];
        for stream in queues.into_iter().chain(others) {
            let identity = match self.bus.stream_identity(&stream).await {
                Ok(identity) => identity,
                Err(error) if error.code() == Some(STREAM_NOT_FOUND) => {
                    if let Err(error) = self.bus.provision(&self.region).await {
                        tracing::error!(stream, error = %service_host::error_chain(&error), "a stream is gone and cannot be made again");
                        continue;
                    }
                    self.bus.stream_identity(&stream).await?
                }
                Err(error) => return Err(error.into()),
            };
            let seen = StreamRow {
                stream: stream.clone(),
                created_at: identity.created_at,
                last_sequence: identity.last_sequence,
            };
            let before = self.shell.look(|state| state.streams.get(&stream).cloned()).await?;
            if before.as_ref() == Some(&seen) {
                continue;
            }
            let reason = lost::reset_reason(before.as_ref(), &seen);
            // Only what tells of a loss is worth a commit each minute.
            let moved_on = before.is_some() && reason.is_none();
            if moved_on && !stream.starts_with("ORDERS-") {
                continue;
            }
            let reissued = match &reason {
                Some(reason) => {
                    tracing::error!(stream, reason, "a stream lost its past");
                    self.reissue_all(&stream).await?
                }
                None => 0,
            };
            let region = self.region.clone();
            self.shell
                .step(Cause::default(), move |step| lost::stream_seen(step, &region, seen, reissued, reason))
                .await?;
        }
        Ok(())
    }

    async fn reissue_all(&self, stream: &str) -> Result<u32, LookError> {
        let mut reissued = 0;
        for row in self.unconfirmed().await?.into_iter().filter(|row| row.outgoing.stream == stream) {
            reissued += u32::from(self.reissue(row.number).await?);
        }
        Ok(reissued)
    }

    async fn reissue(&self, row: u64) -> Result<bool, LookError> {
        let reissued = self.shell.store().transact(move |tx| Ledger::reissue(tx, row)).await;
        let reissued = reissued.map_err(|error| match error {
            state_store::TransactError::Refused(error) | state_store::TransactError::Store(error) => error,
        })?;
        self.shell.ledger().kick();
        Ok(reissued)
    }

    /// Orders of this region that the bus acknowledged and whose effect is not known.
    async fn unconfirmed(&self) -> Result<Vec<OutboxRow>, LookError> {
        let rows = self.shell.store().read(Ledger::unconfirmed).await?;
        Ok(rows.into_iter().filter(|row| row.outgoing.region == self.region).collect())
    }

    /// Messages that were delivered as often as the bus does and never settled: they block their subject.
    async fn stuck(&self) -> Result<(), LookError> {
        let queues = Queue::ALL.map(|queue| (queue.stream(&self.region), queue.service()));
        let requests = (subjects::request_stream(&self.region), Service::Planner);
        for (stream, service) in queues.into_iter().chain([requests]) {
            for stuck in self.bus.sweep_stuck(&stream, service.as_str()).await? {
                let letter = DeadLetter::of_stuck(&stuck);
                tracing::error!(subject = %letter.subject, reason = %letter.reason, "a message is put among the dead letters");
                self.bus.bury(&self.region, service, &letter).await?;
                let attributes =
                    [KeyValue::new("service", service.as_str()), KeyValue::new("region", self.region.to_string())];
                metrics().dead_letters.add(1, &attributes);
                if let Some(job) = job_of(&stuck.message) {
                    let deliveries = stuck.deliveries;
                    self.shell.step(Cause::default(), move |step| lost::order_stuck(step, job, deliveries)).await?;
                }
                // Last: whatever dies before comes here again.
                self.bus.remove_message(&stream, stuck.message.sequence).await?;
            }
        }
        Ok(())
    }

    /// Orders of jobs that were given up: nobody shall take them any more.
    async fn withdraw(&self) -> Result<(), LookError> {
        let here = |row: &&crate::state::JobRow| row.job.region == self.region;
        let jobs: BTreeSet<JobId> = self
            .shell
            .look(|state| state.to_withdraw().into_iter().filter(here).map(|row| row.job.id).collect())
            .await?;
        if jobs.is_empty() {
            return Ok(());
        }
        for queue in Queue::ALL {
            let stream = queue.stream(&self.region);
            for sequence in self.orders_of(&stream, &jobs).await? {
                self.bus.remove_message(&stream, sequence).await?;
            }
        }
        for job in jobs {
            self.shell.step(Cause::default(), move |step| lost::withdrawn(step, job)).await?;
        }
        Ok(())
    }

    /// Sequences of the orders of these jobs in a stream.
    async fn orders_of(&self, stream: &str, jobs: &BTreeSet<JobId>) -> Result<Vec<u64>, LookError> {
        let mut found = Vec::new();
        let identity = self.bus.stream_identity(stream).await?;
        let mut sequence = identity.first_sequence.max(1);
        while sequence <= identity.last_sequence {
            if let Some(message) = self.bus.message(stream, sequence).await?
                && job_of(&message).is_some_and(|job| jobs.contains(&job))
            {
                found.push(message.sequence);
            }
            sequence += 1;
        }
        Ok(found)
    }

    /// Orders of silent jobs that are not on their subject any more.
    async fn vanished(&self) -> Result<(), LookError> {
        let now = self.shell.now();
        let silence = self.shell.settings().silence;
        let silent: BTreeSet<JobId> =
            self.shell.look(|state| lost::silent(state, silence, now).into_iter().collect()).await?;
        if silent.is_empty() {
            return Ok(());
        }
        for row in self.unconfirmed().await? {
            let Some(job) = row.outgoing.job.filter(|job| silent.contains(job)) else { continue };
            let there = self.bus.last_on_subject(&row.outgoing.stream, &row.outgoing.subject).await?;
            if there.as_ref().and_then(job_of) == Some(job) {
                continue;
            }
            let again = self.shell.step(Cause::default(), move |step| lost::order_lost(step, job)).await?;
            if again == Some(true) {
                tracing::warn!(job.id = %job, subject = %row.outgoing.subject, "an order vanished from its queue; issued again");
                self.reissue(row.number).await?;
            }
        }
        Ok(())
    }
}

/// NATS's error code for a stream that does not exist.
const STREAM_NOT_FOUND: u64 = 10059;

/// The job an order is for; none for what is no order.
fn job_of(message: &StoredMessage) -> Option<JobId> {
    Some(Envelope::from_bytes(&message.payload).ok()?.order().ok()?.header().job_id)
}
