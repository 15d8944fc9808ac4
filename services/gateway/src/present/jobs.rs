//! Jobs. A backup has a `State`, a restore a `Status`; how much is done is a text.

use job_model::{Arn, Job, JobDetail, JobState, Vault};
use serde_json::{Value, json};

use super::{compact, created_by, epoch, key_arn, lifecycle, maybe, resource_name, vault_name, vaults};
use crate::projection::category;

/// `LOCKED` or `UNLOCKED`.
fn lock_state(vault: Option<&Vault>) -> Option<&'static str> {
    vault.map(|vault| if vault.is_locked() { "LOCKED" } else { "UNLOCKED" })
}

fn point_arn(vault: &Arn, id: impl std::fmt::Display) -> String {
    format!("arn:aws:backup:{}:{}:recovery-point:{id}", vault.region(), vault.account())
}

fn has_point(job: &Job) -> bool {
    matches!(job.state, JobState::Completed | JobState::Partial)
}

/// A backup job; nothing for a job of another kind.
pub(crate) fn backup(job: &Job, vault_of_job: Option<&Vault>) -> Value {
    let JobDetail::Backup { vault, recovery_point_id, lifecycle: kept, .. } = &job.detail else { return Value::Null };
    compact(json!({
        "AccountId": vault.account(),
        "BackupJobId": job.id.to_string(),
        "BackupVaultName": vault_name(vault),
        "BackupVaultArn": vault.as_str(),
        "VaultType": vault_of_job.map(vaults::kind),
        "VaultLockState": lock_state(vault_of_job),
        "EncryptionKeyArn": vault_of_job.map(|v| key_arn(vault, &v.access.key_profile)),
        "IsEncrypted": true,
        "RecoveryPointArn": has_point(job).then(|| point_arn(vault, recovery_point_id)),
        "RecoveryPointLifecycle": lifecycle(kept),
        "ResourceArn": job.resource.as_str(),
        "ResourceName": resource_name(&job.resource),
        "ResourceType": job.resource_type.map(job_model::ResourceType::as_str),
        "CreationDate": epoch(job.created_at),
        "InitiationDate": epoch(job.started_at.unwrap_or(job.created_at)),
        "CompletionDate": maybe(job.ended_at),
        "StartBy": maybe(job.start_by),
        "ExpectedCompletionDate": maybe(job.complete_by),
        "State": job.state,
        "StatusMessage": job.status_message,
        "MessageCategory": category(job),
        "PercentDone": format!("{}.0", job.percent_done()),
        "BackupSizeInBytes": has_point(job).then(|| job.progress.bytes_total.unwrap_or(job.progress.bytes_done)),
        "BytesTransferred": job.progress.bytes_stored,
        "IamRoleArn": job.iam_role,
        "CreatedBy": created_by(job.created_by.as_ref(), vault),
        "ParentJobId": job.parent.map(|id| id.to_string()),
        "IsParent": false,
    }))
}

/// The states that AWS's copies have.
pub(crate) fn copy_state(state: JobState) -> &'static str {
    match state {
        JobState::Created | JobState::Pending => "CREATED",
        JobState::Running | JobState::Aborting => "RUNNING",
        JobState::Completed => "COMPLETED",
        JobState::Partial => "PARTIAL",
        JobState::Failed | JobState::Aborted | JobState::Expired => "FAILED",
    }
}

