//! The snapshots of a vault.

use jiff::Timestamp;
use job_model::RecoveryPointId;
use vault_format::{Id, Snapshot, decode_unpacked};

use super::Vault;
use crate::VaultError;
use crate::error::chain;
use crate::store::StoreError;

/// Longest snapshot file that is read, in bytes.
const SNAPSHOT_BYTES_MAX: u64 = 16 << 20;

/// How the tag of a recovery point begins.
pub(crate) const RECOVERY_POINT_TAG: &str = "holdfast:recovery-point:";

/// The tag by which a recovery point's snapshot is found.
#[must_use]
pub fn recovery_point_tag(id: RecoveryPointId) -> String {
    format!("{RECOVERY_POINT_TAG}{id}")
}

/// A snapshot without its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotSummary {
    /// The name of its file.
    pub id: Id,
    /// Its root tree.
    pub tree: Id,
    /// When it was taken.
    pub time: Timestamp,
    /// Name of the machine it was taken on.
    pub hostname: String,
    /// What it is of.
    pub paths: Vec<String>,
    /// Its tags.
    pub tags: Vec<String>,
    /// The snapshot it was compared with.
    pub parent: Option<Id>,
}

impl SnapshotSummary {
    /// The recovery point that it holds, by its tag; none for a snapshot that others wrote.
    #[must_use]
    pub fn recovery_point(&self) -> Option<RecoveryPointId> {
        self.tags.iter().find_map(|tag| tag.strip_prefix(RECOVERY_POINT_TAG)?.parse().ok())
    }
}

/// A file of the vault that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DamagedFile {
    /// Its path in the repository.
    pub path: String,
    /// How it shows.
    pub problem: String,
}

/// All snapshots of a vault.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SnapshotListing {
    /// Those that can be read, oldest first.
    pub readable: Vec<SnapshotSummary>,
    /// Those that cannot.
    pub damaged: Vec<DamagedFile>,
}

impl Vault {
    /// All snapshots. One that is damaged is listed as such and keeps nobody from the others.
    ///
    /// # Errors
    /// When the store fails.
    pub fn snapshots(&self) -> Result<SnapshotListing, VaultError> {
        let mut listing = SnapshotListing::default();
        for file in self.store.list("snapshots").map_err(|error| error.when("list the snapshots"))? {
            let Ok(id) = file.name.parse() else { continue };
            match self.read_snapshot(id) {
                Ok(snapshot) => listing.readable.push(summary(id, snapshot)),
                Err(VaultError::Damaged { problem, .. }) => {
                    listing.damaged.push(DamagedFile { path: path(id), problem });
                }
                // Forgotten since it was listed.
                Err(VaultError::SnapshotMissing { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        listing.readable.sort_by_key(|snapshot| (snapshot.time, snapshot.id));
        listing.damaged.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(listing)
    }

    /// The newest snapshot with this tag.
    ///
    /// # Errors
    /// When the store fails.
    pub fn find_snapshot_by_tag(&self, tag: &str) -> Result<Option<SnapshotSummary>, VaultError> {
        let listing = self.snapshots()?;
        Ok(listing.readable.into_iter().rfind(|snapshot| snapshot.tags.iter().any(|own| own == tag)))
    }

    /// One snapshot.
    ///
    /// # Errors
    /// [`VaultError::SnapshotMissing`], [`VaultError::Damaged`], or when the store fails.
    pub fn snapshot(&self, id: Id) -> Result<SnapshotSummary, VaultError> {
        Ok(summary(id, self.read_snapshot(id)?))
    }

    /// Removes a snapshot; its data goes with the next prune, unless others use it. Returns whether it was there, so
    /// that a repeated order is no error.
    ///
    /// # Errors
    /// [`VaultError::Protected`] when a lock, a hold or a minimum retention in the vault keeps it;
    /// [`VaultError::KeepBroken`] when it cannot be known; [`VaultError::Locked`] when somebody has the vault for himself;
    /// otherwise when the store fails.
    pub fn forget(&self, snapshot: Id) -> Result<bool, VaultError> {
        let lock = self.lock()?;
        self.refuse_protected(snapshot, &lock)?;
        let removed = self.store.delete(&path(snapshot)).map_err(|error| error.when("remove the snapshot"))?;
        self.store.settle().map_err(|error| error.when("remove the snapshot"))?;
        Ok(removed)
    }

    pub(crate) fn read_snapshot(&self, id: Id) -> Result<Snapshot, VaultError> {
        let damaged = |problem| VaultError::Damaged { what: format!("snapshot file `{}`", path(id)), problem };
        let sealed = match self.store.get(&path(id), SNAPSHOT_BYTES_MAX) {
            Ok(sealed) => sealed,
            Err(StoreError::NotFound { .. }) => return Err(VaultError::SnapshotMissing { id }),
            Err(error @ StoreError::TooLarge { .. }) => return Err(damaged(error.to_string())),
            Err(error) => return Err(error.when("read the snapshot")),
        };
        let found = Id::of(&sealed);
        if found != id {
            return Err(damaged(format!("its SHA-256 is {found}")));
        }
        let json = decode_unpacked(&self.key, sealed).map_err(|error| damaged(chain(&error)))?;
        Snapshot::decode(&json).map_err(|error| damaged(chain(&error)))
    }
}

pub(crate) fn path(id: Id) -> String {
    format!("snapshots/{id}")
}

fn summary(id: Id, snapshot: Snapshot) -> SnapshotSummary {
    let Snapshot { time, parent, tree, paths, hostname, tags, .. } = snapshot;
    SnapshotSummary { id, tree, time, hostname, paths, tags, parent }
}
