//! Resources, plans, recovery points, jobs and the job state machine, in the words of AWS Backup.
//!
//! Everything here is a value or a pure function: no I/O, no clock, no randomness, no async runtime. Instants come in
//! as [`jiff::Timestamp`], ids come in as arguments.

mod arn;
mod failure;
mod finding;
mod ids;
mod job;
mod matching;
mod plan;
mod progress;
mod recovery_point;
mod resource;
mod restore;
mod restore_testing;
mod selection;
mod step;
pub mod validation;
mod vault;

pub use arn::{AccountId, Arn, InvalidArn, Region, resource_key};
pub use failure::FailureCode;
pub use finding::{Finding, FindingKind, Severity, Verdict, VerdictStatus};
pub use ids::{JobId, PlanId, RecoveryPointId, RequestId, RuleId, SelectionId, TestRunId};
pub use job::{CreatedBy, Job, JobDetail, JobKind, JobState, MessageCategory, PhaseTiming};
pub use matching::{
    RESOURCE_TAG_PREFIX, RESTORE_TEST_MARK, conditions_hold, is_made_by_restore_test,
    protected_resource_conditions_hold, selection_takes, wildcard_matches,
};
pub use plan::{BackupPlan, BackupRule, CopyAction, Generations, Lifecycle};
pub use progress::Progress;
pub use recovery_point::{
    CaptureSummary, Consistency, ExceptionKind, ReadException, RecoveryPoint, RecoveryPointKind, RecoveryPointStatus,
};
pub use resource::{Resource, ResourceType};
pub use restore::{OverwritePolicy, RestoreTarget};
pub use restore_testing::{
    PointAlgorithm, ProtectedResourceConditions, RestoreTestingPlan, RestoreTestingSelection, TagEquality,
};
pub use selection::{Condition, Conditions, Selection, TagCondition};
pub use step::{Effect, IllegalTransition, JobEvent, Step, StopCause, step};
pub use validation::Invalid;
pub use vault::{Vault, VaultAccess, VaultState};
