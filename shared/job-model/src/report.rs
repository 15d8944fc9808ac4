//! Report plans: lists of jobs, written every day into a store.

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{AccountId, Arn, InvalidArn, Region, ReportJobId};

/// Where a report goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReportDelivery {
    /// Name of a bucket; the gateway's configuration says which store it stands for.
    pub bucket: String,
    /// What the names of its files begin with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// `CSV`, `JSON` or both; `CSV` unless given.
    #[serde(default)]
    pub formats: Vec<String>,
}

/// What a report is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReportSetting {
    /// `BACKUP_JOB_REPORT`, `COPY_JOB_REPORT` or `RESTORE_JOB_REPORT`.
    pub template: String,
    /// Accounts; only the plan's own.
    #[serde(default)]
    pub accounts: Vec<String>,
    /// Regions; the plan's own unless given.
    #[serde(default)]
    pub regions: Vec<String>,
}

/// A report plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReportPlan {
    /// 1 to 256 letters, digits and underscores, beginning with a letter; unique in account and region.
    pub name: String,
    /// Whose it is.
    pub account: AccountId,
    /// Where it was made.
    pub region: Region,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Where its reports go.
    pub delivery: ReportDelivery,
    /// What they are about.
    pub setting: ReportSetting,
    /// When it was made.
    pub created_at: Timestamp,
    /// When a job of it was last begun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_attempted_at: Option<Timestamp>,
    /// When a job of it last went well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_succeeded_at: Option<Timestamp>,
    /// The token its maker named it with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub creator_request_id: Option<String>,
    /// Tags.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
}

impl ReportPlan {
    /// Its ARN: `arn:aws:backup:R:A:report-plan:<name>`.
    ///
    /// # Errors
    /// Never for names that were checked.
    pub fn arn(&self) -> Result<Arn, InvalidArn> {
        format!("arn:aws:backup:{}:{}:report-plan:{}", self.region, self.account, self.name).parse()
    }
}

/// AWS's states of a report job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ReportJobState {
    /// Asked for.
    Created,
    /// The files are in the store.
    Completed,
    /// They are not.
    Failed,
}

impl ReportJobState {
    /// AWS's name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Created => "CREATED",
            Self::Completed => "COMPLETED",
            Self::Failed => "FAILED",
        }
    }
}

/// One writing of a report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReportJob {
    /// Its id.
    pub id: ReportJobId,
    /// The plan as it was when the job was made.
    pub plan: ReportPlan,
    /// Where it stands.
    pub state: ReportJobState,
    /// Why, where that needs saying.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// When it was made: the report is about the 24 hours before.
    pub created_at: Timestamp,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    /// The files it wrote, as keys in the bucket.
    #[serde(default)]
    pub keys: Vec<String>,
}
