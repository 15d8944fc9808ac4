//! Recovery points and the resources they are of. Rows of lists are written straight from what the projection keeps: a page
//! has a thousand of them.

use jiff::Timestamp;
use job_model::{Arn, Lifecycle, RecoveryPointStatus, StorageClass, Vault};
use serde::{Serialize, Serializer};
use serde_json::{Map, Value, json};

use super::{Origin, created_by, epoch, key_arn, resource_name, seconds, vault_name, vaults};
use crate::projection::ListedPoint;

/// Seconds since the epoch.
fn instant<S: Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(seconds(*at))
}

/// The same of one that is there: absent members are left out before.
fn some_instant<S: Serializer>(at: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
    at.map(seconds).serialize(serializer)
}

/// What a member needs to know of the vault; nothing while the projection has not heard of it.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
struct OfVault {
    #[serde(skip_serializing_if = "Option::is_none")]
    encryption_key_arn: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    encryption_key_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    vault_type: Option<&'static str>,
}

impl OfVault {
    fn new(point: &ListedPoint, vault: Option<&Vault>) -> Self {
        let Some(vault) = vault else { return Self::default() };
        Self {
            encryption_key_arn: Some(key_arn(&point.vault, &vault.access.key_profile)),
            encryption_key_type: Some("CUSTOMER_MANAGED_KMS_KEY"),
            vault_type: Some(vaults::kind(vault)),
        }
    }
}

/// When a recovery point moves to cold storage and when it is deleted; empty where nothing limits its age.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Calculated {
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "some_instant")]
    move_to_cold_storage_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "some_instant")]
    delete_at: Option<Timestamp>,
}

pub(crate) fn calculated(point: &ListedPoint) -> Calculated {
    Calculated { move_to_cold_storage_at: point.cold_at, delete_at: point.delete_at }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Kept {
    #[serde(skip_serializing_if = "Option::is_none")]
    delete_after_days: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    move_to_cold_storage_after_days: Option<u32>,
}

/// Nothing for what is kept for ever.
fn kept(lifecycle: &Lifecycle) -> Option<Kept> {
    let Lifecycle { delete_after_days, move_to_cold_after_days } = *lifecycle;
    (*lifecycle != Lifecycle::default())
        .then_some(Kept { delete_after_days, move_to_cold_storage_after_days: move_to_cold_after_days })
}

/// A recovery point in the list of a vault, or described.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct InVault<'a> {
    recovery_point_arn: &'a str,
    backup_vault_name: &'a str,
    backup_vault_arn: &'a str,
    /// The vault that a copy was copied from is not part of the copy; its source's ARN names account and region only.
    #[serde(skip_serializing_if = "Option::is_none")]
    source_backup_vault_arn: Option<&'a str>,
    resource_arn: &'a str,
    resource_name: &'a str,
    resource_type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    created_by: Option<Origin<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    iam_role_arn: Option<&'a str>,
    status: RecoveryPointStatus,
    #[serde(skip_serializing_if = "Option::is_none")]
    status_message: Option<&'a str>,
    #[serde(serialize_with = "instant")]
    creation_date: Timestamp,
    #[serde(serialize_with = "instant")]
    initiation_date: Timestamp,
    #[serde(serialize_with = "instant")]
    completion_date: Timestamp,
    backup_size_in_bytes: u64,
    calculated_lifecycle: Calculated,
    #[serde(skip_serializing_if = "Option::is_none")]
    lifecycle: Option<Kept>,
    is_encrypted: bool,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "some_instant")]
    last_restore_time: Option<Timestamp>,
    is_parent: bool,
    #[serde(flatten)]
    of_vault: OfVault,
    #[serde(skip_serializing_if = "Option::is_none")]
    storage_class: Option<StorageClass>,
}

/// A recovery point in the list of a vault.
pub(crate) fn in_vault<'a>(point: &'a ListedPoint, vault: Option<&Vault>) -> InVault<'a> {
    InVault {
        recovery_point_arn: point.arn.as_str(),
        backup_vault_name: vault_name(&point.vault),
        backup_vault_arn: point.vault.as_str(),
        source_backup_vault_arn: None,
        resource_arn: point.resource.as_str(),
        resource_name: resource_name(&point.resource),
        resource_type: point.resource_type.as_str(),
        created_by: created_by(point.created_by.as_ref(), &point.vault),
        iam_role_arn: point.iam_role.as_deref(),
        status: point.status,
        status_message: point.status_message.as_deref(),
        creation_date: point.created_at,
        initiation_date: point.created_at,
        completion_date: point.completed_at,
        backup_size_in_bytes: point.size_bytes,
        calculated_lifecycle: calculated(point),
        lifecycle: kept(&point.lifecycle),
        is_encrypted: true,
        last_restore_time: point.last_restored_at,
        is_parent: false,
        of_vault: OfVault::new(point, vault),
        storage_class: None,
    }
}

