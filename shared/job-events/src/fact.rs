//! Facts: what happened.

use std::collections::BTreeSet;

use jiff::Timestamp;
use job_model::{
    Arn, CaptureSummary, Finding, Job, JobId, JobState, LegalHoldId, PhaseTiming, Progress, RecoveryPoint,
    RecoveryPointId, RestoreTestingPlan, ScrubCoverage, TestRunId, Verdict,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

mod catalogue;
mod following;

pub use catalogue::*;
pub use following::*;

use crate::Disposition;
use crate::message::message_family;

/// What every fact about an attempt carries.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AttemptHeader {
    /// The job.
    pub job_id: JobId,
    /// Which try of the planner.
    pub attempt: u32,
    /// The fencing epoch of the lease the attempt ran under; a fact of a lower epoch than one already seen is stale.
    pub epoch: u64,
    /// The worker: `<service>/<instance>`.
    pub worker: String,
    /// When.
    pub at: Timestamp,
}

/// A request was accepted and is durable.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RequestAccepted {
    /// The request, as its sender named it (the envelope's id).
    pub request_id: String,
    /// The job it made, if it made one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job_id: Option<JobId>,
    /// What it made or changed: an id, a name or an ARN.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<String>,
}

/// A request was refused; nothing changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RequestRejected {
    /// The request, as its sender named it; empty where it had no readable id.
    pub request_id: String,
    /// AWS's error name: `InvalidParameterValueException`, `ResourceNotFoundException`, …
    pub code: String,
    /// The field that is wrong, as a path; empty where it is the whole.
    pub field: String,
    /// What is wrong and how to mend it.
    pub message: String,
    /// What exists already, where that is what is wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arn: Option<Arn>,
    /// The token of the request that made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub creator_request_id: Option<String>,
}

/// A job is in the planner's ledger or moved to another state. Carries the whole job, so that a reader needs no query.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct JobChanged {
    /// The job after the change.
    pub job: Job,
    /// The state before; none for a new job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<JobState>,
}

/// A recovery point is in the catalogue, whole.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RecoveryPointCreated {
    /// It.
    pub recovery_point: RecoveryPoint,
}

/// A recovery point is gone from its vault and from the catalogue.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RecoveryPointDeleted {
    /// It.
    pub recovery_point: Arn,
    /// Its vault.
    pub vault: Arn,
    /// Its resource.
    pub resource: Arn,
    /// Why: the retention's reason or `requested`.
    pub reason: String,
}

/// A scheduled run did not happen as planned.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RunMissed {
    /// The resource.
    pub resource: Arn,
    /// Plan and rule.
    pub created_by: job_model::CreatedBy,
    /// The instants of the schedule that passed unserved; only the last one is caught up.
    pub missed: u32,
    /// The instant that is caught up now; none when the run was skipped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caught_up: Option<Timestamp>,
    /// Why.
    pub reason: String,
}

/// A worker took an order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AttemptStarted {
    /// Job, attempt, epoch.
    pub attempt: AttemptHeader,
}

/// How far an attempt is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AttemptProgressed {
    /// Job, attempt, epoch.
    pub attempt: AttemptHeader,
    /// Counts so far.
    pub progress: Progress,
}

/// An attempt ended without a result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AttemptFailed {
    /// Job, attempt, epoch.
    pub attempt: AttemptHeader,
    /// A code of `docs/reference/failures/`, for example `VAULT_WRONG_KEY`.
    pub code: String,
    /// What failed, with its chain of causes and the mend.
    pub message: String,
    /// Whether trying again can help.
    pub disposition: Disposition,
    /// Counts up to then.
    pub progress: Progress,
}

/// An attempt was stopped because somebody asked for it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AttemptStopped {
    /// Job, attempt, epoch.
    pub attempt: AttemptHeader,
    /// Counts up to then.
    pub progress: Progress,
}

/// A recovery point was captured and is durable in its vault.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SnapshotCaptured {
    /// Job, attempt, epoch.
    pub attempt: AttemptHeader,
    /// The snapshot in the repository.
    pub snapshot_id: String,
    /// What the capture did.
    pub summary: CaptureSummary,
    /// Counts.
    pub progress: Progress,
    /// Phases.
    pub phases: Vec<PhaseTiming>,
    /// What became of the wish that it be a base of a continuous recovery point; none where there was no such wish.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<BaseOutcome>,
}

