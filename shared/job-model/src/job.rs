//! Jobs as the planner's ledger knows them.

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    Arn, Generations, JobId, Lifecycle, OverwritePolicy, PlanId, Progress, RecoveryPointId, Region, ResourceType,
    RestoreTarget, RuleId, TestRunId, Verdict,
};

/// What a job does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum JobKind {
    /// Resource to recovery point.
    Backup,
    /// Recovery point to another vault.
    Copy,
    /// Recovery point to a target.
    Restore,
    /// Check and judge what a restore test brought back.
    Verification,
    /// Make a vault, delete a recovery point, check a vault, remove a sandbox.
    Maintenance,
}

/// AWS Backup's job states.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum JobState {
    /// In the planner's ledger; waits for its turn (the resource may be busy).
    Created,
    /// The order was issued; no worker has it yet.
    Pending,
    /// A worker has it.
    Running,
    /// Somebody asked to stop it; the worker has not confirmed yet.
    Aborting,
    /// Stopped on request.
    Aborted,
    /// Done.
    Completed,
    /// Given up.
    Failed,
    /// Not started within its start window, or not ended within its completion window.
    Expired,
    /// Done, but not all of it; the message says what is missing.
    Partial,
}

impl JobState {
    /// All of them, in the order of a life.
    pub const ALL: [Self; 9] = [
        Self::Created,
        Self::Pending,
        Self::Running,
        Self::Aborting,
        Self::Aborted,
        Self::Completed,
        Self::Failed,
        Self::Expired,
        Self::Partial,
    ];

    /// AWS's name, as on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Created => "CREATED",
            Self::Pending => "PENDING",
            Self::Running => "RUNNING",
            Self::Aborting => "ABORTING",
            Self::Aborted => "ABORTED",
            Self::Completed => "COMPLETED",
            Self::Failed => "FAILED",
            Self::Expired => "EXPIRED",
            Self::Partial => "PARTIAL",
        }
    }

    /// Whether nothing follows.
    #[must_use]
    pub const fn is_terminal(self) -> bool {
        matches!(self, Self::Aborted | Self::Completed | Self::Failed | Self::Expired | Self::Partial)
    }
}

/// What the status message is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum MessageCategory {
    /// Nothing to say.
    Success,
    /// Completed with issues.
    Issues,
    /// The operating system or a store refused.
    AccessDenied,
    /// Anything else.
    Failure,
}

/// The plan and rule behind a job.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct CreatedBy {
    /// The plan.
    pub plan_id: PlanId,
    /// Its version at that time.
    pub plan_version: u32,
    /// The rule.
    pub rule_id: RuleId,
    /// The rule's name.
    pub rule_name: String,
    /// The plan's name then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan_name: Option<String>,
    /// The rule's schedule then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule_schedule: Option<String>,
    /// The rule's time zone then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule_time_zone: Option<String>,
}

/// How long a phase of a job took.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PhaseTiming {
    /// `wait`, `open`, `fetch`, `write`, `start`, `replay`, `check`, …
    pub phase: String,
    /// Milliseconds.
    pub duration_ms: u64,
}

/// AWS's states of the validation of a restore.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ValidationStatus {
    /// It was looked at, and it is what it should be.
    Successful,
    /// It is not.
    Failed,
    /// Nobody said in time.
    TimedOut,
    /// Somebody is looking.
    Validating,
}

impl ValidationStatus {
    /// AWS's name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Successful => "SUCCESSFUL",
            Self::Failed => "FAILED",
            Self::TimedOut => "TIMED_OUT",
            Self::Validating => "VALIDATING",
        }
    }
}

/// What somebody outside found when validating a restore. It may lower a verdict and never raises one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OutsideValidation {
    /// The conclusion.
    pub status: ValidationStatus,
    /// Why, in their words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// When it was said.
    pub at: Timestamp,
}

