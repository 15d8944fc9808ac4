//! Which resources a plan protects.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{PlanId, SelectionId};

/// `key = value` on a plain tag key; any one of a list is enough.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TagCondition {
    /// The tag's key.
    pub key: String,
    /// The tag's value, compared case-sensitively.
    pub value: String,
}

/// One condition; the key may carry AWS's prefix `aws:ResourceTag/`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Condition {
    /// `aws:ResourceTag/<tag>` or the plain tag.
    pub key: String,
    /// The value, with `*` anywhere in the Like forms.
    pub value: String,
}

/// Conditions that must all hold. A missing tag fails Equals and Like and satisfies NotEquals and NotLike.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Conditions {
    /// Equal.
    pub string_equals: Vec<Condition>,
    /// Not equal.
    pub string_not_equals: Vec<Condition>,
    /// Equal, with `*`.
    pub string_like: Vec<Condition>,
    /// Not equal, with `*`.
    pub string_not_like: Vec<Condition>,
}

/// A selection of a plan. With neither `resources` nor `list_of_tags` it takes every resource; the result is then cut
/// down by `conditions` and `not_resources`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Selection {
    /// Given by the planner.
    pub id: SelectionId,
    /// The plan it belongs to.
    pub plan_id: PlanId,
    /// 1 to 50 of `[A-Za-z0-9-_.]`.
    pub name: String,
    /// ARN patterns, `*` anywhere; any one is enough.
    #[serde(default)]
    pub resources: Vec<String>,
    /// ARN patterns to leave out.
    #[serde(default)]
    pub not_resources: Vec<String>,
    /// Tags, any one is enough; added to what `resources` matches.
    #[serde(default)]
    pub list_of_tags: Vec<TagCondition>,
    /// Conditions that must all hold.
    #[serde(default)]
    pub conditions: Conditions,
    /// When it was made.
    pub created_at: Timestamp,
    /// The credential profile of its resources, as an ARN of a role (`IamRoleArn`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iam_role: Option<String>,
    /// The token its maker named it with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub creator_request_id: Option<String>,
}
