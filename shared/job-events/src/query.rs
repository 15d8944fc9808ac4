//! Queries: plain request-reply over the bus; they change nothing.

use jiff::Timestamp;
use job_model::{
    Arn, BackupPlan, Finding, Job, JobId, JobKind, JobState, PhaseTiming, PlanId, RecoveryPoint, Resource,
    RestoreTestingPlan, Selection, TestRunId, Vault, Verdict,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What can be asked. The name in the subject is the variant's wire name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "query", rename_all = "kebab-case")]
pub enum Query {
    /// All resources (planner).
    ListResources,
    /// All vaults (planner).
    ListVaults,
    /// All plans, newest versions (planner).
    ListPlans,
    /// A plan's next runs (planner).
    NextRuns {
        /// The plan.
        plan_id: PlanId,
        /// How many per rule, at most 10.
        count: u32,
    },
    /// A plan's selections, or all (planner).
    ListSelections {
        /// The plan.
        plan_id: Option<PlanId>,
    },
    /// Jobs, newest first (planner).
    ListJobs {
        /// Only this kind.
        #[serde(default)]
        kind: Option<JobKind>,
        /// Only this state.
        #[serde(default)]
        state: Option<JobState>,
        /// Only of this resource.
        #[serde(default)]
        resource: Option<Arn>,
        /// At most this many (1 to 1000, 100 unless given).
        #[serde(default)]
        limit: Option<u32>,
    },
    /// One job (planner).
    ShowJob {
        /// It.
        job_id: JobId,
    },
    /// Recovery points, newest first (planner).
    ListRecoveryPoints {
        /// Only in this vault.
        #[serde(default)]
        vault: Option<Arn>,
        /// Only of this resource.
        #[serde(default)]
        resource: Option<Arn>,
    },
    /// One recovery point, with why it is kept (planner).
    ShowRecoveryPoint {
        /// It.
        recovery_point: Arn,
    },
    /// All restore testing plans (verifier).
    ListRestoreTestingPlans,
    /// Runs of restore tests, newest first (verifier).
    ListTestRuns {
        /// At most this many.
        #[serde(default)]
        limit: Option<u32>,
    },
    /// One run with every resource's verdict (verifier).
    ShowTestRun {
        /// It.
        test_run: TestRunId,
    },
}

/// One resource in a run of a restore test.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TestRunEntry {
    /// The resource.
    pub resource: Arn,
    /// The recovery point that was picked; none where none was eligible.
    pub recovery_point: Option<Arn>,
    /// Its vault.
    pub vault: Option<Arn>,
    /// The restore job, once the planner accepted it.
    pub restore_job_id: Option<JobId>,
    /// The conclusion, once there is one.
    pub verdict: Option<Verdict>,
    /// What the checks saw.
    pub findings: Vec<Finding>,
    /// The RTO by phase.
    pub rto_phases: Vec<PhaseTiming>,
    /// Bytes checked.
    pub bytes_checked: u64,
    /// Entries checked.
    pub items_checked: u64,
}

/// One run of a restore testing plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TestRun {
    /// Its id.
    pub id: TestRunId,
    /// The plan.
    pub restore_testing_plan: String,
    /// When it began.
    pub started_at: Timestamp,
    /// When all were judged.
    pub ended_at: Option<Timestamp>,
    /// One entry for each selected resource.
    pub entries: Vec<TestRunEntry>,
}

/// The next runs of one rule.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NextRuns {
    /// The rule.
    pub rule_name: String,
    /// Its next instants.
    pub at: Vec<Timestamp>,
}

/// Answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "answer", content = "data", rename_all = "kebab-case")]
#[expect(missing_docs, reason = "each is the answer to the query of its name")]
pub enum Answer {
    Resources(Vec<Resource>),
    Vaults(Vec<Vault>),
    Plans(Vec<BackupPlan>),
    NextRuns(Vec<NextRuns>),
    Selections(Vec<Selection>),
    Jobs(Vec<Job>),
    Job(Job),
    RecoveryPoints(Vec<RecoveryPoint>),
    RecoveryPoint {
        recovery_point: RecoveryPoint,
        kept_because: Vec<String>,
        delete_at: Option<Timestamp>,
    },
    RestoreTestingPlans(Vec<RestoreTestingPlan>),
    TestRuns(Vec<TestRun>),
    TestRun(TestRun),
    /// The query could not be answered.
    Refused {
        code: String,
        field: String,
        message: String,
    },
}

impl Query {
    /// The wire name, as in the subject.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::ListResources => "list-resources",
            Self::ListVaults => "list-vaults",
            Self::ListPlans => "list-plans",
            Self::NextRuns { .. } => "next-runs",
            Self::ListSelections { .. } => "list-selections",
            Self::ListJobs { .. } => "list-jobs",
            Self::ShowJob { .. } => "show-job",
            Self::ListRecoveryPoints { .. } => "list-recovery-points",
            Self::ShowRecoveryPoint { .. } => "show-recovery-point",
            Self::ListRestoreTestingPlans => "list-restore-testing-plans",
            Self::ListTestRuns { .. } => "list-test-runs",
            Self::ShowTestRun { .. } => "show-test-run",
        }
    }

    /// Who answers it.
    #[must_use]
    pub const fn service(&self) -> crate::subjects::Service {
        match self {
            Self::ListRestoreTestingPlans | Self::ListTestRuns { .. } | Self::ShowTestRun { .. } => {
                crate::subjects::Service::Verifier
            }
            _ => crate::subjects::Service::Planner,
        }
    }
}
