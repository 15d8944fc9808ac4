//! CloudEvents 1.0 in structured JSON mode, with extensions.

use jiff::Timestamp;
use job_model::{AccountId, Arn};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Assignment, Fact, OrderBody, Request};

/// A CloudEvent. The source of the format: cloudevents.io, CloudEvents specification 1.0.2, JSON event format.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Envelope {
    /// Always `1.0`.
    pub specversion: String,
    /// Unique per source; a repeated message has the same. Also the `Nats-Msg-Id`.
    pub id: String,
    /// Who says it: `/holdfast/<service>/<instance>`; free for requests.
    pub source: String,
    /// `holdfast.<family>.<name>.v<version>`.
    #[serde(rename = "type")]
    pub event_type: String,
    /// The ARN or job it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// When.
    pub time: Timestamp,
    /// Always `application/json`.
    #[serde(default = "json_content_type")]
    pub datacontenttype: String,
    /// Where the schema of `data` lies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dataschema: Option<String>,
    /// W3C trace context.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    /// The planner's generation: a worker drops an order of a lower one than it has seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
    /// Id of the message that led to this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub causation: Option<String>,
    /// On whose behalf a request is made. What belongs to another account does not exist for it. Absent: whoever may
    /// publish on the bus, with the installation's own account for what is made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<AccountId>,
    /// Who makes a request, as the ARN of a role; access policies of vaults look at it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub principal: Option<Arn>,
    /// The token of a request: the same token with the same content is the same request, whatever its id.
    #[serde(default, rename = "idempotencytoken", skip_serializing_if = "Option::is_none")]
    pub idempotency_token: Option<String>,
    /// Until when a request may be carried out; CloudEvents' extension of this name. Whoever has decided nothing about it by
    /// then refuses it. Absent: it waits for as long as it takes.
    #[serde(default, rename = "expirytime", skip_serializing_if = "Option::is_none")]
    pub expiry_time: Option<Timestamp>,
    /// The payload.
    pub data: serde_json::Value,
}

fn json_content_type() -> String {
    "application/json".to_owned()
}

/// Why bytes are not a message.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Not JSON, or not an envelope.
    #[error("`{field}`: {problem}; send a CloudEvents 1.0 JSON object (docs/reference/messages.md)")]
    Envelope {
        /// The member of the envelope, or `.` for the whole.
        field: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A payload that does not fit its type.
    #[error("`data.{field}`: {problem}")]
    Field {
        /// Path of the field in `data`.
        field: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A type nobody knows.
    #[error("`type`: `{event_type}` is not a known message type; see docs/reference/messages.md")]
    UnknownType {
        /// The type given.
        event_type: String,
    },
}

impl DecodeError {
    pub(crate) fn field(path: String, inner: &serde_json::Error) -> Self {
        Self::Field { field: path, problem: inner.to_string() }
    }

    /// The member that is wrong, with its path.
    #[must_use]
    pub fn field_name(&self) -> String {
        match self {
            Self::Envelope { field, .. } => field.clone(),
            Self::Field { field, .. } => format!("data.{field}"),
            Self::UnknownType { .. } => "type".to_owned(),
        }
    }
}

/// Why a request with this expiry time may not be carried out any more, for its sender; none while it may.
#[must_use]
pub fn expired(expiry_time: Option<Timestamp>, now: Timestamp) -> Option<String> {
    let expiry = expiry_time.filter(|expiry| *expiry < now)?;
    let late = now.duration_since(expiry).as_secs_f64();
    Some(format!(
        "the request expired {late:.1} s before it was looked at, so nothing was done; send it again, and compare the clocks \
         of its sender and of this machine ({now}) if this happens to each one"
    ))
}

impl Envelope {
    /// An envelope around a payload.
    #[must_use]
    pub fn new(id: String, source: String, event_type: String, time: Timestamp, data: serde_json::Value) -> Self {
        let name = event_type.clone();
        Self {
            specversion: "1.0".to_owned(),
            id,
            source,
            event_type,
            subject: None,
            time,
            datacontenttype: json_content_type(),
            dataschema: Some(format!("https://holdfast.invalid/schema/{name}.json")),
            traceparent: None,
            generation: None,
            causation: None,
            account: None,
            principal: None,
            idempotency_token: None,
            expiry_time: None,
            data,
        }
    }

    /// Reads an envelope; the payload is looked at by [`Envelope::request`], [`Envelope::order`] or
    /// [`Envelope::fact`].
    ///
    /// # Errors
    /// When the bytes are no JSON object with the members a CloudEvent needs.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut json = serde_json::Deserializer::from_slice(bytes);
        let envelope: Self = serde_path_to_error::deserialize(&mut json)
            .map_err(|e| DecodeError::Envelope { field: e.path().to_string(), problem: e.inner().to_string() })?;
        if envelope.specversion != "1.0" {
            return Err(DecodeError::Envelope {
                field: "specversion".to_owned(),
                problem: format!("`{}` is not `1.0`", envelope.specversion),
            });
        }
        if envelope.id.is_empty() || envelope.id.len() > 256 {
            return Err(DecodeError::Envelope {
                field: "id".to_owned(),
                problem: "must have 1 to 256 bytes".to_owned(),
            });
        }
        Ok(envelope)
    }

    /// As bytes for the bus.
    ///
    /// # Errors
    /// Never for values that came from this crate; `data` is already JSON.
    pub fn to_bytes(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(self)
    }

    /// The payload as a request.
    ///
    /// # Errors
    /// When it is not one.
    pub fn request(&self) -> Result<Request, DecodeError> {
        Request::decode(&self.event_type, self.data.clone())
    }

    /// The payload as an order.
    ///
    /// # Errors
    /// When it is not one.
    pub fn order(&self) -> Result<OrderBody, DecodeError> {
        OrderBody::decode(&self.event_type, self.data.clone())
    }

    /// The payload as an assignment.
    ///
    /// # Errors
    /// When it is not one.
    pub fn assignment(&self) -> Result<Assignment, DecodeError> {
        Assignment::decode(&self.event_type, self.data.clone())
    }

    /// The payload as a fact.
    ///
    /// # Errors
    /// When it is not one.
    pub fn fact(&self) -> Result<Fact, DecodeError> {
        Fact::decode(&self.event_type, self.data.clone())
    }
}
