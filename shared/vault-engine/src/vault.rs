//! An open vault.

mod create;
mod open;
mod snapshots;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use driver_api::Control;
use parking_lot::Mutex;
use vault_format::{Config, Id, MasterKey};

pub use self::snapshots::{DamagedFile, SnapshotListing, SnapshotSummary, recovery_point_tag};
pub(crate) use self::snapshots::{RECOVERY_POINT_TAG, path as snapshot_path};
use crate::index::Index;
use crate::locks::Lock;
use crate::store::Store;
use crate::{CheckOptions, CheckReport, Reader, Surroundings, VaultError, Writer};

/// An open vault. All calls block; call them outside of an async runtime's own threads. One value may serve many threads.
pub struct Vault {
    store: Arc<dyn Store>,
    key: MasterKey,
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

    pub(crate) fn store(&self) -> &dyn Store {
        self.store.as_ref()
    }

    pub(crate) const fn shared_store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    pub(crate) const fn key(&self) -> &MasterKey {
        &self.key
    }

    pub(crate) const fn surroundings(&self) -> &Surroundings {
        &self.surroundings
    }

    pub(crate) fn lock(&self) -> Result<Lock, VaultError> {
        Lock::acquire(&self.store, &self.key, &self.surroundings)
    }

    /// The index as it is now; loaded again only when index files came or went.
    pub(crate) fn load_index(&self) -> Result<Arc<Index>, VaultError> {
        let listed = self.store.list("index").map_err(|error| error.when("list the index"))?;
        let names: BTreeSet<String> =
            listed.into_iter().map(|file| file.name).filter(|name| name.parse::<Id>().is_ok()).collect();
        let mut cached = self.index.lock();
        match cached.as_ref() {
            // A damaged one may have been put right under the same name.
            Some(index) if *index.files() == names && index.damaged().is_empty() => Ok(Arc::clone(index)),
            _ => {
                // The old one goes first: two of them may be more than the machine has.
                *cached = None;
                let index = Arc::new(Index::load(self.store(), &self.key, names)?);
                for file in index.damaged() {
                    tracing::error!(vault = self.location, path = file.path, problem = file.problem, "damaged file");
                }
                *cached = Some(Arc::clone(&index));
                Ok(index)
            }
        }
    }
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vault").field("location", &self.location).field("config", &self.config).finish_non_exhaustive()
    }
}
