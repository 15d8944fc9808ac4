//! The planner's own records, where they hold more than the model's types.

use std::collections::BTreeSet;

use jiff::Timestamp;
use job_events::{Fact, FollowResource};
use job_model::{
    Arn, BackupPlan, CaptureSummary, Continuous, Job, LegalHoldId, PlanId, RecoveryPoint, RuleId, StopCause,
    StorageClass,
};
use serde::{Deserialize, Serialize};

/// Why a job is being stopped; decides the state it ends in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum StopReason {
    /// Somebody asked: ends ABORTED.
    Requested,
    /// Its completion window passed: ends EXPIRED.
    CompletionWindow,
}

impl From<StopReason> for StopCause {
    fn from(reason: StopReason) -> Self {
        match reason {
            StopReason::Requested => Self::Requested,
            StopReason::CompletionWindow => Self::WindowPassed,
        }
    }
}

/// A job, with what only the planner needs to know of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct JobRow {
    /// What everybody may see.
    pub(crate) job: Job,
    /// The highest fencing epoch seen in facts about the present attempt.
    #[serde(default)]
    pub(crate) epoch: u64,
    /// When the order of the present attempt was issued.
    #[serde(default)]
    pub(crate) issued_at: Option<Timestamp>,
    /// When the first order was issued: where a restore's RTO begins.
    #[serde(default)]
    pub(crate) first_issued_at: Option<Timestamp>,
    /// When the last fact about it arrived.
    #[serde(default)]
    pub(crate) heard_at: Option<Timestamp>,
    /// How often the order of the present attempt had to be put on the bus again.
    #[serde(default)]
    pub(crate) reissued: u32,
    /// Why it is being stopped, and since when.
    #[serde(default)]
    pub(crate) stopping: Option<(StopReason, Timestamp)>,
    /// It ended while its order may still be on the bus, from where it has to be taken.
    #[serde(default)]
    pub(crate) withdraw: bool,
    /// Paths of a restore.
    #[serde(default)]
    pub(crate) include: Vec<String>,
    /// Hours that a test's sandbox stays after the verdict.
    #[serde(default)]
    pub(crate) validation_window_hours: u32,
    /// Whether a vault check reads every pack.
    #[serde(default)]
    pub(crate) read_data: bool,
    /// Recovery points that may not be deleted while it is open.
    #[serde(default)]
    pub(crate) uses: Vec<Arn>,
    /// Why a recovery point is deleted.
    #[serde(default)]
    pub(crate) reason: Option<String>,
    /// Its recovery point went into the catalogue; a result that is told again must not bring it back after its deletion.
    #[serde(default)]
    pub(crate) recorded: bool,
    /// The continuous recovery point that a backup is a full capture of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) continuous: Option<Arn>,
    /// Why a backup is a snapshot although its rule asks for more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) fallback: Option<String>,
    /// The snapshot that it is to remove and that no recovery point names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) stray_snapshot: Option<String>,
}

impl JobRow {
    /// A row around a new job.
    pub(crate) fn new(job: Job) -> Self {
        Self {
            job,
            epoch: 0,
            issued_at: None,
            first_issued_at: None,
            heard_at: None,
            reissued: 0,
            stopping: None,
            withdraw: false,
            include: Vec::new(),
            validation_window_hours: 0,
            read_data: false,
            uses: Vec::new(),
            reason: None,
            recorded: false,
            continuous: None,
            fallback: None,
            stray_snapshot: None,
        }
    }
}

/// A recovery point, with what only the planner needs to know of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct PointRow {
    /// What everybody may see.
    pub(crate) point: RecoveryPoint,
    /// How often its deletion was tried.
    #[serde(default)]
    pub(crate) deletions: u32,
    /// Not tried again before this instant.
    #[serde(default)]
    pub(crate) delete_not_before: Option<Timestamp>,
    /// How many jobs were made to move it to cold storage.
    #[serde(default)]
    pub(crate) moves: u32,
    /// No other one is made before this instant.
    #[serde(default)]
    pub(crate) move_not_before: Option<Timestamp>,
    /// Its snapshot in the warm repository, which goes now that it is in the cold one.
    #[serde(default)]
    pub(crate) warm_snapshot: Option<String>,
}

