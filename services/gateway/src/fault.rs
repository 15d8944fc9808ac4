//! Errors as AWS Backup gives them: a name in a header, a JSON body, a status.

use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode, header};
use serde_json::{Map, Value, json};

use crate::model::api;

/// Header that decides which exception a client raises.
pub(crate) const ERROR_TYPE: &str = "x-amzn-errortype";

/// An error answer; nothing was changed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{code}: {message}")]
pub(crate) struct Fault {
    /// AWS's name: `InvalidParameterValueException`.
    pub(crate) code: String,
    /// HTTP status.
    pub(crate) status: StatusCode,
    /// What is wrong and how to mend it.
    pub(crate) message: String,
    /// What a service calls the field that it refused; taken away by [`Fault::named`].
    pub(crate) field: Option<Box<str>>,
    /// The member it is about, as a path; AWS's `Context`.
    pub(crate) context: Option<Box<str>>,
    /// For `AlreadyExistsException`: what is there already.
    pub(crate) arn: Option<Box<str>>,
    /// Seconds after which trying again makes sense.
    pub(crate) retry_after: Option<u64>,
}

impl Fault {
    /// An error of the API's own set.
    pub(crate) fn new(code: &str, message: impl Into<String>) -> Self {
        let status = match code {
            "ServiceUnavailableException" => StatusCode::SERVICE_UNAVAILABLE,
            "InternalFailure" => StatusCode::INTERNAL_SERVER_ERROR,
            "AccessDeniedException" => StatusCode::FORBIDDEN,
            _ => api().shapes.get(code).and_then(|shape| shape.exception).map_or(StatusCode::BAD_REQUEST, |status| {
                StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST)
            }),
        };
        Self {
            code: code.to_owned(),
            status,
            message: message.into(),
            field: None,
            context: None,
            arn: None,
            retry_after: None,
        }
    }

    /// With the field that a service refused as the client knows it.
    pub(crate) fn named(mut self, name: impl FnOnce(&str) -> String) -> Self {
        let Some(field) = self.field.take() else { return self };
        let member = name(&field);
        // Some services name the field themselves.
        let text = self.message.strip_prefix(&format!("`{field}` ")).unwrap_or(&self.message);
        self.message = format!("`{member}`: {text}");
        // Not what the request is about is missing, but something its document names: clients take the former for gone.
        if self.code == "ResourceNotFoundException" && member.contains('.') {
            "InvalidParameterValueException".clone_into(&mut self.code);
        }
        self.about(member)
    }

    /// With another status than the usual one.
    pub(crate) fn with_status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    /// With the member it is about.
    pub(crate) fn about(mut self, member: impl Into<String>) -> Self {
        self.context = Some(member.into().into_boxed_str());
        self
    }

    /// A value that cannot be.
    pub(crate) fn invalid(member: &str, problem: impl std::fmt::Display) -> Self {
        Self::new("InvalidParameterValueException", format!("`{member}`: {problem}")).about(member)
    }

    /// A member that is missing.
    pub(crate) fn missing(member: &str) -> Self {
        Self::new("MissingParameterValueException", format!("`{member}` is required")).about(member)
    }

    /// Something that does not exist.
    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::new("ResourceNotFoundException", message)
    }

    /// Something that cannot be done now, or not to this.
    pub(crate) fn request(message: impl Into<String>) -> Self {
        Self::new("InvalidRequestException", message)
    }

    /// A service behind the gateway does not answer; the same call later may succeed.
    pub(crate) fn unavailable(message: impl Into<String>) -> Self {
        Self { retry_after: Some(2), ..Self::new("ServiceUnavailableException", message) }
    }

    /// The role of the access key does not allow it.
    pub(crate) fn denied(message: impl Into<String>) -> Self {
        Self::new("AccessDeniedException", message)
    }

    /// An operation that is not served. Never a 5xx: clients would try again for minutes.
    pub(crate) fn unknown_operation(what: &str) -> Self {
        Self::new("UnknownOperationException", format!("{what} is not served here")).with_status(StatusCode::NOT_FOUND)
    }

    /// A broken promise of our own code; the log has the cause.
    pub(crate) fn internal(message: impl Into<String>) -> Self {
        Self::new("InternalFailure", message)
    }

    /// The answer.
    pub(crate) fn response(&self) -> Response<Body> {
        let mut body = Map::new();
        body.insert("__type".to_owned(), json!(self.code));
        body.insert("Code".to_owned(), json!(self.code));
        body.insert("Message".to_owned(), json!(self.message));
        // Some clients look for the lower-case name only.
        body.insert("message".to_owned(), json!(self.message));
        body.insert("Type".to_owned(), json!(if self.status.is_server_error() { "Server" } else { "Client" }));
        if let Some(context) = &self.context {
            body.insert("Context".to_owned(), json!(context));
        }
        if let Some(arn) = &self.arn {
            body.insert("Arn".to_owned(), json!(arn));
        }
        let mut response = Response::new(Body::from(Value::Object(body).to_string()));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Ok(code) = HeaderValue::from_str(&self.code) {
            headers.insert(ERROR_TYPE, code);
        }
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}
