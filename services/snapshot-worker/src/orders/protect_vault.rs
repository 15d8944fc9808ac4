//! Writes locks and legal holds into a vault, so that they bind whoever orders a deletion later.
//!
//! May be repeated: what stands there already is not written again. Only what the order names is taken back: a planner that
//! has forgotten a lock or a hold takes nothing away, and neither does what was written by hand. Where the vault's bucket
//! locks objects, what is protected is locked there before the order counts as done.

use std::collections::BTreeSet;

use attempt_control::{Steering, WorkError};
use job_events::{AttemptHeader, ProtectVault, VaultProtected};
use job_model::LegalHoldId;
use vault_engine::{Keep, KeepEntry, Vault, VaultLockEntry};

use crate::work::Tools;

/// What a vault's entry of a hold of the planner is called.
fn name_of(hold: LegalHoldId) -> String {
    format!("legal-hold:{hold}")
}

pub(crate) fn run(tools: &Tools, order: &ProtectVault, steering: &Steering) -> Result<Keep, WorkError> {
    let vault = Vault::open(&order.vault, &tools.profiles, &tools.surroundings)?;
    let mut keep = vault.keep()?;
    for entry in missing(&keep, order) {
        steering.guard()?;
        fail::fail_point!("snapshot-worker::before_protect");
        keep = vault.protect(&entry)?;
        tracing::info!(vault = %order.vault.arn, ?entry, "written into the vault");
    }
    steering.guard()?;
    // An attempt before this one may have written the entries and died before the store kept what they protect.
    vault.retain_protected(steering)?;
    Ok(keep)
}

pub(crate) fn fact(order: &ProtectVault, keep: &Keep, attempt: AttemptHeader) -> VaultProtected {
    VaultProtected {
        attempt,
        digest: order.digest.clone(),
        locked: order.lock.is_some(),
        holds: order.holds.iter().map(|held| held.hold).collect(),
        entries: keep.entries,
    }
}

/// What has to be written: protections first, so that nothing is free in between.
fn missing(keep: &Keep, order: &ProtectVault) -> Vec<KeepEntry> {
    let mut entries = Vec::new();
    match order.lock {
        Some(terms) => {
            let lock = VaultLockEntry {
                min_retention_days: terms.min_retention_days,
                max_retention_days: terms.max_retention_days,
                fixed_from: terms.fixed_from,
            };
            if keep.lock != Some(lock) {
                entries.push(KeepEntry::Lock(lock));
            }
        }
        None if order.unlock && keep.lock.is_some() => entries.push(KeepEntry::Unlock),
        None => {}
    }
    for held in &order.holds {
        let hold = name_of(held.hold);
        let there = keep.holds.get(&hold);
        if there.is_none_or(|there| there.recovery_points != held.recovery_points) {
            entries.push(KeepEntry::Hold { hold, recovery_points: held.recovery_points.clone() });
        }
    }
    let released: BTreeSet<String> = order.released.iter().map(|hold| name_of(*hold)).collect();
    entries.extend(
        keep.holds.keys().filter(|hold| released.contains(*hold)).map(|hold| KeepEntry::Release { hold: hold.clone() }),
    );
    entries
}
