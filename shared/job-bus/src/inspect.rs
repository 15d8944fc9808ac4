//! Looking into streams, and taking out what is stuck in them.

use async_nats::{HeaderMap, StatusCode};
use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::topology::MAX_DELIVERIES;
use crate::{ApiError, Bus, api};

/// What tells whether a stream is still the one it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamIdentity {
    /// When it was made: another instant is another stream.
    pub created_at: Timestamp,
    /// Sequence of the oldest message.
    pub first_sequence: u64,
    /// Sequence of the newest message ever; it never goes back, unless the stream lost its end.
    pub last_sequence: u64,
    /// Messages in it.
    pub messages: u64,
}

/// A message as it lies in a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredMessage {
    /// Where it was published.
    pub subject: String,
    /// Its sequence.
    pub sequence: u64,
    /// Its bytes.
    pub payload: Bytes,
    /// When the server stored it.
    pub published_at: Timestamp,
    /// Its `Nats-Msg-Id`.
    pub message_id: Option<String>,
    /// W3C trace context of the span that made it.
    pub traceparent: Option<String>,
}

/// A message that was delivered as often as its consumer allows, and was never settled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StuckMessage {
    /// The message.
    pub message: StoredMessage,
    /// The stream it blocks.
    pub stream: String,
    /// The consumer that gave it up.
    pub consumer: String,
    /// How many times it was delivered at least.
    pub deliveries: u64,
}

#[derive(Deserialize)]
struct StreamInfo {
    created: Timestamp,
    state: StreamState,
}

#[derive(Deserialize)]
struct StreamState {
    messages: u64,
    first_seq: u64,
    last_seq: u64,
}

/// How far a durable consumer has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConsumerProgress {
    /// Messages of the stream that it was not handed yet.
    pub waiting: u64,
    /// Everything up to this sequence was handed out at least once.
    pub delivered: u64,
    /// Everything up to this sequence is settled.
    pub settled: u64,
}

#[derive(Deserialize)]
struct ConsumerInfo {
    delivered: ConsumerPosition,
    ack_floor: ConsumerPosition,
    num_ack_pending: u64,
    num_pending: u64,
}

impl ConsumerInfo {
    /// The floor stays behind where messages in between were removed; with nothing unsettled it means nothing.
    fn settled(&self) -> u64 {
        if self.num_ack_pending == 0 { self.delivered.stream_seq } else { self.ack_floor.stream_seq }
    }
}

#[derive(Deserialize)]
struct ConsumerPosition {
    stream_seq: u64,
}

impl Bus {
    /// What tells whether a stream is still the one it was.
    ///
    /// # Errors
    /// When the stream is not there or the server does not answer.
    pub async fn stream_identity(&self, stream: &str) -> Result<StreamIdentity, ApiError> {
        let info: StreamInfo = self.api(&format!("STREAM.INFO.{stream}"), &Value::Null).await?;
        Ok(StreamIdentity {
            created_at: info.created,
            first_sequence: info.state.first_seq,
            last_sequence: info.state.last_seq,
            messages: info.state.messages,
        })
    }

    /// How far a durable consumer has come.
    ///
    /// # Errors
    /// When stream or consumer are not there or the server does not answer.
    pub async fn consumer_progress(&self, stream: &str, consumer: &str) -> Result<ConsumerProgress, ApiError> {
        let info: ConsumerInfo = self.api(&format!("CONSUMER.INFO.{stream}.{consumer}"), &Value::Null).await?;
        Ok(ConsumerProgress {
            waiting: info.num_pending,
            delivered: info.delivered.stream_seq,
            settled: info.settled(),
        })
    }

    /// The newest message on a subject, read from any replica: it may lag behind.
    ///
    /// # Errors
    /// When the stream is not there or the server does not answer.
    pub async fn last_on_subject(&self, stream: &str, subject: &str) -> Result<Option<StoredMessage>, ApiError> {
        self.direct_get(&format!("$JS.API.DIRECT.GET.{stream}.{subject}"), Vec::new()).await
    }

    /// The message of a sequence, read from any replica.
    ///
    /// # Errors
    /// When the stream is not there or the server does not answer.
    pub async fn message(&self, stream: &str, sequence: u64) -> Result<Option<StoredMessage>, ApiError> {
        let body = json!({ "seq": sequence }).to_string().into_bytes();
        self.direct_get(&format!("$JS.API.DIRECT.GET.{stream}"), body).await
    }

