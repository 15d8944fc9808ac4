//! A check that reads a part of the packs each time, those first that were read longest ago, and remembers in the vault
//! which were read when and which were found damaged. Interrupted, it has lost nothing: what was read counts.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;

use driver_api::Control;
use jiff::Timestamp;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use vault_format::Id;

use super::{CheckReport, Reading, locked, look};
use crate::documents;
use crate::{Vault, VaultError};

/// Where the notes lie.
pub(super) const DIRECTORY: &str = "holdfast/scrub";
/// Version of [`Note`].
const SCHEMA: u32 = 1;
/// Packs that a note remembers; of more, those that were read last.
const PACKS_MAX: usize = 400_000;

/// How much to read.
#[derive(Clone, Copy)]
pub struct ScrubOptions<'a> {
    /// Packs are read until they have so many bytes together; at least one is.
    pub read_bytes: u64,
    /// Stop and progress.
    pub control: &'a dyn Control,
}

impl fmt::Debug for ScrubOptions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScrubOptions").field("read_bytes", &self.read_bytes).finish_non_exhaustive()
    }
}

/// What a scrub found, and how much of the vault has been read by now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScrubReport {
    /// What was found; counts are those of this run.
    pub check: CheckReport,
    /// Packs of the vault.
    pub packs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Packs that were read and found sound by this or an earlier run.
    pub packs_covered: u64,
    /// Their bytes.
    pub bytes_covered: u64,
    /// When the one of them was read that was read longest ago.
    pub oldest_read: Option<Timestamp>,
}

/// What is remembered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Note {
    schema: u32,
    repository: String,
    /// Packs that were read and are sound.
    read: BTreeMap<Id, Timestamp>,
    /// Packs that were read and are not.
    damaged: BTreeSet<Id>,
}

impl Vault {
    /// Looks for damage as [`Vault::check`] does, and reads those packs that were read longest ago, as many as fit.
    /// Packs that are found damaged are remembered: what a source still has of them is stored anew by its next capture.
    ///
    /// # Errors
    /// When the check itself cannot be made; damage is in the report. What was read before counts all the same.
    pub fn scrub(&self, options: &ScrubOptions<'_>) -> Result<ScrubReport, VaultError> {
        let lock = self.lock()?;
        let (mut note, old) = load(self)?;
        let index = self.load_index()?;
        let packs: HashMap<Id, u64> = index.packs().iter().map(|pack| (pack.id, pack.length)).collect();
        let chosen = choose(&packs, &note, options.read_bytes);
        let done = Mutex::new(Vec::new());
        let take = |id: &Id, sound: bool| done.lock().push((*id, sound));
        let reading = Reading { chosen: &|id| chosen.contains(id), done: &take, control: options.control };
        let result = look(self, index, &reading);
        let now = self.surroundings().now();
        for (id, sound) in done.into_inner() {
            if sound {
                note.read.insert(id, now);
                note.damaged.remove(&id);
            } else {
                note.read.remove(&id);
                note.damaged.insert(id);
            }
        }
        note.read.retain(|id, _| packs.contains_key(id));
        note.damaged.retain(|id| packs.contains_key(id));
        lock.verify()?;
        store(self, &note, &old)?;
        let mut check = result?;
        locked::renew(self, &lock, options.control, &mut check)?;
        let covered = || note.read.keys().filter_map(|id| packs.get(id));
        Ok(ScrubReport {
            check,
            packs: packs.len() as u64,
            bytes: packs.values().sum(),
            packs_covered: covered().count() as u64,
            bytes_covered: covered().sum(),
            oldest_read: note.read.values().min().copied(),
        })
    }

    /// Packs that a scrub found damaged.
    pub(crate) fn damaged_packs(&self) -> Result<HashSet<Id>, VaultError> {
        Ok(load(self)?.0.damaged.into_iter().collect())
    }
}

/// Those first that were never read, then those read longest ago; what is known to be damaged is looked at again as if it
/// had never been read.
fn choose(packs: &HashMap<Id, u64>, note: &Note, read_bytes: u64) -> HashSet<Id> {
    let mut order: Vec<(Option<Timestamp>, Id, u64)> =
        packs.iter().map(|(id, length)| (note.read.get(id).copied(), *id, *length)).collect();
    order.sort_unstable();
    let mut left = read_bytes;
    let mut chosen = HashSet::new();
    for (_, id, length) in order {
        if length > left && !chosen.is_empty() {
            break;
        }
        left = left.saturating_sub(length);
        chosen.insert(id);
    }
    chosen
}

/// All notes as one, and their paths. Two that ran at once have written one each.
fn load(vault: &Vault) -> Result<(Note, Vec<String>), VaultError> {
    let (found, damaged) = documents::read_all::<Note>(vault, DIRECTORY)?;
    let mut note = Note { schema: SCHEMA, repository: vault.repository_id().to_owned(), ..Note::default() };
    // What cannot be read is replaced: its packs count as never read.
    let mut paths: Vec<String> = damaged.into_iter().map(|file| file.path).collect();
    for found in found {
        if found.document.schema != SCHEMA || found.document.repository != note.repository {
            continue;
        }
        paths.push(found.path);
        for (id, at) in found.document.read {
            let newest = note.read.entry(id).or_insert(at);
            *newest = at.max(*newest);
        }
        note.damaged.extend(found.document.damaged);
    }
    note.read.retain(|id, _| !note.damaged.contains(id));
    Ok((note, paths))
}

fn store(vault: &Vault, note: &Note, old: &[String]) -> Result<(), VaultError> {
    let mut note = note.clone();
    if note.read.len() > PACKS_MAX {
        let mut by_time: Vec<(Timestamp, Id)> = note.read.iter().map(|(id, at)| (*at, *id)).collect();
        by_time.sort_unstable();
        for (_, id) in by_time.iter().take(note.read.len() - PACKS_MAX) {
            note.read.remove(id);
        }
    }
    let path = documents::write(vault, DIRECTORY, "what was read", &note)?;
    vault.store().barrier().map_err(|error| error.when("make durable what was read"))?;
    for old in old.iter().filter(|old| **old != path) {
        vault.store().delete(old).map_err(|error| error.when("remove what was read before"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_read_longest_ago_is_read_first_and_at_least_one_pack_is() {
        let id = |byte| Id::new([byte; 32]);
        let at = |second| Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_secs(second);
        let packs: HashMap<Id, u64> = (1..=4).map(|byte| (id(byte), 100)).collect();
        let note = Note { read: [(id(1), at(5)), (id(2), at(3)), (id(4), at(9))].into(), ..Note::default() };
        assert_eq!(choose(&packs, &note, 0), [id(3)].into());
        assert_eq!(choose(&packs, &note, 250), [id(3), id(2)].into());
        assert_eq!(choose(&packs, &note, 300), [id(3), id(2), id(1)].into());
        assert_eq!(choose(&packs, &note, u64::MAX).len(), 4);
    }
}
