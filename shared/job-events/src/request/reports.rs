//! Requests about report plans and report jobs.

use std::collections::BTreeMap;

use job_model::{ReportDelivery, ReportJobId, ReportJobState, ReportSetting};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Make a report plan; a report is written every day.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateReportPlan {
    /// 1 to 256 letters, digits and underscores, beginning with a letter.
    pub name: String,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Where reports go.
    pub delivery: ReportDelivery,
    /// What they are about.
    pub setting: ReportSetting,
    /// Tags.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
}

/// Change a report plan; what is absent stays.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateReportPlan {
    /// Its name.
    pub name: String,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Where reports go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivery: Option<ReportDelivery>,
    /// What they are about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub setting: Option<ReportSetting>,
}

/// Delete a report plan; its reports stay where they are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeleteReportPlan {
    /// Its name.
    pub name: String,
}

/// Write a report now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StartReportJob {
    /// Name of the report plan.
    pub report_plan: String,
}

/// Say what became of a report job; whoever writes reports sends it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FinishReportJob {
    /// The job.
    pub report_job_id: ReportJobId,
    /// `COMPLETED` or `FAILED`.
    pub state: ReportJobState,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The files that were written, as keys in the bucket.
    #[serde(default)]
    pub keys: Vec<String>,
}
