//! An open vault.

mod confirm;
mod create;
mod current_index;
mod open;
mod snapshots;
mod unnamed;

use std::fmt;
use std::sync::Arc;

use driver_api::Control;
use parking_lot::Mutex;
use vault_format::{Config, Id, MasterKey};

pub use self::snapshots::{DamagedFile, SnapshotListing, SnapshotSummary, recovery_point_tag};
pub(crate) use self::snapshots::{RECOVERY_POINT_TAG, path as snapshot_path};
pub(crate) use self::unnamed::Named;
use crate::index::Index;
use crate::locks::{Lock, Operation};
use crate::store::Store;
use crate::{
    CheckOptions, CheckReport, PruneOptions, PrunePlan, PruneReport, Reader, Surroundings, VaultError, Writer, prune,
};

/// An open vault. All calls block; call them outside of an async runtime's own threads. One value may serve many threads.
pub struct Vault {
    store: Arc<dyn Store>,
    key: MasterKey,
    /// Name of the key file that opened it.
    key_name: String,
    config: Config,
    repository_id: String,
    location: String,
    surroundings: Surroundings,
    /// The last index that was loaded; index files never change, so it is good for as long as their names are the same.
    index: Mutex<Option<Arc<Index>>>,
}

impl Vault {
    /// The id in the repository's configuration: 64 hexadecimal digits.
    #[must_use]
    pub fn repository_id(&self) -> &str {
        &self.repository_id
    }

    /// Where it lies.
    #[must_use]
    pub fn location(&self) -> &str {
        &self.location
    }

    /// Begins a snapshot: locks the vault (not exclusively) and learns what it has. Nothing is visible to others before
    /// [`Writer::commit`].
    ///
    /// # Errors
    /// [`VaultError::Locked`] when somebody has the vault for himself; otherwise when the store fails.
    pub fn writer<'a>(&'a self, control: &'a dyn Control) -> Result<Writer<'a>, VaultError> {
        Writer::begin(self, control)
    }

    /// Opens a snapshot for reading. The vault is locked (not exclusively) meanwhile, so that no restic removes what is
    /// being read; a vault that cannot be written to is read without a lock.
    ///
    /// # Errors
    /// [`VaultError::SnapshotMissing`], [`VaultError::Damaged`], [`VaultError::Locked`], or when the store fails.
    pub fn reader(&self, snapshot: Id) -> Result<Reader<'_>, VaultError> {
        Reader::open(self, snapshot)
    }

    /// Looks for damage.
    ///
    /// # Errors
    /// When the check itself cannot be made; damage is in the report.
    pub fn check(&self, options: &CheckOptions<'_>) -> Result<CheckReport, VaultError> {
        crate::check::run(self, options)
    }

    /// What a prune would do now, and why. Nothing is changed.
    ///
    /// # Errors
    /// [`VaultError::Locked`] when somebody has the vault for himself or prunes it; [`VaultError::Damaged`] when it cannot
    /// be known what the snapshots need; otherwise when the store fails or the work is to stop.
    pub fn prune_plan(&self, options: &PruneOptions<'_>) -> Result<PrunePlan, VaultError> {
        prune::plan(self, options)
    }

    /// Removes what no snapshot needs, in steps: what is found to be unused leaves the index, and the packs that have been
    /// out of the index for the grace period are removed by a later run. Safe beside everything that the table on this
    /// crate's front page names.
    ///
    /// # Errors
    /// As [`Vault::prune_plan`]. Whatever had been done then was safe, and the next run goes on from there.
    pub fn prune(&self, options: &PruneOptions<'_>) -> Result<PruneReport, VaultError> {
        prune::run(self, options)
    }

    pub(crate) fn store(&self) -> &dyn Store {
        self.store.as_ref()
    }

    pub(crate) const fn shared_store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    pub(crate) const fn key(&self) -> &MasterKey {
        &self.key
    }

    pub(crate) fn key_name(&self) -> &str {
        &self.key_name
    }

    pub(crate) const fn surroundings(&self) -> &Surroundings {
        &self.surroundings
    }

    pub(crate) fn lock(&self) -> Result<Lock, VaultError> {
        self.lock_for(Operation::Work)
    }

    pub(crate) fn lock_for(&self, operation: Operation) -> Result<Lock, VaultError> {
        Lock::acquire(&self.store, &self.key, &self.surroundings, operation)
    }
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vault").field("location", &self.location).field("config", &self.config).finish_non_exhaustive()
    }
}