    /// Whether a message is still in its stream, by the word of the stream's leader. An order that is not was settled by
    /// somebody.
    ///
    /// # Errors
    /// When the stream is not there or the server does not answer.
    pub async fn is_stored(&self, stream: &str, sequence: u64) -> Result<bool, ApiError> {
        let body = json!({ "seq": sequence });
        match self.api::<Value>(&format!("STREAM.MSG.GET.{stream}"), &body).await {
            Ok(_) => Ok(true),
            Err(error) if error.code() == Some(api::MESSAGE_NOT_FOUND) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The first message at or after a sequence, read from any replica.
    pub(crate) async fn message_from(&self, stream: &str, sequence: u64) -> Result<Option<StoredMessage>, ApiError> {
        let body = json!({ "seq": sequence, "next_by_subj": ">" }).to_string().into_bytes();
        self.direct_get(&format!("$JS.API.DIRECT.GET.{stream}"), body).await
    }

    async fn direct_get(&self, api_subject: &str, body: Vec<u8>) -> Result<Option<StoredMessage>, ApiError> {
        let reply = self.client().request(api_subject.to_owned(), body.into()).await;
        let reply = reply.map_err(|source| ApiError::request(api_subject, source))?;
        match reply.status {
            None | Some(StatusCode::OK) => {}
            Some(StatusCode::NOT_FOUND) => return Ok(None),
            Some(status) => {
                return Err(ApiError::Refused {
                    subject: api_subject.to_owned(),
                    code: u64::from(status.as_u16()),
                    description: reply.description.unwrap_or_default(),
                });
            }
        }
        let headers = reply.headers.unwrap_or_default();
        let text = |name: &str| headers.get(name).map(|value| value.as_str().to_owned());
        let stored = stored_message(&headers, reply.payload, text("traceparent"), text("Nats-Msg-Id"));
        let incomplete = || ApiError::BadReply {
            subject: api_subject.to_owned(),
            source: serde::de::Error::custom("the reply of a direct get has no sequence, subject or time"),
        };
        stored.map(Some).ok_or_else(incomplete)
    }

    /// Takes a message out of a stream. `false`: it was not there any more.
    ///
    /// # Errors
    /// When the stream does not allow it or the server does not answer.
    pub async fn remove_message(&self, stream: &str, sequence: u64) -> Result<bool, ApiError> {
        let body = json!({ "seq": sequence });
        match self.api::<Value>(&format!("STREAM.MSG.DELETE.{stream}"), &body).await {
            Ok(_) => Ok(true),
            Err(error) if error.code() == Some(api::MESSAGE_NOT_FOUND) => Ok(false),
            // 10057: sequence not found.
            Err(error) if error.code() == Some(10057) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Finds the messages of a WorkQueue stream that its consumer gave up after too many deliveries. They stay in the
    /// stream, are delivered to nobody, and block their subject. Copy them to the dead letters, then remove them.
    ///
    /// The server does not list them. What is certain: at or below the consumer's floor nothing is pending, and when
    /// nothing at all is pending, that holds up to its position. A message above an older one that is still being
    /// handled is found by a later sweep; the server's advisories tell of it sooner.
    ///
    /// # Errors
    /// When stream or consumer are not there or the server does not answer.
    pub async fn sweep_stuck(&self, stream: &str, consumer: &str) -> Result<Vec<StuckMessage>, ApiError> {
        let info: ConsumerInfo = self.api(&format!("CONSUMER.INFO.{stream}.{consumer}"), &Value::Null).await?;
        let certain = info.settled();
        let mut stuck = Vec::new();
        let mut from = 1;
        while let Some(message) = self.message_from(stream, from).await? {
            if message.sequence > certain {
                break;
            }
            from = message.sequence + 1;
            stuck.push(StuckMessage {
                message,
                stream: stream.to_owned(),
                consumer: consumer.to_owned(),
                deliveries: MAX_DELIVERIES.into(),
            });
        }
        Ok(stuck)
    }
}

fn stored_message(
    headers: &HeaderMap,
    payload: Bytes,
    traceparent: Option<String>,
    message_id: Option<String>,
) -> Option<StoredMessage> {
    Some(StoredMessage {
        subject: headers.get("Nats-Subject")?.as_str().to_owned(),
        sequence: headers.get("Nats-Sequence")?.as_str().parse().ok()?,
        published_at: headers.get("Nats-Time-Stamp")?.as_str().parse().ok()?,
        payload,
        message_id,
        traceparent,
    })
}