impl PointRow {
    /// A row around a new recovery point.
    pub(crate) fn new(point: RecoveryPoint) -> Self {
        Self { point, deletions: 0, delete_not_before: None, moves: 0, move_not_before: None, warm_snapshot: None }
    }
}

/// A continuous recovery point: what workers were told of it, from its first run until it is deleted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ContinuousRow {
    /// What they were told last.
    pub(crate) assignment: FollowResource,
    /// The plan and rule that came first.
    pub(crate) plan: (PlanId, RuleId),
    /// Its full captures, oldest first, as far as workers have not said that they are gone.
    pub(crate) bases: Vec<BaseRow>,
    /// The highest fencing epoch that a worker spoke with.
    pub(crate) epoch: u64,
    /// Days that its rules want.
    pub(crate) keep_days: u32,
    /// What a worker said before the first full capture, when there is no recovery point yet to say it of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) heard: Option<Continuous>,
}

/// A full capture of a continuous recovery point.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct BaseRow {
    /// Its snapshot.
    pub(crate) snapshot_id: String,
    /// What the capture did.
    pub(crate) summary: CaptureSummary,
}

/// What stands in a repository to protect its recovery points, as far as a worker confirmed it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KeepRow {
    /// The vault.
    pub(crate) vault: Arn,
    /// Which of its repositories.
    pub(crate) class: StorageClass,
    /// The name of what stands there.
    pub(crate) confirmed: Option<String>,
    /// Whether a lock of this planner's does.
    pub(crate) locked: bool,
    /// The holds of this planner's that do.
    pub(crate) holds: BTreeSet<LegalHoldId>,
    /// Not tried again before this instant.
    #[serde(default)]
    pub(crate) not_before: Option<Timestamp>,
}

impl KeepRow {
    /// Nothing is known to stand there.
    pub(crate) fn new(vault: Arn, class: StorageClass) -> Self {
        Self { vault, class, confirmed: None, locked: false, holds: BTreeSet::new(), not_before: None }
    }
}

/// One version of a plan, kept after later ones and after its deletion.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct PlanRow {
    /// The version.
    pub(crate) plan: BackupPlan,
    /// When the plan was deleted.
    #[serde(default)]
    pub(crate) deleted_at: Option<Timestamp>,
}

impl PlanRow {
    /// The version as others may see it.
    pub(crate) fn shown(&self) -> BackupPlan {
        BackupPlan { deleted_at: self.deleted_at, ..self.plan.clone() }
    }
}

/// Where a rule's schedule stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct CursorRow {
    /// The plan.
    pub(crate) plan_id: PlanId,
    /// The rule.
    pub(crate) rule_id: RuleId,
    /// Every instant of the schedule up to this one has been dealt with.
    pub(crate) served_until: Timestamp,
}

/// The answer a request got, so that its repetition gets the same one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct AnswerRow {
    /// Source and id of the request.
    pub(crate) key: String,
    /// CloudEvents type of the answer.
    pub(crate) event_type: String,
    /// The answer.
    pub(crate) data: serde_json::Value,
    /// When it was given.
    pub(crate) at: Timestamp,
    /// What was asked for, as a digest, where the key is a token of the sender's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) content: Option<String>,
}

impl AnswerRow {
    /// The answer as a fact.
    pub(crate) fn fact(&self) -> Result<Fact, job_events::DecodeError> {
        Fact::decode(&self.event_type, self.data.clone())
    }
}

/// What was last seen of a stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StreamRow {
    /// Its name.
    pub(crate) stream: String,
    /// When the server made it.
    pub(crate) created_at: Timestamp,
    /// Its last sequence when it was last looked at.
    pub(crate) last_sequence: u64,
}

/// Numbers of the installation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MetaRow {
    /// The fencing number of the planner that wrote last.
    pub(crate) generation: u64,
    /// Facts told so far; a fact's place in its subject.
    pub(crate) facts: u64,
    /// When retention was last decided on.
    #[serde(default)]
    pub(crate) retained_at: Option<Timestamp>,
}
