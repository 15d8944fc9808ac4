//! Vaults.

use job_model::{Vault, VaultType};
use serde_json::{Value, json};

use super::{compact, epoch, key_arn, maybe};

/// `BACKUP_VAULT` or `LOGICALLY_AIR_GAPPED_BACKUP_VAULT`.
pub(crate) fn kind(vault: &Vault) -> &'static str {
    match vault.vault_type {
        VaultType::BackupVault => "BACKUP_VAULT",
        VaultType::LogicallyAirGappedBackupVault => "LOGICALLY_AIR_GAPPED_BACKUP_VAULT",
    }
}

/// A vault with the number of its recovery points.
pub(crate) fn vault(vault: &Vault, recovery_points: u64) -> Value {
    let arn = &vault.access.arn;
    compact(json!({
        "BackupVaultName": vault.name,
        "BackupVaultArn": arn.as_str(),
        "VaultType": kind(vault),
        "VaultState": vault.state,
        "EncryptionKeyArn": key_arn(arn, &vault.access.key_profile),
        "EncryptionKeyType": "CUSTOMER_MANAGED_KMS_KEY",
        "CreationDate": epoch(vault.created_at),
        "CreatorRequestId": vault.creator_request_id,
        "NumberOfRecoveryPoints": recovery_points,
        "Locked": vault.is_locked(),
        "MinRetentionDays": vault.min_retention_days,
        "MaxRetentionDays": vault.max_retention_days,
        "LockDate": maybe(vault.lock.as_ref().and_then(|lock| lock.lock_date)),
    }))
}
