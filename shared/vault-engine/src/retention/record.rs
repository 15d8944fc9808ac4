//! Which files are locked in the store until when, as far as it was set from a vault's own workers.
//!
//! A note is written after the locks that it tells of were set, so it never tells of more than there is: a crash in between
//! has them set again, which changes nothing. Several workers write notes of their own; what two tell of the same file is
//! both true, because locks only grow. A note that is lost costs requests and no lock. Many small notes become few: the new ones are
//! durable before the old ones go.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use vault_format::Id;

use crate::documents;
use crate::index::pack_path;
use crate::keep::{Retention, RetentionMode};
use crate::{Vault, VaultError};

/// Where the notes lie.
pub(crate) const DIRECTORY: &str = "holdfast/retention";
/// Version of [`Note`].
const SCHEMA: u32 = 1;
/// Names in one note.
const NAMES_MAX: usize = 400_000;
/// Notes that may lie there before they become fewer, beside those that are full.
const NOTES_MAX: usize = 16;

/// A file of the vault.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Subject {
    Pack(Id),
    /// Anything else, by its path.
    File(String),
}

/// A lock that was set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Locked {
    pub(super) retention: Retention,
    /// The store did not let its mode become stricter; it is asked again when the lock is prolonged.
    pub(super) mode_stays: bool,
}

/// All that is known.
#[derive(Default)]
pub(super) struct Record {
    place: String,
    locked: HashMap<Subject, Locked>,
    /// Snapshots of which everything that they need is locked so, or more.
    whole: HashMap<Id, Retention>,
    /// What no note tells yet.
    new: Vec<(Subject, Locked)>,
    new_whole: Vec<(Id, Retention)>,
    /// Paths of the notes that it was made of, and of those that tell nothing any more.
    notes: Vec<String>,
    empty_notes: Vec<String>,
    /// The notes tell of locks that are not there.
    is_refuted: bool,
}

#[derive(Serialize, Deserialize)]
struct Note {
    schema: u32,
    repository: String,
    /// Where the files lie: a copy of the repository in another bucket has the notes and not the locks.
    place: String,
    locks: Vec<Group>,
}

/// Files that are locked alike.
#[derive(Serialize, Deserialize)]
struct Group {
    #[serde(flatten)]
    retention: Retention,
    #[serde(default)]
    mode_stays: bool,
    #[serde(default)]
    packs: BTreeSet<Id>,
    #[serde(default)]
    files: BTreeSet<String>,
    #[serde(default)]
    whole: BTreeSet<Id>,
}

impl Subject {
    pub(super) fn path(&self) -> String {
        match self {
            Self::Pack(id) => pack_path(id),
            Self::File(path) => path.clone(),
        }
    }
}

impl Record {
    /// What the notes tell of this place. Locks whose time is over are left out, and so are notes that cannot be read.
    pub(super) fn load(vault: &Vault, place: &str, now: Timestamp) -> Result<Self, VaultError> {
        let (found, damaged) = documents::read_all::<Note>(vault, DIRECTORY)?;
        let empty_notes = damaged.into_iter().map(|file| file.path).collect();
        let mut record = Self { place: place.to_owned(), empty_notes, ..Self::default() };
        for found in found {
            let note = found.document;
            if note.schema != SCHEMA || note.repository != vault.repository_id() {
                continue;
            }
            if note.locks.iter().all(|group| group.retention.until <= now) {
                record.empty_notes.push(found.path);
            } else if note.place == place {
                record.notes.push(found.path);
                note.locks.into_iter().filter(|group| group.retention.until > now).for_each(|group| record.take(group));
            }
        }
        Ok(record)
    }

    fn take(&mut self, group: Group) {
        let Group { retention, mode_stays, packs, files, whole } = group;
        let locked = Locked { retention, mode_stays };
        packs.into_iter().for_each(|id| self.merge(Subject::Pack(id), locked));
        files.into_iter().for_each(|path| self.merge(Subject::File(path), locked));
        whole.into_iter().for_each(|id| self.merge_whole(id, retention));
    }

    fn merge(&mut self, subject: Subject, locked: Locked) {
        let known = self.locked.entry(subject).or_insert(locked);
        let retention = known.retention.with(locked.retention);
        let mode_stays = (known.mode_stays || locked.mode_stays) && retention.mode == RetentionMode::Governance;
        *known = Locked { retention, mode_stays };
    }

    fn merge_whole(&mut self, snapshot: Id, retention: Retention) {
        let known = self.whole.entry(snapshot).or_insert(retention);
        *known = known.with(retention);
    }

