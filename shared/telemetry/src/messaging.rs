//! Spans of messages, by the messaging conventions of OpenTelemetry 1.42 (there is no page for NATS, so the generic ones).
//!
//! | operation | span | kind |
//! |---|---|---|
//! | publish from the outbox | `publish hf.v1.R.order.snapshot` | producer |
//! | handle one message | `process hf.v1.R.order.snapshot`, child of and linked to the sender's span | consumer |
//! | acknowledge, refuse, extend | `ack hf.v1.R.order.snapshot` | client |

use tracing::Span;
use tracing::field::Empty;

use crate::propagation::{add_link, set_parent};

/// Tokens of a subject that have few values: `hf.v1.<region>.<family>.<queue or service>`. What follows names a resource
/// or a job and stays out of span names.
const LOW_CARDINALITY_TOKENS: usize = 5;

/// What is known of a message when its span is made; unknown members stay out of the span.
#[derive(Clone, Copy, Debug, Default)]
pub struct MessageSpan<'a> {
    /// The whole subject.
    pub subject: &'a str,
    /// The stream it is stored in.
    pub stream: Option<&'a str>,
    /// The durable consumer it came through.
    pub consumer: Option<&'a str>,
    /// Its `Nats-Msg-Id`, the envelope's id.
    pub message_id: Option<&'a str>,
    /// The job it is about.
    pub job_id: Option<&'a str>,
    /// The payload in bytes.
    pub body_size: Option<usize>,
    /// Its number in the stream.
    pub sequence: Option<u64>,
    /// Which delivery this is, from 1.
    pub delivered: Option<u64>,
}

/// How a delivery is settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settlement {
    /// Done: `+ACK`.
    Ack,
    /// Not now: `-NAK`.
    Retry,
    /// Never: `+TERM`.
    Terminate,
    /// Still at it: `+WPI`.
    InProgress,
}

impl Settlement {
    /// The operation's name in spans and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ack => "ack",
            Self::Retry => "nak",
            Self::Terminate => "term",
            Self::InProgress => "wpi",
        }
    }
}

/// The subject's first tokens, and the same with `>` where more follow.
fn destination(subject: &str) -> (&str, String) {
    match subject.match_indices('.').nth(LOW_CARDINALITY_TOKENS - 1) {
        Some((end, _)) => (&subject[..end], format!("{}.>", &subject[..end])),
        None => (subject, subject.to_owned()),
    }
}

macro_rules! message_span {
    ($message:expr, $verb:expr, $kind:literal, $type:literal) => {{
        let message: &MessageSpan<'_> = $message;
        let verb: &str = $verb;
        let (prefix, template) = destination(message.subject);
        tracing::info_span!(
            "message",
            otel.name = format!("{verb} {prefix}"),
            otel.kind = $kind,
            otel.status_code = Empty,
            error.type = Empty,
            messaging.system = "nats",
            messaging.operation.name = verb,
            messaging.operation.type = $type,
            messaging.destination.name = message.subject,
            messaging.destination.template = template,
            messaging.destination.subscription.name = message.stream,
            messaging.consumer.group.name = message.consumer,
            messaging.message.id = message.message_id,
            messaging.message.conversation_id = message.job_id,
            messaging.message.body.size = message.body_size,
            messaging.nats.stream.sequence = message.sequence,
            messaging.nats.delivered = message.delivered,
        )
    }};
}

/// The span of publishing one message. `traceparent` is that of the span that wrote the message into the outbox: it
/// becomes the parent, so that a message published after a restart still belongs to its story.
#[must_use]
pub fn publish_span(message: &MessageSpan<'_>, traceparent: Option<&str>) -> Span {
    let span = message_span!(message, "publish", "producer", "send");
    set_parent(&span, traceparent);
    span
}

/// The span of handling one message: a child of the sender's span and linked to it.
#[must_use]
pub fn process_span(message: &MessageSpan<'_>, traceparent: Option<&str>) -> Span {
    let span = message_span!(message, "process", "consumer", "process");
    set_parent(&span, traceparent);
    add_link(&span, traceparent);
    span
}

/// The span of settling one delivery; a child of the current span.
#[must_use]
pub fn settle_span(message: &MessageSpan<'_>, settlement: Settlement) -> Span {
    message_span!(message, settlement.as_str(), "client", "settle")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn span_names_leave_out_resources_and_jobs() {
        let (prefix, template) = destination("hf.v1.ap-northeast-1.order.snapshot.0123456789abcdef");
        assert_eq!(prefix, "hf.v1.ap-northeast-1.order.snapshot");
        assert_eq!(template, "hf.v1.ap-northeast-1.order.snapshot.>");
    }

    #[test]
    fn short_subjects_stay_whole() {
        assert_eq!(destination("hf.v1.r.order.copy"), ("hf.v1.r.order.copy", "hf.v1.r.order.copy".to_owned()));
        assert_eq!(destination(""), ("", String::new()));
    }
}
