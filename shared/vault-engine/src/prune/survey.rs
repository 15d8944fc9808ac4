//! What is there and what the snapshots need of it.

use std::collections::{HashMap, HashSet};
use std::mem;
use std::num::NonZero;
use std::sync::Arc;
use std::thread;

use driver_api::{Control, ReadError};
use parking_lot::Mutex;
use vault_format::{BlobKind, Id, IndexedPack, NodeKind, decode_tree};

use crate::error::chain;
use crate::index::{Index, Location, read_pack_header};
use crate::ranges::{Gaps, Wanted, read_all};
use crate::{Vault, VaultError};

/// Most threads that read trees.
const THREADS_MAX: usize = 8;

/// See the module.
#[derive(Default)]
pub(crate) struct Survey {
    pub(super) index: Arc<Index>,
    /// Packs in the store with their lengths.
    pub(super) stored: HashMap<Id, u64>,
    /// All blobs that snapshots need.
    pub(super) needed: HashSet<(BlobKind, Id)>,
    /// Those of them that are in no pack which the index names and the store has.
    pub(crate) missing: HashSet<(BlobKind, Id)>,
    /// Snapshots that were looked through.
    pub(super) snapshots: HashSet<Id>,
}

impl Survey {
    /// Looks at everything.
    pub(super) fn make(vault: &Vault, control: &dyn Control) -> Result<Self, VaultError> {
        let mut survey = Self::default();
        survey.refresh(vault, control)?;
        Ok(survey)
    }

    /// Looks at what the snapshot below this root needs.
    pub(crate) fn below(vault: &Vault, root: Id, control: &dyn Control) -> Result<Self, VaultError> {
        let mut survey = Self::default();
        survey.take_stock(vault)?;
        survey.look_below(vault, vec![root], control)?;
        Ok(survey)
    }

    /// Looks again at what was missing, when packs were named.
    pub(crate) fn look_again(&mut self, vault: &Vault, control: &dyn Control) -> Result<(), VaultError> {
        self.take_stock(vault)?;
        self.look_below(vault, Vec::new(), control)
    }

    /// Looks at what has changed: the packs, the index as it is now, and new snapshots. The snapshots come last, until
    /// there is no new one: so whatever the index names and they do not need is of a writer who has none yet.
    pub(super) fn refresh(&mut self, vault: &Vault, control: &dyn Control) -> Result<(), VaultError> {
        loop {
            self.take_stock(vault)?;
            if let Some(file) = self.index.damaged().first() {
                let problem = &file.problem;
                return Err(unknown(format!("`{}`: {problem}, which the next prune tries to make anew", file.path)));
            }
            let listing = vault.snapshots()?;
            if let Some(file) = listing.damaged.first() {
                return Err(unknown(format!("`{}`: {}", file.path, file.problem)));
            }
            let new = listing.readable.into_iter().filter(|snapshot| self.snapshots.insert(snapshot.id));
            let new: Vec<Id> = new.map(|snapshot| snapshot.tree).collect();
            let none_new = new.is_empty();
            self.look_below(vault, new, control).map_err(|error| match error {
                VaultError::Damaged { what, problem } => unknown(format!("{what}: {problem}")),
                other => other,
            })?;
            if none_new {
                return Ok(());
            }
            // Walking takes a while; whoever committed meanwhile is seen by the next round.
        }
    }

    /// The packs, and the index as it is now.
    fn take_stock(&mut self, vault: &Vault) -> Result<(), VaultError> {
        let listed = vault.store().list("data").map_err(|error| error.when("list the packs"))?;
        self.stored = listed.into_iter().filter_map(|file| Some((file.name.parse().ok()?, file.size))).collect();
        // The old one goes first: two of them may be more than the machine has.
        self.index = Arc::default();
        self.index = vault.load_index()?;
        Ok(())
    }

