//! Answers about what will be and what is not proven: operations that AWS lacks.

use jiff::Timestamp;
use job_model::{Arn, PlanId, RecoveryPointId, ResourceType, RuleId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A run that will come.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ForecastRun {
    /// When its schedule comes.
    pub at: Timestamp,
    /// The plan.
    pub plan_id: PlanId,
    /// The rule.
    pub rule_id: RuleId,
    /// The rule's name.
    pub rule_name: String,
    /// What will be backed up.
    pub resource: Arn,
    /// Where to.
    pub vault: Arn,
    /// How long it will take in milliseconds: the longest of the resource's last backups into that vault; none without
    /// history.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_ms: Option<u64>,
    /// Whether it will end within its completion window, as far as history tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fits_window: Option<bool>,
}

/// How a resource stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CoverageRow {
    /// The resource.
    pub resource: Arn,
    /// Its type.
    pub resource_type: ResourceType,
    /// Whether a plan selects it.
    pub protected: bool,
    /// Its newest recovery point.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newest_point_at: Option<Timestamp>,
    /// Size of that one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// When a restore of it was last proven, within the days asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proven_at: Option<Timestamp>,
}

/// Which share of what is registered was proven restorable. A resource without proof counts; it is never left out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CoverageAnswer {
    /// Registered resources.
    pub resources: u64,
    /// Those that a plan selects.
    pub protected: u64,
    /// Those that were proven within the days asked for.
    pub proven: u64,
    /// Bytes of the newest recovery points.
    pub bytes: u64,
    /// Bytes of those resources that were proven.
    pub proven_bytes: u64,
    /// A page of the resources, by ARN.
    pub rows: Vec<CoverageRow>,
    /// Pass it as `after` for the next page; none at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// A page of recovery points that a legal hold is about.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HeldPoints {
    /// The recovery points, each with its resource, type and vault.
    pub points: Vec<HeldPoint>,
    /// Pass it as `after` for the next page; none at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// A recovery point that a legal hold is about.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HeldPoint {
    /// It.
    pub recovery_point: Arn,
    /// Its id.
    pub id: RecoveryPointId,
    /// What it is a recovery point of.
    pub resource: Arn,
    /// Its type.
    pub resource_type: ResourceType,
    /// Its vault.
    pub vault: Arn,
}
