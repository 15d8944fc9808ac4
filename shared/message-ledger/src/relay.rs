//! Publishing what was written down.
//!
//! One loop per region, so that a region which is away does not slow the others. Each round reads the next messages, sends
//! the lanes side by side and each lane in order, and takes note of all acknowledgements in one transaction.

use std::collections::BTreeSet;
use std::time::Duration;

use job_bus::Published;
use job_model::Region;
use state_store::{StoreError, TransactError};
use telemetry::{KeyValue, MessageSpan, publish_span, traceparent_of};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::failpoint;
use crate::lane::{AWAY, BUSY, Lane, Waits, delay, into_lanes};
use crate::ledger::{Ledger, Line};
use crate::outbox::{self, OutboxRow};
use crate::publisher::{PublishFailure, Publisher};

/// The relay looks this often without being kicked.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How often the depth is reported.
const REPORT_EVERY: Duration = Duration::from_secs(5);

/// Messages sent per round.
const ROUND: usize = 128;

/// What became of a lane in one round.
struct Sent {
    lane: Lane,
    published: Vec<(OutboxRow, Published)>,
    failed: Option<(OutboxRow, PublishFailure)>,
}

/// What a round came to.
#[derive(Default)]
struct Round {
    published: usize,
    unreachable: bool,
}

impl Ledger {
    /// Publishes until `stop` is cancelled or the store fails. Run it once per ledger, and stop it last: whoever waits in
    /// [`Ledger::published`] waits for it. Messages that are under way when it stops are published again by the next one.
    pub async fn relay(&self, stop: CancellationToken) {
        let mut loops = JoinSet::new();
        loops.spawn({
            let (ledger, stop) = (self.clone(), stop.clone());
            async move { ledger.report(stop).await }
        });
        let regions: Vec<_> = self.inner.lines.keys().cloned().collect();
        for region in regions {
            let (ledger, stop) = (self.clone(), stop.clone());
            loops.spawn(async move { ledger.relay_region(&region, stop).await });
        }
        while let Some(ended) = loops.join_next().await {
            if let Err(error) = ended
                && error.is_panic()
            {
                std::panic::resume_unwind(error.into_panic());
            }
        }
    }

    /// Reports how much waits, and messages for regions without a bus: those would wait for ever.
    async fn report(&self, stop: CancellationToken) {
        let service = self.source().split('/').nth(2).unwrap_or_default().to_owned();
        let attributes = [KeyValue::new("service", service)];
        let mut told = BTreeSet::new();
        loop {
            let Ok(regions) = self.inner.store.read(outbox::depth_by_region).await else { return };
            let depth: u64 = regions.values().sum();
            telemetry::metrics().outbox_depth.record(depth, &attributes);
            for (region, pending) in regions {
                if !self.inner.lines.keys().any(|known| known.as_str() == region) && told.insert(region.clone()) {
                    tracing::error!(region, pending, "messages wait for a region without a bus; configure its url");
                }
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(REPORT_EVERY) => {}
            }
        }
    }

