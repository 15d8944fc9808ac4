//! The loops that take messages from the bus: one transaction each, acknowledged when it is durable.

use std::sync::Arc;
use std::time::Duration;

use job_bus::{Bus, ConsumeError, Consumer, DeadLetter, Delivery, QueryError, QueryStream};
use job_events::subjects::{self, Service};
use job_events::{Envelope, Fact};
use job_model::{JobDetail, Region, TestRunId};
use message_ledger::Ledger;
use service_host::{Host, error_chain};
use state_store::StateStore;
use tracing::Instrument as _;

use crate::handlers::{self, Asked};
use crate::queries;
use crate::reading::Reading;
use crate::runs::{Draw, Rules};
use crate::timers::commit;

/// How long one pull waits for a message.
const PULL_WAIT: Duration = Duration::from_secs(20);
/// How long a loop waits after something failed.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// What every loop needs.
#[derive(Clone, Debug)]
pub(crate) struct Surroundings {
    pub(crate) state: StateStore,
    pub(crate) ledger: Ledger,
    pub(crate) rules: Rules,
    pub(crate) host: Host,
    pub(crate) bus: Bus,
    pub(crate) region: Region,
    pub(crate) reading: Reading,
}

/// What became of a message.
enum Handled {
    /// Its effect is durable.
    Done,
    /// Nobody will ever be able to handle it.
    Unreadable(String),
    /// It has to come again.
    Failed(String),
}

/// Takes requests until told to stop.
pub(crate) async fn requests(around: Arc<Surroundings>) {
    let stream = subjects::request_stream(&around.region);
    consume(&around, &stream, async |around, delivery| request(around, delivery).await).await;
}

/// Takes facts until told to stop.
pub(crate) async fn facts(around: Arc<Surroundings>) {
    let stream = subjects::fact_stream(&around.region);
    consume(&around, &stream, async |around, delivery| fact(around, delivery).await).await;
}

/// Begins to listen to queries, so that a verifier that calls itself ready answers.
pub(crate) async fn listen(around: &Surroundings) -> Result<QueryStream, QueryError> {
    around.bus.serve_queries(&subjects::queries_to(&around.region, Service::Verifier)).await
}

/// Answers queries until told to stop.
pub(crate) async fn queries(around: Arc<Surroundings>, mut stream: QueryStream) {
    loop {
        let incoming = tokio::select! {
            () = around.host.stop.cancelled() => return,
            incoming = stream.next() => incoming,
        };
        let Some(incoming) = incoming else {
            pause(&around).await;
            match listen(&around).await {
                Ok(again) => stream = again,
                Err(error) => tracing::warn!(error = error_chain(&error), "queries cannot be served, trying again"),
            }
            continue;
        };
        let answer = queries::answer(&around.state, &around.rules.account, &incoming.payload).await;
        // The answer is made of our own types, which always encode.
        let bytes = serde_json::to_vec(&answer).unwrap_or_default();
        if let Err(error) = incoming.respond(bytes).await {
            tracing::debug!(error = error_chain(&error), "an answer could not be sent");
        }
    }
}

async fn consume(around: &Surroundings, stream: &str, handle: impl AsyncFn(&Surroundings, &Delivery) -> Handled) {
    let mut consumer: Option<Consumer> = None;
    while !around.host.stop.is_cancelled() {
        let pulled = tokio::select! {
            () = around.host.stop.cancelled() => return,
            pulled = pull(around, stream, &mut consumer) => pulled,
        };
        match pulled {
            Ok(None) => {}
            Ok(Some(delivery)) => {
                let span = telemetry::process_span(&delivery.span_fields(), delivery.traceparent.as_deref());
                let handled = handle(around, &delivery).instrument(span.clone()).await;
                settle(around, stream, &delivery, handled).instrument(span).await;
            }
            Err(error) => {
                tracing::warn!(stream, error = error_chain(&error), "cannot take messages, trying again");
                consumer = None;
                pause(around).await;
            }
        }
    }
}

async fn pull(
    around: &Surroundings,
    stream: &str,
    consumer: &mut Option<Consumer>,
) -> Result<Option<Delivery>, ConsumeError> {
    let consumer = match consumer {
        Some(consumer) => consumer,
        none => none.insert(around.bus.consumer(stream, Service::Verifier.as_str()).await?),
    };
    consumer.next(PULL_WAIT).await
}

