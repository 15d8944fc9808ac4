//! `put-vault-lock`, `delete-vault-lock`: governance, which may be lifted, and compliance, which nobody lifts once its time
//! of grace is over.

use job_events::{DeleteVaultLock, PutVaultLock};
use job_model::{Arn, Vault, VaultLock, VaultType, validation};

use crate::decide::runs::after;
use crate::decide::{Accepted, Refusal, Step};

/// AWS's shortest and longest time of grace, in days.
const CHANGEABLE_DAYS: std::ops::RangeInclusive<u32> = 3..=36_500;

pub(crate) fn put(step: &mut Step<'_>, request: &PutVaultLock) -> Result<Accepted, Refusal> {
    let mut vault = changeable(step, &request.vault, "backup:PutBackupVaultLockConfiguration")?;
    validation::vault_retention(request.min_retention_days, request.max_retention_days)?;
    let lock_date = match request.changeable_for_days {
        Some(days) if !CHANGEABLE_DAYS.contains(&days) => {
            let text = format!("`{days}` is not {} to {}", CHANGEABLE_DAYS.start(), CHANGEABLE_DAYS.end());
            return Err(Refusal::invalid("changeable_for_days", text));
        }
        Some(days) => Some(after(step.now, jiff::SignedDuration::from_hours(i64::from(days) * 24))),
        None => None,
    };
    let dated = vault.lock.and_then(|lock| lock.lock_date);
    if let Some(date) = dated.filter(|_| lock_date.is_none()) {
        let text = format!(
            "the lock becomes final at `{date}`, and this would make it one that can be lifted; give \
             `changeable_for_days`, or delete the lock first"
        );
        return Err(Refusal::request("changeable_for_days", text));
    }
    vault.min_retention_days = request.min_retention_days;
    vault.max_retention_days = request.max_retention_days;
    vault.lock = Some(VaultLock { lock_date });
    step.state.vaults.put(request.vault.clone(), vault);
    // It is written into the vault now, and retention may wait for it.
    step.state.retain_soon();
    Ok(Accepted::result(&request.vault))
}

/// Lifting a lock that is not there changes nothing.
pub(crate) fn delete(step: &mut Step<'_>, request: &DeleteVaultLock) -> Result<Accepted, Refusal> {
    let mut vault = changeable(step, &request.vault, "backup:DeleteBackupVaultLockConfiguration")?;
    if vault.lock.take().is_some() {
        vault.min_retention_days = None;
        vault.max_retention_days = None;
        step.state.vaults.put(request.vault.clone(), vault);
        step.state.retain_soon();
    }
    Ok(Accepted::result(&request.vault))
}

fn changeable(step: &Step<'_>, arn: &Arn, action: &str) -> Result<Vault, Refusal> {
    let vault = step.vault("vault", arn)?;
    step.permitted(action, vault)?;
    if vault.vault_type == VaultType::LogicallyAirGappedBackupVault {
        let text = format!("vault `{}` is air-gapped, and its lock is final", vault.name);
        return Err(Refusal::request("vault", text));
    }
    if let Some(lock) = vault.lock.filter(|lock| lock.is_immutable(step.now)) {
        let date = lock.lock_date.map(|date| date.to_string()).unwrap_or_default();
        let text = format!("the lock of vault `{}` became final at `{date}`; nobody can change it", vault.name);
        return Err(Refusal::request("vault", text));
    }
    Ok(vault.clone())
}
