//! A report as a table: one row for each job that ended in the report's 24 hours or has not ended, in the words that AWS's
//! own reports have. Pure.

use jiff::{SignedDuration, Timestamp};
use job_model::{Job, JobDetail, JobKind, ReportJob};
use serde_json::{Map, Value, json};

use crate::present::jobs::{copy_state, restore_state};
use crate::present::{resource_name, vault_name};

/// What a report is about: the time before its job was made.
const PERIOD: SignedDuration = SignedDuration::from_hours(24);

/// The kind of job that a template is about; none for a template that nobody writes.
pub(crate) fn kind(template: &str) -> Option<JobKind> {
    match template {
        "BACKUP_JOB_REPORT" => Some(JobKind::Backup),
        "COPY_JOB_REPORT" => Some(JobKind::Copy),
        "RESTORE_JOB_REPORT" => Some(JobKind::Restore),
        _ => None,
    }
}

/// Begin and end of what a report is about.
pub(crate) fn period(report: &ReportJob) -> (Timestamp, Timestamp) {
    (report.created_at.saturating_sub(PERIOD).unwrap_or(Timestamp::MIN), report.created_at)
}

/// Whether a job belongs into a report.
pub(crate) fn takes(report: &ReportJob, job: &Job) -> bool {
    let (begin, end) = period(report);
    job.created_at <= end && job.ended_at.is_none_or(|at| at >= begin)
}

const COMMON: [&str; 4] = ["reportTimePeriodStart", "reportTimePeriodEnd", "accountId", "region"];
const PLAN: [&str; 6] =
    ["backupPlanArn", "backupPlanName", "backupRuleId", "backupRuleName", "backupRuleSchedule", "backupRuleTimezone"];
const BACKUP: [&str; 18] = [
    "backupJobId",
    "jobStatus",
    "statusMessage",
    "resourceType",
    "resourceArn",
    "resourceName",
    "creationDate",
    "initiationDate",
    "startWindowEnd",
    "completionDate",
    "expectedCompletionDate",
    "jobRunTime",
    "recoveryPointArn",
    "backupSizeInBytes",
    "backupVaultName",
    "backupVaultArn",
    "iamRoleArn",
    "parentJobId",
];
const COPY: [&str; 15] = [
    "copyJobId",
    "jobStatus",
    "statusMessage",
    "resourceType",
    "resourceArn",
    "resourceName",
    "creationDate",
    "completionDate",
    "jobRunTime",
    "sourceRecoveryPointArn",
    "sourceBackupVaultArn",
    "destinationRecoveryPointArn",
    "destinationBackupVaultArn",
    "backupSizeInBytes",
    "iamRoleArn",
];
const RESTORE: [&str; 14] = [
    "restoreJobId",
    "jobStatus",
    "statusMessage",
    "resourceType",
    "sourceResourceArn",
    "createdResourceLocation",
    "creationDate",
    "completionDate",
    "jobRunTime",
    "recoveryPointArn",
    "backupVaultArn",
    "backupSizeInBytes",
    "iamRoleArn",
    "validationStatus",
];

/// The columns of a kind of report, in their order.
pub(crate) fn columns(kind: JobKind) -> Vec<&'static str> {
    let own: &[&str] = match kind {
        JobKind::Copy => &COPY,
        JobKind::Restore => &RESTORE,
        _ => &BACKUP,
    };
    let plan: &[&str] = if kind == JobKind::Restore { &[] } else { &PLAN };
    COMMON.iter().chain(own).chain(plan).copied().collect()
}

/// The row of a job: its columns by name, without those that say nothing.
pub(crate) fn row(report: &ReportJob, job: &Job) -> Map<String, Value> {
    let (begin, end) = period(report);
    let size = job.progress.bytes_total.unwrap_or(job.progress.bytes_done);
    let seconds = |end: Timestamp| end.duration_since(job.started_at.unwrap_or(job.created_at)).as_secs().max(0);
    let mut row = json!({
        "reportTimePeriodStart": begin,
        "reportTimePeriodEnd": end,
        "accountId": job.account(),
        "region": job.home().region(),
        "statusMessage": job.status_message,
        "resourceType": job.resource_type.map(job_model::ResourceType::as_str),
        "creationDate": job.created_at,
        "completionDate": job.ended_at,
        "jobRunTime": job.ended_at.map(seconds),
        "backupSizeInBytes": size,
        "iamRoleArn": job.iam_role,
    });
    let own = match &job.detail {
        JobDetail::Backup { vault, recovery_point_id, .. } => json!({
            "backupJobId": job.id.to_string(),
            "jobStatus": job.state,
            "resourceArn": job.resource.as_str(),
            "resourceName": resource_name(&job.resource),
            "initiationDate": job.started_at,
            "startWindowEnd": job.start_by,
            "expectedCompletionDate": job.complete_by,
            "recoveryPointArn": made(job).then(|| point(vault, recovery_point_id)),
            "backupVaultName": vault_name(vault),
            "backupVaultArn": vault.as_str(),
            "parentJobId": job.parent.map(|id| id.to_string()),
        }),
        JobDetail::Copy { source_recovery_point, source_vault, destination_vault, recovery_point_id, .. } => json!({
            "copyJobId": job.id.to_string(),
            "jobStatus": copy_state(job.state),
            "resourceArn": job.resource.as_str(),
            "resourceName": resource_name(&job.resource),
            "sourceRecoveryPointArn": source_recovery_point.as_str(),
            "sourceBackupVaultArn": source_vault.as_str(),
            "destinationRecoveryPointArn": made(job).then(|| point(destination_vault, recovery_point_id)),
            "destinationBackupVaultArn": destination_vault.as_str(),
        }),
        JobDetail::Restore { recovery_point, vault, created_location, .. } => json!({
            "restoreJobId": job.id.to_string(),
            "jobStatus": restore_state(job.state),
            "sourceResourceArn": job.resource.as_str(),
            "createdResourceLocation": created_location,
            "recoveryPointArn": recovery_point.as_str(),
            "backupVaultArn": vault.as_str(),
            "validationStatus": job.validation().map(|(status, _)| status.as_str()),
        }),
        _ => json!({}),
    };
    let by = job.created_by.as_ref().map(|by| {
        json!({
            "backupPlanArn": format!(
                "arn:aws:backup:{}:{}:backup-plan:{}", job.home().region(), job.account(), by.plan_id
            ),
            "backupPlanName": by.plan_name,
            "backupRuleId": by.rule_id.to_string(),
            "backupRuleName": by.rule_name,
            "backupRuleSchedule": by.rule_schedule,
            "backupRuleTimezone": by.rule_time_zone,
        })
    });
    let mut members = Map::new();
    for part in [Some(row.take()), Some(own), by].into_iter().flatten() {
        if let Value::Object(part) = part {
            members.extend(part.into_iter().filter(|(_, value)| !value.is_null()));
        }
    }
    members
}

