//! Which packs recovery points need, and for how long: their trees are walked, and of several packs that hold the same
//! blob one is chosen.

use std::collections::{HashMap, HashSet};
use std::num::NonZero;
use std::sync::Arc;
use std::thread;

use driver_api::{Control, ReadError};
use parking_lot::Mutex;
use vault_format::{BlobKind, Id, Node, NodeKind, Tree, decode_tree};

use super::record::{Record, Subject};
use crate::error::chain;
use crate::index::Index;
use crate::keep::Retention;
use crate::ranges::{Gaps, Wanted, read_all, read_blob};
use crate::{Vault, VaultError};

/// Trees that are read together; as many again of the snapshot that they are compared with.
const TREES_AT_ONCE: usize = 512;
/// Most threads that read them.
const THREADS_MAX: usize = 8;

/// See the module.
pub(super) struct Needs<'a> {
    vault: &'a Vault,
    index: Arc<Index>,
    /// By pack number: it may be chosen.
    is_usable: Vec<bool>,
    /// By pack number: how it has to be locked.
    wanted: Vec<Option<Retention>>,
    /// Trees that were walked, and what for.
    seen: HashSet<Id>,
    seen_for: Option<Retention>,
    /// The first thing that could not be found or read.
    problem: Option<String>,
}

/// A tree, and the one in the same place of a snapshot of which all is locked already.
struct Open {
    tree: Id,
    before: Option<Id>,
}

impl<'a> Needs<'a> {
    /// By the index as it is now. Packs that are to leave the vault are not chosen, nor are those that are known to be
    /// damaged, nor those that are not in `stored` with their length, where that is given.
    pub(super) fn new(
        vault: &'a Vault,
        leaving: &HashSet<Id>,
        stored: Option<&HashMap<Id, u64>>,
    ) -> Result<Self, VaultError> {
        let index = vault.load_index()?;
        let damaged = vault.damaged_packs()?;
        let usable = |id: &Id, length: u64| {
            !leaving.contains(id)
                && !damaged.contains(id)
                && stored.is_none_or(|stored| stored.get(id) == Some(&length))
        };
        let is_usable = index.packs().iter().map(|pack| usable(&pack.id, pack.length)).collect();
        let wanted = vec![None; index.packs().len()];
        Ok(Self { vault, index, is_usable, wanted, seen: HashSet::new(), seen_for: None, problem: None })
    }

    /// Takes what a snapshot needs. With `before`, the root of a snapshot whose packs are all locked so, what both have in
    /// the same place is passed over. Those that are wanted for longest come first: trees that were walked for them are
    /// not walked again.
    pub(super) fn take(
        &mut self,
        root: Id,
        before: Option<Id>,
        wanted: Retention,
        record: &Record,
        control: &dyn Control,
    ) -> Result<(), VaultError> {
        if !self.seen_for.is_some_and(|earlier| earlier.covers(&wanted)) {
            self.seen.clear();
            self.seen_for = Some(wanted);
        }
        let mut open = vec![Open { tree: root, before }];
        while !open.is_empty() {
            let mut now = open.split_off(open.len().saturating_sub(TREES_AT_ONCE));
            now.retain(|pair| Some(pair.tree) != pair.before && self.seen.insert(pair.tree));
            let trees = self.read(&now, control)?;
            for Open { tree: id, before } in now {
                self.mark(BlobKind::Tree, &id, wanted, record);
                let Some(tree) = trees.get(&id) else { continue };
                let known = before.and_then(|before| trees.get(&before)).map(subtrees).unwrap_or_default();
                for Node { name, kind, .. } in &tree.nodes {
                    match kind {
                        NodeKind::Dir { subtree } => {
                            open.push(Open { tree: *subtree, before: known.get(name.as_slice()).copied() });
                        }
                        NodeKind::File { content, .. } => {
                            content.iter().for_each(|blob| self.mark(BlobKind::Data, blob, wanted, record));
                        }
                        _ => {}
                    }
                }
            }
        }
        Ok(())
    }

