//! What protects recovery points, written into the vault itself: a lock on the vault, a minimum retention of single recovery
//! points, and legal holds. Whoever orders a deletion may have been forged or rolled back; what stands here is sealed under
//! the vault's key and decides.
//!
//! The entries are files `holdfast/keep/<number>`, numbered without a gap, each with the digest of the one before. An entry
//! is added by a write that fails when its number is taken, and only if it is allowed after all earlier ones: retention is
//! never shortened, and a lock past its date only ever becomes stricter. When an entry is missing, changed or not
//! allowed, nothing is deleted at all. Entries that vanish from the end are noticed by the snapshots: each says in a tag
//! how many there were when it was written.

mod retention;
mod rules;

use std::collections::HashSet;

use driver_api::NoControl;
use jiff::Timestamp;
use job_model::RecoveryPointId;
use serde::{Deserialize, Serialize};
use vault_format::Id;

pub(crate) use self::retention::{Retention, RetentionMode};
pub use self::rules::{Hold, Keep, KeepEntry, KeepReason, VaultLockEntry};
use crate::locks::Lock;
use crate::retention::Pass;
use crate::store::StoreError;
use crate::vault::snapshot_path;
use crate::{SnapshotListing, SnapshotSummary, Vault, VaultError, documents};

/// Where the entries lie.
pub(crate) const DIRECTORY: &str = "holdfast/keep";
/// Version of [`Document`].
const SCHEMA: u32 = 1;
/// Longest entry, in bytes.
const ENTRY_BYTES_MAX: u64 = 16 << 20;
/// How the tag begins that says how many entries there were.
const COUNT_TAG: &str = "holdfast:keep:";

#[derive(Serialize, Deserialize)]
struct Document {
    schema: u32,
    repository: String,
    number: u64,
    /// Digest of the bytes of the entry before.
    previous: Option<Id>,
    at: Timestamp,
    entry: KeepEntry,
}

/// All entries, and what the next one must say about the last.
struct Read {
    keep: Keep,
    last: Option<Id>,
}

impl Vault {
    /// What protects the recovery points of this vault.
    ///
    /// # Errors
    /// [`VaultError::KeepBroken`] when an entry is missing, changed or not allowed; otherwise when the store fails.
    pub fn keep(&self) -> Result<Keep, VaultError> {
        Ok(self.read_keep()?.keep)
    }

    /// Adds an entry; durable when it returns. Where the store locks objects it keeps from then on what the recovery points
    /// need that the entry protects. The same protection once more changes nothing.
    ///
    /// # Errors
    /// [`VaultError::KeepRefused`] when it would take protection away that cannot be taken away;
    /// [`VaultError::KeepBroken`]; otherwise when the store fails, or refuses to lock: the entry may stand then, and the same
    /// once more locks what is missing.
    pub fn protect(&self, entry: &KeepEntry) -> Result<Keep, VaultError> {
        let lock = self.lock()?;
        let keep = self.add_entry(entry)?;
        // After it, so that of this and a commit at the same time at least one sees the other.
        if !matches!(entry, KeepEntry::Unlock | KeepEntry::Release { .. }) {
            let leaving = HashSet::new();
            self.retain_all(
                &lock,
                &Pass { leaving: &leaving, entry: Some(entry), sample: false, control: &NoControl },
            )?;
        }
        Ok(keep)
    }

    fn add_entry(&self, entry: &KeepEntry) -> Result<Keep, VaultError> {
        loop {
            let Read { mut keep, last } = self.read_keep()?;
            self.refuse_when_rolled_back(&keep, &self.snapshots()?)?;
            let before = keep.clone();
            let at = self.surroundings().now();
            keep.apply(entry, at).map_err(|problem| VaultError::KeepRefused { problem })?;
            if keep == before {
                return Ok(keep);
            }
            let number = keep.entries + 1;
            let document = Document {
                schema: SCHEMA,
                repository: self.repository_id().to_owned(),
                number,
                previous: last,
                at,
                entry: entry.clone(),
            };
            let sealed = documents::seal(self, "what protects recovery points", &document)?;
            let failed = |error: StoreError| error.when("write what protects recovery points");
            // Somebody else may have taken the number; then all is looked at again.
            if self.store().put_new(&path(number), sealed.into()).map_err(failed)? {
                self.store().barrier().map_err(failed)?;
                keep.entries = number;
                return Ok(keep);
            }
        }
    }

    fn read_keep(&self) -> Result<Read, VaultError> {
        let listed = self.store().list(DIRECTORY).map_err(|error| error.when("list what protects recovery points"))?;
        let mut read = Read { keep: Keep::default(), last: None };
        for number in 1..=listed.len() as u64 {
            let path = path(number);
            let broken = |problem: String| VaultError::KeepBroken { problem: format!("`{path}`: {problem}") };
            let sealed = match self.store().get(&path, ENTRY_BYTES_MAX) {
                Ok(sealed) => sealed,
                Err(error @ (StoreError::NotFound { .. } | StoreError::TooLarge { .. } | StoreError::Short { .. })) => {
                    return Err(broken(error.to_string()));
                }
                Err(error) => return Err(error.when("read what protects recovery points")),
            };
            let digest = Id::of(&sealed);
            let document: Document = documents::open(self, sealed).map_err(&broken)?;
            if document.schema > SCHEMA {
                return Err(broken(format!("it has schema {}; use a newer version", document.schema)));
            }
            if document.repository != self.repository_id() || document.number != number {
                return Err(broken("it is of another repository or another place".to_owned()));
            }
            if document.previous != read.last {
                return Err(broken("the entry before it was replaced".to_owned()));
            }
            read.keep.apply(&document.entry, document.at).map_err(broken)?;
            read.keep.entries = number;
            read.last = Some(digest);
        }
        Ok(read)
    }

