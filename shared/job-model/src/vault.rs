//! Vaults: restic repositories in one region.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Arn, Region};

/// Whether a vault can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum VaultState {
    /// A worker was told to make the repository; backups wait.
    Creating,
    /// Ready.
    Available,
    /// The repository could not be made; the message says why.
    Failed,
}

/// What a worker needs to open a vault. No secret: the key profile names one that the worker resolves locally.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VaultAccess {
    /// The vault's ARN.
    pub arn: Arn,
    /// Where the repository lies: `file:///srv/vault`, `s3://bucket/prefix`.
    pub location: String,
    /// Name of a key (and credentials) in the worker's local configuration.
    pub key_profile: String,
    /// The repository's id, once it is known. A repository with another id, or none, is refused: the mount may be
    /// missing or somebody put another one in its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository_id: Option<String>,
}

/// A vault as the planner knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Vault {
    /// 2 to 50 letters, digits, hyphens and underscores, unique in its region.
    pub name: String,
    /// The region of the workers that reach it.
    pub region: Region,
    /// How workers open it.
    pub access: VaultAccess,
    /// Whether it can be used.
    pub state: VaultState,
    /// Why it is in that state, when that needs saying.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state_message: Option<String>,
    /// Backups and copies that would be kept for less are refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_retention_days: Option<u32>,
    /// Backups and copies that would be kept for longer (or for ever) are refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_retention_days: Option<u32>,
    /// When it was asked for.
    pub created_at: Timestamp,
}
