//! Facts in the words of AWS: the events EventBridge gets from AWS Backup, and the notifications of vaults.
//!
//! Pure: whoever delivers them says when and where to. The names of detail types and members are those of the "Events from
//! AWS Backup" pages; jobs of kinds that AWS does not have make none.

use jiff::Timestamp;
use job_model::{Arn, FollowState, Job, JobDetail, JobKind, JobState, RecoveryPoint};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::Fact;

/// An event as EventBridge delivers it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AwsEvent {
    /// Always `0`.
    pub version: String,
    /// The id of the fact it was made from: the same fact makes the same event.
    pub id: String,
    /// For example `Backup Job State Change`.
    #[serde(rename = "detail-type")]
    pub detail_type: String,
    /// Always `aws.backup`.
    pub source: String,
    /// Whose it is about.
    pub account: String,
    /// When it happened.
    pub time: Timestamp,
    /// Where.
    pub region: String,
    /// What it is about.
    pub resources: Vec<String>,
    /// The rest, by detail type.
    pub detail: Value,
}

impl AwsEvent {
    /// The subject it is published on: `backup.events.<detail type in kebab-case>`.
    #[must_use]
    pub fn subject(&self) -> String {
        format!("backup.events.{}", self.detail_type.to_ascii_lowercase().replace(' ', "-"))
    }
}

/// What a vault tells to whom it may concern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VaultNotice {
    /// The vault.
    pub vault: Arn,
    /// AWS's names of what happened, the most specific one first; whoever asked for any of them is told once.
    pub events: Vec<&'static str>,
    /// One sentence for a person.
    pub message: String,
}

/// The event a fact makes; none for facts that AWS has no event for.
#[must_use]
pub fn event(id: &str, time: Timestamp, fact: &Fact) -> Option<AwsEvent> {
    let (detail_type, about, detail) = match fact {
        Fact::JobChanged(changed) => job_event(&changed.job)?,
        Fact::VaultChanged(changed) => {
            let vault = &changed.vault;
            let detail = json!({
                "backupVaultName": vault.name,
                "backupVaultArn": vault.access.arn,
                "state": match vault.state {
                    job_model::VaultState::Creating => "CREATED",
                    _ => "MODIFIED",
                },
            });
            ("Backup Vault State Change", vault.access.arn.clone(), detail)
        }
        Fact::VaultRemoved(removed) => {
            let detail = json!({
                "backupVaultName": vault_name(&removed.vault),
                "backupVaultArn": removed.vault,
                "state": "DELETED",
            });
            ("Backup Vault State Change", removed.vault.clone(), detail)
        }
        Fact::PlanChanged(changed) => {
            let plan = &changed.plan;
            // Of a plan without a region the vaults say where and whose it is.
            let vault = &plan.rules.first()?.target_vault;
            let region = vault.region().parse().ok()?;
            let arn = plan.arn(&region, &vault.account().parse().ok()?).ok()?;
            let state = match (plan.deleted_at, plan.version) {
                (Some(_), _) => "DELETED",
                (None, 1) => "CREATED",
                (None, _) => "MODIFIED",
            };
            let detail = json!({ "backupPlanId": plan.id, "versionId": plan.version_id(), "state": state });
            ("Backup Plan State Change", arn, detail)
        }
        Fact::RecoveryPointCreated(created) => point_event(&created.recovery_point),
        Fact::RecoveryPointChanged(changed) if changed.is_report => return None,
        Fact::RecoveryPointChanged(changed) => point_event(&changed.recovery_point),
        Fact::RecoveryPointDeleted(deleted) => {
            let detail = json!({
                "recoveryPointArn": deleted.recovery_point,
                "backupVaultName": vault_name(&deleted.vault),
                "resourceArn": deleted.resource,
                "status": "DELETED",
                "statusMessage": deleted.reason,
            });
            ("Recovery Point State Change", deleted.recovery_point.clone(), detail)
        }
        Fact::RegionSettingsChanged(changed) => {
            let settings = &changed.settings;
            return Some(AwsEvent {
                version: "0".to_owned(),
                id: id.to_owned(),
                detail_type: "Region Setting State Change".to_owned(),
                source: "aws.backup".to_owned(),
                account: settings.account.to_string(),
                time,
                region: settings.region.to_string(),
                resources: Vec::new(),
                detail: json!({ "resourceTypeOptInPreference": settings.opt_in }),
            });
        }
        _ => return None,
    };
    Some(AwsEvent {
        version: "0".to_owned(),
        id: id.to_owned(),
        detail_type: detail_type.to_owned(),
        source: "aws.backup".to_owned(),
        account: about.account().to_owned(),
        time,
        region: about.region().to_owned(),
        resources: vec![about.to_string()],
        detail,
    })
}