    /// Refuses when a snapshot knows of more entries than there are.
    fn refuse_when_rolled_back(&self, keep: &Keep, listing: &SnapshotListing) -> Result<(), VaultError> {
        let counts = |snapshot: &SnapshotSummary| {
            snapshot.tags.iter().filter_map(|tag| tag.strip_prefix(COUNT_TAG)?.parse::<u64>().ok()).max()
        };
        match listing.readable.iter().filter_map(counts).max() {
            Some(known) if known > keep.entries => Err(VaultError::KeepBroken {
                problem: format!("there were {known} entries in `{DIRECTORY}` and {} are left", keep.entries),
            }),
            _ => Ok(()),
        }
    }

    /// What is wrong with the protections, and the recovery points that are protected by name and gone.
    pub(crate) fn keep_problems(
        &self,
        listing: &SnapshotListing,
    ) -> Result<Vec<(String, Option<RecoveryPointId>)>, VaultError> {
        let read = self.keep().and_then(|keep| {
            self.refuse_when_rolled_back(&keep, listing)?;
            Ok(keep)
        });
        let keep = match read {
            Ok(keep) => keep,
            Err(VaultError::KeepBroken { problem }) => return Ok(vec![(problem, None)]),
            Err(error) => return Err(error),
        };
        let there: Vec<RecoveryPointId> = listing.readable.iter().filter_map(SnapshotSummary::recovery_point).collect();
        let gone = keep.protected_by_name(self.surroundings().now()).filter(|id| !there.contains(id));
        Ok(gone
            .map(|id| (format!("recovery point `{id}` is protected and its snapshot is gone or damaged"), Some(id)))
            .collect())
    }

    /// Whether a tag tells how many entries there were; a copy has those of its own vault.
    pub(crate) fn is_keep_tag(tag: &str) -> bool {
        tag.starts_with(COUNT_TAG)
    }

    /// The tag that tells how many entries there are; none while nothing is protected.
    pub(crate) fn keep_tag(&self) -> Result<Option<String>, VaultError> {
        let listed = self.store().list(DIRECTORY).map_err(|error| error.when("list what protects recovery points"))?;
        Ok((!listed.is_empty()).then(|| format!("{COUNT_TAG}{:020}", listed.len())))
    }

    /// Refuses what is protected. The time is the earlier one of the store's and ours: a clock that is ahead ends nothing.
    pub(crate) fn refuse_protected(&self, snapshot: Id, lock: &Lock) -> Result<(), VaultError> {
        let keep = self.keep()?;
        let listing = self.snapshots()?;
        self.refuse_when_rolled_back(&keep, &listing)?;
        if !keep.protects_anything() {
            return Ok(());
        }
        let protected = |reason| VaultError::Protected { snapshot, reason };
        if listing.damaged.iter().any(|file| file.path == snapshot_path(snapshot)) {
            // It may be any of those that are protected.
            return Err(protected(KeepReason::Unreadable));
        }
        let Some(summary) = listing.readable.iter().find(|summary| summary.id == snapshot) else { return Ok(()) };
        let now = self.surroundings().now().min(lock.store_time()?);
        let files = self.store().list("snapshots").map_err(|error| error.when("list the snapshots"))?;
        let written = files.iter().find(|file| file.name == snapshot.to_hex()).map(|file| file.modified);
        // A copy has the time of its source; its own retention begins when it is written.
        let since = written.filter(|time| *time != Timestamp::MAX).map_or(summary.time, |time| time.max(summary.time));
        keep.may_delete(summary.recovery_point(), since, now).map_err(protected)
    }

    /// Refuses when a recovery point that is protected by name has no snapshot any more: somebody removed it past us, and
    /// its data must not follow.
    pub(crate) fn refuse_when_protected_are_missing(&self, lock: &Lock) -> Result<(), VaultError> {
        let keep = self.keep()?;
        let listing = self.snapshots()?;
        self.refuse_when_rolled_back(&keep, &listing)?;
        let now = self.surroundings().now().min(lock.store_time()?);
        let there: Vec<RecoveryPointId> = listing.readable.iter().filter_map(SnapshotSummary::recovery_point).collect();
        match keep.protected_by_name(now).find(|id| !there.contains(id)) {
            Some(id) => Err(VaultError::KeepBroken {
                problem: format!("recovery point `{id}` is protected and its snapshot is gone; bring its file back"),
            }),
            None => Ok(()),
        }
    }
}

fn path(number: u64) -> String {
    format!("{DIRECTORY}/{number:020}")
}
