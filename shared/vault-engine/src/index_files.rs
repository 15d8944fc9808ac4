//! Index files as files: reading one, writing packs into new ones, and replacing those that name packs which shall leave.

use std::collections::{BTreeSet, HashSet};

use vault_format::{Id, IndexFile, IndexedPack, MasterKey, encode_unpacked};

use crate::index::read_index;
use crate::store::Store;
use crate::{Surroundings, Vault, VaultError};

/// Blobs of an index file; at 190 bytes of JSON each it stays below restic's 8 MiB.
const BLOBS_MAX: usize = 40_000;
/// An index file with fewer blobs is small.
const BLOBS_FEW: usize = 4_000;
/// So many small ones are put together when the index is rewritten anyway.
const SMALL_FILES: usize = 16;

/// Names of the index files there are.
pub(crate) fn names(vault: &Vault) -> Result<BTreeSet<String>, VaultError> {
    let listed = vault.store().list("index").map_err(|error| error.when("list the index"))?;
    Ok(listed.into_iter().map(|file| file.name).filter(|name| name.parse::<Id>().is_ok()).collect())
}

/// Writes packs into new index files and returns the names of these; durable when it returns. The packs must be durable
/// before.
pub(crate) fn write(
    store: &dyn Store,
    key: &MasterKey,
    surroundings: &Surroundings,
    packs: Vec<IndexedPack>,
) -> Result<Vec<String>, VaultError> {
    if packs.is_empty() {
        return Ok(Vec::new());
    }
    let encode = |source| VaultError::Encode { what: "an index", source };
    let mut names = Vec::new();
    let mut file: Vec<IndexedPack> = Vec::new();
    let mut blobs = 0;
    let mut put = |packs: Vec<IndexedPack>| {
        let json = IndexFile { packs, ..IndexFile::default() }.encode().map_err(encode)?;
        let sealed = encode_unpacked(key, surroundings.random(), &json).map_err(encode)?;
        let name = Id::of(&sealed).to_hex();
        store.put(&format!("index/{name}"), sealed.into()).map_err(|error| error.when("write an index"))?;
        names.push(name);
        Ok::<(), VaultError>(())
    };
    for pack in packs {
        if !file.is_empty() && blobs + pack.blobs.len() > BLOBS_MAX {
            put(std::mem::take(&mut file))?;
            blobs = 0;
        }
        blobs += pack.blobs.len();
        file.push(pack);
    }
    put(file)?;
    store.settle().map_err(|error| error.when("make the index durable"))?;
    Ok(names)
}

/// Takes packs out of the index: the files that name them are replaced by such as do not, the new ones first, so that a
/// crash in between leaves all packs named. Files of others that appear meanwhile stay as they are.
pub(crate) fn take_out(vault: &Vault, leaving: &HashSet<Id>) -> Result<(), VaultError> {
    let mut replaced: Vec<String> = Vec::new();
    let mut small: Vec<(String, Vec<IndexedPack>)> = Vec::new();
    let mut seen: HashSet<Id> = HashSet::new();
    let mut staying: Vec<IndexedPack> = Vec::new();
    let mut stay = |packs: Vec<IndexedPack>| {
        staying.extend(packs.into_iter().filter(|pack| !leaving.contains(&pack.id) && seen.insert(pack.id)));
    };
    for name in names(vault)? {
        let path = format!("index/{name}");
        let file = read_index(vault.store(), vault.key(), &name)?
            .map_err(|problem| VaultError::Damaged { what: format!("index file `{path}`"), problem })?;
        // What rustic has marked is ours to remove from here on: it must not look for it.
        if !file.packs_to_delete.is_empty() || file.packs.iter().any(|pack| leaving.contains(&pack.id)) {
            stay(file.packs);
            replaced.push(path);
        } else if file.packs.iter().map(|pack| pack.blobs.len()).sum::<usize>() < BLOBS_FEW {
            small.push((path, file.packs));
        }
    }
    if replaced.is_empty() {
        return Ok(());
    }
    if small.len() >= SMALL_FILES {
        for (path, packs) in small {
            stay(packs);
            replaced.push(path);
        }
    }
    write(vault.store(), vault.key(), vault.surroundings(), staying)?;
    for path in replaced {
        vault.store().delete(&path).map_err(|error| error.when("remove an index that was replaced"))?;
    }
    vault.store().barrier().map_err(|error| error.when("remove indexes that were replaced"))
}