/// A copy job; nothing for a job of another kind.
pub(crate) fn copy(job: &Job, destination: Option<&Vault>) -> Value {
    let JobDetail::Copy {
        source_recovery_point,
        source_vault,
        destination_vault,
        recovery_point_id,
        lifecycle: kept,
        ..
    } = &job.detail
    else {
        return Value::Null;
    };
    compact(json!({
        "AccountId": source_vault.account(),
        "CopyJobId": job.id.to_string(),
        "SourceBackupVaultArn": source_vault.as_str(),
        "SourceRecoveryPointArn": source_recovery_point.as_str(),
        "DestinationBackupVaultArn": destination_vault.as_str(),
        "DestinationVaultType": destination.map(vaults::kind),
        "DestinationVaultLockState": lock_state(destination),
        "DestinationEncryptionKeyArn": destination.map(|v| key_arn(destination_vault, &v.access.key_profile)),
        "DestinationRecoveryPointArn": has_point(job).then(|| point_arn(destination_vault, recovery_point_id)),
        "DestinationRecoveryPointLifecycle": lifecycle(kept),
        "ResourceArn": job.resource.as_str(),
        "ResourceName": resource_name(&job.resource),
        "ResourceType": job.resource_type.map(job_model::ResourceType::as_str),
        "CreationDate": epoch(job.created_at),
        "CompletionDate": maybe(job.ended_at),
        "State": copy_state(job.state),
        "StatusMessage": job.status_message,
        "MessageCategory": category(job),
        "BackupSizeInBytes": job.progress.bytes_total.unwrap_or(job.progress.bytes_done),
        "IamRoleArn": job.iam_role,
        "CreatedBy": created_by(job.created_by.as_ref(), source_vault),
        "CreatedByBackupJobId": job.parent.map(|id| id.to_string()),
        "IsParent": false,
    }))
}

/// The states that AWS's restores have.
pub(crate) fn restore_state(state: JobState) -> &'static str {
    match state {
        JobState::Created | JobState::Pending => "PENDING",
        JobState::Running | JobState::Aborting => "RUNNING",
        JobState::Completed | JobState::Partial => "COMPLETED",
        JobState::Aborted => "ABORTED",
        JobState::Failed | JobState::Expired => "FAILED",
    }
}

/// A restore job; nothing for a job of another kind. `testing_plan` is the ARN of the plan whose test it belongs to.
pub(crate) fn restore(job: &Job, point_created_at: Option<jiff::Timestamp>, testing_plan: Option<&str>) -> Value {
    let JobDetail::Restore { recovery_point, vault, created_location, .. } = &job.detail else { return Value::Null };
    let validation = job.validation();
    let deletion = job.deletion_status();
    compact(json!({
        "AccountId": vault.account(),
        "RestoreJobId": job.id.to_string(),
        "RecoveryPointArn": recovery_point.as_str(),
        "RecoveryPointCreationDate": maybe(point_created_at),
        "BackupVaultArn": vault.as_str(),
        "SourceResourceArn": job.resource.as_str(),
        "ResourceType": job.resource_type.map(job_model::ResourceType::as_str),
        "CreationDate": epoch(job.created_at),
        "CompletionDate": maybe(job.ended_at),
        "Status": restore_state(job.state),
        "StatusMessage": job.status_message,
        "PercentDone": format!("{}.0", job.percent_done()),
        "BackupSizeInBytes": job.progress.bytes_total.unwrap_or(job.progress.bytes_done),
        "IamRoleArn": job.iam_role,
        "CreatedResourceArn": created_location.as_deref().map(|url| created_resource(job, url)),
        "CreatedBy": testing_plan.map(|arn| json!({ "RestoreTestingPlanArn": arn })),
        "ValidationStatus": validation.as_ref().map(|(status, _)| status.as_str()),
        "ValidationStatusMessage": validation.and_then(|(_, message)| message.map(str::to_owned)),
        "DeletionStatus": deletion,
        "DeletionStatusMessage": (deletion == Some("FAILED")).then(|| job.status_message.clone()),
        "IsParent": false,
    }))
}

/// What was restored, in the shape of an ARN: its last part is where it lies.
fn created_resource(job: &Job, url: &str) -> String {
    let place = url.strip_prefix("file://").unwrap_or(url);
    let (service, region) = (job.resource.service(), job.region.as_str());
    format!("arn:aws:{service}:{region}:{}:restored{place}", job.account())
}
