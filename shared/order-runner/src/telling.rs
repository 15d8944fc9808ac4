//! How the facts of one attempt are addressed.

use std::sync::Arc;

use jiff::Timestamp;
use job_events::{Envelope, Fact, subjects};
use message_ledger::{Outgoing, OutgoingKind};

use crate::record::AttemptKey;
use crate::runner::Shared;

/// How facts of one attempt are addressed.
pub(crate) struct Telling {
    pub(crate) shared: Arc<Shared>,
    pub(crate) source: String,
    pub(crate) key: AttemptKey,
    pub(crate) epoch: u64,
    pub(crate) order_id: String,
    pub(crate) generation: Option<u64>,
    pub(crate) traceparent: Option<String>,
}

impl Telling {
    pub(crate) fn outgoing(&self, fact: &Fact, n: u64, at: Timestamp) -> Result<Outgoing, serde_json::Error> {
        let id = String::new();
        let mut envelope = Envelope::new(id, self.source.clone(), fact.event_type(), at, fact.to_value()?);
        envelope.subject = Some(self.key.job.to_string());
        envelope.traceparent.clone_from(&self.traceparent);
        envelope.generation = self.generation;
        envelope.causation = Some(self.order_id.clone());
        let outgoing = Outgoing {
            region: self.shared.region.clone(),
            stream: subjects::fact_stream(&self.shared.region),
            subject: fact.name().to_owned(),
            envelope,
            kind: OutgoingKind::Fact,
            job: Some(self.key.job),
        };
        Ok(if n == 0 { outgoing } else { self.numbered(outgoing, n) })
    }

    /// Gives a fact, whose subject is only its name yet, its place.
    pub(crate) fn numbered(&self, mut outgoing: Outgoing, n: u64) -> Outgoing {
        let Shared { region, queue, .. } = &*self.shared;
        let job = self.key.job.to_string();
        outgoing.subject = subjects::fact(region, queue.service(), &outgoing.subject, &job, self.epoch, n);
        outgoing.envelope.id = format!("{job}-{}-{}-{n}", self.key.number, self.epoch);
        outgoing
    }
}
