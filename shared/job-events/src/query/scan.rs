//! Scans: everything there is of a kind, page by page, for readers that keep a copy.
//!
//! A reader notes where the streams of facts end (or creates its consumer) *before* the first page, scans all kinds, and
//! follows the facts from there. Nothing is missed: a change that a page does not show is told by a fact that was published
//! after the note. Nothing goes backwards: the facts of the planner are numbered over the installation (the last token of
//! their subject is `<generation>-<number>`), and a fact whose number is not above the page's `facts_told` is in the page.

use job_model::{
    BackupPlan, GlobalSettings, Job, LegalHold, RecoveryPoint, RegionSettings, ReportJob, ReportPlan, Resource,
    Selection, Vault,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What is scanned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ScanKind {
    /// Registered resources, by ARN.
    Resources,
    /// Vaults, by ARN.
    Vaults,
    /// All versions of all plans, deleted ones too, by id and version.
    Plans,
    /// Selections, by id.
    Selections,
    /// Jobs, by id.
    Jobs,
    /// Recovery points, by ARN.
    RecoveryPoints,
    /// Legal holds, lifted ones too, by id.
    LegalHolds,
    /// Settings that somebody changed: first by region, then global ones.
    Settings,
    /// Report plans, by account, region and name.
    ReportPlans,
    /// Report jobs, by id.
    ReportJobs,
}

impl ScanKind {
    /// All of them, what others refer to first.
    pub const ALL: [Self; 10] = [
        Self::Settings,
        Self::Resources,
        Self::Vaults,
        Self::Plans,
        Self::Selections,
        Self::LegalHolds,
        Self::ReportPlans,
        Self::RecoveryPoints,
        Self::Jobs,
        Self::ReportJobs,
    ];
}

/// One row of a scan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", content = "row", rename_all = "kebab-case")]
#[expect(missing_docs, reason = "each holds what its name says")]
pub enum ScanRow {
    Resource(Box<Resource>),
    Vault(Box<Vault>),
    Plan(Box<BackupPlan>),
    Selection(Box<Selection>),
    Job(Box<Job>),
    RecoveryPoint(Box<RecoveryPoint>),
    LegalHold(Box<LegalHold>),
    RegionSettings(Box<RegionSettings>),
    GlobalSettings(Box<GlobalSettings>),
    ReportPlan(Box<ReportPlan>),
    ReportJob(Box<ReportJob>),
}

/// A page of a scan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ScanPage {
    /// The rows, in the order of their keys.
    pub rows: Vec<ScanRow>,
    /// Pass it as `after` for the next page; none at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// How many facts the planner had told when it made the page.
    pub facts_told: u64,
    /// The identity of the planner's state. Another one, or a `facts_told` that fell: what was copied is of another past;
    /// begin again from nothing.
    pub installation: String,
}