fn made(job: &Job) -> bool {
    matches!(job.state, job_model::JobState::Completed | job_model::JobState::Partial)
}

fn point(vault: &job_model::Arn, id: impl std::fmt::Display) -> String {
    format!("arn:aws:backup:{}:{}:recovery-point:{id}", vault.region(), vault.account())
}

/// A file of a report while it is written: only its bytes are kept.
#[derive(Debug)]
pub(crate) struct Sheet {
    columns: Vec<&'static str>,
    is_json: bool,
    text: String,
}

impl Sheet {
    /// An empty file in the format `CSV` or `JSON`.
    pub(crate) fn new(kind: JobKind, format: &str) -> Self {
        let columns = columns(kind);
        let is_json = format == "JSON";
        let text = if is_json { "{\"reportItems\":[".to_owned() } else { columns.join(",") + "\r\n" };
        Self { columns, is_json, text }
    }

    /// Adds a row.
    pub(crate) fn push(&mut self, row: &Map<String, Value>) {
        if self.is_json {
            let members = self.columns.iter().filter_map(|name| Some(((*name).to_owned(), row.get(*name)?.clone())));
            let item = Value::Object(members.collect());
            let comma = if self.text.ends_with('[') { "" } else { "," };
            self.text.push_str(&format!("{comma}{item}"));
        } else {
            let cells: Vec<String> = self.columns.iter().map(|name| cell(row.get(*name))).collect();
            self.text.push_str(&cells.join(","));
            self.text.push_str("\r\n");
        }
    }

    /// Its bytes.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        if self.is_json {
            self.text.push_str("]}");
        }
        self.text.into_bytes()
    }

    /// What its name ends in.
    pub(crate) fn ending(&self) -> &'static str {
        if self.is_json { "json" } else { "csv" }
    }
}

/// A value of CSV (RFC 4180). A text that a spreadsheet would take for a formula is made a plain one: messages hold what
/// others wrote.
fn cell(value: Option<&Value>) -> String {
    let text = match value {
        None => return String::new(),
        Some(Value::String(text)) if text.starts_with(['=', '+', '-', '@', '\t', '\r']) => format!("'{text}"),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    };
    if text.contains(['"', ',', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_quoted_where_they_must_be_and_are_never_formulas() {
        let cases = [
            (json!("plain"), "plain"),
            (json!("a,b"), "\"a,b\""),
            (json!("say \"no\"\n"), "\"say \"\"no\"\"\n\""),
            (json!("=1+1"), "'=1+1"),
            (json!(-5), "-5"),
            (json!(true), "true"),
        ];
        for (value, expected) in cases {
            assert_eq!(cell(Some(&value)), expected);
        }
        assert_eq!(cell(None), "");
    }

    #[test]
    fn both_formats_hold_the_same_rows() {
        let row = json!({ "backupJobId": "1", "statusMessage": "a, b", "accountId": "000000000000" });
        let rows = [row.as_object().unwrap().clone(), row.as_object().unwrap().clone()];
        let written = |format: &str| {
            let mut sheet = Sheet::new(JobKind::Backup, format);
            rows.iter().for_each(|row| sheet.push(row));
            sheet.finish()
        };
        let csv = String::from_utf8(written("CSV")).unwrap();
        let mut lines = csv.split("\r\n");
        assert_eq!(lines.next().unwrap().split(',').collect::<Vec<_>>(), columns(JobKind::Backup));
        assert!(lines.next().unwrap().starts_with(",,000000000000,,1,,\"a, b\","));
        let read: Value = serde_json::from_slice(&written("JSON")).unwrap();
        assert_eq!(read["reportItems"], json!([row, row]));
        let none = Sheet::new(JobKind::Copy, "JSON").finish();
        assert_eq!(serde_json::from_slice::<Value>(&none).unwrap(), json!({ "reportItems": [] }));
    }
}
