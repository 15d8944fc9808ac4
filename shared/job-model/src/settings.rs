//! Settings of an account: which types of resources tag-based selections take, and what is allowed between accounts.

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{AccountId, Region, ResourceType};

/// The setting that allows copies into vaults of other accounts.
pub const CROSS_ACCOUNT_BACKUP: &str = "isCrossAccountBackupEnabled";

/// Settings of an account in a region.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RegionSettings {
    /// Whose they are.
    pub account: AccountId,
    /// Where they count.
    pub region: Region,
    /// Types that selections without explicit ARNs take or leave; a type that is not named is taken.
    #[serde(default)]
    pub opt_in: BTreeMap<String, bool>,
    /// AWS's second map, for types that are managed fully or not; here every type is, so only `true` is accepted.
    #[serde(default)]
    pub management: BTreeMap<String, bool>,
    /// When they were changed last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updated_at: Option<Timestamp>,
}

impl RegionSettings {
    /// The settings of somebody who set nothing.
    #[must_use]
    pub fn new(account: AccountId, region: Region) -> Self {
        Self { account, region, opt_in: BTreeMap::new(), management: BTreeMap::new(), updated_at: None }
    }

    /// Whether selections without explicit ARNs take this type.
    #[must_use]
    pub fn takes(&self, resource_type: ResourceType) -> bool {
        self.opt_in.get(resource_type.as_str()).copied().unwrap_or(true)
    }
}

/// Settings of an account in all regions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GlobalSettings {
    /// Whose they are.
    pub account: AccountId,
    /// AWS's names and `true` or `false`.
    #[serde(default)]
    pub settings: BTreeMap<String, String>,
    /// When they were changed last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updated_at: Option<Timestamp>,
}

impl GlobalSettings {
    /// The settings of somebody who set nothing.
    #[must_use]
    pub fn new(account: AccountId) -> Self {
        Self { account, settings: BTreeMap::new(), updated_at: None }
    }

    /// Whether copies into vaults of other accounts are allowed; not unless somebody says so.
    #[must_use]
    pub fn allows_cross_account(&self) -> bool {
        self.settings.get(CROSS_ACCOUNT_BACKUP).is_some_and(|value| value == "true")
    }
}
