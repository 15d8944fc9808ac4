//! Requests about a vault's lock, access policy and notifications.

use job_model::Arn;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Lock a vault, or change its lock.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PutVaultLock {
    /// The vault.
    pub vault: Arn,
    /// Shortest retention allowed in it; 1 to 36,500.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_retention_days: Option<u32>,
    /// Longest retention allowed in it; 1 to 36,500.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_retention_days: Option<u32>,
    /// Compliance: nobody changes the lock once this many days have passed; 3 to 36,500. Absent: governance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changeable_for_days: Option<u32>,
}

/// Lift the lock of a vault.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeleteVaultLock {
    /// The vault.
    pub vault: Arn,
}

/// Give a vault an access policy, or replace it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PutVaultAccessPolicy {
    /// The vault.
    pub vault: Arn,
    /// The policy in IAM's language, as JSON text. What is not evaluated is refused.
    pub policy: String,
}

/// Take the access policy from a vault.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeleteVaultAccessPolicy {
    /// The vault.
    pub vault: Arn,
}

/// Say who is told of what happens in a vault.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PutVaultNotifications {
    /// The vault.
    pub vault: Arn,
    /// An ARN in the shape of an SNS topic's.
    pub topic: Arn,
    /// AWS's names of events, for example `BACKUP_JOB_COMPLETED`.
    pub events: Vec<String>,
}

/// Tell nobody any more of what happens in a vault.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeleteVaultNotifications {
    /// The vault.
    pub vault: Arn,
}