/// What vaults tell of a fact; most facts concern none.
#[must_use]
pub fn notices(fact: &Fact) -> Vec<VaultNotice> {
    match fact {
        Fact::JobChanged(changed) => job_notice(&changed.job).into_iter().collect(),
        Fact::RecoveryPointChanged(changed) if changed.is_report => Vec::new(),
        Fact::RecoveryPointChanged(changed) => {
            let point = &changed.recovery_point;
            if let Some(trouble) = trouble(point) {
                let message = format!("recovery point {} of {}: {trouble}", point.arn, point.resource);
                let events = vec!["CONTINUOUS_BACKUP_INTERRUPTED", "RECOVERY_POINT_MODIFIED"];
                return vec![VaultNotice { vault: point.vault.clone(), events, message }];
            }
            let message = format!("recovery point {} of {} was modified", point.arn, point.resource);
            vec![VaultNotice { vault: point.vault.clone(), events: vec!["RECOVERY_POINT_MODIFIED"], message }]
        }
        Fact::PlanChanged(changed) if changed.plan.deleted_at.is_none() => {
            let plan = &changed.plan;
            let first = plan.version == 1;
            let event = if first { "BACKUP_PLAN_CREATED" } else { "BACKUP_PLAN_MODIFIED" };
            let what = if first { "created" } else { "modified" };
            // A run of the plan changes its row too, and is no change of the plan.
            if plan.last_run_at.is_some_and(|at| at > plan.updated_at) {
                return Vec::new();
            }
            let mut vaults: Vec<&Arn> = plan.rules.iter().map(|rule| &rule.target_vault).collect();
            vaults.sort();
            vaults.dedup();
            let message = format!("backup plan {} ({}) was {what}", plan.name, plan.id);
            vaults
                .into_iter()
                .map(|vault| VaultNotice { vault: vault.clone(), events: vec![event], message: message.clone() })
                .collect()
        }
        _ => Vec::new(),
    }
}

/// Why a resource that should be followed is not, or what endangers it.
fn trouble(point: &RecoveryPoint) -> Option<&str> {
    let continuous = point.continuous.as_ref().filter(|continuous| continuous.state != FollowState::Stopped)?;
    let interrupted = continuous.state == FollowState::Interrupted;
    continuous.message.as_deref().or_else(|| interrupted.then_some("it is not followed at the moment"))
}

fn vault_name(vault: &Arn) -> &str {
    vault.resource().strip_prefix("backup-vault:").unwrap_or_default()
}

fn job_event(job: &Job) -> Option<(&'static str, Arn, Value)> {
    let mut detail = json!({
        "resourceArn": job.resource,
        "creationDate": job.created_at,
        "percentDone": job.percent_done().to_string(),
    });
    let common = [
        ("resourceType", job.resource_type.map(|kind| json!(kind))),
        ("iamRoleArn", job.iam_role.as_ref().map(|role| json!(role))),
        ("completionDate", job.ended_at.map(|at| json!(at))),
        ("statusMessage", job.status_message.as_ref().map(|text| json!(text))),
        ("messageCategory", Some(json!(job.message_category))),
        ("backupSizeInBytes", job.progress.bytes_total.map(|bytes| json!(bytes))),
    ];
    for (name, value) in common.into_iter().filter_map(|(name, value)| Some((name, value?))) {
        detail[name] = value;
    }
    match &job.detail {
        JobDetail::Backup { vault, .. } => {
            detail["backupJobId"] = json!(job.id);
            detail["state"] = json!(job.state);
            detail["backupVaultArn"] = json!(vault);
            detail["backupVaultName"] = json!(vault_name(vault));
            detail["bytesTransferred"] = json!(job.progress.bytes_read);
            detail["startBy"] = json!(job.start_by);
            detail["expectedCompletionDate"] = json!(job.complete_by);
            if let Some(by) = &job.created_by {
                detail["createdBy"] = json!({
                    "backupPlanId": by.plan_id,
                    "backupPlanVersion": job_model::plan_version_id(by.plan_id, by.plan_version),
                    "backupRuleId": by.rule_id,
                    "backupRuleName": by.rule_name,
                });
            }
            Some(("Backup Job State Change", vault.clone(), detail))
        }
        JobDetail::Copy { source_vault, destination_vault, source_recovery_point, .. } => {
            detail["copyJobId"] = json!(job.id);
            detail["state"] = json!(copy_state(job.state));
            detail["sourceBackupVaultArn"] = json!(source_vault);
            detail["sourceRecoveryPointArn"] = json!(source_recovery_point);
            detail["destinationBackupVaultArn"] = json!(destination_vault);
            Some(("Copy Job State Change", source_vault.clone(), detail))
        }
        JobDetail::Restore { vault, recovery_point, restore_testing_plan, created_location, .. } => {
            detail["restoreJobId"] = json!(job.id);
            detail["status"] = json!(restore_status(job.state));
            detail["recoveryPointArn"] = json!(recovery_point);
            detail["sourceResourceArn"] = json!(job.resource);
            if let Some(location) = created_location {
                detail["createdResourceArn"] = json!(location);
            }
            if let Some(plan) = restore_testing_plan {
                detail["restoreTestingPlanName"] = json!(plan);
            }
            Some(("Restore Job State Change", vault.clone(), detail))
        }
        JobDetail::Verification { .. } | JobDetail::Maintenance { .. } => None,
    }
}

