//! Taking one message at a time from a durable consumer, and settling it.

use std::time::Duration;

use async_nats::client::RequestErrorKind;
use async_nats::{Message, StatusCode};
use bytes::Bytes;
use futures::StreamExt;
use jiff::Timestamp;
use serde_json::json;
use telemetry::{KeyValue, MessageSpan, Settlement};
use tracing::Instrument;

use crate::{ApiError, Bus, api};

/// How much longer than the server a pull waits before it is asked again: the server's own word should come first.
const PULL_GRACE: Duration = Duration::from_secs(2);
/// How often the server shows during a pull that it still holds it.
const PULL_HEARTBEAT: Duration = Duration::from_secs(5);

/// A durable consumer. Made by provisioning only.
#[derive(Clone, Debug)]
pub struct Consumer {
    bus: Bus,
    stream: String,
    durable: String,
}

/// Why no message was taken.
#[derive(Debug, thiserror::Error)]
pub enum ConsumeError {
    /// The stream or the consumer is not there.
    #[error("stream `{stream}` has no consumer `{durable}`; provision the region")]
    Missing {
        /// The stream.
        stream: String,
        /// The consumer.
        durable: String,
    },
    /// The server ended the pull for a reason of its own; the next one may succeed.
    #[error("nats-server ended the pull from `{stream}/{durable}`: {status}")]
    Ended {
        /// The stream.
        stream: String,
        /// The consumer.
        durable: String,
        /// The server's words.
        status: String,
    },
    /// The connection does not work.
    #[error("cannot pull from `{stream}/{durable}`")]
    Connection {
        /// The stream.
        stream: String,
        /// The consumer.
        durable: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// What came is no message of a stream.
    #[error("`{subject}` came without the reply subject of a JetStream delivery")]
    NotADelivery {
        /// Its subject.
        subject: String,
    },
}

/// Why it is unknown whether a delivery was settled. It will come again; handle it again and settle it then.
#[derive(Debug, thiserror::Error)]
pub enum SettleError {
    /// The consumer or its stream is gone, or this user may not settle there.
    #[error("nobody takes the settling of message `{sequence}` on `{subject}`; its stream or consumer is gone")]
    Gone {
        /// Subject of the message.
        subject: String,
        /// Its sequence.
        sequence: u64,
    },
    /// No reply in time.
    #[error("no reply to the settling of message `{sequence}` on `{subject}`")]
    NoReply {
        /// Subject of the message.
        subject: String,
        /// Its sequence.
        sequence: u64,
        /// What the client says.
        #[source]
        source: Box<async_nats::client::RequestError>,
    },
}

/// A message that this process is to handle and settle. Dropping it settles nothing: it comes again.
#[derive(Debug)]
pub struct Delivery {
    /// Where it was published.
    pub subject: String,
    /// Its bytes.
    pub payload: Bytes,
    /// W3C trace context of the span that made it.
    pub traceparent: Option<String>,
    /// Its `Nats-Msg-Id`.
    pub message_id: Option<String>,
    /// How many times it was delivered, this one included.
    pub delivered: u64,
    /// Its sequence in the stream.
    pub sequence: u64,
    /// When the server stored it.
    pub published_at: Timestamp,
    reply: String,
    stream: String,
    durable: String,
    bus: Bus,
}

impl Bus {
    /// A handle for a durable consumer that exists.
    ///
    /// # Errors
    /// When the stream or the consumer is not there, or the server does not answer.
    pub async fn consumer(&self, stream: &str, durable: &str) -> Result<Consumer, ConsumeError> {
        let consumer = Consumer { bus: self.clone(), stream: stream.to_owned(), durable: durable.to_owned() };
        let info = self.api::<serde_json::Value>(&format!("CONSUMER.INFO.{stream}.{durable}"), &json!(null)).await;
        match info {
            Ok(_) => Ok(consumer),
            Err(ApiError::Refused { code: api::STREAM_NOT_FOUND | api::CONSUMER_NOT_FOUND, .. }) => {
                Err(consumer.missing())
            }
            Err(error) => Err(consumer.connection(error)),
        }
    }
}

impl Consumer {
    /// The stream it reads.
    #[must_use]
    pub fn stream(&self) -> &str {
        &self.stream
    }

    /// Its durable name.
    #[must_use]
    pub fn durable(&self) -> &str {
        &self.durable
    }