    /// Looks below these roots, and below trees that were missing: one that was in no index may be in one now, and nobody
    /// has looked below it.
    fn look_below(&mut self, vault: &Vault, roots: Vec<Id>, control: &dyn Control) -> Result<(), VaultError> {
        let trees = self.missing.drain().filter(|(kind, _)| *kind == BlobKind::Tree).map(|(_, id)| id);
        let trees: Vec<Id> = trees.chain(roots).collect();
        for id in &trees {
            self.needed.remove(&(BlobKind::Tree, *id));
        }
        self.walk(vault, trees, control)?;
        let (index, stored) = (&self.index, &self.stored);
        let missing = self.needed.iter().filter(|(kind, id)| locate(index, stored, *kind, id).is_none());
        self.missing = missing.copied().collect();
        Ok(())
    }

    /// Packs that no index names and that have what is missing, by their own headers.
    pub(crate) fn find_missing(&self, vault: &Vault) -> Vec<IndexedPack> {
        if self.missing.is_empty() {
            return Vec::new();
        }
        let named: HashSet<Id> = self.index.packs().iter().map(|pack| pack.id).collect();
        let mut found = Vec::new();
        for (id, size) in self.stored.iter().filter(|(id, _)| !named.contains(*id)) {
            match read_pack_header(vault.store(), vault.key(), id, *size) {
                Ok(blobs) if blobs.iter().any(|blob| self.missing.contains(&(blob.kind, blob.id))) => {
                    found.push(IndexedPack { id: *id, blobs });
                }
                Ok(_) => {}
                Err(problem) => tracing::warn!(pack = %id, problem, "a pack without an index cannot be used"),
            }
        }
        found
    }

    /// Collects everything below these trees, level by level, so that neighbours are read together.
    fn walk(&mut self, vault: &Vault, roots: Vec<Id>, control: &dyn Control) -> Result<(), VaultError> {
        let threads = thread::available_parallelism().map_or(2, NonZero::get).clamp(2, THREADS_MAX);
        let mut level = roots;
        while !level.is_empty() {
            let mut wanted = Vec::new();
            for id in mem::take(&mut level) {
                if self.needed.insert((BlobKind::Tree, id))
                    && let Some(location) = locate(&self.index, &self.stored, BlobKind::Tree, &id)
                {
                    wanted.push(Wanted { location, note: () });
                }
            }
            let below = Mutex::new((Vec::new(), mem::take(&mut self.needed)));
            let read = read_all(vault, &self.index, wanted, Gaps::Short, threads, control, &|same, opened| {
                let id = same[0].location.blob.id;
                let tree = decode_tree(opened.plaintext)
                    .map_err(|error| ReadError::Damaged { what: format!("tree {id}"), problem: chain(&error) })?;
                let mut below = below.lock();
                let (subtrees, needed) = &mut *below;
                for node in tree.nodes {
                    match node.kind {
                        NodeKind::Dir { subtree } => subtrees.push(subtree),
                        NodeKind::File { content, .. } => {
                            needed.extend(content.into_iter().map(|blob| (BlobKind::Data, blob)));
                        }
                        _ => {}
                    }
                }
                Ok(())
            });
            (level, self.needed) = below.into_inner();
            read.map_err(|error| VaultError::of_read(error, || "a tree of the vault".to_owned()))?;
        }
        Ok(())
    }
}

/// A place of a blob in a pack that the store has.
pub(super) fn locate(index: &Index, stored: &HashMap<Id, u64>, kind: BlobKind, id: &Id) -> Option<Location> {
    index.find(kind, id).find(|location| stored.contains_key(&index.pack(location.pack).id))
}

/// It cannot be known what the snapshots need.
pub(super) fn unknown(problem: String) -> VaultError {
    VaultError::Damaged {
        what: "something that says what the snapshots need".to_owned(),
        problem: format!(
            "{problem}; nothing was pruned: heal it by a capture of its source, or delete its recovery point"
        ),
    }
}