/// What became of the wish that a capture be a base of a continuous recovery point.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum BaseOutcome {
    /// It is one.
    Base,
    /// The resource cannot be followed; it is a recovery point of its own.
    FellBack {
        /// Why.
        reason: String,
    },
}

/// A vault's repository was made (or was there, empty, under the same key).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct VaultCreated {
    /// Job, attempt, epoch.
    pub attempt: AttemptHeader,
    /// The repository's id.
    pub repository_id: String,
}

/// A vault was read through.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct VaultChecked {
    /// Job, attempt, epoch.
    pub attempt: AttemptHeader,
    /// What was found; empty when all is well.
    pub findings: Vec<Finding>,
    /// Packs read.
    pub packs_read: u64,
    /// Bytes read.
    pub bytes_read: u64,
    /// Snapshots looked at.
    pub snapshots: u64,
    /// How many recovery points cannot be restored whole.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub recovery_points_damaged: u64,
    /// The first of them, at most 100.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub recovery_points: Vec<RecoveryPointId>,
    /// How much of the vault has been read by now, where that was counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub coverage: Option<ScrubCoverage>,
}

const fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// A vault was pruned, or what a prune would do was found out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct VaultPruned {
    /// Job, attempt, epoch.
    pub attempt: AttemptHeader,
    /// Whether nothing was to be changed.
    pub plan_only: bool,
    /// The plan as lines for a person: what is there, what goes and why, what stays and why.
    pub plan: String,
    /// Packs removed from the store.
    pub packs_removed: u64,
    /// Bytes freed by that.
    pub bytes_freed: u64,
    /// Packs found unused; a later prune removes them when the grace period is over.
    pub packs_marked: u64,
    /// Packs whose needed part was stored in new ones.
    pub packs_repacked: u64,
    /// Packs put back because a recovery point needs them.
    pub packs_restored: u64,
    /// Packs that are unused and stay in the store for now.
    pub packs_waiting: u64,
    /// Others than Holdfast that work with the vault and held it up.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub held_up_by: Vec<String>,
    /// Packs that recovery points need and that are damaged or gone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub packs_damaged: Vec<String>,
}

/// What protects the recovery points of a vault stands in the vault.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct VaultProtected {
    /// Job, attempt, epoch.
    pub attempt: AttemptHeader,
    /// The order's name for what was to stand there.
    pub digest: String,
    /// Whether a lock was written, by this order or an earlier one.
    pub locked: bool,
    /// The holds that were.
    #[serde(default)]
    pub holds: BTreeSet<LegalHoldId>,
    /// Entries in the vault, by whomever.
    pub entries: u64,
}

/// A recovery point's snapshot was removed from its vault (or was not there any more).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SnapshotForgotten {
    /// Job, attempt, epoch.
    pub attempt: AttemptHeader,
    /// The recovery point.
    pub recovery_point: Arn,
}

/// A recovery point was copied and is durable in the other vault.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RecoveryPointCopied {
    /// Job, attempt, epoch.
    pub attempt: AttemptHeader,
    /// The snapshot in the destination.
    pub snapshot_id: String,
    /// Its root tree; the same as the source's.
    pub tree_id: String,
    /// Counts: `bytes_stored` is what was sent.
    pub progress: Progress,
    /// Phases.
    pub phases: Vec<PhaseTiming>,
}

/// A recovery point was materialised.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RecoveryPointRestored {
    /// Job, attempt, epoch.
    pub attempt: AttemptHeader,
    /// Where it lies now, a URL.
    pub location: String,
    /// What could not be set and other things worth knowing.
    pub findings: Vec<Finding>,
    /// Counts.
    pub progress: Progress,
    /// Phases.
    pub phases: Vec<PhaseTiming>,
}

/// What a restore test restored is gone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SandboxRemoved {
    /// Job, attempt, epoch.
    pub attempt: AttemptHeader,
    /// The restore job that made it.
    pub restore_job_id: JobId,
}

