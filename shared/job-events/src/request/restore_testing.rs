//! Requests about restore testing plans, as the AWS Backup API has them: plan and selections one by one.

use std::collections::BTreeMap;

use job_model::{PointAlgorithm, ProtectedResourceConditions, RecoveryPointKind, RestoreTestingSelection};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Make a restore testing plan without selections; it tests nothing until it gets one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateRestoreTestingPlan {
    /// 1 to 50 of `[A-Za-z0-9_]`; unique in account and region.
    pub name: String,
    /// When it runs.
    pub schedule: String,
    /// IANA name; UTC unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
    /// 24 unless given, at most 168.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_window_hours: Option<u32>,
    /// Which point.
    pub algorithm: PointAlgorithm,
    /// Kinds of recovery points; at least one.
    pub recovery_point_kinds: Vec<RecoveryPointKind>,
    /// Vault ARN patterns.
    pub include_vaults: Vec<String>,
    /// Vault ARN patterns to leave out.
    #[serde(default)]
    pub exclude_vaults: Vec<String>,
    /// 30 unless given, 1 to 365.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selection_window_days: Option<u32>,
    /// Tags.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
}

/// Change a restore testing plan; what is absent stays.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateRestoreTestingPlan {
    /// Its name.
    pub name: String,
    /// When it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<String>,
    /// IANA name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
    /// At most 168.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_window_hours: Option<u32>,
    /// Which point.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub algorithm: Option<PointAlgorithm>,
    /// Kinds of recovery points.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovery_point_kinds: Option<Vec<RecoveryPointKind>>,
    /// Vault ARN patterns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub include_vaults: Option<Vec<String>>,
    /// Vault ARN patterns to leave out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exclude_vaults: Option<Vec<String>>,
    /// 1 to 365.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selection_window_days: Option<u32>,
}

/// Give a restore testing plan a selection.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateRestoreTestingSelection {
    /// Name of the plan.
    pub plan: String,
    /// The selection.
    pub selection: RestoreTestingSelection,
}

/// Change a selection of a restore testing plan; what is absent, or an empty list, stays.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateRestoreTestingSelection {
    /// Name of the plan.
    pub plan: String,
    /// Name of the selection.
    pub name: String,
    /// The credential profile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iam_role: Option<String>,
    /// ARNs, or `*` alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protected_resources: Option<Vec<String>>,
    /// Tag conditions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conditions: Option<ProtectedResourceConditions>,
    /// Metadata of the restore.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restore_metadata_overrides: Option<BTreeMap<String, String>>,
    /// At most 168.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation_window_hours: Option<u32>,
}

/// Take a selection from a restore testing plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeleteRestoreTestingSelection {
    /// Name of the plan.
    pub plan: String,
    /// Name of the selection.
    pub name: String,
}
