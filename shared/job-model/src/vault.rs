//! Vaults: restic repositories in one region.

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Arn, Region, StorageClass};

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

/// What kind of vault it is, in AWS's words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum VaultType {
    /// Any vault.
    #[default]
    BackupVault,
    /// Locked from its first instant, with bounds of retention, for ever.
    LogicallyAirGappedBackupVault,
}

impl VaultType {
    /// Whether it is the usual kind.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        *self == Self::BackupVault
    }
}

/// A vault lock. While it stands, recovery points of the vault can neither be deleted nor given another lifecycle by
/// anybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VaultLock {
    /// None: governance, the lock may be changed and lifted. Some: compliance, nobody changes it after this instant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lock_date: Option<Timestamp>,
}

impl VaultLock {
    /// Whether nobody may change the lock any more.
    #[must_use]
    pub fn is_immutable(&self, now: Timestamp) -> bool {
        self.lock_date.is_some_and(|date| date <= now)
    }
}

/// AWS's names of what vaults can tell of (`BackupVaultEvents`). Those about things that do not exist here never happen.
pub const VAULT_EVENTS: [&str; 24] = [
    "BACKUP_JOB_STARTED",
    "BACKUP_JOB_COMPLETED",
    "BACKUP_JOB_SUCCESSFUL",
    "BACKUP_JOB_FAILED",
    "BACKUP_JOB_EXPIRED",
    "RESTORE_JOB_STARTED",
    "RESTORE_JOB_COMPLETED",
    "RESTORE_JOB_SUCCESSFUL",
    "RESTORE_JOB_FAILED",
    "COPY_JOB_STARTED",
    "COPY_JOB_SUCCESSFUL",
    "COPY_JOB_FAILED",
    "RECOVERY_POINT_MODIFIED",
    "BACKUP_PLAN_CREATED",
    "BACKUP_PLAN_MODIFIED",
    "S3_BACKUP_OBJECT_FAILED",
    "S3_RESTORE_OBJECT_FAILED",
    "CONTINUOUS_BACKUP_INTERRUPTED",
    "RECOVERY_POINT_INDEX_COMPLETED",
    "RECOVERY_POINT_INDEX_DELETED",
    "RECOVERY_POINT_INDEXING_FAILED",
    "EKS_RESTORE_OBJECT_FAILED",
    "EKS_RESTORE_OBJECT_SKIPPED",
    "EKS_BACKUP_OBJECT_FAILED",
];

/// Who is told of what happens in a vault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VaultNotifications {
    /// An ARN in the shape of an SNS topic's; the gateway's configuration says which webhook or subject it stands for.
    pub topic: Arn,
    /// AWS's names of events, for example `BACKUP_JOB_COMPLETED`.
    pub events: Vec<String>,
}

/// How much of a repository has been read by now, to see that it is sound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ScrubCoverage {
    /// Its packs.
    pub packs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Packs that were read, at some time, and found sound.
    pub packs_covered: u64,
    /// Their bytes.
    pub bytes_covered: u64,
    /// When the one of them was read that was read longest ago.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest_read: Option<Timestamp>,
}

/// What the last check of one of a vault's repositories saw.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RepositoryHealth {
    /// Which repository.
    pub storage_class: StorageClass,
    /// When it was looked at.
    pub checked_at: Timestamp,
    /// How many findings were damage.
    pub damage: u64,
    /// The first of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_damage: Option<String>,
    /// How many recovery points cannot be restored whole.
    pub recovery_points_damaged: u64,
    /// The first of them, at most 5; the fact `vault-checked` names more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub recovery_points: Vec<Arn>,
    /// What had been read by then, where that was ever counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub coverage: Option<ScrubCoverage>,
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
    /// How workers open its cold repository, where recovery points go whose lifecycle says so. It has no repository's id
    /// until it was made; none at all: there is no cold storage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cold: Option<VaultAccess>,
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
    /// What kind it is.
    #[serde(default, skip_serializing_if = "VaultType::is_plain")]
    pub vault_type: VaultType,
    /// The token its maker named it with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub creator_request_id: Option<String>,
    /// Tags.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// Its lock, if it is locked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lock: Option<VaultLock>,
    /// Its access policy, the JSON text as it was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_policy: Option<String>,
    /// Who is told of what happens in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notifications: Option<VaultNotifications>,
    /// What the last checks saw, one entry for each of its repositories that was checked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub health: Vec<RepositoryHealth>,
}

impl Vault {
    /// How workers open the repository of that storage class; none where there is no such repository yet.
    #[must_use]
    pub fn repository(&self, class: StorageClass) -> Option<&VaultAccess> {
        match class {
            StorageClass::Warm => Some(&self.access),
            StorageClass::Cold => self.cold.as_ref().filter(|cold| cold.repository_id.is_some()),
        }
    }

    /// Whether a lock stands: recovery points can neither be deleted on request nor given another lifecycle.
    #[must_use]
    pub fn is_locked(&self) -> bool {
        self.lock.is_some() || self.vault_type == VaultType::LogicallyAirGappedBackupVault
    }
}