    async fn relay_region(&self, region: &Region, stop: CancellationToken) {
        let Some(line) = self.inner.lines.get(region) else { return };
        let mut waits = Waits::default();
        let mut failures = 0;
        loop {
            let round = tokio::select! {
                () = stop.cancelled() => return,
                round = self.round(region, line, &mut waits) => round,
            };
            let now = Instant::now();
            let pause = match round {
                // There may be more, and whoever enqueued it has kicked already.
                Ok(Round { published, unreachable: false }) if published > 0 => {
                    failures = 0;
                    continue;
                }
                Ok(Round { unreachable: false, .. }) => {
                    failures = 0;
                    None
                }
                Ok(Round { unreachable: true, .. }) => {
                    failures += 1;
                    Some(delay(AWAY, failures, self.random()))
                }
                Err(error @ (StoreError::Failed { .. } | StoreError::Closed { .. })) => {
                    tracing::info!(%region, %error, "the relay ends with its store");
                    return;
                }
                Err(error) => {
                    failures += 1;
                    let pause = delay(AWAY, failures, self.random());
                    tracing::error!(%region, %error, pause_ms = pause.as_millis(), "the outbox cannot be read");
                    Some(pause)
                }
            };
            waits.forget(now);
            let next = waits.next_due(now).unwrap_or(now + LOOK_EVERY).min(now + LOOK_EVERY);
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep_until(pause.map_or(next, |pause| now + pause)) => {}
                // A kick says that there is something new, not that the bus is back.
                () = line.kicked.notified(), if pause.is_none() => {}
            }
        }
    }

    async fn round(&self, region: &Region, line: &Line, waits: &mut Waits) -> Result<Round, StoreError> {
        let held = waits.held(Instant::now());
        let wanted = region.clone();
        let pending =
            self.inner.store.read(move |tx| outbox::next(tx, &wanted, |lane| held.contains(lane), ROUND)).await?;
        if pending.is_empty() {
            return Ok(Round::default());
        }
        failpoint::after_barrier_before_publish();
        let mut sending = JoinSet::new();
        for (lane, rows) in into_lanes(pending) {
            let publisher = line.publisher.clone();
            sending.spawn(async move {
                let mut sent = Sent { lane, published: Vec::new(), failed: None };
                for row in rows {
                    let answer = send(publisher.as_ref(), &row).await;
                    match answer {
                        Ok(published) => sent.published.push((row, published)),
                        Err(failure) => {
                            sent.failed = Some((row, failure));
                            break;
                        }
                    }
                }
                sent
            });
        }
        let mut round = Round::default();
        let mut marks = Vec::new();
        while let Some(ended) = sending.join_next().await {
            let sent = match ended {
                Ok(sent) => sent,
                Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                // The runtime shuts down.
                Err(_) => continue,
            };
            round.unreachable |= matches!(sent.failed, Some((_, PublishFailure::Unreachable(_))));
            self.note(region, &sent, waits);
            marks.extend(sent.published.iter().map(|(row, done)| (row.number, row.reissued, done.sequence)));
        }
        round.published = marks.len();
        if !marks.is_empty() {
            failpoint::after_puback_before_mark();
            self.mark(marks).await?;
        }
        Ok(round)
    }

    async fn mark(&self, marks: Vec<(u64, u32, u64)>) -> Result<(), StoreError> {
        let marked = self.inner.store.transact(move |tx| {
            marks
                .into_iter()
                .try_for_each(|(row, reissued, sequence)| outbox::mark_published(tx, row, reissued, sequence))
        });
        match marked.await {
            Ok(()) => {
                self.inner.acknowledged.send_modify(|count| *count = count.wrapping_add(1));
                Ok(())
            }
            Err(TransactError::Refused(error) | TransactError::Store(error)) => Err(error),
        }
    }

    fn note(&self, region: &Region, sent: &Sent, waits: &mut Waits) {
        let now = Instant::now();
        if !sent.published.is_empty() {
            waits.succeeded(&sent.lane);
        }
        let Some((row, failure)) = &sent.failed else { return };
        let (subject, id) = (&row.outgoing.subject, &row.outgoing.envelope.id);
        let pace = if matches!(failure, PublishFailure::Busy) { BUSY } else { AWAY };
        let wait = waits.failed(sent.lane.clone(), pace, now, self.random());
        let wait_ms = wait.as_millis();
        match failure {
            PublishFailure::Busy => tracing::debug!(%region, subject, id, wait_ms, "the subject is busy"),
            PublishFailure::Unreachable(cause) => {
                tracing::warn!(%region, subject, id, wait_ms, %cause, "no answer of the bus; trying again with the same id");
            }
            PublishFailure::Refused(cause) => {
                tracing::error!(%region, subject, id, wait_ms, %cause, "the bus refused a message; trying again");
            }
        }
    }
}

/// Publishes one row inside a span that belongs to the story of whoever wrote it.
async fn send(publisher: &dyn Publisher, row: &OutboxRow) -> Result<Published, PublishFailure> {
    let mut message = row.publish().map_err(|error| PublishFailure::Refused(Box::new(error)))?;
    let job = row.outgoing.job.map(|job| job.to_string());
    let named = MessageSpan {
        subject: &message.subject,
        stream: Some(&message.expect_stream),
        message_id: Some(&message.id),
        job_id: job.as_deref(),
        body_size: Some(message.payload.len()),
        ..MessageSpan::default()
    };
    let span = publish_span(&named, message.traceparent.as_deref());
    message.traceparent = traceparent_of(&span).or(message.traceparent);
    let begun = Instant::now();
    let answer = publisher.publish(&message).instrument(span.clone()).await;
    let mut attributes = vec![KeyValue::new("messaging.operation.name", "publish")];
    if let Err(failure) = &answer {
        span.record("error.type", failure.kind());
        attributes.push(KeyValue::new("error.type", failure.kind()));
    }
    telemetry::metrics().sent_messages.add(1, &attributes);
    telemetry::metrics().client_operation_duration.record(begun.elapsed().as_secs_f64(), &attributes);
    answer
}
