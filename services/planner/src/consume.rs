//! Listens to the requests and facts of a region: decode, one step, acknowledge.

use std::time::Duration;

use job_bus::{Bus, ConsumeError, Consumer, DeadLetter, Delivery};
use job_events::subjects::{self, Service};
use job_events::{Envelope, Fact};
use job_model::Region;
use telemetry::{MessageSpan, process_span};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use crate::handlers::{self, Incoming};
use crate::shell::{Cause, Shell, StepError};

/// How long one pull waits for a message.
const PULL: Duration = Duration::from_secs(20);
/// How long to wait after a pull failed.
const PAUSE: Duration = Duration::from_secs(1);

/// What is listened to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Feed {
    /// Requests to the planner.
    Requests,
    /// Facts of everybody.
    Facts,
}

/// One feed of one region.
#[derive(Clone, Debug)]
pub(crate) struct Listener {
    pub(crate) shell: Shell,
    pub(crate) bus: Bus,
    pub(crate) region: Region,
    pub(crate) feed: Feed,
}

impl Listener {
    /// Listens until told to stop. Trouble with the bus is waited out; only a step that cannot be committed ends it.
    pub(crate) async fn run(self, stop: CancellationToken) -> Result<(), StepError> {
        let mut consumer: Option<Consumer> = None;
        while !stop.is_cancelled() {
            let taken = tokio::select! {
                taken = self.take(&mut consumer) => taken,
                () = stop.cancelled() => break,
            };
            match taken {
                Ok(Some(delivery)) => self.handle(delivery).await?,
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(region = %self.region, feed = ?self.feed, error = %service_host::error_chain(&error), "cannot listen; trying again");
                    if matches!(error, ConsumeError::Missing { .. }) {
                        self.provision().await;
                    }
                    consumer = None;
                    tokio::select! {
                        () = self.shell.clock().sleep(PAUSE) => {}
                        () = stop.cancelled() => {}
                    }
                }
            }
        }
        Ok(())
    }

    fn stream(&self) -> String {
        match self.feed {
            Feed::Requests => subjects::request_stream(&self.region),
            Feed::Facts => subjects::fact_stream(&self.region),
        }
    }

    async fn take(&self, consumer: &mut Option<Consumer>) -> Result<Option<Delivery>, ConsumeError> {
        let known = match consumer.take() {
            Some(known) => known,
            None => self.bus.consumer(&self.stream(), Service::Planner.as_str()).await?,
        };
        consumer.insert(known).next(PULL).await
    }

    /// A stream that is gone is made again; the reconciler tells of it.
    async fn provision(&self) {
        if let Err(error) = self.bus.provision(&self.region).await {
            tracing::error!(region = %self.region, error = %service_host::error_chain(&error), "cannot provision the region");
        }
    }

    async fn handle(&self, delivery: Delivery) -> Result<(), StepError> {
        let stream = self.stream();
        let message = MessageSpan {
            subject: &delivery.subject,
            stream: Some(&stream),
            consumer: Some(Service::Planner.as_str()),
            message_id: delivery.message_id.as_deref(),
            job_id: None,
            body_size: Some(delivery.payload.len()),
            sequence: Some(delivery.sequence),
            delivered: Some(delivery.delivered),
        };
        match self.feed {
            Feed::Requests => {
                let token = format!("{stream}-{}", delivery.sequence);
                let (incoming, envelope) = Incoming::read(self.region.clone(), &delivery.payload, &token);
                let parent = envelope.as_ref().and_then(|e| e.traceparent.clone()).or(delivery.traceparent.clone());
                let span = process_span(&message, parent.as_deref());
                // Requests are recognised by the answer they got, which is told again, not by the inbox.
                let cause = Cause { inbox: None, causation: envelope.map(|envelope| envelope.id) };
                let step = self.shell.step(cause, move |step| handlers::request(step, &incoming));
                step.instrument(span).await?;
            }
            Feed::Facts => {
                if delivery.subject.starts_with(&own_facts(&self.region)) {
                    acknowledge(&delivery).await;
                    return Ok(());
                }
                let read = Envelope::from_bytes(&delivery.payload).and_then(|e| e.fact().map(|fact| (e, fact)));
                let (envelope, fact) = match read {
                    Ok(read) => read,
                    Err(error) => return self.bury(&stream, delivery, &error.to_string()).await,
                };
                let span = process_span(&message, envelope.traceparent.as_deref().or(delivery.traceparent.as_deref()));
                let inbox = (!is_repeatable(&fact)).then(|| inbox_key(&envelope));
                let cause = Cause { inbox, causation: Some(envelope.id) };
                self.shell.step(cause, move |step| handlers::fact(step, &fact)).instrument(span).await?;
            }
        }
        acknowledge(&delivery).await;
        Ok(())
    }

    /// Puts aside what is no fact; it stays in the stream of facts too, for whoever understands it.
    async fn bury(&self, stream: &str, delivery: Delivery, reason: &str) -> Result<(), StepError> {
        tracing::error!(subject = %delivery.subject, reason, "a message that is no fact is put among the dead letters");
        let letter = DeadLetter::of_delivery(stream, &delivery, reason);
        match self.bus.bury(&self.region, Service::Planner, &letter).await {
            Ok(_) => {
                if let Err(error) = delivery.terminate("not a fact").await {
                    tracing::warn!(error = %service_host::error_chain(&error), "it will come again");
                }
            }
            // Not acknowledged: it comes again.
            Err(error) => tracing::warn!(error = %service_host::error_chain(&error), "cannot put it aside now"),
        }
        Ok(())
    }
}

/// Facts the planner told itself.
fn own_facts(region: &Region) -> String {
    let all = subjects::facts_of(region, Service::Planner);
    all.trim_end_matches('>').to_owned()
}

/// Facts that may be handled twice without harm and come too often for the inbox.
fn is_repeatable(fact: &Fact) -> bool {
    matches!(fact, Fact::AttemptProgressed(_))
}

/// CloudEvents: an id is unique for its source.
fn inbox_key(envelope: &Envelope) -> String {
    let key = format!("{}#{}", envelope.source, envelope.id);
    if key.len() <= 400 { key } else { uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, key.as_bytes()).to_string() }
}

/// What is not acknowledged comes again and is recognised then.
async fn acknowledge(delivery: &Delivery) {
    if let Err(error) = delivery.ack().await {
        tracing::warn!(subject = %delivery.subject, error = %service_host::error_chain(&error), "not acknowledged; it will come again");
    }
}