    /// Takes packs whole, whatever is in them.
    pub(super) fn take_packs(&mut self, packs: &HashSet<Id>, wanted: Retention) {
        let all = self.index.packs().iter().zip(&mut self.wanted);
        for (_, slot) in all.filter(|(pack, _)| packs.contains(&pack.id)) {
            *slot = Some(slot.map_or(wanted, |earlier| earlier.with(wanted)));
        }
    }

    /// What has to be locked, and how.
    pub(super) fn packs(&self) -> impl Iterator<Item = (Subject, Retention)> + '_ {
        let all = self.index.packs().iter().zip(&self.wanted);
        all.filter_map(|(pack, wanted)| Some((Subject::Pack(pack.id), (*wanted)?)))
    }

    /// The first thing that could not be found or read; what lies below it is not known.
    pub(super) fn problem(&self) -> Option<&str> {
        self.problem.as_deref()
    }

    /// Chooses the pack that keeps a blob: one that is chosen already, else the one that is locked for longest.
    fn mark(&mut self, kind: BlobKind, id: &Id, wanted: Retention, record: &Record) {
        let places = self.index.find(kind, id).map(|location| location.pack);
        let best = places.filter(|pack| self.is_usable[*pack as usize]).max_by_key(|pack| {
            let known = record.known(&Subject::Pack(self.index.pack(*pack).id));
            (self.wanted[*pack as usize], known, std::cmp::Reverse(*pack))
        });
        let Some(best) = best else {
            self.problem.get_or_insert_with(|| format!("{} blob {id} is in no pack", kind.as_str()));
            return;
        };
        let slot = &mut self.wanted[best as usize];
        *slot = Some(slot.map_or(wanted, |earlier| earlier.with(wanted)));
    }

    /// Reads these trees, neighbours together; those that cannot be read are left out.
    fn read(&mut self, pairs: &[Open], control: &dyn Control) -> Result<HashMap<Id, Tree>, VaultError> {
        let trees: HashSet<Id> = pairs.iter().map(|pair| pair.tree).collect();
        let all: HashSet<Id> = pairs.iter().filter_map(|pair| pair.before).chain(trees.iter().copied()).collect();
        let place = |id: &Id| self.index.find(BlobKind::Tree, id).next();
        let wanted = all.iter().filter_map(place).map(|location| Wanted { location, note: () }).collect();
        let found = Mutex::new(HashMap::new());
        let decode = |id: &Id, json: &[u8]| {
            decode_tree(json).map_err(|error| ReadError::Damaged { what: format!("tree {id}"), problem: chain(&error) })
        };
        let threads = thread::available_parallelism().map_or(2, NonZero::get).clamp(2, THREADS_MAX);
        let read = read_all(self.vault, &self.index, wanted, Gaps::Short, threads, control, &|same, opened| {
            let id = same[0].location.blob.id;
            let tree = decode(&id, opened.plaintext)?;
            found.lock().insert(id, tree);
            Ok(())
        });
        let mut found = found.into_inner();
        match read {
            Ok(()) => {}
            // One at a time, each from wherever it is sound.
            Err(ReadError::Missing { .. } | ReadError::Damaged { .. }) => {
                for id in all.iter().filter(|id| !found.contains_key(*id)).collect::<Vec<_>>() {
                    let tree =
                        read_blob(self.vault, &self.index, BlobKind::Tree, id).and_then(|json| decode(id, &json));
                    match tree {
                        Ok(tree) => {
                            found.insert(*id, tree);
                        }
                        Err(error @ (ReadError::Missing { .. } | ReadError::Damaged { .. })) => {
                            if trees.contains(id) {
                                self.problem.get_or_insert_with(|| chain(&error));
                            }
                        }
                        Err(error) => return Err(VaultError::of_read(error, || format!("tree {id}"))),
                    }
                }
            }
            Err(error) => return Err(VaultError::of_read(error, || "a tree of the vault".to_owned())),
        }
        Ok(found)
    }
}

/// Directories of a tree by name.
fn subtrees(tree: &Tree) -> HashMap<&[u8], Id> {
    let directories = tree.nodes.iter().filter_map(|node| match node.kind {
        NodeKind::Dir { subtree } => Some((node.name.as_slice(), subtree)),
        _ => None,
    });
    directories.collect()
}
