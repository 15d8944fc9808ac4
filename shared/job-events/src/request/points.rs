//! Requests about recovery points, tags and restores that were validated outside.

use std::collections::BTreeMap;

use job_model::{Arn, JobId, Lifecycle, ValidationStatus};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Give a recovery point another lifecycle; what is absent means for ever.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateRecoveryPointLifecycle {
    /// It.
    pub recovery_point: Arn,
    /// Its lifecycle from now on, counted from its creation.
    #[serde(default)]
    pub lifecycle: Lifecycle,
}

/// Give a continuous recovery point back to its source.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DisassociateRecoveryPoint {
    /// It.
    pub recovery_point: Arn,
}

/// Set and remove tags of a vault, plan, recovery point, resource, legal hold, report plan (planner) or restore testing
/// plan (verifier).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeTags {
    /// What is tagged.
    pub arn: Arn,
    /// Tags to set.
    #[serde(default)]
    pub set: BTreeMap<String, String>,
    /// Keys to remove; one that is not there is no error.
    #[serde(default)]
    pub remove: Vec<String>,
}

/// Say what somebody outside found when validating a restore test's restore. It may lower the built-in verdict and never
/// raises it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PutRestoreValidation {
    /// The restore job.
    pub restore_job_id: JobId,
    /// The conclusion.
    pub status: ValidationStatus,
    /// Why, in their words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}