    /// What to ask the store for, so that a file is locked so; none when it is. Never less than what it has.
    pub(super) fn missing(&self, subject: &Subject, wanted: Retention) -> Option<Retention> {
        let Some(Locked { retention, mode_stays }) = self.locked.get(subject) else { return Some(wanted) };
        let within_reach = if *mode_stays { Retention { mode: retention.mode, ..wanted } } else { wanted };
        (!retention.covers(&within_reach)).then(|| retention.with(wanted))
    }

    /// How it is locked, as far as that is known.
    pub(super) fn known(&self, subject: &Subject) -> Option<Retention> {
        self.locked.get(subject).map(|locked| locked.retention)
    }

    /// Whether everything that a snapshot needs was locked so.
    pub(super) fn is_whole(&self, snapshot: &Id, wanted: Retention) -> bool {
        self.whole.get(snapshot).is_some_and(|known| known.covers(&wanted))
    }

    /// Snapshots of which that is known, each with its lock.
    pub(super) fn whole(&self) -> impl Iterator<Item = (&Id, &Retention)> {
        self.whole.iter()
    }

    /// Takes note of a lock that was set.
    pub(super) fn learn(&mut self, subject: Subject, locked: Locked) {
        self.merge(subject.clone(), locked);
        self.new.push((subject, locked));
    }

    /// Takes note that everything that a snapshot needs is locked so.
    pub(super) fn learn_whole(&mut self, snapshot: Id, retention: Retention) {
        if !self.is_whole(&snapshot, retention) {
            self.merge_whole(snapshot, retention);
            self.new_whole.push((snapshot, retention));
        }
    }

    /// Believes nothing of it any more.
    pub(super) fn refute(&mut self) {
        self.locked.clear();
        self.whole.clear();
        self.is_refuted = true;
    }

    /// Writes what no note tells yet; durable when it returns.
    pub(super) fn save(&mut self, vault: &Vault) -> Result<(), VaultError> {
        let new = std::mem::take(&mut self.new);
        let new_whole = std::mem::take(&mut self.new_whole);
        let settled = |error: crate::StoreError| error.when("make durable what is locked");
        let names = self.locked.len() + self.whole.len();
        let is_many = self.notes.len() >= NOTES_MAX + names / NAMES_MAX;
        if new.is_empty() && new_whole.is_empty() && !self.is_refuted && !is_many {
            return Ok(());
        }
        if !is_many && !self.is_refuted {
            self.notes.extend(write(vault, &self.place, new, new_whole)?);
            return vault.store().barrier().map_err(settled);
        }
        let all: Vec<(Subject, Locked)> =
            self.locked.iter().map(|(subject, locked)| (subject.clone(), *locked)).collect();
        let whole = self.whole.iter().map(|(id, retention)| (*id, *retention)).collect();
        let written = write(vault, &self.place, all, whole)?;
        vault.store().barrier().map_err(settled)?;
        let old = std::mem::replace(&mut self.notes, written);
        for path in old.iter().chain(&std::mem::take(&mut self.empty_notes)).filter(|path| !self.notes.contains(path)) {
            vault.store().delete(path).map_err(|error| error.when("remove an old note of what is locked"))?;
        }
        self.is_refuted = false;
        Ok(())
    }
}

/// Writes notes and returns their paths.
fn write(
    vault: &Vault,
    place: &str,
    locked: Vec<(Subject, Locked)>,
    whole: Vec<(Id, Retention)>,
) -> Result<Vec<String>, VaultError> {
    grouped(locked, whole)
        .into_iter()
        .map(|locks| {
            let (repository, place) = (vault.repository_id().to_owned(), place.to_owned());
            let note = Note { schema: SCHEMA, repository, place, locks };
            documents::write(vault, DIRECTORY, "what is locked", &note)
        })
        .collect()
}