/// What is particular to each kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum JobDetail {
    /// A backup.
    Backup {
        /// Where to.
        vault: Arn,
        /// The recovery point it makes; decided when the job is made, so that a repeated attempt makes the same one.
        recovery_point_id: RecoveryPointId,
        /// Its retention.
        lifecycle: Lifecycle,
        /// Its retention by generations.
        generations: Option<Generations>,
        /// Where its days begin.
        time_zone: String,
        /// Its tags.
        tags: BTreeMap<String, String>,
        /// Copies that follow.
        copy_actions: Vec<crate::CopyAction>,
    },
    /// A copy.
    Copy {
        /// What is copied.
        source_recovery_point: Arn,
        /// From where.
        source_vault: Arn,
        /// To where.
        destination_vault: Arn,
        /// The recovery point it makes.
        recovery_point_id: RecoveryPointId,
        /// Its retention.
        lifecycle: Lifecycle,
        /// Its retention by generations.
        generations: Option<Generations>,
    },
    /// A restore.
    Restore {
        /// What is restored.
        recovery_point: Arn,
        /// From where.
        vault: Arn,
        /// To where.
        target: RestoreTarget,
        /// What may be touched there.
        overwrite: OverwritePolicy,
        /// The restore test it belongs to.
        test_run: Option<TestRunId>,
        /// The plan of that test.
        restore_testing_plan: Option<String>,
        /// Where it was restored to, once it is (a URL).
        created_location: Option<String>,
        /// The conclusion of its restore test.
        verdict: Option<Verdict>,
        /// Whether what a test restored has been removed.
        sandbox_removed: Option<bool>,
        /// The restore metadata as they were given (`Metadata` of the AWS Backup API).
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        metadata: BTreeMap<String, String>,
        /// What somebody outside found when validating the restore.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        validation: Option<OutsideValidation>,
    },
    /// A check of what a restore test brought back.
    Verification {
        /// The restore job.
        restore_job_id: JobId,
        /// The test.
        test_run: TestRunId,
        /// What was restored.
        recovery_point: Arn,
    },
    /// Upkeep.
    Maintenance {
        /// The vault it is about; none for the removal of a sandbox.
        vault: Option<Arn>,
        /// `create-vault`, `delete-recovery-point`, `check-vault`, `prune-vault`, `plan-prune`, `remove-sandbox`; for a
        /// vault's cold repository `create-cold-tier`, `check-cold-tier`, `prune-cold-tier`, `plan-cold-prune`; for the move
        /// of a recovery point there `move-to-cold` and then `forget-warm`, and `forget-late-copy` where it was deleted
        /// before a move that was given up came to its end.
        task: String,
        /// The recovery point it is about.
        recovery_point: Option<Arn>,
        /// The restore job whose sandbox is removed.
        restore_job_id: Option<JobId>,
    },
}

/// A job as the planner's ledger knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Job {
    /// Its id.
    pub id: JobId,
    /// What it does.
    pub kind: JobKind,
    /// Where it stands.
    pub state: JobState,
    /// Why, for a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status_message: Option<String>,
    /// What the message is about.
    pub message_category: MessageCategory,
    /// The resource (for upkeep, the vault).
    pub resource: Arn,
    /// Its type; none for upkeep.
    pub resource_type: Option<ResourceType>,
    /// Where its worker runs.
    pub region: Region,
    /// When it was made.
    pub created_at: Timestamp,
    /// The instant of the schedule it stands for; the creation for jobs on demand.
    pub scheduled_at: Timestamp,
    /// Not started by then: EXPIRED.
    pub start_by: Option<Timestamp>,
    /// Not ended by then: cancelled, EXPIRED.
    pub complete_by: Option<Timestamp>,
    /// When a worker first took it.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// Which try this is, from 1.
    pub attempt: u32,
    /// Not before this instant (a retry after a failure).
    pub not_before: Option<Timestamp>,
    /// The plan and rule behind it.
    pub created_by: Option<CreatedBy>,
    /// The job it follows from: a copy's backup, a verification's restore.
    pub parent: Option<JobId>,
    /// The trace it belongs to (W3C `traceparent` of the span that made it).
    pub traceparent: Option<String>,
    /// Counts.
    pub progress: Progress,
    /// Phases, once it ended.
    pub phases: Vec<PhaseTiming>,
    /// What is particular to its kind.
    pub detail: JobDetail,
    /// The credential profile of source or target, as an ARN of a role (`IamRoleArn`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iam_role: Option<String>,
}