    /// Waits up to `wait` for one message. Nothing is fetched ahead. Dropping the future takes the pull back; a message
    /// that was already on its way then comes again after the consumer's `ack_wait`.
    ///
    /// # Errors
    /// When the consumer is gone or the connection does not work. `Ok(None)` is no error: nothing was there.
    pub async fn next(&self, wait: Duration) -> Result<Option<Delivery>, ConsumeError> {
        let client = self.bus.client();
        let inbox = client.new_inbox();
        let mut replies = client.subscribe(inbox.clone()).await.map_err(|e| self.connection(e))?;
        let mut pull = json!({ "batch": 1, "expires": nanoseconds(wait) });
        // The server refuses a heartbeat that is longer than half of the pull.
        if wait >= PULL_HEARTBEAT * 2 {
            pull["idle_heartbeat"] = json!(nanoseconds(PULL_HEARTBEAT));
        }
        let subject = format!("$JS.API.CONSUMER.MSG.NEXT.{}.{}", self.stream, self.durable);
        client
            .publish_with_reply(subject, inbox, pull.to_string().into())
            .await
            .map_err(|error| self.connection(error))?;
        let deadline = tokio::time::Instant::now() + wait + PULL_GRACE;
        // With heartbeats, silence means that the server forgot the pull: it was restarted, or the leader changed.
        let silence = if wait >= PULL_HEARTBEAT * 2 { PULL_HEARTBEAT * 2 + PULL_GRACE } else { wait + PULL_GRACE };
        loop {
            let until = deadline.min(tokio::time::Instant::now() + silence);
            let Ok(reply) = tokio::time::timeout_at(until, replies.next()).await else { return Ok(None) };
            let Some(reply) = reply else { return Err(self.connection("the connection was closed")) };
            match reply.status {
                None | Some(StatusCode::OK) => {
                    let group = KeyValue::new("messaging.consumer.group.name", self.durable.clone());
                    telemetry::metrics().consumed_messages.add(1, &[group]);
                    return self.delivery(reply).map(Some);
                }
                Some(StatusCode::IDLE_HEARTBEAT) => {}
                Some(StatusCode::TIMEOUT | StatusCode::NOT_FOUND) => return Ok(None),
                Some(StatusCode::NO_RESPONDERS) => return Err(self.missing()),
                Some(status) => {
                    let words = reply.description.unwrap_or_default();
                    if words.to_ascii_lowercase().contains("consumer deleted") {
                        return Err(self.missing());
                    }
                    return Err(ConsumeError::Ended {
                        stream: self.stream.clone(),
                        durable: self.durable.clone(),
                        status: format!("{status} {words}"),
                    });
                }
            }
        }
    }

    fn delivery(&self, message: Message) -> Result<Delivery, ConsumeError> {
        let subject = message.subject.to_string();
        let parsed = message.reply.as_deref().and_then(|reply| Some((reply.to_owned(), read_reply_subject(reply)?)));
        let Some((reply, info)) = parsed else { return Err(ConsumeError::NotADelivery { subject }) };
        let header = |name: &str| message.headers.as_ref()?.get(name).map(|value| value.as_str().to_owned());
        Ok(Delivery {
            traceparent: header("traceparent"),
            message_id: header("Nats-Msg-Id"),
            subject,
            payload: message.payload,
            delivered: info.delivered,
            sequence: info.sequence,
            published_at: info.published_at,
            reply,
            stream: self.stream.clone(),
            durable: self.durable.clone(),
            bus: self.bus.clone(),
        })
    }

    fn missing(&self) -> ConsumeError {
        ConsumeError::Missing { stream: self.stream.clone(), durable: self.durable.clone() }
    }

    fn connection(&self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> ConsumeError {
        ConsumeError::Connection { stream: self.stream.clone(), durable: self.durable.clone(), source: source.into() }
    }
}

impl Delivery {
    /// Handled: it never comes again.
    ///
    /// # Errors
    /// When the consumer did not reply; the message may come again.
    pub async fn ack(&self) -> Result<(), SettleError> {
        fail::fail_point!("bus::before_ack");
        self.settle(Settlement::Ack, "+ACK".to_owned()).await
    }

    /// Still being handled: the consumer's `ack_wait` begins anew.
    ///
    /// # Errors
    /// When the consumer did not reply.
    pub async fn in_progress(&self) -> Result<(), SettleError> {
        self.settle(Settlement::InProgress, "+WPI".to_owned()).await
    }

