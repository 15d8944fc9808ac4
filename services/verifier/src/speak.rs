//! What the verifier says: facts and requests, written into the outbox in the transaction of their cause.

use std::sync::Arc;

use jiff::Timestamp;
use job_events::subjects::{self, Service};
use job_events::{Envelope, Fact, Request, RequestAccepted, RequestRejected};
use job_model::{JobId, Region, TestRunId};
use message_ledger::{Ledger, Outgoing, OutgoingKind};
use state_store::{StoreError, Tx};
use uuid::Uuid;

/// Numbers the facts of this installation.
const FACT_COUNTER: &str = "facts";

/// Who speaks.
#[derive(Clone, Debug)]
pub(crate) struct Speaker {
    source: Arc<str>,
    /// Grows with every start of the process, so that no subject of a fact is used twice, even by a verifier whose state
    /// was restored from an older export.
    epoch: u64,
}

/// A fact and what stands around it.
#[derive(Debug)]
pub(crate) struct Saying<'a> {
    /// Whose bus.
    pub(crate) region: &'a Region,
    /// What it is about: stands in its subject.
    pub(crate) about: String,
    /// The run it is about: facts of a run are published in the order in which they were said.
    pub(crate) run: Option<TestRunId>,
    /// The ARN it is about, if it is about one.
    pub(crate) subject: Option<String>,
    /// Id of the message that led to it.
    pub(crate) causation: Option<String>,
    /// The trace it belongs to.
    pub(crate) traceparent: Option<String>,
}

/// An answer to a request that was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// AWS's error name.
    pub(crate) code: &'static str,
    /// The field, as a path.
    pub(crate) field: String,
    /// What is wrong and how to mend it.
    pub(crate) message: String,
}

impl From<job_model::Invalid> for Refusal {
    fn from(invalid: job_model::Invalid) -> Self {
        Self { code: invalid.code, message: invalid.to_string(), field: invalid.field }
    }
}

impl Speaker {
    /// A speaker of this process; the epoch is the second it started in.
    pub(crate) fn new(source: &str, started_at: Timestamp) -> Self {
        Self { source: source.into(), epoch: u64::try_from(started_at.as_second()).unwrap_or(0) }
    }

    /// Says a fact.
    pub(crate) fn fact(
        &self,
        tx: &mut Tx<'_>,
        saying: Saying<'_>,
        fact: &Fact,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let number = tx.next_number(FACT_COUNTER)?;
        let id = format!("{}/{}-{number}", self.source, self.epoch);
        let subject = subjects::fact(saying.region, Service::Verifier, fact.name(), &saying.about, self.epoch, number);
        let mut envelope = self.envelope(id, fact.event_type(), fact.to_value(), now);
        envelope.subject = saying.subject;
        envelope.causation = saying.causation;
        envelope.traceparent = saying.traceparent.or_else(telemetry::current_traceparent);
        let outgoing = Outgoing {
            region: saying.region.clone(),
            stream: subjects::fact_stream(saying.region),
            subject,
            envelope,
            kind: OutgoingKind::Fact,
            // The outbox keeps the order of what belongs to one job; a run is one as far as it is concerned.
            job: saying.run.map(|run| JobId::new(run.as_uuid())),
        };
        Ledger::enqueue(tx, &outgoing, now).map(|_row| ())
    }

    /// Asks the planner of a region for something. The id makes a repeated request the same one.
    pub(crate) fn ask_planner(
        &self,
        tx: &mut Tx<'_>,
        region: &Region,
        id: String,
        request: &Request,
        traceparent: Option<String>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut envelope = self.envelope(id, request.event_type(), request.to_value(), now);
        envelope.traceparent = traceparent.or_else(telemetry::current_traceparent);
        let outgoing = Outgoing {
            region: region.clone(),
            stream: subjects::request_stream(region),
            subject: subjects::request(region, Service::Planner, request.name()),
            envelope,
            kind: OutgoingKind::Request,
            job: None,
        };
        Ledger::enqueue(tx, &outgoing, now).map(|_row| ())
    }

    /// Answers a request.
    pub(crate) fn answer(
        &self,
        tx: &mut Tx<'_>,
        region: &Region,
        request_id: &str,
        answer: Result<Option<String>, Refusal>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.say_answer(tx, region, request_id, &answer_fact(request_id, answer), now)
    }

    /// Says an answer to a request, for the first time or again.
    pub(crate) fn say_answer(
        &self,
        tx: &mut Tx<'_>,
        region: &Region,
        request_id: &str,
        fact: &Fact,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let request_id = request_id.to_owned();
        let saying = Saying {
            region,
            // Ids of requests may hold anything; this may stand in a subject and is the same for the same id.
            about: Uuid::new_v5(&Uuid::NAMESPACE_OID, request_id.as_bytes()).simple().to_string(),
            run: None,
            subject: None,
            causation: (!request_id.is_empty()).then_some(request_id),
            traceparent: None,
        };
        self.fact(tx, saying, fact, now)
    }

    fn envelope(
        &self,
        id: String,
        event_type: String,
        data: Result<serde_json::Value, serde_json::Error>,
        now: Timestamp,
    ) -> Envelope {
        // Our own types always encode; a null would be refused by its reader, by name, rather than lost.
        let data = data.unwrap_or(serde_json::Value::Null);
        Envelope::new(id, self.source.to_string(), event_type, now, data)
    }
}

/// The answer to a request as a fact.
pub(crate) fn answer_fact(request_id: &str, answer: Result<Option<String>, Refusal>) -> Fact {
    let request_id = request_id.to_owned();
    match answer {
        Ok(result) => RequestAccepted { request_id, job_id: None, result }.into(),
        Err(Refusal { code, field, message }) => {
            tracing::info!(request.id = request_id, code, field, message, "request refused");
            let code = code.to_owned();
            RequestRejected { request_id, code, field, message, arn: None, creator_request_id: None }.into()
        }
    }
}