/// The verifier judged a restore.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct VerdictReached {
    /// Job, attempt, epoch.
    pub attempt: AttemptHeader,
    /// The test.
    pub test_run: TestRunId,
    /// The restore job.
    pub restore_job_id: JobId,
    /// What was restored.
    pub recovery_point: Arn,
    /// What it is a recovery point of.
    pub resource: Arn,
    /// The conclusion.
    pub verdict: Verdict,
    /// What the checks saw, at most 50.
    pub findings: Vec<Finding>,
    /// All phases of the RTO: wait, open, fetch, write, check.
    pub rto_phases: Vec<PhaseTiming>,
    /// Steps of the check with their times, where it has several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub check_steps: Vec<PhaseTiming>,
    /// Counts of the check.
    pub progress: Progress,
}

/// A selected resource could not be proven restorable: no eligible recovery point, a restore that failed, or one that
/// never ended. A failure, never a missing row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ResourceUnproven {
    /// The test.
    pub test_run: TestRunId,
    /// The plan.
    pub restore_testing_plan: String,
    /// The resource.
    pub resource: Arn,
    /// The recovery point that was to prove it; none where none was eligible.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovery_point: Option<Arn>,
    /// The conclusion, always FAILED.
    pub verdict: Verdict,
    /// Why it could not be proven.
    pub finding: Finding,
}

/// A restore test began: one entry for every selected resource.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RestoreTestStarted {
    /// The run.
    pub test_run: TestRunId,
    /// The plan.
    pub restore_testing_plan: String,
    /// The resources it is about.
    pub resources: Vec<Arn>,
    /// When.
    pub at: Timestamp,
}

/// All resources of a restore test are judged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RestoreTestEnded {
    /// The run.
    pub test_run: TestRunId,
    /// The plan.
    pub restore_testing_plan: String,
    /// How many resources were proven.
    pub proven: u32,
    /// How many were not.
    pub unproven: u32,
    /// When.
    pub at: Timestamp,
}

/// A restore testing plan was made or changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RestoreTestingPlanChanged {
    /// The plan now.
    pub plan: RestoreTestingPlan,
}

/// The planner noticed that a stream lost its past and re-created what was open.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StreamResetNoticed {
    /// The stream.
    pub stream: String,
    /// How many orders were issued again.
    pub orders_reissued: u32,
    /// What told.
    pub reason: String,
}

message_family!(
    /// Every fact.
    Fact, crate::Family::Fact, {
        RequestAccepted => "request-accepted",
        RequestRejected => "request-rejected",
        JobChanged => "job-changed",
        RecoveryPointCreated => "recovery-point-created",
        RecoveryPointDeleted => "recovery-point-deleted",
        RunMissed => "run-missed",
        AttemptStarted => "attempt-started",
        AttemptProgressed => "attempt-progressed",
        AttemptFailed => "attempt-failed",
        AttemptStopped => "attempt-stopped",
        SnapshotCaptured => "snapshot-captured",
        VaultCreated => "vault-created",
        VaultChecked => "vault-checked",
        VaultPruned => "vault-pruned",
        VaultProtected => "vault-protected",
        LogFollowed => "log-followed",
        FollowEnded => "follow-ended",
        SnapshotForgotten => "snapshot-forgotten",
        RecoveryPointCopied => "recovery-point-copied",
        RecoveryPointRestored => "recovery-point-restored",
        SandboxRemoved => "sandbox-removed",
        VerdictReached => "verdict-reached",
        ResourceUnproven => "resource-unproven",
        RestoreTestStarted => "restore-test-started",
        RestoreTestEnded => "restore-test-ended",
        RestoreTestingPlanChanged => "restore-testing-plan-changed",
        StreamResetNoticed => "stream-reset-noticed",
        VaultChanged => "vault-changed",
        VaultRemoved => "vault-removed",
        ResourceChanged => "resource-changed",
        ResourceRemoved => "resource-removed",
        PlanChanged => "plan-changed",
        SelectionChanged => "selection-changed",
        SelectionRemoved => "selection-removed",
        RecoveryPointChanged => "recovery-point-changed",
        JobNoted => "job-noted",
        LegalHoldChanged => "legal-hold-changed",
        LegalHoldRemoved => "legal-hold-removed",
        RegionSettingsChanged => "region-settings-changed",
        GlobalSettingsChanged => "global-settings-changed",
        ReportPlanChanged => "report-plan-changed",
        ReportPlanRemoved => "report-plan-removed",
        ReportJobChanged => "report-job-changed",
        RestoreTestingPlanRemoved => "restore-testing-plan-removed",
    }
);