    /// Not handled: it comes again, to anybody, after `delay`.
    ///
    /// # Errors
    /// When the consumer did not reply; the message then comes again after `ack_wait`.
    pub async fn retry_after(&self, delay: Duration) -> Result<(), SettleError> {
        if delay.is_zero() {
            self.settle(Settlement::Retry, "-NAK".to_owned()).await
        } else {
            self.settle(Settlement::Retry, format!("-NAK {}", json!({ "delay": nanoseconds(delay) }))).await
        }
    }

    /// Never to be handled: it does not come again, and the server tells the reason in an advisory. A copy belongs into
    /// the dead letters first.
    ///
    /// # Errors
    /// When the consumer did not reply; the message may come again.
    pub async fn terminate(&self, reason: &str) -> Result<(), SettleError> {
        let reason: String = reason.chars().filter(|c| !c.is_control()).take(200).collect();
        self.settle(Settlement::Terminate, format!("+TERM {reason}")).await
    }

    async fn settle(&self, settlement: Settlement, verdict: String) -> Result<(), SettleError> {
        let span = match settlement {
            // Heartbeats would drown the story of a long job.
            Settlement::InProgress => tracing::Span::none(),
            _ => telemetry::settle_span(&self.span_fields(), settlement),
        };
        let begin = std::time::Instant::now();
        let settled = self.ask_to_settle(verdict).instrument(span).await;
        let error = match &settled {
            Ok(()) => "",
            Err(SettleError::Gone { .. }) => "gone",
            Err(SettleError::NoReply { .. }) => "no_reply",
        };
        telemetry::metrics().client_operation_duration.record(
            begin.elapsed().as_secs_f64(),
            &[KeyValue::new("messaging.operation.name", settlement.as_str()), KeyValue::new("error.type", error)],
        );
        settled
    }

    // Not `double_ack()` of async-nats: it takes the server's "nobody is there" for success.
    async fn ask_to_settle(&self, verdict: String) -> Result<(), SettleError> {
        let (subject, sequence) = (self.subject.clone(), self.sequence);
        match self.bus.client().request(self.reply.clone(), verdict.into()).await {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == RequestErrorKind::NoResponders => {
                Err(SettleError::Gone { subject, sequence })
            }
            Err(source) => Err(SettleError::NoReply { subject, sequence, source: Box::new(source) }),
        }
    }

    /// What spans say of it; the job is the caller's to add.
    #[must_use]
    pub fn span_fields(&self) -> MessageSpan<'_> {
        MessageSpan {
            subject: &self.subject,
            stream: Some(&self.stream),
            consumer: Some(&self.durable),
            message_id: self.message_id.as_deref(),
            job_id: None,
            body_size: Some(self.payload.len()),
            sequence: Some(self.sequence),
            delivered: Some(self.delivered),
        }
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

struct ReplyInfo {
    delivered: u64,
    sequence: u64,
    published_at: Timestamp,
}

/// Reads `$JS.ACK.<stream>.<consumer>.<delivered>.<stream seq>.<consumer seq>.<ns>.<pending>`, and the longer form with
/// domain and account hash before the stream. Source: NATS ADR-15.
fn read_reply_subject(reply: &str) -> Option<ReplyInfo> {
    let parts: Vec<&str> = reply.split('.').collect();
    if parts.first() != Some(&"$JS") || parts.get(1) != Some(&"ACK") {
        return None;
    }
    let first = match parts.len() {
        9 => 4,
        11.. => 6,
        _ => return None,
    };
    let number = |index: usize| parts.get(first + index)?.parse::<u64>().ok();
    Some(ReplyInfo {
        delivered: number(0)?,
        sequence: number(1)?,
        published_at: Timestamp::from_nanosecond(i128::from(number(3)?)).ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_the_reply_subject_are_read() {
        for reply in [
            "$JS.ACK.ORDERS.worker.3.17.21.1700000000000000000.0",
            "$JS.ACK._.ACCHASH.ORDERS.worker.3.17.21.1700000000000000000.0.random",
        ] {
            let info = read_reply_subject(reply).unwrap();
            assert_eq!((info.delivered, info.sequence), (3, 17));
            assert_eq!(info.published_at.as_second(), 1_700_000_000);
        }
        assert!(read_reply_subject("_INBOX.x").is_none());
        assert!(read_reply_subject("$JS.ACK.ORDERS.worker.3").is_none());
    }
}
