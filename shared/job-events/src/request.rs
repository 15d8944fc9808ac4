//! Requests: what somebody wants. Answered by `request-accepted` or `request-rejected` with the same id.

mod holds;
mod points;
mod reports;
mod restore_testing;
mod vaults;

use std::collections::BTreeMap;

pub use holds::*;
pub use points::*;
pub use reports::*;
pub use restore_testing::*;
pub use vaults::*;

use job_model::{
    AdvancedBackupSetting, Arn, Conditions, CopyAction, Generations, JobId, Lifecycle, OverwritePolicy, PlanId,
    PointAlgorithm, Region, ResourceType, RestoreTarget, RestoreTestingSelection, SelectionId, StorageClass,
    TagCondition, TestRunId, VaultType,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::message::message_family;
use crate::subjects::Service;

/// Put a resource into the registry, or change what is known of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RegisterResource {
    /// Its ARN.
    pub arn: Arn,
    /// Its type.
    pub resource_type: ResourceType,
    /// Where its workers run.
    pub region: Region,
    /// `file:///srv/home`.
    pub location: String,
    /// Hook set of the workers' configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hooks: Option<String>,
    /// Tags.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
}

/// Take a resource out of the registry. Its recovery points stay until their retention ends.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeregisterResource {
    /// Its ARN.
    pub arn: Arn,
}

/// Make a vault.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateVaultRequest {
    /// 2 to 50 letters, digits, hyphens, underscores.
    pub name: String,
    /// Its region.
    pub region: Region,
    /// `file:///srv/vault`, `s3://bucket/prefix`; empty: where the planner's configuration says for the region.
    #[serde(default)]
    pub location: String,
    /// Key of the workers' configuration; empty: the one the planner's configuration names for the region.
    #[serde(default)]
    pub key_profile: String,
    /// Where its cold repository goes; absent: where the planner's configuration says for the region, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cold_location: Option<String>,
    /// Key of the cold repository; absent: the one the planner's configuration names, or that of the vault.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cold_key_profile: Option<String>,
    /// Shortest retention allowed in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_retention_days: Option<u32>,
    /// Longest retention allowed in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_retention_days: Option<u32>,
    /// An air-gapped vault is locked from its first instant, and needs both bounds.
    #[serde(default, skip_serializing_if = "VaultType::is_plain")]
    pub vault_type: VaultType,
    /// Tags.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
}

/// Forget an empty vault. The repository is left where it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeleteVault {
    /// Its ARN.
    pub vault: Arn,
}

/// A rule as its author writes it; what is absent gets AWS's defaults.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RuleInput {
    /// 1 to 50 of `[A-Za-z0-9-_.]`, unique in the plan.
    pub name: String,
    /// Where recovery points go.
    pub target_vault: Arn,
    /// `cron(0 5 ? * * *)` unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<String>,
    /// IANA name; UTC unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
    /// 480 unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_window_minutes: Option<u32>,
    /// 10,080 unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completion_window_minutes: Option<u32>,
    /// Kept for ever unless given.
    #[serde(default)]
    pub lifecycle: Lifecycle,
    /// Retention by generations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generations: Option<Generations>,
    /// At most 5.
    #[serde(default)]
    pub copy_actions: Vec<CopyAction>,
    /// At most 10.
    #[serde(default)]
    pub recovery_point_tags: BTreeMap<String, String>,
    /// Point-in-time recovery is wanted.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub enable_continuous: bool,
}

/// Make a backup plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreatePlan {
    /// 1 to 50 of `[A-Za-z0-9-_.]`.
    pub name: String,
    /// 1 to 10.
    pub rules: Vec<RuleInput>,
    /// Options by type of resource.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub advanced_settings: Vec<AdvancedBackupSetting>,
    /// Tags.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
}

/// Give a plan a new version.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdatePlan {
    /// The plan.
    pub plan_id: PlanId,
    /// Its name from now on.
    pub name: String,
    /// All its rules from now on.
    pub rules: Vec<RuleInput>,
    /// Options by type of resource from now on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub advanced_settings: Vec<AdvancedBackupSetting>,
}