/// AWS's copy jobs know no PENDING and end FAILED where they are stopped or late.
fn copy_state(state: JobState) -> &'static str {
    match state {
        JobState::Created | JobState::Pending => "CREATED",
        JobState::Aborted | JobState::Expired => "FAILED",
        other => other.as_str(),
    }
}

/// AWS's restore jobs know no CREATED and end FAILED where they are late.
fn restore_status(state: JobState) -> &'static str {
    match state {
        JobState::Created | JobState::Pending => "PENDING",
        JobState::Aborting => "RUNNING",
        JobState::Expired => "FAILED",
        JobState::Partial => "COMPLETED",
        other => other.as_str(),
    }
}

fn point_event(point: &RecoveryPoint) -> (&'static str, Arn, Value) {
    let detail = json!({
        "recoveryPointArn": point.arn,
        "backupVaultArn": point.vault,
        "backupVaultName": vault_name(&point.vault),
        "resourceArn": point.resource,
        "resourceType": point.resource_type,
        "creationDate": point.created_at,
        "status": point.status,
        "statusMessage": point.status_message,
        "calculatedLifecycle": { "deleteAt": point.delete_at() },
    });
    ("Recovery Point State Change", point.arn.clone(), detail)
}

fn job_notice(job: &Job) -> Option<VaultNotice> {
    let what = match job.kind {
        JobKind::Backup => "backup",
        JobKind::Copy => "copy",
        JobKind::Restore => "restore",
        JobKind::Verification | JobKind::Maintenance => return None,
    };
    let events = match (job.kind, job.state) {
        (JobKind::Backup, JobState::Running) => vec!["BACKUP_JOB_STARTED"],
        (JobKind::Backup, JobState::Completed | JobState::Partial) => {
            vec!["BACKUP_JOB_SUCCESSFUL", "BACKUP_JOB_COMPLETED"]
        }
        (JobKind::Backup, JobState::Expired) => vec!["BACKUP_JOB_EXPIRED", "BACKUP_JOB_COMPLETED"],
        (JobKind::Backup, JobState::Failed | JobState::Aborted) => vec!["BACKUP_JOB_FAILED", "BACKUP_JOB_COMPLETED"],
        (JobKind::Restore, JobState::Running) => vec!["RESTORE_JOB_STARTED"],
        (JobKind::Restore, JobState::Completed | JobState::Partial) => {
            vec!["RESTORE_JOB_SUCCESSFUL", "RESTORE_JOB_COMPLETED"]
        }
        (JobKind::Restore, JobState::Failed | JobState::Aborted | JobState::Expired) => {
            vec!["RESTORE_JOB_FAILED", "RESTORE_JOB_COMPLETED"]
        }
        (JobKind::Copy, JobState::Running) => vec!["COPY_JOB_STARTED"],
        (JobKind::Copy, JobState::Completed | JobState::Partial) => vec!["COPY_JOB_SUCCESSFUL"],
        (JobKind::Copy, JobState::Failed | JobState::Aborted | JobState::Expired) => vec!["COPY_JOB_FAILED"],
        _ => return None,
    };
    let reason = job.status_message.as_deref().map(|text| format!(": {text}")).unwrap_or_default();
    let message = format!("{what} job {} of {} is {}{reason}", job.id, job.resource, job.state.as_str());
    Some(VaultNotice { vault: job.home().clone(), events, message })
}
