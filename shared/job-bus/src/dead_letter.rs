//! What nobody could handle, kept with its reason until somebody looks.

use jiff::Timestamp;
use job_events::subjects::{self, Service};
use job_model::Region;
use serde::{Deserialize, Serialize};

use crate::{Bus, Delivery, Publish, PublishError, Published, StoredMessage, StuckMessage};

/// A message that was given up, whole, with why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// The stream it came from.
    pub stream: String,
    /// Where it was published.
    pub subject: String,
    /// Its sequence there.
    pub sequence: u64,
    /// How many times it was delivered.
    pub delivered: u64,
    /// When it was published.
    pub published_at: Timestamp,
    /// Why it was given up.
    pub reason: String,
    /// Its `Nats-Msg-Id`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message_id: Option<String>,
    /// W3C trace context of the span that made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    /// Its bytes where they are UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<String>,
    /// Its bytes where they are not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload_bytes: Option<Vec<u8>>,
}

/// A dead letter as it lies in its stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuriedLetter {
    /// Its sequence in the stream of dead letters.
    pub sequence: u64,
    /// When it was given up.
    pub buried_at: Timestamp,
    /// It; none when somebody else's message lies there.
    pub letter: Option<DeadLetter>,
}

fn payload_parts(bytes: &[u8]) -> (Option<String>, Option<Vec<u8>>) {
    match std::str::from_utf8(bytes) {
        Ok(text) => (Some(text.to_owned()), None),
        Err(_) => (None, Some(bytes.to_vec())),
    }
}

impl DeadLetter {
    /// Of a message in hand.
    #[must_use]
    pub fn of_delivery(stream: &str, delivery: &Delivery, reason: &str) -> Self {
        let (payload, payload_bytes) = payload_parts(&delivery.payload);
        Self {
            stream: stream.to_owned(),
            subject: delivery.subject.clone(),
            sequence: delivery.sequence,
            delivered: delivery.delivered,
            published_at: delivery.published_at,
            reason: reason.to_owned(),
            message_id: delivery.message_id.clone(),
            traceparent: delivery.traceparent.clone(),
            payload,
            payload_bytes,
        }
    }

    /// Of a message that lies in its stream and is delivered to nobody any more.
    #[must_use]
    pub fn of_stuck(stuck: &StuckMessage) -> Self {
        let StoredMessage { subject, sequence, payload, published_at, message_id, traceparent } = stuck.message.clone();
        let (payload, payload_bytes) = payload_parts(&payload);
        Self {
            stream: stuck.stream.clone(),
            subject,
            sequence,
            delivered: stuck.deliveries,
            published_at,
            reason: format!("not settled after {} deliveries to `{}`", stuck.deliveries, stuck.consumer),
            message_id,
            traceparent,
            payload,
            payload_bytes,
        }
    }

    /// Tells this letter from every other one: the same message given up twice is one letter.
    #[must_use]
    pub fn id(&self) -> String {
        // Stream names have no dots; the instant keeps letters of a stream that was made anew apart.
        format!("{}-{}-{}", self.stream, self.published_at.as_microsecond(), self.sequence)
    }
}

impl Bus {
    /// Puts a message among the dead letters. Repeating it changes nothing.
    ///
    /// # Errors
    /// As [`Bus::publish`].
    pub async fn bury(
        &self,
        region: &Region,
        service: Service,
        letter: &DeadLetter,
    ) -> Result<Published, PublishError> {
        let id = letter.id();
        let subject = subjects::dead_letter(region, service, &id);
        let payload = serde_json::to_vec(letter).map_err(|source| PublishError::Other {
            subject: subject.clone(),
            source: crate::ApiError::BadReply { subject: subject.clone(), source },
        })?;
        self.publish(&Publish {
            subject,
            id: format!("dead-letter:{id}"),
            payload: payload.into(),
            traceparent: letter.traceparent.clone(),
            expect_stream: subjects::dead_letter_stream(region),
            once_per_subject: true,
        })
        .await
    }

    /// All dead letters of a region, oldest first, at most `limit`.
    ///
    /// # Errors
    /// When the stream is not there or the server does not answer.
    pub async fn dead_letters(&self, region: &Region, limit: usize) -> Result<Vec<BuriedLetter>, crate::ApiError> {
        let stream = subjects::dead_letter_stream(region);
        let mut letters = Vec::new();
        let mut from = 1;
        while letters.len() < limit {
            let Some(message) = self.message_from(&stream, from).await? else { break };
            from = message.sequence + 1;
            letters.push(BuriedLetter {
                sequence: message.sequence,
                buried_at: message.published_at,
                letter: serde_json::from_slice(&message.payload).ok(),
            });
        }
        Ok(letters)
    }
}
