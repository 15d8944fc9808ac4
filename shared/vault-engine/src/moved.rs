//! The end of a move to another repository: the snapshot goes here once it is whole there.
//!
//! What keeps a snapshot from being deleted must not be got round by a move that never was. So nothing is believed that was
//! told: the other repository is looked at, and what the vault's lock keeps here is kept there, under that repository's own
//! key, before anything goes.

use driver_api::Control;
use job_model::RecoveryPointId;
use vault_format::Id;

use crate::vault::{recovery_point_tag, snapshot_path};
use crate::{KeepEntry, KeepReason, Vault, VaultError, check};

/// A snapshot that was copied into another repository and is to go from this one.
pub struct MovedSnapshot<'a> {
    /// The one that goes.
    pub snapshot: Id,
    /// The root tree of both.
    pub tree: Id,
    /// The recovery point that both are tagged with.
    pub recovery_point: RecoveryPointId,
    /// The other repository.
    pub other: &'a Vault,
    /// The one that stays.
    pub other_snapshot: Id,
    /// Stop and progress.
    pub control: &'a dyn Control,
}

impl std::fmt::Debug for MovedSnapshot<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MovedSnapshot").field("snapshot", &self.snapshot).finish_non_exhaustive()
    }
}

impl Vault {
    /// Removes a snapshot that is in another repository now. Every tree of the other one is read and verified, and every pack
    /// that it needs must be there with its length. What the vault's lock keeps for some time still is kept there for as
    /// long. Returns whether the snapshot was here, so that a repeated order is no error.
    ///
    /// # Errors
    /// [`VaultError::SnapshotMissing`], [`VaultError::SnapshotDiffers`] or [`VaultError::Damaged`] when the other one is not
    /// there, not the same or not whole; [`VaultError::Protected`] when a legal hold or a minimum retention of its own keeps
    /// it here; otherwise when either store fails. Nothing is removed then.
    pub fn forget_moved(&self, moved: &MovedSnapshot<'_>) -> Result<bool, VaultError> {
        let lock = self.lock()?;
        let other_lock = moved.other.lock()?;
        if self.repository_id() == moved.other.repository_id() {
            return Err(VaultError::Damaged {
                what: "the move".to_owned(),
                problem: "both repositories are the same one".to_owned(),
            });
        }
        let tag = recovery_point_tag(moved.recovery_point);
        same(moved.other, moved.other_snapshot, moved.tree, &tag)?;
        match same(self, moved.snapshot, moved.tree, &tag) {
            Err(VaultError::SnapshotMissing { .. }) => return Ok(false),
            other => other?,
        }
        if let Some(problem) = check::problem_below(moved.other, moved.tree, moved.control)? {
            return Err(VaultError::Damaged {
                what: format!("snapshot `{}` of `{}`", moved.other_snapshot, moved.other.location()),
                problem,
            });
        }
        match self.refuse_protected(moved.snapshot, &lock) {
            Err(VaultError::Protected { reason: KeepReason::Lock { until }, .. }) => {
                let kept = moved.other.keep()?.retained.get(&moved.recovery_point).is_some_and(|kept| *kept >= until);
                if kept {
                    // Whoever wrote that may have died before the store kept it.
                    moved.other.retain_snapshot(moved.other_snapshot, &[], &other_lock, moved.control)?;
                } else {
                    moved.other.protect(&KeepEntry::Retain { recovery_point: moved.recovery_point, until })?;
                }
            }
            other => other?,
        }
        if moved.control.is_stopped() {
            return Err(VaultError::Stopped);
        }
        let failed = |error: crate::StoreError| error.when("remove the snapshot that was moved");
        let removed = self.store().delete(&snapshot_path(moved.snapshot)).map_err(failed)?;
        self.store().barrier().map_err(failed)?;
        Ok(removed)
    }
}

/// Whether it is the snapshot that is meant.
fn same(vault: &Vault, id: Id, tree: Id, tag: &str) -> Result<(), VaultError> {
    let found = vault.snapshot(id)?;
    if found.tree != tree {
        return Err(VaultError::SnapshotDiffers { id, expected: tree, found: found.tree });
    }
    if !found.tags.iter().any(|own| own == tag) {
        let problem = format!("it has not the tag `{tag}`, so it is of something else");
        return Err(VaultError::Damaged { what: format!("snapshot `{id}` of `{}`", vault.location()), problem });
    }
    Ok(())
}
