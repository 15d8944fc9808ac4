//! Orders: what the planner tells a worker. Complete: a worker chooses nothing.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use job_model::{
    Arn, JobId, LegalHoldId, OverwritePolicy, RecoveryPointId, Region, ResourceType, RestoreTarget, Severity,
    TestRunId, VaultAccess,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::message::message_family;

/// What every order carries.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OrderHeader {
    /// The job.
    pub job_id: JobId,
    /// Which try, from 1.
    pub attempt: u32,
    /// The region whose queue it is in.
    pub region: Region,
    /// The resource (or vault) it is about: what the lease is taken on.
    pub resource: Arn,
    /// When the planner issued it.
    pub issued_at: Timestamp,
    /// The worker gives up at this instant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Timestamp>,
}

/// A snapshot to compare with, so that only the difference is read or stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ParentSnapshot {
    /// The snapshot in the same vault.
    pub snapshot_id: String,
    /// Its root tree.
    pub tree_id: String,
}

/// Capture a resource into a vault.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CaptureSnapshot {
    /// Job, attempt, resource.
    pub order: OrderHeader,
    /// Decides the driver.
    pub resource_type: ResourceType,
    /// Where the resource lies.
    pub location: String,
    /// Hook set of the worker's configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hooks: Option<String>,
    /// Where to.
    pub vault: VaultAccess,
    /// The recovery point to make; stands in the snapshot's tags, so that a repeated attempt finds its own work.
    pub recovery_point_id: RecoveryPointId,
    /// Its ARN.
    pub recovery_point: Arn,
    /// The newest snapshot of this resource in this vault.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<ParentSnapshot>,
    /// Tags of the recovery point.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    /// When the job was made: the recovery point's creation time.
    pub created_at: Timestamp,
    /// The continuous recovery point that the capture is to be a base of. Where the resource cannot be followed, the
    /// capture becomes the recovery point above, and says why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_of: Option<BaseOf>,
}

/// The continuous recovery point that a full capture belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BaseOf {
    /// Its id; stands in the snapshot's tags, beside one with the job.
    pub recovery_point_id: RecoveryPointId,
    /// Its ARN.
    pub recovery_point: Arn,
}

/// Make a vault's repository.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CreateVault {
    /// Job, attempt, resource (the vault).
    pub order: OrderHeader,
    /// The vault.
    pub vault: VaultAccess,
}

/// Read a vault through and say what is wrong with it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CheckVault {
    /// Job, attempt, resource (the vault).
    pub order: OrderHeader,
    /// The vault.
    pub vault: VaultAccess,
    /// Whether to read every pack, not only structure.
    pub read_data: bool,
    /// Read packs of so many MiB together instead, those first that were read longest ago, and remember it in the vault.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scrub_mib: Option<u32>,
}

/// Free what no recovery point of a vault needs: in steps, the last of which comes in a later order when the grace period is
/// over.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PruneVault {
    /// Job, attempt, resource (the vault).
    pub order: OrderHeader,
    /// The vault.
    pub vault: VaultAccess,
    /// Whether only to say what would be done.
    pub plan_only: bool,
    /// How long a pack stays after it was found unused, in hours; at least one.
    pub grace_hours: u32,
}

/// A vault's lock as it stands in the vault itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LockTerms {
    /// No recovery point is deleted before it is so many days old.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_retention_days: Option<u32>,
    /// No recovery point may be asked to be kept for longer than so many days.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_retention_days: Option<u32>,
    /// From when on the lock can only become stricter; none for one that may be lifted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fixed_from: Option<Timestamp>,
}

/// What a legal hold keeps in a vault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HoldTerms {
    /// The hold.
    pub hold: LegalHoldId,
    /// The recovery points; empty: all there are and will be.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub recovery_points: BTreeSet<RecoveryPointId>,
}

/// Write into a vault what protects its recovery points, sealed under its key. What the order does not name stays.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ProtectVault {
    /// Job, attempt, resource (the vault).
    pub order: OrderHeader,
    /// The vault, or its cold repository.
    pub vault: VaultAccess,
    /// The planner's name for what is to stand there; the answer repeats it.
    pub digest: String,
    /// The lock that is to stand there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lock: Option<LockTerms>,
    /// Whether a lock that stands there was lifted.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unlock: bool,
    /// The holds that are to stand there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub holds: Vec<HoldTerms>,
    /// The holds that were lifted.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub released: BTreeSet<LegalHoldId>,
}

/// Remove a recovery point's snapshot from its vault. The space is freed by a later prune.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DeleteRecoveryPointOrder {
    /// Job, attempt, resource (the vault).
    pub order: OrderHeader,
    /// The vault.
    pub vault: VaultAccess,
    /// The recovery point.
    pub recovery_point: Arn,
    /// Its snapshot.
    pub snapshot_id: String,
    /// The other repository of the vault, where a move between the two may have left a snapshot of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub also: Option<VaultAccess>,
}

/// Remove a recovery point's snapshot from the warm repository of its vault, once it is seen to be whole in the cold one and
/// what protects it there protects it here. The copy itself is a `copy-recovery-point` between the two.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ForgetWarmSnapshot {
    /// Job, attempt, resource (the vault).
    pub order: OrderHeader,
    /// The warm repository.
    pub warm: VaultAccess,
    /// The cold repository.
    pub cold: VaultAccess,
    /// The recovery point.
    pub recovery_point: Arn,
    /// Its id: what its snapshots are tagged with.
    pub recovery_point_id: RecoveryPointId,
    /// Its snapshot in the warm repository: the one that goes.
    pub warm_snapshot_id: String,
    /// Its snapshot in the cold repository: the one that stays.
    pub cold_snapshot_id: String,
    /// The root tree of both.
    pub tree_id: String,
}

