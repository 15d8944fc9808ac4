//! Restore testing plans: which recovery points are restored, when, to prove that they can be.

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{AccountId, Arn, RecoveryPointKind, Region, ResourceType};

/// Which of the eligible recovery points of a resource is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum PointAlgorithm {
    /// The newest.
    LatestWithinWindow,
    /// One at random.
    RandomWithinWindow,
}

/// `key = value` on a tag.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TagEquality {
    /// Plain tag key, or with AWS's prefix `aws:ResourceTag/`.
    pub key: String,
    /// The value.
    pub value: String,
}

/// Conditions on the tags of the resource's latest recovery point; all must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ProtectedResourceConditions {
    /// Equal.
    pub string_equals: Vec<TagEquality>,
    /// Not equal.
    pub string_not_equals: Vec<TagEquality>,
}

/// Which resources a restore testing plan tests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RestoreTestingSelection {
    /// 1 to 50 of `[A-Za-z0-9_]`, unique in the plan.
    pub name: String,
    /// One type.
    pub resource_type: ResourceType,
    /// ARNs or `*`. A resource that is named and has no recovery point at all is a failure too.
    pub protected_resources: Vec<String>,
    /// Tag conditions.
    #[serde(default)]
    pub conditions: ProtectedResourceConditions,
    /// Hours that what was restored stays after the verdict; 0 removes it at once.
    #[serde(default)]
    pub validation_window_hours: u32,
    /// The credential profile of the restores (`IamRoleArn`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iam_role: Option<String>,
    /// The token its maker named it with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub creator_request_id: Option<String>,
    /// When it was made; unknown for those that came with their plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_at: Option<Timestamp>,
    /// When it was changed last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updated_at: Option<Timestamp>,
    /// Metadata of the restore that stand before the inferred ones; keys compare without case.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub restore_metadata_overrides: BTreeMap<String, String>,
}

/// Snapshots, which is all there is where nothing else is said.
fn snapshots() -> Vec<RecoveryPointKind> {
    vec![RecoveryPointKind::Snapshot]
}

fn are_snapshots(kinds: &[RecoveryPointKind]) -> bool {
    kinds == [RecoveryPointKind::Snapshot]
}

/// A restore testing plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RestoreTestingPlan {
    /// 1 to 50 of `[A-Za-z0-9_]`.
    pub name: String,
    /// When it runs; none for plans that only run on request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<String>,
    /// IANA name.
    pub time_zone: String,
    /// Start times are spread over this many hours.
    pub start_window_hours: u32,
    /// Which point.
    pub algorithm: PointAlgorithm,
    /// Vault ARNs, `*` anywhere. This is how a test is made to run from the copies: name their vault.
    pub include_vaults: Vec<String>,
    /// Vault ARNs to leave out.
    #[serde(default)]
    pub exclude_vaults: Vec<String>,
    /// How far back points are eligible, counted from the actual start; 1 to 365.
    pub selection_window_days: u32,
    /// What is tested.
    pub selections: Vec<RestoreTestingSelection>,
    /// When it was made or changed last.
    pub updated_at: Timestamp,
    /// Whose it is; the installation's own account unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<AccountId>,
    /// The region it was made in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<Region>,
    /// The token its maker named it with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub creator_request_id: Option<String>,
    /// Tags of the plan.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// When it was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_at: Option<Timestamp>,
    /// Kinds of recovery points that are eligible.
    #[serde(default = "snapshots", skip_serializing_if = "are_snapshots")]
    pub recovery_point_kinds: Vec<RecoveryPointKind>,
    /// When a run of it last began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_started_at: Option<Timestamp>,
}

impl RestoreTestingPlan {
    /// Its ARN: `arn:aws:backup:R:A:restore-testing-plan:<name>-<uuid>`, the UUID following from name, region and account.
    ///
    /// # Errors
    /// When region, account and name make no valid ARN.
    pub fn arn(&self, region: &Region, account: &AccountId) -> Result<Arn, crate::InvalidArn> {
        let region = self.region.as_ref().unwrap_or(region);
        let account = self.account.as_ref().unwrap_or(account);
        let plain: Arn = format!("arn:aws:backup:{region}:{account}:restore-testing-plan:{}", self.name).parse()?;
        let made = self.created_at.map_or_else(String::new, |at| at.as_nanosecond().to_string());
        let id = uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_URL, format!("{plain}|{made}").as_bytes());
        format!("{plain}-{}", id.hyphenated()).parse()
    }
}
