//! Legal holds: recovery points that nobody deletes, for as long as somebody's lawyers say.

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{AccountId, Arn, InvalidArn, LegalHoldId, RecoveryPoint, Region, wildcard_matches};

/// AWS's states of a hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum LegalHoldStatus {
    /// It holds.
    Active,
    /// It was lifted; the record stays.
    Canceled,
}

/// Which recovery points of the hold's account and region are held. What is empty does not narrow the choice; points that
/// are made while the hold stands are held too.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HoldSelection {
    /// Names of vaults.
    pub vault_names: Vec<String>,
    /// ARNs of resources, `*` anywhere, or types of resources.
    pub resources: Vec<String>,
    /// Created at this instant or later.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<Timestamp>,
    /// Created at this instant or earlier.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

/// A legal hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LegalHold {
    /// Its id.
    pub id: LegalHoldId,
    /// Whose it is.
    pub account: AccountId,
    /// The region of the vaults it is about.
    pub region: Region,
    /// What it is called.
    pub title: String,
    /// What it is for.
    pub description: String,
    /// Whether it holds.
    pub status: LegalHoldStatus,
    /// What it holds.
    pub selection: HoldSelection,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was lifted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canceled_at: Option<Timestamp>,
    /// Why it was lifted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancel_description: Option<String>,
    /// The record of a lifted hold is removed after this instant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retain_record_until: Option<Timestamp>,
    /// The token its maker named it with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub creator_request_id: Option<String>,
    /// Tags.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
}

impl LegalHold {
    /// Its ARN: `arn:aws:backup:R:A:legal-hold:<id>`.
    ///
    /// # Errors
    /// Never for a region and account that were checked.
    pub fn arn(&self) -> Result<Arn, InvalidArn> {
        format!("arn:aws:backup:{}:{}:legal-hold:{}", self.region, self.account, self.id).parse()
    }

    /// Whether it holds this recovery point now.
    #[must_use]
    pub fn holds(&self, point: &RecoveryPoint) -> bool {
        self.status == LegalHoldStatus::Active && self.selects(point)
    }

    /// Whether the recovery point is one of those it is about, lifted or not.
    #[must_use]
    pub fn selects(&self, point: &RecoveryPoint) -> bool {
        let HoldSelection { vault_names, resources, from, until } = &self.selection;
        let vault = point.vault.resource().strip_prefix("backup-vault:").unwrap_or_default();
        let takes = |wanted: &String| {
            wanted == point.resource_type.as_str() || wildcard_matches(wanted, point.resource.as_str())
        };
        point.vault.account() == self.account.as_str()
            && point.vault.region() == self.region.as_str()
            && (vault_names.is_empty() || vault_names.iter().any(|name| name == vault))
            && (resources.is_empty() || resources.iter().any(takes))
            && from.is_none_or(|from| from <= point.created_at)
            && until.is_none_or(|until| point.created_at <= until)
    }
}