/// Delete a plan that has no selections.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeletePlan {
    /// The plan.
    pub plan_id: PlanId,
}

/// Give a plan a selection.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateSelection {
    /// The plan.
    pub plan_id: PlanId,
    /// 1 to 50 of `[A-Za-z0-9-_.]`.
    pub name: String,
    /// ARN patterns.
    #[serde(default)]
    pub resources: Vec<String>,
    /// ARN patterns to leave out.
    #[serde(default)]
    pub not_resources: Vec<String>,
    /// Tags, any one.
    #[serde(default)]
    pub list_of_tags: Vec<TagCondition>,
    /// Conditions, all.
    #[serde(default)]
    pub conditions: Conditions,
    /// The credential profile of its resources, as an ARN of a role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iam_role: Option<String>,
}

/// Take a selection from a plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeleteSelection {
    /// The plan.
    pub plan_id: PlanId,
    /// The selection.
    pub selection_id: SelectionId,
}

/// Back a resource up now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StartBackup {
    /// The resource.
    pub resource: Arn,
    /// Where to.
    pub vault: Arn,
    /// Retention; for ever unless given.
    #[serde(default)]
    pub lifecycle: Lifecycle,
    /// 480 unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_window_minutes: Option<u32>,
    /// 10,080 unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completion_window_minutes: Option<u32>,
    /// Tags of the recovery point.
    #[serde(default)]
    pub recovery_point_tags: BTreeMap<String, String>,
    /// Copies that follow.
    #[serde(default)]
    pub copy_actions: Vec<CopyAction>,
    /// The credential profile, as an ARN of a role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iam_role: Option<String>,
}

/// Copy a recovery point now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StartCopy {
    /// What.
    pub recovery_point: Arn,
    /// Where to.
    pub destination_vault: Arn,
    /// Retention of the copy.
    #[serde(default)]
    pub lifecycle: Lifecycle,
    /// The credential profile, as an ARN of a role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iam_role: Option<String>,
}

/// The restore test a restore belongs to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RestoreTest {
    /// The run.
    pub test_run: TestRunId,
    /// The plan.
    pub restore_testing_plan: String,
    /// Hours that what was restored stays after the verdict.
    #[serde(default)]
    pub validation_window_hours: u32,
}

/// Restore a recovery point.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StartRestore {
    /// What.
    pub recovery_point: Arn,
    /// Where to.
    pub target: RestoreTarget,
    /// What may be touched there.
    #[serde(default)]
    pub overwrite: OverwritePolicy,
    /// Paths below the resource; empty for all.
    #[serde(default)]
    pub include: Vec<String>,
    /// The restore test it belongs to; the verifier's requests carry it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test: Option<RestoreTest>,
    /// Restore metadata as they were given; kept with the job.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    /// The credential profile, as an ARN of a role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iam_role: Option<String>,
}

/// Stop a job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StopJob {
    /// The job.
    pub job_id: JobId,
}

/// Delete a recovery point.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeleteRecoveryPoint {
    /// It.
    pub recovery_point: Arn,
    /// The vault it is thought to be in; another one is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vault: Option<Arn>,
}

/// Check a vault.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StartVaultCheck {
    /// The vault.
    pub vault: Arn,
    /// Whether to read every pack.
    #[serde(default)]
    pub read_data: bool,
    /// Which of its repositories.
    #[serde(default, skip_serializing_if = "StorageClass::is_warm")]
    pub storage_class: StorageClass,
}

/// Free what no recovery point of a vault needs any more, or say what would be freed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StartVaultPrune {
    /// The vault.
    pub vault: Arn,
    /// Whether only to say what would be done; nothing is changed then.
    #[serde(default)]
    pub plan_only: bool,
    /// Which of its repositories.
    #[serde(default, skip_serializing_if = "StorageClass::is_warm")]
    pub storage_class: StorageClass,
}

