//! Queries: plain request-reply over the bus; they change nothing.

mod outlook;
mod scan;

use std::collections::BTreeMap;

pub use outlook::*;
pub use scan::*;

use jiff::Timestamp;
use job_model::{
    AccountId, Arn, BackupPlan, Finding, GlobalSettings, Job, JobId, JobKind, JobState, LegalHold, LegalHoldId,
    PhaseTiming, PlanId, RecoveryPoint, Region, RegionSettings, ReportJob, ReportJobId, ReportPlan, Resource,
    RestoreTestingPlan, Selection, SelectionId, TestRunId, Vault, Verdict,
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
        /// Only runs of its plans; all without it.
        #[serde(default)]
        account: Option<AccountId>,
        /// At most this many.
        #[serde(default)]
        limit: Option<u32>,
    },
    /// One run with every resource's verdict (verifier).
    ShowTestRun {
        /// It.
        test_run: TestRunId,
    },
    /// One restore testing plan (verifier).
    ShowRestoreTestingPlan {
        /// Whose; absent: the installation's own account.
        #[serde(default)]
        account: Option<AccountId>,
        /// Where it was made; absent: anywhere.
        #[serde(default)]
        region: Option<Region>,
        /// Its name.
        name: String,
    },
    /// Everything of a kind, page by page (planner).
    Scan {
        /// What.
        kind: ScanKind,
        /// The `next` of the page before.
        #[serde(default)]
        after: Option<String>,
        /// At most this many rows (1 to 1000, 1000 unless given); a page ends earlier where it would become too large.
        #[serde(default)]
        limit: Option<u32>,
    },
    /// One vault (planner).
    ShowVault {
        /// It.
        vault: Arn,
    },
    /// One resource (planner).
    ShowResource {
        /// It.
        resource: Arn,
    },
    /// One plan (planner).
    ShowPlan {
        /// It.
        plan_id: PlanId,
        /// This version, also of a deleted plan; absent: the newest one of a plan that is not deleted.
        #[serde(default)]
        version: Option<u32>,
    },
    /// All versions of a plan, also of a deleted one (planner). Newest first, at most 500 before `before`.
    ListPlanVersions {
        /// The plan.
        plan_id: PlanId,
        /// Only versions below this one.
        #[serde(default)]
        before: Option<u32>,
    },
    /// One selection (planner).
    ShowSelection {
        /// Its plan.
        plan_id: PlanId,
        /// It.
        selection_id: SelectionId,
    },
    /// Metadata that a client can send back as they are to restore a recovery point (planner).
    RestoreMetadata {
        /// It.
        recovery_point: Arn,
    },
    /// Tags (planner; verifier for restore testing plans).
    ListTags {
        /// What is tagged.
        arn: Arn,
    },
    /// One legal hold (planner).
    ShowLegalHold {
        /// It.
        id: LegalHoldId,
    },
    /// The recovery points that a legal hold is about (planner).
    ListHeldRecoveryPoints {
        /// The hold.
        id: LegalHoldId,
        /// The `next` of the page before.
        #[serde(default)]
        after: Option<String>,
        /// At most this many (1 to 1000, 1000 unless given).
        #[serde(default)]
        limit: Option<u32>,
    },
    /// Settings of an account (planner).
    ShowSettings {
        /// Whose.
        account: AccountId,
        /// Where.
        region: Region,
    },
    /// One report plan (planner).
    ShowReportPlan {
        /// Whose.
        account: AccountId,
        /// Where.
        region: Region,
        /// Its name.
        name: String,
    },
    /// One report job (planner).
    ShowReportJob {
        /// It.
        id: ReportJobId,
    },
    /// Runs that will come, by their time (planner).
    Forecast {
        /// Only this account's.
        #[serde(default)]
        account: Option<AccountId>,
        /// Up to this instant.
        until: Timestamp,
        /// At most this many (1 to 1000, 100 unless given).
        #[serde(default)]
        limit: Option<u32>,
    },
    /// Registered resources that no plan selects, by ARN (planner).
    ListUnprotected {
        /// Only this account's.
        #[serde(default)]
        account: Option<AccountId>,
        /// Only those after this ARN.
        #[serde(default)]
        after: Option<Arn>,
    },
    /// Which share of what is registered was proven restorable (planner).
    Coverage {
        /// Only this account's.
        #[serde(default)]
        account: Option<AccountId>,
        /// Proofs of these last days count (1 to 3650, 30 unless given).
        #[serde(default)]
        days: Option<u32>,
        /// The `next` of the page before.
        #[serde(default)]
        after: Option<String>,
    },
    /// How far the facts for a region have come (planner). What a job's state shows is told a moment later: who asks for it
    /// knows when everything that was decided before is in the stream.
    ToldUpTo {
        /// Whose stream of facts.
        region: Region,
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
    /// Whose plan it is; the installation's own account's without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<AccountId>,
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
    RestoreTestingPlan(Box<RestoreTestingPlan>),
    Scan(ScanPage),
    Vault(Box<Vault>),
    Resource(Box<Resource>),
    Plan(Box<BackupPlan>),
    Selection(Box<Selection>),
    Metadata(BTreeMap<String, String>),
    Tags(BTreeMap<String, String>),
    LegalHold(Box<LegalHold>),
    HeldRecoveryPoints(HeldPoints),
    Settings {
        region: RegionSettings,
        global: GlobalSettings,
    },
    ReportPlan(Box<ReportPlan>),
    ReportJob(Box<ReportJob>),
    Forecast(Vec<ForecastRun>),
    Coverage(CoverageAnswer),
    ToldUpTo {
        /// Number of the message that was written down last, wherever it goes.
        written: u64,
        /// The region's stream has every fact with a number up to this one.
        told: u64,
    },
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
            Self::ShowRestoreTestingPlan { .. } => "show-restore-testing-plan",
            Self::Scan { .. } => "scan",
            Self::ShowVault { .. } => "show-vault",
            Self::ShowResource { .. } => "show-resource",
            Self::ShowPlan { .. } => "show-plan",
            Self::ListPlanVersions { .. } => "list-plan-versions",
            Self::ShowSelection { .. } => "show-selection",
            Self::RestoreMetadata { .. } => "restore-metadata",
            Self::ListTags { .. } => "list-tags",
            Self::ShowLegalHold { .. } => "show-legal-hold",
            Self::ListHeldRecoveryPoints { .. } => "list-held-recovery-points",
            Self::ShowSettings { .. } => "show-settings",
            Self::ShowReportPlan { .. } => "show-report-plan",
            Self::ShowReportJob { .. } => "show-report-job",
            Self::Forecast { .. } => "forecast",
            Self::ListUnprotected { .. } => "list-unprotected",
            Self::Coverage { .. } => "coverage",
            Self::ToldUpTo { .. } => "told-up-to",
        }
    }

    /// Who answers it.
    #[must_use]
    pub fn service(&self) -> crate::subjects::Service {
        use crate::subjects::Service;
        match self {
            Self::ListRestoreTestingPlans
            | Self::ListTestRuns { .. }
            | Self::ShowTestRun { .. }
            | Self::ShowRestoreTestingPlan { .. } => Service::Verifier,
            Self::ListTags { arn } if crate::is_restore_testing_plan(arn) => Service::Verifier,
            _ => Service::Planner,
        }
    }
}