/// What is locked alike together, in parts that fit into a note.
fn grouped(mut locked: Vec<(Subject, Locked)>, mut whole: Vec<(Id, Retention)>) -> Vec<Vec<Group>> {
    locked.sort_unstable_by(|a, b| (a.1, &a.0).cmp(&(b.1, &b.0)));
    whole.sort_unstable_by_key(|(id, retention)| (*retention, *id));
    let mut notes: Vec<BTreeMap<Locked, Group>> = Vec::new();
    for part in locked.chunks(NAMES_MAX) {
        let mut groups = BTreeMap::new();
        for (subject, locked) in part {
            let group = groups.entry(*locked).or_insert_with(|| Group::of(*locked));
            match subject {
                Subject::Pack(id) => group.packs.insert(*id),
                Subject::File(path) => group.files.insert(path.clone()),
            };
        }
        notes.push(groups);
    }
    for part in whole.chunks(NAMES_MAX) {
        let mut groups = BTreeMap::new();
        for (id, retention) in part {
            let locked = Locked { retention: *retention, mode_stays: false };
            groups.entry(locked).or_insert_with(|| Group::of(locked)).whole.insert(*id);
        }
        // Mostly both fit into one.
        match notes.last_mut() {
            Some(last) if locked.len() + whole.len() <= NAMES_MAX => {
                for (locked, Group { whole, .. }) in groups {
                    last.entry(locked).or_insert_with(|| Group::of(locked)).whole.extend(whole);
                }
            }
            _ => notes.push(groups),
        }
    }
    notes.into_iter().map(|groups| groups.into_values().collect()).collect()
}

impl Group {
    const fn of(Locked { retention, mode_stays }: Locked) -> Self {
        Self { retention, mode_stays, packs: BTreeSet::new(), files: BTreeSet::new(), whole: BTreeSet::new() }
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;

    fn retention(mode: RetentionMode, days: i64) -> Retention {
        Retention { mode, until: Timestamp::UNIX_EPOCH + SignedDuration::from_hours(24 * days) }
    }

    fn governance(days: i64) -> Retention {
        retention(RetentionMode::Governance, days)
    }

    fn compliance(days: i64) -> Retention {
        retention(RetentionMode::Compliance, days)
    }

    fn pack(byte: u8) -> Subject {
        Subject::Pack(Id::new([byte; 32]))
    }

    fn locked(retention: Retention) -> Locked {
        Locked { retention, mode_stays: false }
    }

    #[test]
    fn only_what_is_missing_is_asked_for_and_never_less_than_what_is_there() {
        let mut record = Record::default();
        assert_eq!(record.missing(&pack(1), governance(5)), Some(governance(5)));
        record.learn(pack(1), locked(compliance(7)));
        assert_eq!(record.missing(&pack(1), governance(5)), None);
        assert_eq!(record.missing(&pack(1), governance(9)), Some(compliance(9)), "stays as strict");
        assert_eq!(record.missing(&pack(2), governance(5)), Some(governance(5)), "another one");
        record.learn(pack(2), locked(governance(9)));
        assert_eq!(record.missing(&pack(2), compliance(5)), Some(compliance(9)), "stays as long");
    }

    #[test]
    fn a_mode_that_the_store_does_not_raise_is_tried_again_only_with_more_time() {
        let mut record = Record::default();
        record.learn(pack(1), Locked { retention: governance(7), mode_stays: true });
        assert_eq!(record.missing(&pack(1), compliance(7)), None);
        assert_eq!(record.missing(&pack(1), compliance(14)), Some(compliance(14)));
        record.learn(pack(1), locked(compliance(14)));
        assert!(!record.locked[&pack(1)].mode_stays);
    }

    #[test]
    fn what_two_workers_tell_of_one_file_is_both_true() {
        let mut record = Record::default();
        for group in [governance(9), compliance(5)] {
            let packs = [Id::new([1; 32])].into();
            record.take(Group { packs, ..Group::of(locked(group)) });
        }
        assert_eq!(record.known(&pack(1)), Some(compliance(9)));
    }

    #[test]
    fn a_snapshot_is_whole_only_for_as_long_as_is_known() {
        let mut record = Record::default();
        let id = Id::new([9; 32]);
        record.learn_whole(id, governance(5));
        assert!(record.is_whole(&id, governance(5)) && !record.is_whole(&id, governance(6)));
        assert!(!record.is_whole(&id, compliance(5)));
        record.refute();
        assert!(!record.is_whole(&id, governance(1)));
    }

    #[test]
    fn what_is_locked_alike_stands_together() {
        let files = vec![
            (pack(1), locked(governance(5))),
            (Subject::File("config".to_owned()), locked(governance(5))),
            (pack(2), locked(governance(6))),
        ];
        let notes = grouped(files, vec![(Id::new([9; 32]), governance(5))]);
        assert_eq!((notes.len(), notes[0].len()), (1, 2));
        assert_eq!((notes[0][0].packs.len(), notes[0][0].files.len(), notes[0][0].whole.len()), (1, 1, 1));
        assert!(grouped(Vec::new(), Vec::new()).is_empty());
    }
}
