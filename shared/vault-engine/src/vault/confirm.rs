//! Whether what a new snapshot relies on is still in the vault's index, and putting it back where a prune took it out.
//!
//! A writer decides from the index of when it began what it need not store. A prune may take packs out of the index
//! meanwhile. Both look at what the other did after they did their own part: the prune at the snapshots and the locks after
//! it has replaced the index, the writer at the index before and after it has written the snapshot. So at least one of
//! them notices, and the packs are named again. The same goes for the packs that the writer itself has put into the index:
//! until its snapshot is there, a prune takes them for such as nobody needs. No file of a pack goes while a writer that
//! began before works still.

use std::collections::{BTreeSet, HashMap, HashSet};

use driver_api::ReadError;
use vault_format::{BlobKind, Id, IndexedPack, NodeKind, decode_tree};

use super::Vault;
use crate::error::chain;
use crate::index::{Index, pack_path, read_pack_header};
use crate::ranges::read_blob;
use crate::store::StoreError;
use crate::writer::Own;
use crate::{VaultError, index_files};

impl Vault {
    /// Sees to it that everything below `root` is in the index as it is now. `known` is the index that the writer began
    /// with, `own` what it has put into it since.
    pub(crate) fn confirm(&self, known: &Index, own: &Own, root: Id) -> Result<(), VaultError> {
        let names = index_files::names(self)?;
        if known.files().is_subset(&names) && own.files.iter().all(|name| names.contains(name)) {
            return Ok(());
        }
        let mut current = self.load_index()?;
        let named: HashSet<Id> = current.packs().iter().map(|pack| pack.id).collect();
        let own = self.taken_out(own, &named)?;
        if !own.is_empty() {
            self.name_again(own)?;
            // Trees of ours say what we rely on; they must be found below.
            current = self.load_index()?;
        }
        if known.packs().iter().all(|pack| named.contains(&pack.id)) {
            return Ok(());
        }
        let gone = self.relied_upon(&current, known, root)?;
        if gone.is_empty() {
            return Ok(());
        }
        let mut blobs = known.blobs_by_pack();
        let mut packs = Vec::with_capacity(gone.len());
        for number in gone {
            let pack = known.pack(number);
            self.must_be_there(&pack.id, pack.length)?;
            let mut blobs = blobs.remove(&number).unwrap_or_default();
            blobs.sort_unstable_by_key(|blob| blob.offset);
            packs.push(IndexedPack { id: pack.id, blobs });
        }
        self.name_again(packs)
    }

    /// The writer's own packs that are in the index no more. A prune that looked after they were put into the index and
    /// before their snapshot was there took them for such as nobody needs.
    fn taken_out(&self, own: &Own, named: &HashSet<Id>) -> Result<Vec<IndexedPack>, VaultError> {
        let out: HashSet<Id> = own.packs.iter().copied().filter(|id| !named.contains(id)).collect();
        if out.is_empty() {
            return Ok(Vec::new());
        }
        let stored = self.store.list("data").map_err(|error| error.when("list the packs"))?;
        let sizes = stored.into_iter().filter_map(|file| Some((file.name.parse::<Id>().ok()?, file.size)));
        let sizes: HashMap<Id, u64> = sizes.filter(|(id, _)| out.contains(id)).collect();
        let by_header = |id: Id| {
            let size = sizes.get(&id).ok_or_else(|| pruned(format!("pack `{}`", pack_path(&id))))?;
            let blobs = read_pack_header(self.store(), &self.key, &id, *size);
            let blobs = blobs.map_err(|problem| pruned(format!("pack `{}`: {problem}", pack_path(&id))))?;
            Ok(IndexedPack { id, blobs })
        };
        out.into_iter().map(by_header).collect()
    }

    /// Numbers in `known` of the packs that have blobs below `root` and that `current` does not name.
    fn relied_upon(&self, current: &Index, known: &Index, root: Id) -> Result<BTreeSet<u32>, VaultError> {
        let mut gone = BTreeSet::new();
        let mut seen: HashSet<(BlobKind, Id)> = HashSet::new();
        let mut open = vec![root];
        let mut look = |kind, id: Id| -> Result<bool, VaultError> {
            if !seen.insert((kind, id)) {
                return Ok(false);
            }
            if current.find(kind, &id).next().is_none() {
                let location = known.find(kind, &id).next();
                gone.insert(location.ok_or_else(|| pruned(format!("{} blob {id}", kind.as_str())))?.pack);
            }
            Ok(true)
        };
        while let Some(id) = open.pop() {
            if !look(BlobKind::Tree, id)? {
                continue;
            }
            let read = match read_blob(self, current, BlobKind::Tree, &id) {
                Err(ReadError::Missing { .. }) => read_blob(self, known, BlobKind::Tree, &id),
                other => other,
            };
            let json = read.map_err(|error| pruned(chain(&error)))?;
            let tree = decode_tree(&json)
                .map_err(|error| VaultError::Damaged { what: format!("tree {id}"), problem: chain(&error) })?;
            for node in tree.nodes {
                match node.kind {
                    NodeKind::Dir { subtree } => open.push(subtree),
                    NodeKind::File { content, .. } => {
                        for blob in content {
                            look(BlobKind::Data, blob)?;
                        }
                    }
                    _ => {}
                }
            }
        }
        Ok(gone)
    }

    /// Reads the last byte of a pack.
    fn must_be_there(&self, id: &Id, length: u64) -> Result<(), VaultError> {
        let path = pack_path(id);
        match self.store.get_range(&path, length.saturating_sub(1), 1) {
            Ok(_) => Ok(()),
            Err(StoreError::NotFound { .. } | StoreError::Short { .. }) => Err(pruned(format!("pack `{path}`"))),
            Err(error) => Err(error.when("look at a pack")),
        }
    }
}

fn pruned(what: String) -> VaultError {
    VaultError::Pruned { what }
}
