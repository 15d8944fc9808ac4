//! The life of one attempt, from the delivery to its settling.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use job_bus::{DeadLetter, Delivery};
use job_events::{AttemptProgressed, AttemptStarted, Disposition, Envelope, Fact, OrderBody, OrderHeader};
use job_model::{FailureCode, Progress, resource_key};
use message_ledger::Ledger;
use state_store::StoreError;
use telemetry::{KeyValue, MessageSpan};
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinHandle;
use tracing::Instrument;

use crate::attempt::store_error;
use crate::claim::{self, Claim, Wanted};
use crate::ending::{Ending, decide};
use crate::heartbeat::{Keeper, Kept};
use crate::intake::{self, Intake};
use crate::record::{self, AttemptKey, Known};
use crate::runner::Shared;
use crate::telling::Telling;
use crate::{Attempt, AttemptControl, StopReason, Work, WorkFailure, failpoint};

/// Progress is told at most this often.
const PROGRESS_EVERY: Duration = Duration::from_secs(2);
/// An order that was taken up this often without an end kills its workers, or is given back for ever.
const DELIVERIES_MAX: u64 = 15;
/// After a failure of bus or store on the way of an order.
const RETRY_AFTER: Duration = Duration::from_secs(10);

/// Why an order was not brought to an end in this process; it comes again.
#[derive(Debug, thiserror::Error)]
enum Interrupted {
    #[error("cannot keep the state of an order")]
    Store(#[from] StoreError),
    #[error("cannot put an order among the dead letters")]
    Bury(#[from] job_bus::PublishError),
    #[error("cannot settle an order")]
    Settle(#[from] job_bus::SettleError),
    #[error("cannot get an epoch to speak with")]
    Epoch(#[from] job_bus::LeaseError),
    #[error("cannot see whether an order is still open")]
    Look(#[from] job_bus::ApiError),
    #[error("cannot write a fact as JSON")]
    Encode(#[from] serde_json::Error),
    #[error("the worker is told to end at once")]
    HardStop,
    #[error("lease or delivery is lost")]
    Lost,
}

/// One order in hand.
struct Life<W: ?Sized> {
    shared: Arc<Shared>,
    work: Arc<W>,
    delivery: Arc<Delivery>,
    slot: Option<OwnedSemaphorePermit>,
}

/// An order that was read.
struct Order {
    envelope: Box<Envelope>,
    header: OrderHeader,
    key: AttemptKey,
    lease_key: String,
    /// `Err`: it is not to be carried out, and this is why.
    body: Result<Box<OrderBody>, WorkFailure>,
}

/// Handles one delivery to its end.
pub(crate) async fn live(shared: Arc<Shared>, work: Arc<dyn Work>, delivery: Delivery, slot: OwnedSemaphorePermit) {
    let delivery = Arc::new(delivery);
    let read = intake::read(&delivery.payload, shared.queue, &shared.region);
    let job = match &read {
        Intake::Order { body, .. } => Some(body.header().job_id.to_string()),
        Intake::Senseless { header, .. } => Some(header.job_id.to_string()),
        Intake::Unreadable { .. } => None,
    };
    let fields = MessageSpan { job_id: job.as_deref(), ..delivery.span_fields() };
    let span = telemetry::process_span(&fields, delivery.traceparent.as_deref());
    let mut life = Life { shared, work, delivery: Arc::clone(&delivery), slot: Some(slot) };
    let ended = life.handle(read).instrument(span).await;
    match ended {
        Ok(()) => {}
        Err(Interrupted::Lost) => {
            tracing::error!(job.id = job, "attempt broken off: lease or delivery is lost, another worker takes it up");
        }
        Err(error) => {
            let delay = if matches!(error, Interrupted::HardStop) { Duration::ZERO } else { RETRY_AFTER };
            let cause = service_host::error_chain(&error);
            tracing::warn!(job.id = job, error = cause, "order given back");
            if let Err(error) = delivery.retry_after(delay).await {
                tracing::debug!(%error, "the order comes again by itself");
            }
        }
    }
}

impl Life<dyn Work> {
    async fn handle(&mut self, read: Intake) -> Result<(), Interrupted> {
        let (envelope, header, body) = match read {
            Intake::Unreadable { problem } => {
                self.bury(&problem).await?;
                return Ok(self.delivery.terminate(&problem).await?);
            }
            Intake::Senseless { envelope, header, problem } => {
                self.bury(&problem).await?;
                (envelope, *header, Err(WorkFailure::new(FailureCode::OrderInvalid, problem)))
            }
            Intake::Order { envelope, body } => (envelope, body.header().clone(), Ok(body)),
        };
        let key = AttemptKey { job: header.job_id, number: header.attempt };
        let mut order = Order { lease_key: resource_key(&header.resource), envelope, header, key, body };
        if order.body.is_ok() && self.delivery.delivered > DELIVERIES_MAX {
            self.bury("taken up too often without an end").await?;
            let message = format!("taken up {} times without an end; see the workers' logs", self.delivery.delivered);
            order.body =
                Err(WorkFailure { disposition: Disposition::Fail, ..WorkFailure::new(FailureCode::Internal, message) });
        }
        match self.look_up(&order).await? {
            Known::Open => self.open(order).await,
            known => self.settle_known(known).await,
        }
    }

    async fn look_up(&self, order: &Order) -> Result<Known, Interrupted> {
        let (key, generation) = (order.key, order.envelope.generation);
        let region = self.shared.region.to_string();
        Ok(self.shared.store.read(move |tx| record::look_up(tx, key, &region, generation)).await?)
    }

    /// An order that is not to be carried out again.
    async fn settle_known(&self, known: Known) -> Result<(), Interrupted> {
        match known {
            Known::Ended(result) => {
                tracing::info!("telling the result of an order again that was carried out before");
                telemetry::metrics().inbox_duplicates.add(1, &[KeyValue::new("service", self.shared.service())]);
                let at = self.shared.clock.now();
                let row = self.shared.store.transact(move |tx| Ledger::enqueue(tx, &result, at)).await;
                self.wait_published(row.map_err(store_error)?).await?;
                Ok(self.delivery.ack().await?)
            }
            Known::Superseded(reason) => {
                tracing::warn!(reason, "order dropped");
                Ok(self.delivery.terminate(&reason).await?)
            }
            Known::Open => Ok(()),
        }
    }

    /// An order that is to be brought to its end.
    async fn open(&mut self, order: Order) -> Result<(), Interrupted> {
        let control = Arc::new(AttemptControl::new(Duration::MAX));
        let _registered = self.shared.stops.register(order.key.job, &control);
        let keeper = Keeper::start(Kept {
            bus: self.shared.bus.clone(),
            clock: Arc::clone(&self.shared.clock),
            region: self.shared.region.clone(),
            job: order.key.job,
            deadline: order.header.deadline,
            delivery: Arc::clone(&self.delivery),
            control: Arc::clone(&control),
            soft_stop: self.shared.stop.clone(),
            drain: self.shared.drain,
        });
        let hard_stop = self.shared.hard_stop.clone();
        let result = tokio::select! {
            biased;
            result = self.carry(&order, &keeper, &control) => result,
            () = hard_stop.cancelled() => Err(Interrupted::HardStop),
        };
        control.stop(StopReason::Shutdown);
        let lease = keeper.finish().await;
        // After a hard stop something of the work may still be running: the lease has to run out by itself.
        if let (Some(lease), false) = (lease, matches!(result, Err(Interrupted::HardStop | Interrupted::Lost)))
            && let Err(error) = lease.release().await
        {
            tracing::debug!(%error, "the lease runs out by itself");
        }
        result
    }

    async fn carry(
        &mut self,
        order: &Order,
        keeper: &Keeper,
        control: &Arc<AttemptControl>,
    ) -> Result<(), Interrupted> {
        let body = match &order.body {
            Ok(body) => body.clone(),
            Err(failure) => return self.end_unbegun(order, Err(failure.clone()), None).await,
        };
        if self.shared.bus.stop_requested(&self.shared.region, order.key.job).await.unwrap_or(false) {
            control.stop(StopReason::Requested);
        }
        if order.header.deadline.is_some_and(|deadline| deadline <= self.shared.clock.now()) {
            control.stop(StopReason::DeadlinePassed);
        }
        let lease_key = order.lease_key.clone();
        let floor = self.shared.store.read(move |tx| record::highest_epoch(tx, &lease_key)).await?;
        let wanted = Wanted {
            region: &self.shared.region,
            key: &order.lease_key,
            worker: &self.shared.worker,
            job: order.key.job,
            floor,
        };
        let slot = &mut self.slot;
        let lease = match claim::claim(&self.shared.bus, &wanted, control, || drop(slot.take())).await {
            Claim::Leased(lease) => lease,
            Claim::Stopped(reason) => return self.end_unbegun(order, Err(WorkFailure::stopped()), Some(reason)).await,
        };
        let epoch = lease.epoch();
        keeper.take(lease, control, self.shared.bus.timing().lease_ttl).await;
        // A delivery that was long on its way may be settled by now; its last holder settled it before it gave the lease
        // back.
        let stream = self.shared.queue.stream(&self.shared.region);
        if !self.shared.bus.is_stored(&stream, self.delivery.sequence).await? {
            tracing::info!(job.id = %order.key.job, "order was settled by another worker");
            return Ok(());
        }
        if self.slot.is_none() {
            self.slot = self.shared.slot(control).await;
        }
        let span = tracing::Span::current();
        let traceparent = telemetry::traceparent_of(&span).or_else(|| order.envelope.traceparent.clone());
        let attempt = Attempt::new(
            order.key,
            epoch,
            self.shared.worker.clone(),
            traceparent,
            Arc::clone(control),
            self.shared.store.clone(),
        );
        match self.begin(order, &attempt).await? {
            Known::Open => {}
            known => return self.settle_known(known).await,
        }
        let outcome = match control.stop_reason() {
            // Told to stop while it waited: the work is not even begun.
            Some(_) => Err(WorkFailure::stopped()),
            None => self.run(order, body, &attempt).await?,
        };
        let at = self.shared.clock.now();
        let ending = decide(outcome, control.stop_reason(), attempt.header(at), control.progress());
        self.end(order, &attempt, ending, at).await
    }

    /// Writes down that the attempt runs, and that fact.
    async fn begin(&self, order: &Order, attempt: &Attempt) -> Result<Known, Interrupted> {
        let at = self.shared.clock.now();
        let started = Fact::from(AttemptStarted { attempt: attempt.header(at) });
        let telling = self.telling(order, attempt.traceparent(), attempt.epoch());
        let (key, epoch, generation) = (order.key, attempt.epoch(), order.envelope.generation);
        let (order_id, lease_key) = (order.envelope.id.clone(), order.lease_key.clone());
        let region = self.shared.region.to_string();
        let fact = telling.outgoing(&started, 1, at)?;
        let begun = self.shared.store.transact(move |tx| {
            let known = record::look_up(tx, key, &region, generation)?;
            if known == Known::Open {
                record::note_generation(tx, &region, generation)?;
                record::note_epoch(tx, &lease_key, epoch)?;
                record::begin(tx, key, &order_id, epoch, at)?;
                record::next_fact(tx, key, epoch)?;
                Ledger::enqueue(tx, &fact, at)?;
            }
            Ok(known)
        });
        let known = begun.await.map_err(store_error)?;
        self.shared.ledger.kick();
        Ok(known)
    }

    /// Lets the work run, and tells its progress meanwhile.
    async fn run(
        &self,
        order: &Order,
        body: Box<OrderBody>,
        attempt: &Attempt,
    ) -> Result<Result<Fact, WorkFailure>, Interrupted> {
        failpoint::before_effect().await;
        let labels = self.labels(order);
        let metrics = telemetry::metrics();
        metrics.job_attempts.add(1, &labels);
        metrics.jobs_active.add(1, &labels);
        let mut running = Running::start(Arc::clone(&self.work), body, attempt.clone(), labels.to_vec());
        let mut told = Progress::default();
        let mut telling: Option<JoinHandle<()>> = None;
        let mut tick = tokio::time::interval(PROGRESS_EVERY);
        tick.tick().await;
        let outcome = loop {
            tokio::select! {
                outcome = &mut running.task => break outcome,
                _ = tick.tick() => {
                    let progress = attempt.control().progress();
                    let free = telling.as_ref().is_none_or(JoinHandle::is_finished);
                    let lost = attempt.control().stop_reason() == Some(StopReason::LostLease);
                    if free && !lost && progress != told {
                        told = progress;
                        telling = self.tell_progress(order, attempt, progress).await?;
                    }
                }
            }
        };
        let outcome = outcome.unwrap_or_else(|error| {
            Err(WorkFailure::new(FailureCode::Internal, format!("the work on the order panicked: {error}")))
        });
        if outcome.is_ok() {
            failpoint::after_effect_before_result();
        }
        Ok(outcome)
    }

    /// Writes progress down to be told; the handle ends when it is.
    async fn tell_progress(
        &self,
        order: &Order,
        attempt: &Attempt,
        progress: Progress,
    ) -> Result<Option<JoinHandle<()>>, Interrupted> {
        let at = self.shared.clock.now();
        let fact = Fact::from(AttemptProgressed { attempt: attempt.header(at), progress });
        let telling = self.telling(order, attempt.traceparent(), attempt.epoch());
        let (key, epoch) = (order.key, attempt.epoch());
        // Numbers are part of subject and id; the final one is known in the transaction only.
        let template = telling.outgoing(&fact, 0, at)?;
        let row = self.shared.store.transact(move |tx| match record::next_fact(tx, key, epoch)? {
            Some(n) => Ledger::enqueue(tx, &telling.numbered(template, n), at).map(Some),
            None => Ok(None),
        });
        let row = row.await.map_err(store_error)?;
        let ledger = self.shared.ledger.clone();
        Ok(row.map(|row| {
            tokio::spawn(async move {
                if let Err(error) = ledger.published(row).await {
                    tracing::debug!(%error, "cannot see whether progress was told");
                }
            })
        }))
    }

    /// Keeps the result, tells it, and settles.
    async fn end(&self, order: &Order, attempt: &Attempt, ending: Ending, at: Timestamp) -> Result<(), Interrupted> {
        let (fact, forget_checkpoint, outcome) = match ending {
            Ending::Tell { fact, forget_checkpoint, outcome } => (fact, forget_checkpoint, outcome),
            Ending::GiveBack => {
                tracing::info!(job.id = %order.key.job, "attempt given back, another worker goes on");
                return Ok(self.delivery.retry_after(Duration::ZERO).await?);
            }
            Ending::Silence => {
                telemetry::metrics().lease_lost.add(1, &self.labels(order));
                return Err(Interrupted::Lost);
            }
        };
        let telling = self.telling(order, attempt.traceparent(), attempt.epoch());
        let (key, epoch) = (order.key, attempt.epoch());
        let template = telling.outgoing(&fact, 0, at)?;
        let row = self.shared.store.transact(move |tx| match record::next_fact(tx, key, epoch)? {
            Some(n) => record::end(tx, key, &telling.numbered(template, n), forget_checkpoint, at).map(Some),
            None => Ok(None),
        });
        // None: this process took the order up again under a later epoch, which speaks for it now.
        let Some(row) = row.await.map_err(store_error)? else { return Err(Interrupted::Lost) };
        self.count_end(order, outcome, at);
        self.wait_published(row).await?;
        failpoint::after_result_before_ack();
        if attempt.control().guard().is_err() {
            // Whoever has the order now settles it; the result is told already.
            return Err(Interrupted::Lost);
        }
        Ok(self.delivery.ack().await?)
    }

    /// An attempt that ends before its work began. It has no lease on the resource; its epoch comes from a lease of its
    /// own, so that it is above every earlier epoch of the job.
    async fn end_unbegun(
        &self,
        order: &Order,
        outcome: Result<Fact, WorkFailure>,
        reason: Option<StopReason>,
    ) -> Result<(), Interrupted> {
        match reason {
            Some(StopReason::Shutdown) => return Ok(self.delivery.retry_after(Duration::ZERO).await?),
            Some(StopReason::LostLease) => return Err(Interrupted::Lost),
            _ => {}
        }
        let key = format!("job-{}", order.key.job);
        let lease_key = order.lease_key.clone();
        let floor = self.shared.store.read(move |tx| record::highest_epoch(tx, &lease_key)).await?;
        let (region, worker) = (&self.shared.region, self.shared.worker.as_str());
        let wanted = Wanted { region, key: &key, worker, job: order.key.job, floor };
        let lease = claim::try_once(&self.shared.bus, &wanted).await?;
        let control = Arc::new(AttemptControl::new(lease.valid_until()));
        let attempt = Attempt::new(
            order.key,
            lease.epoch(),
            self.shared.worker.clone(),
            telemetry::current_traceparent().or_else(|| order.envelope.traceparent.clone()),
            control,
            self.shared.store.clone(),
        );
        let at = self.shared.clock.now();
        let (order_id, attempt_key, epoch) = (order.envelope.id.clone(), order.key, lease.epoch());
        let begun = self.shared.store.transact(move |tx| record::begin(tx, attempt_key, &order_id, epoch, at));
        begun.await.map_err(store_error)?;
        let ending = decide(outcome, reason, attempt.header(at), Progress::default());
        let ended = self.end(order, &attempt, ending, at).await;
        if let Err(error) = lease.release().await {
            tracing::debug!(%error, "the lease runs out by itself");
        }
        ended
    }

    async fn wait_published(&self, row: u64) -> Result<(), Interrupted> {
        Ok(self.shared.ledger.published(row).await?)
    }

    async fn bury(&self, problem: &str) -> Result<(), Interrupted> {
        let stream = self.shared.queue.stream(&self.shared.region);
        let letter = DeadLetter::of_delivery(&stream, &self.delivery, problem);
        tracing::error!(subject = self.delivery.subject, problem, "order put among the dead letters");
        self.shared.bus.bury(&self.shared.region, self.shared.queue.service(), &letter).await?;
        let region = KeyValue::new("region", self.shared.region.to_string());
        telemetry::metrics().dead_letters.add(1, &[KeyValue::new("service", self.shared.service()), region]);
        Ok(())
    }

    fn telling(&self, order: &Order, traceparent: Option<&str>, epoch: u64) -> Telling {
        Telling {
            source: self.shared.ledger.source().to_owned(),
            shared: Arc::clone(&self.shared),
            key: order.key,
            epoch,
            order_id: order.envelope.id.clone(),
            generation: order.envelope.generation,
            traceparent: traceparent.map(str::to_owned),
        }
    }

    fn labels(&self, order: &Order) -> [KeyValue; 2] {
        let kind = order.body.as_ref().map_or("senseless", |body| body.name());
        [KeyValue::new("kind", kind), KeyValue::new("region", self.shared.region.to_string())]
    }

    fn count_end(&self, order: &Order, outcome: &'static str, at: Timestamp) {
        let [kind, region] = self.labels(order);
        let labels = [kind, KeyValue::new("outcome", outcome), region];
        let metrics = telemetry::metrics();
        metrics.jobs_ended.add(1, &labels);
        let took = at.duration_since(order.header.issued_at).as_secs_f64();
        metrics.job_duration.record(took.max(0.0), &labels);
        tracing::info!(job.id = %order.key.job, attempt = order.key.number, outcome, "attempt ended");
    }
}

/// Work that runs; ends with its handle.
struct Running {
    task: JoinHandle<Result<Fact, WorkFailure>>,
    labels: Vec<KeyValue>,
}

impl Running {
    fn start(work: Arc<dyn Work>, body: Box<OrderBody>, attempt: Attempt, labels: Vec<KeyValue>) -> Self {
        let task = tokio::spawn(async move { work.run(&body, &attempt).await }.in_current_span());
        Self { task, labels }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
        telemetry::metrics().jobs_active.add(-1, &self.labels);
    }
}