async fn settle(around: &Surroundings, stream: &str, delivery: &Delivery, handled: Handled) {
    let settled = match handled {
        Handled::Done => {
            around.ledger.kick();
            delivery.ack().await
        }
        Handled::Failed(reason) => {
            tracing::error!(subject = delivery.subject, reason, "message could not be handled, it comes again");
            delivery.retry_after(RETRY_AFTER).await
        }
        Handled::Unreadable(reason) => {
            let letter = DeadLetter::of_delivery(stream, delivery, &reason);
            match around.bus.bury(&around.region, Service::Verifier, &letter).await {
                Ok(_) => delivery.terminate(&reason).await,
                Err(error) => {
                    tracing::warn!(error = error_chain(&error), "dead letter cannot be buried, trying again");
                    delivery.retry_after(RETRY_AFTER).await
                }
            }
        }
    };
    if let Err(error) = settled {
        // It comes again and changes nothing then.
        tracing::debug!(error = error_chain(&error), "a message could not be settled");
    }
}

async fn request(around: &Surroundings, delivery: &Delivery) -> Handled {
    let (rules, region) = (around.rules.clone(), around.region.clone());
    let payload = delivery.payload.clone();
    if handlers::picks(&payload) {
        tokio::select! {
            () = around.reading.catch_up() => {}
            () = keep(around, delivery) => {}
        }
    }
    let now = around.host.clock.now();
    let draw = Draw { id: TestRunId::new(around.host.ids.uuid()), random: around.host.ids.random_u64() };
    let handled = commit(&around.state, move |tx| {
        handlers::handle_request(tx, &rules, &Asked { region: &region, payload: &payload, now, draw })
    });
    handled.await.map_or_else(|error| Handled::Failed(error_chain(&error)), |()| Handled::Done)
}

/// Keeps a delivery from coming again while it waits; never ends.
async fn keep(around: &Surroundings, delivery: &Delivery) {
    loop {
        around.host.clock.sleep(around.bus.timing().ack_wait / 4).await;
        if let Err(error) = delivery.in_progress().await {
            // Should it come again, it is recognised.
            tracing::debug!(subject = delivery.subject, %error, "a request that waits could not be kept");
        }
    }
}

async fn fact(around: &Surroundings, delivery: &Delivery) -> Handled {
    let fact = match Envelope::from_bytes(&delivery.payload).and_then(|envelope| envelope.fact()) {
        Ok(fact) => fact,
        // A newer service says more than this one knows; what concerns this one it says in words this one knows.
        Err(error @ job_events::DecodeError::UnknownType { .. }) => {
            tracing::debug!(subject = delivery.subject, %error, "fact of an unknown type");
            return Handled::Done;
        }
        Err(error) => return Handled::Unreadable(error_chain(&error)),
    };
    if !concerns_verifier(&fact) {
        return Handled::Done;
    }
    let (rules, now) = (around.rules.clone(), around.host.clock.now());
    let handled = commit(&around.state, move |tx| handlers::handle_fact(tx, &rules, fact, now)).await;
    handled.map_or_else(|error| Handled::Failed(error_chain(&error)), |()| Handled::Done)
}

/// Most facts are progress of others; they cost no transaction.
fn concerns_verifier(fact: &Fact) -> bool {
    match fact {
        Fact::JobChanged(changed) => {
            matches!(changed.job.detail, JobDetail::Restore { test_run: Some(_), .. } | JobDetail::Verification { .. })
        }
        Fact::JobNoted(noted) => matches!(noted.job.detail, JobDetail::Restore { validation: Some(_), .. }),
        Fact::RecoveryPointCreated(_)
        | Fact::RecoveryPointChanged(_)
        | Fact::RecoveryPointDeleted(_)
        | Fact::VerdictReached(_)
        | Fact::RequestAccepted(_)
        | Fact::RequestRejected(_) => true,
        _ => false,
    }
}

async fn pause(around: &Surroundings) {
    tokio::select! {
        () = around.host.stop.cancelled() => {}
        () = around.host.clock.sleep(RETRY_AFTER) => {}
    }
}
