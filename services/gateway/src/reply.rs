//! A successful answer.

use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode, header};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Header that says since when a list may be out of date: the services behind it do not answer.
pub(crate) const STALE: &str = "x-holdfast-stale-since";

/// A successful answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Reply {
    /// Status, where it is not the operation's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) status: Option<u16>,
    /// Output; none for operations without one.
    pub(crate) body: Option<Value>,
    /// Since when the projection behind it has not heard from its services.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) stale_since: Option<jiff::Timestamp>,
}

impl Reply {
    /// With an output.
    pub(crate) fn json(body: Value) -> Self {
        Self { status: None, body: Some(body), stale_since: None }
    }

    /// Without an output.
    pub(crate) fn empty() -> Self {
        Self { status: None, body: None, stale_since: None }
    }

    /// The HTTP answer; `usual` is the operation's own status of success.
    pub(crate) fn response(&self, usual: u16) -> Response<Body> {
        let body = self.body.as_ref().map_or_else(Body::empty, |value| Body::from(value.to_string()));
        let mut response = Response::new(body);
        *response.status_mut() = StatusCode::from_u16(self.status.unwrap_or(usual)).unwrap_or(StatusCode::OK);
        let headers = response.headers_mut();
        if self.body.is_some() {
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
