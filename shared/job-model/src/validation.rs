//! What a plan, a selection, a vault or a restore testing plan may look like.
//!
//! Each refusal names the field (as a path into the message), the value, the mend and AWS's name for the error. Schedules
//! are the `schedule` crate's matter.

mod limits;
mod name;
mod plan;
mod restore_testing;
mod selection;
mod vault;

pub use name::{plan_name, restore_testing_name, rule_name, selection_name, vault_name};
pub use plan::{advanced_settings, backup_plan, lifecycle, retention_fits_vault, tag, tags, windows};
pub use restore_testing::restore_testing_plan;
pub use selection::selection;
pub use vault::vault_retention;

/// AWS's name for a value that cannot be accepted.
pub const INVALID_PARAMETER_VALUE: &str = "InvalidParameterValueException";
/// AWS's name for a value that is missing.
pub const MISSING_PARAMETER_VALUE: &str = "MissingParameterValueException";
/// AWS's name for more of something than is allowed.
pub const LIMIT_EXCEEDED: &str = "LimitExceededException";
/// AWS's name for a request that does not fit the state of what it is about.
pub const INVALID_REQUEST: &str = "InvalidRequestException";
/// AWS's name for a request that was looked at too late.
pub const REQUEST_EXPIRED: &str = "RequestExpired";

/// Why something was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{field}` `{value}`: {problem}")]
pub struct Invalid {
    /// The field, as a path: `rules[0].lifecycle.delete_after_days`.
    pub field: String,
    /// What stands there.
    pub value: String,
    /// What is wrong with it and how to mend it.
    pub problem: String,
    /// AWS's name for the error.
    pub code: &'static str,
}

impl Invalid {
    /// A value that cannot be accepted.
    #[must_use]
    pub fn parameter(field: impl Into<String>, value: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { field: field.into(), value: value.into(), problem: problem.into(), code: INVALID_PARAMETER_VALUE }
    }

    /// A value that is missing.
    #[must_use]
    pub fn missing(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { field: field.into(), value: String::new(), problem: problem.into(), code: MISSING_PARAMETER_VALUE }
    }

    /// More than is allowed.
    #[must_use]
    pub fn limit(field: impl Into<String>, value: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { field: field.into(), value: value.into(), problem: problem.into(), code: LIMIT_EXCEEDED }
    }
}