/// Make a restore testing plan, or replace the one of that name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PutRestoreTestingPlan {
    /// 1 to 50 of `[A-Za-z0-9_]`.
    pub name: String,
    /// When it runs; absent: only on request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<String>,
    /// IANA name; UTC unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
    /// 24 unless given, at most 168.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_window_hours: Option<u32>,
    /// Which point.
    pub algorithm: PointAlgorithm,
    /// Vault ARN patterns.
    pub include_vaults: Vec<String>,
    /// Vault ARN patterns to leave out.
    #[serde(default)]
    pub exclude_vaults: Vec<String>,
    /// 30 unless given, 1 to 365.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selection_window_days: Option<u32>,
    /// What is tested.
    pub selections: Vec<RestoreTestingSelection>,
}

/// Delete a restore testing plan; its verdicts stay.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeleteRestoreTestingPlan {
    /// Its name.
    pub name: String,
    /// Refuse while it has selections.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub only_empty: bool,
}

/// Run a restore testing plan now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RunRestoreTest {
    /// Its name.
    pub name: String,
}

message_family!(
    /// Every request.
    Request, crate::Family::Request, {
        RegisterResource => "register-resource",
        DeregisterResource => "deregister-resource",
        CreateVaultRequest => "create-vault",
        DeleteVault => "delete-vault",
        CreatePlan => "create-plan",
        UpdatePlan => "update-plan",
        DeletePlan => "delete-plan",
        CreateSelection => "create-selection",
        DeleteSelection => "delete-selection",
        StartBackup => "start-backup",
        StartCopy => "start-copy",
        StartRestore => "start-restore",
        StopJob => "stop-job",
        DeleteRecoveryPoint => "delete-recovery-point",
        StartVaultCheck => "start-vault-check",
        StartVaultPrune => "start-vault-prune",
        PutRestoreTestingPlan => "put-restore-testing-plan",
        DeleteRestoreTestingPlan => "delete-restore-testing-plan",
        RunRestoreTest => "run-restore-test",
        PutVaultLock => "put-vault-lock",
        DeleteVaultLock => "delete-vault-lock",
        PutVaultAccessPolicy => "put-vault-access-policy",
        DeleteVaultAccessPolicy => "delete-vault-access-policy",
        PutVaultNotifications => "put-vault-notifications",
        DeleteVaultNotifications => "delete-vault-notifications",
        UpdateRecoveryPointLifecycle => "update-recovery-point-lifecycle",
        DisassociateRecoveryPoint => "disassociate-recovery-point",
        ChangeTags => "change-tags",
        PutRestoreValidation => "put-restore-validation",
        CreateLegalHold => "create-legal-hold",
        CancelLegalHold => "cancel-legal-hold",
        PutRegionSettings => "put-region-settings",
        PutGlobalSettings => "put-global-settings",
        CreateReportPlan => "create-report-plan",
        UpdateReportPlan => "update-report-plan",
        DeleteReportPlan => "delete-report-plan",
        StartReportJob => "start-report-job",
        FinishReportJob => "finish-report-job",
        CreateRestoreTestingPlan => "create-restore-testing-plan",
        UpdateRestoreTestingPlan => "update-restore-testing-plan",
        CreateRestoreTestingSelection => "create-restore-testing-selection",
        UpdateRestoreTestingSelection => "update-restore-testing-selection",
        DeleteRestoreTestingSelection => "delete-restore-testing-selection",
    }
);

/// Whether an ARN is that of a restore testing plan, which the verifier keeps.
#[must_use]
pub fn is_restore_testing_plan(arn: &Arn) -> bool {
    arn.service() == "backup" && arn.resource().starts_with("restore-testing-plan:")
}

impl Request {
    /// Who answers it.
    #[must_use]
    pub fn service(&self) -> Service {
        match self {
            Self::PutRestoreTestingPlan(_)
            | Self::DeleteRestoreTestingPlan(_)
            | Self::RunRestoreTest(_)
            | Self::CreateRestoreTestingPlan(_)
            | Self::UpdateRestoreTestingPlan(_)
            | Self::CreateRestoreTestingSelection(_)
            | Self::UpdateRestoreTestingSelection(_)
            | Self::DeleteRestoreTestingSelection(_) => Service::Verifier,
            Self::ChangeTags(change) if is_restore_testing_plan(&change.arn) => Service::Verifier,
            _ => Service::Planner,
        }
    }
}
