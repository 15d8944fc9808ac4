//! Packs that a snapshot needs and that no index names.
//!
//! A writer that dies between its snapshot and its last look at the index leaves such a snapshot when a prune took packs
//! out meanwhile, and so does a prune that dies between taking them out and looking for new snapshots. Nothing is lost:
//! the packs stay until a prune finds that no snapshot needs them, and the packs say themselves what they hold. Whoever
//! meets the snapshot first names them again; the caller has a lock, so that nobody takes the packs away meanwhile.

use driver_api::Control;
use vault_format::{BlobKind, Id, IndexedPack};

use super::{SnapshotSummary, Vault};
use crate::error::chain;
use crate::prune::Survey;
use crate::{VaultError, index_files};

/// What became of a snapshot's packs.
pub(crate) struct Named {
    /// Packs that were named again.
    pub(crate) packs: u64,
    /// Why the snapshot is not whole all the same; none when all that it needs is in the index and in the store.
    pub(crate) problem: Option<String>,
}

impl Vault {
    /// Names packs again until nothing below `root` is missing that is in the store.
    ///
    /// # Errors
    /// When the store fails, or the work is to stop; damage is in the result.
    pub(crate) fn name_what_is_needed(&self, root: Id, control: &dyn Control) -> Result<Named, VaultError> {
        let mut named = Named { packs: 0, problem: None };
        match self.name_below(root, control, &mut named.packs) {
            Ok(missing) => {
                named.problem = missing.map(|(kind, id)| format!("{} blob {id} is in no pack", kind.as_str()))
            }
            Err(error @ VaultError::Damaged { .. }) => named.problem = Some(chain(&error)),
            Err(error) => return Err(error),
        }
        Ok(named)
    }

    /// Returns something that stays missing.
    fn name_below(
        &self,
        root: Id,
        control: &dyn Control,
        packs: &mut u64,
    ) -> Result<Option<(BlobKind, Id)>, VaultError> {
        let mut survey = Survey::below(self, root, control)?;
        loop {
            let found = survey.find_missing(self);
            if found.is_empty() {
                return Ok(survey.missing.iter().min().copied());
            }
            *packs += found.len() as u64;
            self.name_again(found)?;
            // Trees that were missing may need more.
            survey.look_again(self, control)?;
        }
    }

    pub(crate) fn name_again(&self, packs: Vec<IndexedPack>) -> Result<(), VaultError> {
        tracing::warn!(
            vault = self.location,
            packs = packs.len(),
            "packs that a snapshot needs were in no index; named again"
        );
        // Whoever wrote them may have died before they were durable.
        self.store().barrier().map_err(|error| error.when("make durable what is named again"))?;
        index_files::write(self.store(), &self.key, &self.surroundings, packs)?;
        Ok(())
    }

    /// The snapshot that an earlier attempt left under this tag, if it can be relied on: it survives a power cut then. One
    /// that cannot, because its
    /// writer died before it had seen to that and its data is gone, was never acknowledged; it is removed, so that the next
    /// attempt stands alone.
    ///
    /// # Errors
    /// When the store fails, or the work is to stop.
    pub fn find_whole_snapshot_by_tag(
        &self,
        tag: &str,
        control: &dyn Control,
    ) -> Result<Option<SnapshotSummary>, VaultError> {
        let mut found = self.snapshots()?.readable;
        found.retain(|snapshot| snapshot.tags.iter().any(|own| own == tag));
        while let Some(snapshot) = found.pop() {
            let lock = self.lock()?;
            let named = self.name_what_is_needed(snapshot.tree, control)?;
            let Some(problem) = named.problem else {
                // Whoever wrote it may have died before it was durable, and before the store kept it.
                self.store().barrier().map_err(|error| error.when("make durable what an earlier attempt left"))?;
                self.retain_snapshot(snapshot.id, &[], &lock, control)?;
                return Ok(Some(snapshot));
            };
            drop(lock);
            tracing::error!(vault = self.location, snapshot = %snapshot.id, problem, "left by an attempt, and not whole");
            match self.forget(snapshot.id) {
                Ok(_) => {}
                Err(error @ (VaultError::Protected { .. } | VaultError::KeepBroken { .. })) => {
                    let error = chain(&error);
                    tracing::error!(vault = self.location, snapshot = %snapshot.id, error, "it stays beside the next one");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }
}
