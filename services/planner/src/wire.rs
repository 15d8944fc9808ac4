//! What a step says, made into messages.

use jiff::Timestamp;
use job_events::subjects::{self, Service};
use job_events::{Assignment, Envelope};
use message_ledger::{Outgoing, OutgoingKind};
use serde_json::json;

use crate::decide::Out;

/// CloudEvents type of a stop message. It is the mark itself that counts; the payload is for a person who looks.
const STOP_TYPE: &str = "holdfast.control.stop.v1";

/// Who says it.
#[derive(Clone, Debug)]
pub(crate) struct Sender {
    /// `/holdfast/planner/<instance>`.
    pub(crate) source: String,
    /// The identity of the state: numbers of facts are unique in it.
    pub(crate) state: String,
    /// The planner's fencing number.
    pub(crate) generation: u64,
    /// Id of the message that led to this.
    pub(crate) causation: Option<String>,
}

/// The message for something said; none for what only concerns the outbox.
pub(crate) fn message(sender: &Sender, out: &Out, at: Timestamp) -> Result<Option<Outgoing>, serde_json::Error> {
    let Sender { source, state, generation, causation } = sender;
    let message = match out {
        Out::Confirm(_) => return Ok(None),
        Out::Fact { region, about, number, fact, traceparent } => {
            let id = format!("{state}-{number}");
            let mut envelope = Envelope::new(id, source.clone(), fact.event_type(), at, fact.to_value()?);
            envelope.subject = Some(about.clone());
            envelope.traceparent = traceparent.clone();
            let subject = subjects::fact(region, Service::Planner, fact.name(), about, *generation, *number);
            Outgoing {
                region: region.clone(),
                stream: subjects::fact_stream(region),
                subject,
                envelope,
                kind: OutgoingKind::Fact,
                job: about.parse().ok(),
            }
        }
        Out::Order { body, traceparent } => {
            let header = body.header();
            let id = format!("{}:{}:{generation}", header.job_id, header.attempt);
            let mut envelope = Envelope::new(id, source.clone(), body.event_type(), at, body.to_value()?);
            envelope.subject = Some(header.resource.to_string());
            envelope.traceparent = traceparent.clone();
            let key = job_model::resource_key(&header.resource);
            Outgoing {
                region: header.region.clone(),
                stream: body.queue().stream(&header.region),
                subject: subjects::order(&header.region, body.queue(), &key),
                envelope,
                kind: OutgoingKind::Order,
                job: Some(header.job_id),
            }
        }
        Out::Assignment { body } => {
            let Assignment::FollowResource(follow) = body.as_ref();
            let id = format!("assignment:{}:{generation}:{}", follow.recovery_point_id, at.as_microsecond());
            let mut envelope = Envelope::new(id, source.clone(), body.event_type(), at, body.to_value()?);
            envelope.subject = Some(follow.resource.to_string());
            Outgoing {
                region: follow.region.clone(),
                stream: subjects::assignment_stream(&follow.region),
                subject: subjects::assignment(
                    &follow.region,
                    Service::SnapshotWorker,
                    &follow.recovery_point_id.to_string(),
                ),
                envelope,
                kind: OutgoingKind::Assignment,
                job: None,
            }
        }
        Out::Stop { region, job, reason, traceparent } => {
            let data = json!({ "job_id": job, "reason": reason });
            let id = format!("stop:{job}:{generation}:{}", at.as_millisecond());
            let mut envelope = Envelope::new(id, source.clone(), STOP_TYPE.to_owned(), at, data);
            envelope.subject = Some(job.to_string());
            envelope.traceparent = traceparent.clone();
            Outgoing {
                region: region.clone(),
                stream: subjects::control_stream(region),
                subject: subjects::stop(region, *job),
                envelope,
                kind: OutgoingKind::Stop,
                job: Some(*job),
            }
        }
    };
    let mut message = message;
    message.envelope.generation = Some(*generation);
    message.envelope.causation = causation.clone();
    Ok(Some(message))
}
