//! A successful answer.

use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode, header};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Header that says since when a list may be out of date: the services behind it do not answer.
pub(crate) const STALE: &str = "x-holdfast-stale-since";

/// What an answer says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(into = "Value", from = "Value")]
pub(crate) enum Output {
    Value(Value),
    /// JSON, of long lists: a value of it would take several times the time and the memory.
    Text(String),
}

impl From<Value> for Output {
    fn from(value: Value) -> Self {
        Self::Value(value)
    }
}

impl From<Output> for Value {
    fn from(output: Output) -> Self {
        match output {
            Output::Value(value) => value,
            // It was made by the serialiser that reads it here.
            Output::Text(text) => text.parse().unwrap_or(Self::Null),
        }
    }
}

/// A successful answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Reply {
    /// Status, where it is not the operation's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) status: Option<u16>,
    /// Output; none for operations without one.
    pub(crate) body: Option<Output>,
    /// Since when the projection behind it has not heard from its services.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) stale_since: Option<jiff::Timestamp>,
}

impl Reply {
    /// With an output.
    pub(crate) fn json(body: Value) -> Self {
        Self { status: None, body: Some(Output::Value(body)), stale_since: None }
    }

    /// With an output that is JSON already.
    pub(crate) fn text(body: String) -> Self {
        Self { status: None, body: Some(Output::Text(body)), stale_since: None }
    }

    /// Without an output.
    pub(crate) fn empty() -> Self {
        Self { status: None, body: None, stale_since: None }
    }

    /// The HTTP answer; `usual` is the operation's own status of success.
    pub(crate) fn response(self, usual: u16) -> Response<Body> {
        let has_body = self.body.is_some();
        let body = match self.body {
            None => Body::empty(),
            Some(Output::Value(value)) => Body::from(value.to_string()),
            Some(Output::Text(text)) => Body::from(text),
        };
        let mut response = Response::new(body);
        *response.status_mut() = StatusCode::from_u16(self.status.unwrap_or(usual)).unwrap_or(StatusCode::OK);
        let headers = response.headers_mut();
        if has_body {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        if let Some(since) = self.stale_since
            && let Ok(value) = HeaderValue::from_str(&since.to_string())
        {
            headers.insert(STALE, value);
        }
        response
    }
}
