//! Putting a message into a stream, and knowing whether it is there.

use async_nats::client::RequestErrorKind;
use async_nats::{HeaderMap, Request};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;
use telemetry::KeyValue;

use crate::{ApiError, Bus, api};

/// What is published, and under which conditions the server may accept it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publish {
    /// Where to.
    pub subject: String,
    /// The message's id; a repeated publish of the same id within the stream's window is recognised.
    pub id: String,
    /// The bytes.
    pub payload: Bytes,
    /// W3C trace context of the span that made the message.
    pub traceparent: Option<String>,
    /// The stream that must hold it; anything else is refused.
    pub expect_stream: String,
    /// At most one message ever on this subject. A second publish is taken as a repetition of the first.
    pub once_per_subject: bool,
}

/// The server's word that a message is in the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Published {
    /// Its sequence in the stream; zero where it was there already and the server does not say which one it is.
    pub sequence: u64,
    /// Whether it was there already.
    pub duplicate: bool,
}

/// Why a message is not known to be in its stream.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The subject has a message already and takes no second one: the resource has an open order.
    #[error("`{subject}` holds an open message; try again when it is settled")]
    Busy {
        /// Where to.
        subject: String,
    },
    /// No such stream, or the subject belongs to another one.
    #[error("stream `{stream}` does not take `{subject}`; provision the region")]
    StreamMissing {
        /// The stream that was expected.
        stream: String,
        /// Where to.
        subject: String,
    },
    /// More bytes than server or stream take.
    #[error("a message of {bytes} bytes is too large for `{subject}`; payloads are small, data belongs into a vault")]
    TooLarge {
        /// Where to.
        subject: String,
        /// How many.
        bytes: usize,
    },
    /// No reply in time. The message may be in the stream: publish it again with the same id.
    #[error("no acknowledgement for `{subject}`: outcome unknown, publish again with the same id")]
    Unreachable {
        /// Where to.
        subject: String,
        /// What the client says.
        #[source]
        source: Box<async_nats::client::RequestError>,
    },
    /// The server says that this user may not publish there.
    #[error("this user may not publish on `{subject}`; compare its permissions with `deploy/`")]
    Denied {
        /// Where to.
        subject: String,
    },
    /// Anything else the server says, for example that its disk is full.
    #[error("`{subject}` was not stored")]
    Other {
        /// Where to.
        subject: String,
        /// The server's words.
        #[source]
        source: ApiError,
    },
}

impl PublishError {
    /// One word for it in metrics.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Busy { .. } => "busy",
            Self::StreamMissing { .. } => "stream_missing",
            Self::TooLarge { .. } => "too_large",
            Self::Unreachable { .. } => "unreachable",
            Self::Denied { .. } => "denied",
            Self::Other { .. } => "other",
        }
    }
}

#[derive(Deserialize)]
struct PubAck {
    seq: u64,
    #[serde(default)]
    duplicate: bool,
}

/// What the server's reply to a publish means.
pub(crate) fn read_reply(message: &Publish, reply: &[u8]) -> Result<Published, PublishError> {
    let subject = || message.subject.clone();
    let bad =
        |source| PublishError::Other { subject: subject(), source: ApiError::BadReply { subject: subject(), source } };
    let reply: Value = serde_json::from_slice(reply).map_err(bad)?;
    let Some(error) = api::error_in(&reply, &message.subject) else {
        let ack: PubAck = serde_json::from_value(reply).map_err(bad)?;
        return Ok(Published { sequence: ack.seq, duplicate: ack.duplicate });
    };
    let ApiError::Refused { code, description, .. } = &error else {
        return Err(PublishError::Other { subject: subject(), source: error });
    };
    match *code {
        api::WRONG_LAST_SEQUENCE | api::WRONG_LAST_SEQUENCE_CONSTANT if message.once_per_subject => {
            Ok(Published { sequence: sequence_in(description), duplicate: true })
        }
        api::STREAM_STORE_FAILED if description.contains("maximum messages per subject") => {
            Err(PublishError::Busy { subject: subject() })
        }
        api::STREAM_NOT_MATCH | api::STREAM_NOT_FOUND => {
            Err(PublishError::StreamMissing { stream: message.expect_stream.clone(), subject: subject() })
        }
        api::MESSAGE_EXCEEDS_MAXIMUM => {
            Err(PublishError::TooLarge { subject: subject(), bytes: message.payload.len() })
        }
        _ => Err(PublishError::Other { subject: subject(), source: error }),
    }
}

/// The number in `wrong last sequence: 17`; zero where there is none.
fn sequence_in(description: &str) -> u64 {
    description.rsplit(':').next().and_then(|number| number.trim().parse().ok()).unwrap_or_default()
}

fn headers(message: &Publish) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("Nats-Msg-Id", message.id.as_str());
    headers.insert("Nats-Expected-Stream", message.expect_stream.as_str());
    if message.once_per_subject {
        headers.insert("Nats-Expected-Last-Subject-Sequence", "0");
    }
    if let Some(traceparent) = &message.traceparent {
        // Header keys of NATS are case-sensitive; everybody reads the lower-case one.
        headers.insert("traceparent", traceparent.as_str());
    }
    headers
}

impl Bus {
    /// Publishes and waits for the server's word that the message is stored.
    ///
    /// # Errors
    /// See [`PublishError`]; only [`PublishError::Unreachable`] leaves open whether the message is there.
    pub async fn publish(&self, message: &Publish) -> Result<Published, PublishError> {
        let begin = std::time::Instant::now();
        let published = self.publish_once(message).await;
        let error = published.as_ref().err().map_or("", PublishError::kind);
        let attributes = [KeyValue::new("messaging.operation.name", "publish"), KeyValue::new("error.type", error)];
        telemetry::metrics().client_operation_duration.record(begin.elapsed().as_secs_f64(), &attributes);
        telemetry::metrics().sent_messages.add(1, &attributes);
        published
    }

    async fn publish_once(&self, message: &Publish) -> Result<Published, PublishError> {
        let subject = || message.subject.clone();
        if message.payload.len() > self.client().max_payload() {
            return Err(PublishError::TooLarge { subject: subject(), bytes: message.payload.len() });
        }
        let violations = self.events().violations_on(&message.subject);
        let request = Request::new().payload(message.payload.clone()).headers(headers(message));
        let sent = self.client().send_request(message.subject.clone(), request);
        // A forbidden publish has no reply; the server tells of it on the connection.
        let reply = tokio::select! {
            biased;
            reply = sent => reply,
            () = violations => return Err(PublishError::Denied { subject: subject() }),
        };
        match reply {
            Ok(reply) => read_reply(message, &reply.payload),
            Err(source) if source.kind() == RequestErrorKind::NoResponders => {
                Err(PublishError::StreamMissing { stream: message.expect_stream.clone(), subject: subject() })
            }
            Err(source) if source.kind() == RequestErrorKind::MaxPayloadExceeded => {
                Err(PublishError::TooLarge { subject: subject(), bytes: message.payload.len() })
            }
            Err(source) => Err(PublishError::Unreachable { subject: subject(), source: Box::new(source) }),
        }
    }
}
