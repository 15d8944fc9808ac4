//! Answers to requests, in AWS's error names.

use job_model::Arn;

/// A request was accepted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Accepted {
    /// The job it made.
    pub(crate) job_id: Option<job_model::JobId>,
    /// What it made or changed.
    pub(crate) result: Option<String>,
}

impl Accepted {
    /// It made a job.
    pub(crate) fn job(id: job_model::JobId) -> Self {
        Self { job_id: Some(id), result: None }
    }

    /// It made or changed something that has a name.
    pub(crate) fn result(name: impl ToString) -> Self {
        Self { job_id: None, result: Some(name.to_string()) }
    }
}

/// A request was refused; nothing changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code} at `{field}`: {message}")]
pub(crate) struct Refusal {
    /// AWS's error name.
    pub(crate) code: &'static str,
    /// Path of the field, below `data`; empty for the whole.
    pub(crate) field: String,
    /// What is wrong and how to mend it.
    pub(crate) message: String,
    /// What exists already, with the token of the request that made it.
    pub(crate) existing: Option<(Option<Arn>, Option<String>)>,
}

impl Refusal {
    fn new(code: &'static str, field: &str, message: impl Into<String>) -> Self {
        Self { code, field: field.to_owned(), message: message.into(), existing: None }
    }

    /// Something that a policy denies.
    pub(crate) fn denied(field: &str, message: impl Into<String>) -> Self {
        Self::new("AccessDeniedException", field, message)
    }

    /// Says what exists already.
    pub(crate) fn of(mut self, arn: Option<Arn>, creator_request_id: Option<String>) -> Self {
        self.existing = Some((arn, creator_request_id));
        self
    }

    /// A value that cannot be.
    pub(crate) fn invalid(field: &str, message: impl Into<String>) -> Self {
        Self::new("InvalidParameterValueException", field, message)
    }

    /// A request that was looked at too late.
    pub(crate) fn expired(message: impl Into<String>) -> Self {
        Self::new(job_model::validation::REQUEST_EXPIRED, "expirytime", message)
    }

    /// A value that has to be there.
    pub(crate) fn missing(field: &str, message: impl Into<String>) -> Self {
        Self::new("MissingParameterValueException", field, message)
    }

    /// Something that does not exist.
    pub(crate) fn not_found(field: &str, message: impl Into<String>) -> Self {
        Self::new("ResourceNotFoundException", field, message)
    }

    /// Something that exists already.
    pub(crate) fn exists(field: &str, message: impl Into<String>) -> Self {
        Self::new("AlreadyExistsException", field, message)
    }

    /// Something that cannot be done now or not to this.
    pub(crate) fn request(field: &str, message: impl Into<String>) -> Self {
        Self::new("InvalidRequestException", field, message)
    }

    /// Too many.
    pub(crate) fn limit(field: &str, message: impl Into<String>) -> Self {
        Self::new("LimitExceededException", field, message)
    }
}

impl From<job_model::Invalid> for Refusal {
    fn from(invalid: job_model::Invalid) -> Self {
        let message = format!("`{}` {}", invalid.value, invalid.problem);
        Self { code: invalid.code, field: invalid.field, message, existing: None }
    }
}
