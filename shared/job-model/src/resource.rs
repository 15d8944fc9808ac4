//! Protected things.

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{AccountId, Arn, Region};

/// What kind of thing a resource is; decides the driver. The wire form is AWS's free pattern, so that types of ours can
/// stand beside theirs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[non_exhaustive]
pub enum ResourceType {
    /// A directory tree with all its metadata.
    Files,
    /// A raw volume: an image file or a block device.
    Volume,
    /// A database server, named as Amazon RDS names its instances.
    #[serde(rename = "RDS")]
    Rds,
}

impl ResourceType {
    /// All of them.
    pub const ALL: &[Self] = &[Self::Files, Self::Volume, Self::Rds];

    /// The name on the wire and in lists.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Files => "Files",
            Self::Volume => "Volume",
            Self::Rds => "RDS",
        }
    }
}

/// A protected thing, as the planner's registry knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Resource {
    /// The name everybody uses, for example `arn:aws:files:ap-northeast-1:000000000000:tree/home`.
    pub arn: Arn,
    /// Decides the driver.
    pub resource_type: ResourceType,
    /// Where the workers that can reach it run.
    pub region: Region,
    /// Where it lies as its workers see it: `file:///srv/home`, `file:///dev/vg0/data`.
    pub location: String,
    /// A hook set of the worker's local configuration to quiesce with; never a command.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hooks: Option<String>,
    /// Tags; selections match on them.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    /// When it was registered.
    pub registered_at: Timestamp,
    /// Whose it is, where its ARN does not say; the installation's own account unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<AccountId>,
}

impl Resource {
    /// Whose it is: the account in its ARN, the one it was registered by, or the installation's own.
    #[must_use]
    pub fn account_or<'a>(&'a self, own: &'a AccountId) -> &'a str {
        let named = self.arn.account();
        if named.is_empty() { self.account.as_ref().unwrap_or(own).as_str() } else { named }
    }
}
