//! Resources, plans, recovery points, jobs and the job state machine, in the words of AWS Backup.
//!
//! Everything here is a value or a pure function: no I/O, no clock, no randomness, no async runtime. Instants come in
//! as [`jiff::Timestamp`], ids come in as arguments.

pub mod access_policy;
mod arn;
mod continuous;
mod failure;
mod finding;
mod ids;
mod job;
mod job_view;
mod legal_hold;
mod matching;
mod plan;
mod progress;
mod recency;
mod recovery_point;
mod report;
mod resource;
mod restore;
mod restore_instant;
pub mod restore_metadata;
mod restore_testing;
mod selection;
mod settings;
mod step;
pub mod validation;
mod vault;

pub use arn::{AccountId, Arn, InvalidArn, Region, resource_key};
pub use continuous::{Continuous, FollowState, LISTED_MAX, LogGap, RestorableInterval};
pub use failure::FailureCode;
pub use finding::{Finding, FindingKind, Severity, Verdict, VerdictStatus};
pub use ids::{JobId, LegalHoldId, PlanId, RecoveryPointId, ReportJobId, RequestId, RuleId, SelectionId, TestRunId};
pub use job::{
    CreatedBy, Job, JobDetail, JobKind, JobState, MessageCategory, OutsideValidation, PhaseTiming, ValidationStatus,
};
pub use job_view::SANDBOX_STAYS;
pub use legal_hold::{HoldSelection, LegalHold, LegalHoldStatus};
pub use matching::{
    RESOURCE_TAG_PREFIX, RESTORE_TEST_MARK, conditions_hold, is_made_by_restore_test,
    protected_resource_conditions_hold, selection_takes, selection_takes_with, wildcard_matches,
};
pub use plan::{AdvancedBackupSetting, BackupPlan, BackupRule, CopyAction, Generations, Lifecycle, plan_version_id};
pub use progress::{Progress, WaitsFor};
pub use recency::{Recency, recency_by_vault};
pub use recovery_point::{
    CaptureSummary, ChangeMethod, Consistency, ExceptionKind, ReadException, RecoveryPoint, RecoveryPointKind,
    RecoveryPointStatus, SourceReading, SourceView, StorageClass,
};
pub use report::{ReportDelivery, ReportJob, ReportJobState, ReportPlan, ReportSetting};
pub use resource::{Resource, ResourceType};
pub use restore::{OverwritePolicy, RestoreTarget};
pub use restore_instant::{
    RESTORE_LSN, RESTORE_POINT, RESTORE_TIME, RestoreInstant, USE_LATEST_RESTORABLE_TIME, restore_instant,
};
pub use restore_testing::{
    PointAlgorithm, ProtectedResourceConditions, RestoreTestingPlan, RestoreTestingSelection, TagEquality,
};
pub use selection::{Condition, Conditions, Selection, TagCondition};
pub use settings::{CROSS_ACCOUNT_BACKUP, GlobalSettings, RegionSettings};
pub use step::{Effect, IllegalTransition, JobEvent, Step, StopCause, step};
pub use validation::Invalid;
pub use vault::{
    RepositoryHealth, ScrubCoverage, VAULT_EVENTS, Vault, VaultAccess, VaultLock, VaultNotifications, VaultState,
    VaultType,
};
