//! Notes of which packs had no index, when, and who was working then.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use vault_format::{Id, LockFile};

use crate::documents::{self, Found};
use crate::{Vault, VaultError};

/// Where they lie.
pub(crate) const DIRECTORY: &str = "holdfast/marks";
/// Version of [`Mark`].
const SCHEMA: u32 = 1;
/// Packs of one note.
const PACKS_MAX: usize = 50_000;

/// One note.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Mark {
    schema: u32,
    /// A note of another repository says nothing here.
    repository: String,
    /// By the clock of whoever wrote it.
    pub(super) written_at: Timestamp,
    /// Packs that were in the store and in no index.
    pub(super) packs: BTreeSet<Id>,
    /// Who was working.
    pub(super) holders: Vec<Holder>,
}

/// Somebody with a lock of ours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Holder {
    pub(super) holder: String,
    pub(super) hostname: String,
    pub(super) pid: u32,
}

/// What the notes say about one pack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Marked {
    /// When the note was written, by the store's clock.
    pub(super) modified: Timestamp,
    /// The same by the clock of whoever wrote it.
    pub(super) written_at: Timestamp,
    pub(super) holders: Vec<Holder>,
}

/// All notes, and the paths of those that cannot be read.
pub(super) struct Marks(Vec<Found<Mark>>, Vec<String>);

impl Holder {
    /// None for a lock that is not ours.
    pub(super) fn of(lock: &LockFile) -> Option<Self> {
        let purpose = lock.holdfast.as_ref()?;
        Some(Self { holder: purpose.holder.clone(), hostname: lock.hostname.clone(), pid: lock.pid })
    }
}

impl Marks {
    /// Those of this repository. What cannot be read is passed over: its packs are marked anew and wait once more.
    pub(super) fn load(vault: &Vault) -> Result<Self, VaultError> {
        let (found, damaged) = documents::read_all::<Mark>(vault, DIRECTORY)?;
        for file in &damaged {
            tracing::warn!(vault = vault.location(), path = file.path, problem = file.problem, "a mark cannot be used");
        }
        let own =
            |found: &Found<Mark>| found.document.schema == SCHEMA && found.document.repository == vault.repository_id();
        let damaged = damaged.into_iter().map(|file| file.path);
        Ok(Self(found.into_iter().filter(own).collect(), damaged.collect()))
    }

    /// What is known of each pack; of several notes the oldest counts.
    pub(super) fn by_pack(&self) -> BTreeMap<Id, Marked> {
        let mut oldest_last: Vec<&Found<Mark>> = self.0.iter().collect();
        oldest_last.sort_by_key(|found| std::cmp::Reverse(found.modified));
        let mut packs = BTreeMap::new();
        for Found { modified, document, .. } in oldest_last {
            for pack in &document.packs {
                let Mark { written_at, holders, .. } = document;
                packs.insert(*pack, Marked { modified: *modified, written_at: *written_at, holders: holders.clone() });
            }
        }
        packs
    }

    /// Takes packs out of the notes, because they are in the index or gone. A note that still has others is written anew,
    /// and their grace begins again. Notes that cannot be read go: they say nothing, and their packs are marked anew.
    pub(super) fn release(&mut self, vault: &Vault, is_released: impl Fn(&Id) -> bool) -> Result<(), VaultError> {
        for found in std::mem::take(&mut self.0) {
            let left: BTreeSet<Id> = found.document.packs.iter().copied().filter(|pack| !is_released(pack)).collect();
            if left.len() == found.document.packs.len() {
                self.0.push(found);
                continue;
            }
            if !left.is_empty() {
                let mark = Mark { packs: left, written_at: vault.surroundings().now(), ..found.document };
                let path = documents::write(vault, DIRECTORY, "a mark", &mark)?;
                vault.store().barrier().map_err(|error| error.when("make a mark durable"))?;
                self.0.push(Found { path, modified: Timestamp::MAX, document: mark });
            }
            vault.store().delete(&found.path).map_err(|error| error.when("remove a mark"))?;
        }
        for path in std::mem::take(&mut self.1) {
            vault.store().delete(&path).map_err(|error| error.when("remove a mark"))?;
        }
        vault.store().barrier().map_err(|error| error.when("remove marks"))
    }

    /// Notes packs that no note names yet, and who works. Returns how many.
    pub(super) fn add(&mut self, vault: &Vault, packs: &HashSet<Id>, holders: &[Holder]) -> Result<u64, VaultError> {
        let noted = self.by_pack();
        let new: Vec<Id> = packs.iter().copied().filter(|pack| !noted.contains_key(pack)).collect();
        for packs in new.chunks(PACKS_MAX) {
            let mark = Mark {
                schema: SCHEMA,
                repository: vault.repository_id().to_owned(),
                written_at: vault.surroundings().now(),
                packs: packs.iter().copied().collect(),
                holders: holders.to_vec(),
            };
            let path = documents::write(vault, DIRECTORY, "a mark", &mark)?;
            self.0.push(Found { path, modified: Timestamp::MAX, document: mark });
        }
        vault.store().barrier().map_err(|error| error.when("make marks durable"))?;
        Ok(new.len() as u64)
    }
}