/// Make a recovery point exist in another vault, or in the cold repository of its own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CopyRecoveryPoint {
    /// Job, attempt, resource.
    pub order: OrderHeader,
    /// From where.
    pub source: VaultAccess,
    /// What.
    pub source_recovery_point: Arn,
    /// Its snapshot.
    pub source_snapshot_id: String,
    /// Its root tree; anything else in the source vault is refused.
    pub tree_id: String,
    /// To where.
    pub destination: VaultAccess,
    /// The recovery point to make.
    pub recovery_point_id: RecoveryPointId,
    /// Its ARN.
    pub recovery_point: Arn,
    /// When the copy was asked for.
    pub created_at: Timestamp,
}

/// Materialise a recovery point.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RestoreRecoveryPoint {
    /// Job, attempt, resource.
    pub order: OrderHeader,
    /// Decides the driver.
    pub resource_type: ResourceType,
    /// From where.
    pub vault: VaultAccess,
    /// What.
    pub recovery_point: Arn,
    /// Its snapshot.
    pub snapshot_id: String,
    /// Its root tree as captured; anything else in the vault is refused before a byte is written.
    pub tree_id: String,
    /// To where.
    pub target: RestoreTarget,
    /// What may be touched there.
    pub overwrite: OverwritePolicy,
    /// Paths below the resource to restore; empty for all.
    #[serde(default)]
    pub include: Vec<String>,
    /// What the request says beyond that, by AWS's names of restore metadata.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    /// The restore test it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test_run: Option<TestRunId>,
    /// Of a continuous recovery point: its full captures, as they were captured. A restore begins with the newest one that
    /// ended before the instant asked for; others in the vault are not trusted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bases: Vec<ParentSnapshot>,
}

/// Remove what a restore test restored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RemoveSandbox {
    /// Job, attempt, resource.
    pub order: OrderHeader,
    /// The restore job that made the sandbox.
    pub restore_job_id: JobId,
}

/// Check what a restore test brought back, and judge.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct VerifyRestore {
    /// Job, attempt, resource.
    pub order: OrderHeader,
    /// Decides the driver.
    pub resource_type: ResourceType,
    /// The restore job.
    pub restore_job_id: JobId,
    /// The test.
    pub test_run: TestRunId,
    /// The vault it was restored from.
    pub vault: VaultAccess,
    /// What was restored.
    pub recovery_point: Arn,
    /// Its snapshot.
    pub snapshot_id: String,
    /// The digest taken at capture.
    pub tree_id: String,
    /// Where it was restored to.
    pub restored_location: String,
    /// When the restore order was issued: where the RTO begins.
    pub restore_ordered_at: Timestamp,
    /// Phases of the restore.
    pub restore_phases: Vec<job_model::PhaseTiming>,
    /// When the capture ended: where the RPO begins.
    pub capture_ended_at: Timestamp,
    /// How many exceptions the capture had; they make the verdict fail.
    pub exception_count: u64,
    /// The restore metadata of the restore job: what the test's selection overrides.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
}

message_family!(
    /// Every order.
    OrderBody, crate::Family::Order, {
        CaptureSnapshot => "capture-snapshot",
        CreateVault => "create-vault",
        CheckVault => "check-vault",
        PruneVault => "prune-vault",
        ProtectVault => "protect-vault",
        DeleteRecoveryPointOrder => "delete-recovery-point",
        CopyRecoveryPoint => "copy-recovery-point",
        ForgetWarmSnapshot => "forget-warm-snapshot",
        RestoreRecoveryPoint => "restore-recovery-point",
        RemoveSandbox => "remove-sandbox",
        VerifyRestore => "verify-restore",
    }
);

impl OrderBody {
    /// Job, attempt, resource.
    #[must_use]
    pub fn header(&self) -> &OrderHeader {
        match self {
            Self::CaptureSnapshot(o) => &o.order,
            Self::CreateVault(o) => &o.order,
            Self::CheckVault(o) => &o.order,
            Self::PruneVault(o) => &o.order,
            Self::ProtectVault(o) => &o.order,
            Self::DeleteRecoveryPointOrder(o) => &o.order,
            Self::CopyRecoveryPoint(o) => &o.order,
            Self::ForgetWarmSnapshot(o) => &o.order,
            Self::RestoreRecoveryPoint(o) => &o.order,
            Self::RemoveSandbox(o) => &o.order,
            Self::VerifyRestore(o) => &o.order,
        }
    }

    /// The queue it goes to.
    #[must_use]
    pub const fn queue(&self) -> crate::subjects::Queue {
        use crate::subjects::Queue;
        match self {
            Self::CaptureSnapshot(_)
            | Self::CreateVault(_)
            | Self::CheckVault(_)
            | Self::PruneVault(_)
            | Self::ProtectVault(_)
            | Self::DeleteRecoveryPointOrder(_) => Queue::Snapshot,
            Self::CopyRecoveryPoint(_) | Self::ForgetWarmSnapshot(_) => Queue::Copy,
            Self::RestoreRecoveryPoint(_) | Self::RemoveSandbox(_) => Queue::Restore,
            Self::VerifyRestore(_) => Queue::Verify,
        }
    }
}

/// How bad a job's failure is, for the planner's decision whether to try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Disposition {
    /// The cause may go away by itself.
    Retry,
    /// It will not; trying again is pointless until somebody acts.
    Fail,
}

/// Severity that makes a verdict fail.
pub const FAILING_SEVERITY: Severity = Severity::Failure;
