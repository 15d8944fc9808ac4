//! Questions and answers: plain request-reply, nothing is stored.

use std::time::Duration;

use async_nats::client::RequestErrorKind;
use async_nats::{Request, Subscriber};
use bytes::Bytes;
use futures::StreamExt;

use crate::Bus;

/// Who serves the same questions shares this group, so that each is answered once.
const QUEUE_GROUP: &str = "queries";

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// No process serves it.
    #[error("nobody answers on `{subject}`; see whether the service runs")]
    NobodyAnswers {
        /// What was asked.
        subject: String,
    },
    /// No answer in time.
    #[error("no answer on `{subject}` in time")]
    NoAnswer {
        /// What was asked.
        subject: String,
        /// What the client says.
        #[source]
        source: Box<async_nats::client::RequestError>,
    },
    /// This process cannot listen.
    #[error("cannot listen on `{subject}`")]
    Listen {
        /// Where.
        subject: String,
        /// What the client says.
        #[source]
        source: async_nats::SubscribeError,
    },
    /// The answer could not be sent.
    #[error("cannot answer on `{subject}`")]
    Answer {
        /// What was asked.
        subject: String,
        /// What the client says.
        #[source]
        source: async_nats::PublishError,
    },
}

/// Questions as they come.
#[derive(Debug)]
pub struct QueryStream {
    bus: Bus,
    subscriber: Subscriber,
}

/// One question.
#[derive(Debug)]
pub struct Incoming {
    /// Where it was asked.
    pub subject: String,
    /// Its bytes.
    pub payload: Bytes,
    /// W3C trace context of the span that asks.
    pub traceparent: Option<String>,
    reply: Option<async_nats::Subject>,
    bus: Bus,
}

impl Bus {
    /// Asks, and waits for the answer of one of those who serve the subject.
    ///
    /// # Errors
    /// When nobody serves it or no answer comes in time.
    pub async fn query(&self, subject: &str, payload: Vec<u8>, timeout: Duration) -> Result<Bytes, QueryError> {
        let request = Request::new().payload(payload.into()).timeout(Some(timeout));
        match self.client().send_request(subject.to_owned(), request).await {
            Ok(reply) => Ok(reply.payload),
            Err(error) if error.kind() == RequestErrorKind::NoResponders => {
                Err(QueryError::NobodyAnswers { subject: subject.to_owned() })
            }
            Err(source) => Err(QueryError::NoAnswer { subject: subject.to_owned(), source: Box::new(source) }),
        }
    }

    /// Serves questions on a subject, which may hold wildcards. Replicas share the work. On return the subscription is on
    /// its way to the server, before everything else that this connection sends from then on.
    ///
    /// # Errors
    /// When the connection is closed.
    pub async fn serve_queries(&self, subject: &str) -> Result<QueryStream, QueryError> {
        let listen = |source| QueryError::Listen { subject: subject.to_owned(), source };
        let subscribed = self.client().queue_subscribe(subject.to_owned(), QUEUE_GROUP.to_owned()).await;
        let subscriber = subscribed.map_err(listen)?;
        if let Err(error) = self.client().flush().await {
            tracing::debug!(subject, %error, "the subscription is sent again when the connection is back");
        }
        Ok(QueryStream { bus: self.clone(), subscriber })
    }
}

impl QueryStream {
    /// The next question; none when the connection ended for good.
    pub async fn next(&mut self) -> Option<Incoming> {
        let message = self.subscriber.next().await?;
        let traceparent =
            message.headers.as_ref().and_then(|headers| headers.get("traceparent")).map(|v| v.as_str().to_owned());
        Some(Incoming {
            subject: message.subject.to_string(),
            payload: message.payload,
            traceparent,
            reply: message.reply,
            bus: self.bus.clone(),
        })
    }
}

impl Incoming {
    /// Answers. A question without a reply subject wants no answer.
    ///
    /// # Errors
    /// When the connection is closed.
    pub async fn respond(self, answer: impl Into<Bytes>) -> Result<(), QueryError> {
        let Some(reply) = self.reply else { return Ok(()) };
        let sent = self.bus.client().publish(reply, answer.into()).await;
        sent.map_err(|source| QueryError::Answer { subject: self.subject, source })
    }
}
