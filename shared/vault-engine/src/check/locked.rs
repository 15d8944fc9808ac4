//! Whether the store keeps what protected recovery points need; what ends too early is prolonged.

use std::collections::HashSet;

use driver_api::Control;

use super::{CheckFindingKind, CheckReport};
use crate::error::chain;
use crate::locks::Lock;
use crate::retention::Pass;
use crate::store::StoreError;
use crate::{Vault, VaultError};

/// What is told of locks that the store does not make stricter.
const LESS_STRICT: &str = "the store keeps them long enough, but in mode GOVERNANCE, and lets nobody make that COMPLIANCE \
                           who has not the right `s3:BypassGovernanceRetention`";

/// A refusal is a finding: it keeps nobody from hearing of the others.
pub(super) fn renew(
    vault: &Vault,
    lock: &Lock,
    control: &dyn Control,
    report: &mut CheckReport,
) -> Result<(), VaultError> {
    let pass = Pass { leaving: &HashSet::new(), entry: None, sample: true, control };
    match vault.retain_all(lock, &pass) {
        Ok(done) => {
            report.files_locked = done.files_locked;
            for short in done.short {
                let message = format!("{}; somebody has taken that away, and it is set anew", short.problem);
                report.add(CheckFindingKind::LockShort, short.path, message);
            }
            if done.files_less_strict > 0 {
                let subject = format!("{} files", done.files_less_strict);
                report.add(CheckFindingKind::LockShort, subject, LESS_STRICT);
            }
            // What is missing is in the report already, by the name of what it is.
            Ok(())
        }
        Err(error @ VaultError::Store { source: StoreError::LockRefused { .. }, .. }) => {
            report.add(CheckFindingKind::LockShort, "the store's object lock", chain(&error));
            Ok(())
        }
        // The same.
        Err(VaultError::KeepBroken { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}
