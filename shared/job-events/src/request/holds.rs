//! Requests about legal holds and settings.

use std::collections::BTreeMap;

use job_model::{HoldSelection, LegalHoldId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Hold recovery points of the sender's account in the region of the request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateLegalHold {
    /// What it is called.
    pub title: String,
    /// What it is for.
    pub description: String,
    /// What it holds; everything unless narrowed.
    #[serde(default)]
    pub selection: HoldSelection,
    /// Tags.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
}

/// Lift a legal hold.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CancelLegalHold {
    /// The hold.
    pub id: LegalHoldId,
    /// Why.
    pub cancel_description: String,
    /// Days that the record of the hold is kept; for ever unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retain_record_days: Option<u32>,
}

/// Change settings of the sender's account in the region of the request; what is not named stays.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PutRegionSettings {
    /// Types of resources that selections without explicit ARNs take.
    #[serde(default)]
    pub opt_in: BTreeMap<String, bool>,
    /// Types that are managed fully: every one is, so only `true` is accepted.
    #[serde(default)]
    pub management: BTreeMap<String, bool>,
}

/// Change settings of the sender's account in all regions; what is not named stays.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PutGlobalSettings {
    /// AWS's names and `true` or `false`.
    pub settings: BTreeMap<String, String>,
}
