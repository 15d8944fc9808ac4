//! The JetStream API: a JSON request to `$JS.API.…`, and a JSON reply that may hold an error.
//!
//! Source of the subjects and shapes: NATS documentation, "JetStream wire API reference".

use async_nats::client::RequestErrorKind;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::Bus;

/// `stream not found`.
pub(crate) const STREAM_NOT_FOUND: u64 = 10059;
/// `consumer not found`.
pub(crate) const CONSUMER_NOT_FOUND: u64 = 10014;
/// `message not found`.
pub(crate) const MESSAGE_NOT_FOUND: u64 = 10037;
/// `wrong last sequence`.
pub(crate) const WRONG_LAST_SEQUENCE: u64 = 10071;
/// `wrong last sequence`, in the wording that does not name the sequence.
pub(crate) const WRONG_LAST_SEQUENCE_CONSTANT: u64 = 10164;
/// Store failures; the text tells which.
pub(crate) const STREAM_STORE_FAILED: u64 = 10077;
/// `expected stream does not match`.
pub(crate) const STREAM_NOT_MATCH: u64 = 10060;
/// `message size exceeds maximum allowed`.
pub(crate) const MESSAGE_EXCEEDS_MAXIMUM: u64 = 10054;

/// Why the server did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// The server answered with an error.
    #[error("nats-server refused `{subject}`: {description} (error `{code}`)")]
    Refused {
        /// What was asked.
        subject: String,
        /// The server's error code, for example `10059`.
        code: u64,
        /// The server's words.
        description: String,
    },
    /// Nobody listens on the subject: JetStream is off, or the stream is gone.
    #[error("nobody answers on `{subject}`; see that JetStream is on and that the stream exists")]
    NobodyAnswers {
        /// What was asked.
        subject: String,
    },
    /// No reply in time; what was asked may have happened.
    #[error("no reply on `{subject}` in time; the connection is down, or the user may not publish there")]
    NoReply {
        /// What was asked.
        subject: String,
        /// What the client says.
        #[source]
        source: Box<async_nats::client::RequestError>,
    },
    /// A reply that is not what the API promises.
    #[error("the reply on `{subject}` is not understood")]
    BadReply {
        /// What was asked.
        subject: String,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
}

impl ApiError {
    /// The server's error code, where it gave one.
    #[must_use]
    pub fn code(&self) -> Option<u64> {
        match self {
            Self::Refused { code, .. } => Some(*code),
            _ => None,
        }
    }

    pub(crate) fn request(subject: &str, source: async_nats::client::RequestError) -> Self {
        let subject = subject.to_owned();
        match source.kind() {
            RequestErrorKind::NoResponders => Self::NobodyAnswers { subject },
            _ => Self::NoReply { subject, source: Box::new(source) },
        }
    }
}

/// Takes the error out of a reply, if there is one.
pub(crate) fn error_in(reply: &Value, subject: &str) -> Option<ApiError> {
    let error = reply.get("error")?;
    Some(ApiError::Refused {
        subject: subject.to_owned(),
        code: error.get("err_code").and_then(Value::as_u64).unwrap_or_default(),
        description: error.get("description").and_then(Value::as_str).unwrap_or("no description").to_owned(),
    })
}

impl Bus {
    /// Asks `$JS.API.<subject>`.
    pub(crate) async fn api<T: DeserializeOwned>(&self, subject: &str, body: &Value) -> Result<T, ApiError> {
        let subject = format!("$JS.API.{subject}");
        let payload = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        let reply = self
            .client()
            .request(subject.clone(), payload.into())
            .await
            .map_err(|source| ApiError::request(&subject, source))?;
        let bad = |source| ApiError::BadReply { subject: subject.clone(), source };
        let reply: Value = serde_json::from_slice(&reply.payload).map_err(bad)?;
        match error_in(&reply, &subject) {
            Some(error) => Err(error),
            None => serde_json::from_value(reply).map_err(bad),
        }
    }
}
