//! Which blobs need not be stored: those in whole packs of the vault, and those this writer took already.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use vault_format::{BlobKind, Id};

use super::touched::Lost;
use crate::index::{Index, pack_path};
use crate::{Vault, VaultError};

/// Parts of the set of new blobs; threads rarely meet in one.
const SHARDS: usize = 64;

/// See the module.
pub(super) struct KnownBlobs {
    index: Arc<Index>,
    /// By pack number: the file is there and has the length that its blobs make.
    whole: Vec<bool>,
    /// By pack number: the file is not there, cut off, or was found damaged.
    lost: Vec<bool>,
    all_whole: bool,
    new: Vec<Mutex<HashSet<(BlobKind, Id)>>>,
    broken_off: AtomicBool,
}

/// The right, and the duty, to store a blob that nobody else stores.
pub(super) struct Claim<'a> {
    known: &'a KnownBlobs,
    kind: BlobKind,
    id: Id,
    stored: bool,
}

impl KnownBlobs {
    /// Compares the index with the packs that are really there. Blobs of packs that are lost, cut off or in no readable
    /// index are stored anew, which heals the vault.
    pub(super) fn new(vault: &Vault, index: Arc<Index>) -> Result<Self, VaultError> {
        let listed = vault.store().list("data").map_err(|error| error.when("list the packs"))?;
        let sizes: HashMap<Id, u64> =
            listed.into_iter().filter_map(|file| Some((file.name.parse().ok()?, file.size))).collect();
        let whole: Vec<bool> =
            index.packs().iter().map(|pack| !pack.recovered && sizes.get(&pack.id) == Some(&pack.length)).collect();
        let lost: Vec<bool> = index.packs().iter().map(|pack| sizes.get(&pack.id) != Some(&pack.length)).collect();
        for (pack, _) in index.packs().iter().zip(&lost).filter(|(_, lost)| **lost) {
            let found = sizes.get(&pack.id);
            tracing::error!(vault = vault.location(), pack = %pack.id, expected = pack.length, found, "a pack is missing or not whole; its blobs are stored anew where the source has them");
        }
        let new = (0..SHARDS).map(|_| Mutex::default()).collect();
        let all_whole = index.damaged().is_empty() && whole.iter().all(|whole| *whole);
        Ok(Self { index, whole, lost, all_whole, new, broken_off: AtomicBool::new(false) })
    }

    /// Whether every index file could be read and every pack that they name is there with its length.
    pub(super) fn is_whole(&self) -> bool {
        self.all_whole
    }

    /// The index that it was made of.
    pub(super) const fn index(&self) -> &Arc<Index> {
        &self.index
    }

    /// Lets the blobs of these packs be stored anew, because the packs shall leave.
    pub(super) fn leave(&mut self, packs: &HashSet<Id>) {
        for (pack, whole) in self.index.packs().iter().zip(&mut self.whole) {
            *whole &= !packs.contains(&pack.id);
        }
    }

    /// Takes packs for lost, because they were found damaged.
    pub(super) fn distrust(&mut self, packs: &HashSet<Id>) {
        self.leave(packs);
        for (pack, lost) in self.index.packs().iter().zip(&mut self.lost) {
            *lost |= packs.contains(&pack.id);
        }
    }

    /// Packs that are lost, and their blobs that are in no other pack; none when nothing is.
    pub(super) fn lost(&self) -> Option<Lost> {
        if !self.lost.contains(&true) {
            return None;
        }
        let numbers = self.lost.iter().enumerate().filter(|(_, lost)| **lost).map(|(number, _)| number);
        let packs = numbers.clone().map(|number| pack_path(&self.index.packs()[number].id)).collect();
        let by_pack = self.index.blobs_by_pack();
        // Fewer than 2^31 packs, by the form of the index in memory.
        let inside = numbers.filter_map(|number| by_pack.get(&(number as u32))).flatten();
        let elsewhere = |kind, id: &Id| self.index.find(kind, id).any(|place| !self.lost[place.pack as usize]);
        let blobs = inside.map(|blob| (blob.kind, blob.id)).filter(|(kind, id)| !elsewhere(*kind, id)).collect();
        Some(Lost { packs, blobs })
    }

    /// Whether this writer has stored a blob.
    pub(super) fn stored(&self, blob: &(BlobKind, Id)) -> bool {
        self.shard(&blob.1).lock().contains(blob)
    }

    pub(super) fn has(&self, kind: BlobKind, id: &Id) -> bool {
        self.in_vault(kind, id) || self.shard(id).lock().contains(&(kind, *id))
    }

    /// None when it is in the vault or somebody has claimed it already.
    pub(super) fn claim(&self, kind: BlobKind, id: Id) -> Option<Claim<'_>> {
        let new = !self.in_vault(kind, &id) && self.shard(&id).lock().insert((kind, id));
        // Lazily: a claim that is made and dropped counts as broken off.
        new.then(|| Claim { known: self, kind, id, stored: false })
    }

    /// Whether a claim was dropped without its blob being stored: others may rely on it.
    pub(super) fn was_broken_off(&self) -> bool {
        self.broken_off.load(Ordering::Acquire)
    }

    fn in_vault(&self, kind: BlobKind, id: &Id) -> bool {
        self.index.find(kind, id).any(|location| self.whole[location.pack as usize])
    }

    fn shard(&self, id: &Id) -> &Mutex<HashSet<(BlobKind, Id)>> {
        &self.new[usize::from(id.as_bytes()[0]) % SHARDS]
    }
}

impl Claim<'_> {
    pub(super) const fn kind(&self) -> BlobKind {
        self.kind
    }

    pub(super) const fn id(&self) -> Id {
        self.id
    }

    /// The duty is done.
    pub(super) fn stored(mut self) {
        self.stored = true;
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        if !self.stored {
            self.known.broken_off.store(true, Ordering::Release);
        }
    }
}
