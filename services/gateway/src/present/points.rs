//! Recovery points and the resources they are of.

use job_model::{Arn, RecoveryPoint, Vault};
use serde_json::{Map, Value, json};

use super::{compact, created_by, epoch, key_arn, lifecycle, maybe, resource_name, vault_name, vaults};

/// What a member needs to know of the vault; unknown while the projection has not heard of it.
fn of_vault(point: &RecoveryPoint, vault: Option<&Vault>) -> Value {
    compact(json!({
        "EncryptionKeyArn": vault.map(|vault| key_arn(&point.vault, &vault.access.key_profile)),
        "EncryptionKeyType": vault.map(|_| "CUSTOMER_MANAGED_KMS_KEY"),
        "VaultType": vault.map(vaults::kind),
    }))
}

fn joined(mut value: Value, more: Value) -> Value {
    if let (Value::Object(members), Value::Object(more)) = (&mut value, more) {
        members.extend(more);
    }
    value
}

/// When a recovery point moves to cold storage and when it is deleted; empty where nothing limits its age.
pub(crate) fn calculated(point: &RecoveryPoint) -> Value {
    compact(json!({ "MoveToColdStorageAt": maybe(point.move_to_cold_at()), "DeleteAt": maybe(point.delete_at()) }))
}

/// The vault that a copy was copied from is not part of the copy; its source's ARN names account and region only.
fn source_vault(source: Option<&Arn>) -> Value {
    source.map_or(Value::Null, |arn| json!(arn.as_str()))
}

/// A recovery point in the list of a vault.
pub(crate) fn in_vault(point: &RecoveryPoint, vault: Option<&Vault>, source: Option<&Arn>) -> Value {
    let own = compact(json!({
        "RecoveryPointArn": point.arn.as_str(),
        "BackupVaultName": vault_name(&point.vault),
        "BackupVaultArn": point.vault.as_str(),
        "SourceBackupVaultArn": source_vault(source),
        "ResourceArn": point.resource.as_str(),
        "ResourceName": resource_name(&point.resource),
        "ResourceType": point.resource_type.as_str(),
        "CreatedBy": created_by(point.created_by.as_ref(), &point.vault),
        "IamRoleArn": point.iam_role,
        "Status": point.status,
        "StatusMessage": point.status_message,
        "CreationDate": epoch(point.created_at),
        "InitiationDate": epoch(point.created_at),
        "CompletionDate": epoch(point.completed_at),
        "BackupSizeInBytes": point.summary.size_bytes,
        "CalculatedLifecycle": calculated(point),
        "Lifecycle": lifecycle(&point.lifecycle),
        "IsEncrypted": true,
        "LastRestoreTime": maybe(point.last_restored_at),
        "IsParent": false,
    }));
    joined(own, of_vault(point, vault))
}

/// A recovery point described: as in the list, and its storage class.
pub(crate) fn described(point: &RecoveryPoint, vault: Option<&Vault>, source: Option<&Arn>) -> Value {
    joined(in_vault(point, vault, source), json!({ "StorageClass": point.storage_class }))
}

/// A recovery point in the list of a resource. The size has another name there.
pub(crate) fn of_resource(point: &RecoveryPoint, vault: Option<&Vault>) -> Value {
    let own = compact(json!({
        "RecoveryPointArn": point.arn.as_str(),
        "CreationDate": epoch(point.created_at),
        "Status": point.status,
        "StatusMessage": point.status_message,
        "BackupSizeBytes": point.summary.size_bytes,
        "BackupVaultName": vault_name(&point.vault),
        "ResourceName": resource_name(&point.resource),
        "IsParent": false,
    }));
    joined(own, of_vault(point, vault))
}

/// A protected resource, by its newest recovery point.
pub(crate) fn protected(newest: &RecoveryPoint) -> Map<String, Value> {
    let value = json!({
        "ResourceArn": newest.resource.as_str(),
        "ResourceName": resource_name(&newest.resource),
        "ResourceType": newest.resource_type.as_str(),
        "LastBackupTime": epoch(newest.created_at),
        "LastBackupVaultArn": newest.vault.as_str(),
        "LastRecoveryPointArn": newest.arn.as_str(),
    });
    match value {
        Value::Object(members) => members,
        _ => Map::new(),
    }
}
