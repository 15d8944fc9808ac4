//! Backup plans: rules, lifecycles, copy actions.

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{AccountId, Arn, PlanId, Region, RuleId};

/// How long a recovery point is kept. Absent means for ever.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Lifecycle {
    /// Days after its creation until it is deleted; 1 to 36,500.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delete_after_days: Option<u32>,
    /// Days after its creation until it moves to cold storage; 1 to 36,500, and less than until its deletion.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub move_to_cold_after_days: Option<u32>,
}

/// Retention by generations: of each kind of period, the newest recovery point of that many periods that have one.
/// A recovery point is removed when neither its lifecycle nor any generation keeps it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Generations {
    /// The newest ones, whatever their age.
    pub last: u32,
    /// Hours that have one.
    pub hourly: u32,
    /// Days that have one, in the rule's time zone.
    pub daily: u32,
    /// ISO weeks that have one.
    pub weekly: u32,
    /// Months that have one.
    pub monthly: u32,
    /// Years that have one.
    pub yearly: u32,
}

/// A copy that follows each recovery point of a rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CopyAction {
    /// Where to; usually in another region.
    pub destination_vault: Arn,
    /// The copy's own lifecycle, independent of the source's.
    #[serde(default)]
    pub lifecycle: Lifecycle,
}

/// One rule of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BackupRule {
    /// Given by the planner; kept over updates as long as the name is the same.
    pub id: RuleId,
    /// 1 to 50 of `[A-Za-z0-9-_.]`, unique in the plan.
    pub name: String,
    /// Where recovery points go; in the region of the resource.
    pub target_vault: Arn,
    /// `cron(0 5 ? * * *)`: six fields as AWS has them, or five.
    pub schedule: String,
    /// IANA name; UTC unless given.
    pub time_zone: String,
    /// A job that has not started this many minutes after its scheduled time is EXPIRED.
    pub start_window_minutes: u32,
    /// A job that has not ended this many minutes after its scheduled time is cancelled.
    pub completion_window_minutes: u32,
    /// Retention by age.
    #[serde(default)]
    pub lifecycle: Lifecycle,
    /// Retention by generations, beside the lifecycle.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generations: Option<Generations>,
    /// Copies to make of each recovery point.
    #[serde(default)]
    pub copy_actions: Vec<CopyAction>,
    /// Tags put on each recovery point.
    #[serde(default)]
    pub recovery_point_tags: BTreeMap<String, String>,
    /// Point-in-time recovery is wanted. A type of resource that cannot be captured continuously gets snapshots.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub enable_continuous: bool,
}

/// Options of a plan for one type of resource, as AWS has them. Types of ours take none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AdvancedBackupSetting {
    /// `EC2` or `S3`.
    pub resource_type: String,
    /// `WindowsVSS`, `BackupACLs`, `BackupObjectTags`.
    pub options: BTreeMap<String, String>,
}

/// One version of a backup plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BackupPlan {
    /// Shared by all versions.
    pub id: PlanId,
    /// 1 to 50 of `[A-Za-z0-9-_.]`.
    pub name: String,
    /// Counts up from 1 with each update.
    pub version: u32,
    /// 1 to 10 rules.
    pub rules: Vec<BackupRule>,
    /// When the first version was made.
    pub created_at: Timestamp,
    /// When this version was made.
    pub updated_at: Timestamp,
    /// Whose it is; the installation's own account unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<AccountId>,
    /// The region it was made in: a plan with a region protects resources of that region only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<Region>,
    /// The token its maker named it with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub creator_request_id: Option<String>,
    /// Tags of the plan, all versions together.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// Options by type of resource.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub advanced_settings: Vec<AdvancedBackupSetting>,
    /// When the plan was deleted; its versions stay readable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted_at: Option<Timestamp>,
    /// When a rule of it last made jobs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_run_at: Option<Timestamp>,
}

impl BackupPlan {
    /// The name of this version in the AWS Backup API: the same for the same plan and version for ever.
    #[must_use]
    pub fn version_id(&self) -> String {
        plan_version_id(self.id, self.version).hyphenated().to_string()
    }

    /// Its ARN, where region and account are known.
    ///
    /// # Errors
    /// When they make no valid ARN.
    pub fn arn(&self, region: &Region, account: &AccountId) -> Result<Arn, crate::InvalidArn> {
        let region = self.region.as_ref().unwrap_or(region);
        let account = self.account.as_ref().unwrap_or(account);
        format!("arn:aws:backup:{region}:{account}:backup-plan:{}", self.id).parse()
    }
}

/// The name of a version of a plan in the AWS Backup API.
#[must_use]
pub fn plan_version_id(plan: PlanId, version: u32) -> Uuid {
    plan.derive(&format!("version-{version}"))
}