/// A recovery point described: as in the list, with its storage class and, of a copy, the vault it was copied from.
pub(crate) fn described<'a>(
    point: &'a ListedPoint,
    storage_class: StorageClass,
    vault: Option<&Vault>,
    source: Option<&'a Arn>,
) -> InVault<'a> {
    InVault {
        source_backup_vault_arn: source.map(Arn::as_str),
        storage_class: Some(storage_class),
        ..in_vault(point, vault)
    }
}

/// A recovery point in the list of a resource. The size has another name there.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct OfResource<'a> {
    recovery_point_arn: &'a str,
    #[serde(serialize_with = "instant")]
    creation_date: Timestamp,
    status: RecoveryPointStatus,
    #[serde(skip_serializing_if = "Option::is_none")]
    status_message: Option<&'a str>,
    backup_size_bytes: u64,
    backup_vault_name: &'a str,
    resource_name: &'a str,
    is_parent: bool,
    #[serde(flatten)]
    of_vault: OfVault,
}

pub(crate) fn of_resource<'a>(point: &'a ListedPoint, vault: Option<&Vault>) -> OfResource<'a> {
    OfResource {
        recovery_point_arn: point.arn.as_str(),
        creation_date: point.created_at,
        status: point.status,
        status_message: point.status_message.as_deref(),
        backup_size_bytes: point.size_bytes,
        backup_vault_name: vault_name(&point.vault),
        resource_name: resource_name(&point.resource),
        is_parent: false,
        of_vault: OfVault::new(point, vault),
    }
}

/// A protected resource, by its newest recovery point.
pub(crate) fn protected(newest: &ListedPoint) -> Map<String, Value> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scene::{self, ACCOUNT, REGION};

    /// What a recovery point looks like to clients, to the last member.
    #[test]
    fn rows_have_the_members_that_say_something() {
        let id = scene::point(1).id;
        let arn = format!("arn:aws:backup:{REGION}:{ACCOUNT}:recovery-point:{id}");
        let plan = scene::plan_id(1);
        let (vault, point) = (scene::vault(), ListedPoint::from(&scene::point(1)));
        let version = job_model::plan_version_id(plan, 3);
        let common = json!({
            "RecoveryPointArn": arn,
            "BackupVaultName": "main",
            "CreationDate": 1_735_787_105.0,
            "Status": "COMPLETED",
            "ResourceName": "resource-1",
            "EncryptionKeyArn": format!("arn:aws:kms:{REGION}:{ACCOUNT}:key/main"),
            "EncryptionKeyType": "CUSTOMER_MANAGED_KMS_KEY",
            "VaultType": "BACKUP_VAULT",
            "IsParent": false,
        });
        let more = json!({
            "BackupVaultArn": scene::vault_arn().as_str(),
            "ResourceArn": scene::resource_arn(1).as_str(),
            "ResourceType": "Files",
            "CreatedBy": {
                "BackupPlanId": plan.to_string(),
                "BackupPlanArn": format!("arn:aws:backup:{REGION}:{ACCOUNT}:backup-plan:{plan}"),
                "BackupPlanName": "everything",
                "BackupPlanVersion": version.hyphenated().to_string(),
                "BackupRuleId": "00000000-0000-0000-0000-000000000007",
                "BackupRuleName": "every-day",
            },
            "IamRoleArn": format!("arn:aws:iam::{ACCOUNT}:role/backup"),
            "InitiationDate": 1_735_787_105.0,
            "CompletionDate": 1_735_787_135.0,
            "BackupSizeInBytes": 12_345_678_901_u64,
            "CalculatedLifecycle": { "DeleteAt": 1_738_811_105.0 },
            "Lifecycle": { "DeleteAfterDays": 35 },
            "IsEncrypted": true,
        });
        let joined = |parts: &[&Value]| -> Value {
            let members = parts.iter().flat_map(|part| part.as_object().unwrap().clone());
            Value::Object(members.collect())
        };
        assert_eq!(json!(in_vault(&point, Some(&vault))), joined(&[&common, &more]));
        let copied = json!({ "SourceBackupVaultArn": scene::vault_arn().as_str(), "StorageClass": "COLD" });
        let source = scene::vault_arn();
        let shown = described(&point, StorageClass::Cold, Some(&vault), Some(&source));
        assert_eq!(json!(shown), joined(&[&common, &more, &copied]));
        let size = json!({ "BackupSizeBytes": 12_345_678_901_u64 });
        assert_eq!(json!(of_resource(&point, Some(&vault))), joined(&[&common, &size]));
    }

    #[test]
    fn what_nothing_is_known_of_is_left_out() {
        let mut point = ListedPoint::from(&scene::point(4));
        (point.created_by, point.iam_role, point.delete_at, point.lifecycle) = (None, None, None, Lifecycle::default());
        let shown = json!(in_vault(&point, None));
        let absent = ["CreatedBy", "IamRoleArn", "Lifecycle", "EncryptionKeyArn", "VaultType", "LastRestoreTime"];
        assert!(absent.iter().all(|member| shown.get(member).is_none()), "{shown}");
        assert_eq!(shown["CalculatedLifecycle"], json!({}), "a member that AWS always shows");
    }
}
