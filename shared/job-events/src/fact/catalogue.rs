//! Facts about what the planner keeps: told for every change, whole, so that a reader can keep a copy. A reader that begins
//! in between first notes where the streams end, then scans (`Query::Scan`), then follows.

use job_model::{
    AccountId, Arn, BackupPlan, GlobalSettings, Job, LegalHold, LegalHoldId, PlanId, RecoveryPoint, Region,
    RegionSettings, ReportJob, ReportPlan, Resource, Selection, SelectionId, Vault,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A vault was made or changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct VaultChanged {
    /// The vault now.
    pub vault: Vault,
}

/// A vault is forgotten.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct VaultRemoved {
    /// It.
    pub vault: Arn,
}

/// A resource was registered or changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ResourceChanged {
    /// The resource now.
    pub resource: Resource,
}

/// A resource is no longer registered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ResourceRemoved {
    /// It.
    pub resource: Arn,
}

/// A version of a backup plan was made, or something of it changed: tags, its last run, its deletion.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PlanChanged {
    /// The version now.
    pub plan: BackupPlan,
}

/// A selection was made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SelectionChanged {
    /// It.
    pub selection: Selection,
}

/// A selection was deleted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SelectionRemoved {
    /// Its plan.
    pub plan_id: PlanId,
    /// It.
    pub selection_id: SelectionId,
}

/// Something of a recovery point changed: lifecycle, tags, status, verdict.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RecoveryPointChanged {
    /// The recovery point now.
    pub recovery_point: RecoveryPoint,
    /// Nothing but its window moved on, as it does every few minutes while its resource is followed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_report: bool,
}

/// Something of a job changed while its state stayed: its message, its verdict, what it restored. Progress alone is told
/// by its worker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct JobNoted {
    /// The job now.
    pub job: Job,
}

/// A legal hold was made or lifted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LegalHoldChanged {
    /// The hold now.
    pub legal_hold: LegalHold,
}

/// The record of a lifted legal hold had its time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LegalHoldRemoved {
    /// It.
    pub id: LegalHoldId,
}

/// Settings of an account in a region changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RegionSettingsChanged {
    /// The settings now.
    pub settings: RegionSettings,
}

/// Settings of an account in all regions changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct GlobalSettingsChanged {
    /// The settings now.
    pub settings: GlobalSettings,
}

/// A report plan was made or changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ReportPlanChanged {
    /// The report plan now.
    pub report_plan: ReportPlan,
}

/// A report plan was deleted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ReportPlanRemoved {
    /// Whose.
    pub account: AccountId,
    /// Where.
    pub region: Region,
    /// Its name.
    pub name: String,
}

/// A report job was made or ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ReportJobChanged {
    /// The report job now.
    pub report_job: ReportJob,
}

/// A restore testing plan was deleted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RestoreTestingPlanRemoved {
    /// Whose; absent: the installation's own account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<AccountId>,
    /// Where.
    pub region: Region,
    /// Its name.
    pub name: String,
}
