//! Which blob lies where: all index files of a vault in 48 bytes a blob, sorted by id, and one for [`Buckets`].

mod buckets;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use parking_lot::Mutex;
use vault_format::{
    BlobKind, Id, IndexFile, IndexedPack, MasterKey, PACK_TRAILER_BYTES, PackedBlob, decode_pack_header,
    decode_unpacked, pack_file_length, pack_header_length,
};

use self::buckets::{Buckets, head};
use crate::store::{Store, StoreError};
use crate::{DamagedFile, VaultError};

/// Longest index file that is read. restic stops at 8 MiB; a foreign tool may not.
const INDEX_BYTES_MAX: u64 = 128 << 20;
/// How many index files are read at once.
const THREADS: usize = 4;
/// In [`Entry::pack`]: the blob is a tree.
const TREE_BIT: u32 = 1 << 31;

/// One blob in one pack. 48 bytes.
#[derive(Clone, Copy)]
struct Entry {
    id: Id,
    /// Number of the pack, and [`TREE_BIT`].
    pack: u32,
    offset: u32,
    length: u32,
    /// Length of the plaintext, 0 where it is not compressed.
    raw_length: u32,
}

/// Where a blob lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Location {
    /// Number of its pack in the index.
    pub(crate) pack: u32,
    /// Where in the pack.
    pub(crate) blob: PackedBlob,
}

/// A pack that index files name.
pub(crate) struct KnownPack {
    pub(crate) id: Id,
    /// Length that the file must have, by the blobs in it.
    pub(crate) length: u64,
    /// Its blobs are in no readable index file; its own header was read instead.
    pub(crate) recovered: bool,
}

/// See the module.
#[derive(Default)]
pub(crate) struct Index {
    entries: Vec<Entry>,
    buckets: Buckets,
    packs: Vec<KnownPack>,
    /// Names of the index files it was made of, damaged ones included.
    files: BTreeSet<String>,
    damaged: Vec<DamagedFile>,
}

impl Index {
    /// Names of the index files it was made of.
    pub(crate) const fn files(&self) -> &BTreeSet<String> {
        &self.files
    }

    /// Index files that could not be used.
    pub(crate) fn damaged(&self) -> &[DamagedFile] {
        &self.damaged
    }

    /// All packs, by their number.
    pub(crate) fn packs(&self) -> &[KnownPack] {
        &self.packs
    }

    /// The pack of a location.
    pub(crate) fn pack(&self, number: u32) -> &KnownPack {
        &self.packs[number as usize]
    }

    /// All places a blob is at.
    pub(crate) fn find(&self, kind: BlobKind, id: &Id) -> impl Iterator<Item = Location> + '_ {
        let bucket = &self.entries[self.buckets.range(id)];
        let start = bucket.partition_point(|entry| entry.id < *id);
        let id = *id;
        bucket[start..]
            .iter()
            .take_while(move |entry| entry.id == id)
            .map(Entry::location)
            .filter(move |location| location.blob.kind == kind)
    }

    /// Blobs by pack number, in the order they lie in, for a check: the index turned round.
    pub(crate) fn blobs_by_pack(&self) -> HashMap<u32, Vec<PackedBlob>> {
        let mut by_pack: HashMap<u32, Vec<PackedBlob>> = HashMap::new();
        for location in self.entries.iter().map(Entry::location) {
            by_pack.entry(location.pack).or_default().push(location.blob);
        }
        by_pack.values_mut().for_each(|blobs| blobs.sort_unstable_by_key(|blob| blob.offset));
        by_pack
    }
}

impl Entry {
    fn location(&self) -> Location {
        let kind = if self.pack & TREE_BIT == 0 { BlobKind::Data } else { BlobKind::Tree };
        let raw_length = (self.raw_length != 0).then_some(self.raw_length);
        let blob = PackedBlob { kind, id: self.id, offset: self.offset, length: self.length, raw_length };
        Location { pack: self.pack & !TREE_BIT, blob }
    }
}

/// An index while its files are read; see [`crate::Vault::load_index`].
#[derive(Default)]
pub(crate) struct Loading {
    building: Building,
    /// Files that were looked at.
    files: BTreeSet<String>,
    /// Names of those that could not be used, and why.
    damaged: BTreeMap<String, String>,
}

impl Loading {
    /// Reads those of the files that it has not looked at.
    pub(crate) fn read(
        &mut self,
        store: &dyn Store,
        key: &MasterKey,
        files: &BTreeSet<String>,
    ) -> Result<(), VaultError> {
        let names: Vec<String> = files.difference(&self.files).cloned().collect();
        let next = AtomicUsize::new(0);
        let reading = Mutex::new((&mut self.building, &mut self.damaged));
        let failure = Mutex::new(None);
        thread::scope(|scope| {
            for _ in 0..THREADS.min(names.len()) {
                scope.spawn(|| {
                    while let Some(name) = names.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let read = match read_index(store, key, name) {
                            Ok(read) => read,
                            Err(error) => {
                                failure.lock().get_or_insert(error);
                                return;
                            }
                        };
                        let (building, damaged) = &mut *reading.lock();
                        match read {
                            Ok(file) => file.packs.into_iter().for_each(|pack| building.add(&pack, false)),
                            Err(problem) => {
                                damaged.insert(name.clone(), problem);
                            }
                        }
                    }
                });
            }
        });
        if let Some(error) = failure.into_inner() {
            return Err(error);
        }
        self.files.extend(names);
        Ok(())
    }

    /// Names of the files that could not be used.
    pub(crate) fn damaged_files(&self) -> impl Iterator<Item = &str> {
        self.damaged.keys().map(String::as_str)
    }

    /// Takes those for replaced that could not be used and are not there any more. Whether there were any.
    pub(crate) fn forget_those_that_went(&mut self, there: &BTreeSet<String>) -> bool {
        let before = self.damaged.len();
        self.damaged.retain(|name, _| there.contains(name) || !self.files.remove(name));
        self.damaged.len() < before
    }

    /// The index of what was read. Packs that only damaged files name are found by reading the packs' own headers.
    pub(crate) fn finish(self, store: &dyn Store, key: &MasterKey) -> Result<Index, VaultError> {
        let Self { mut building, files, damaged } = self;
        let mut damaged: Vec<DamagedFile> =
            damaged.into_iter().map(|(name, problem)| DamagedFile { path: format!("index/{name}"), problem }).collect();
        if !damaged.is_empty() {
            damaged.extend(building.recover(store, key)?);
        }
        let Building { mut entries, packs, .. } = building;
        // Nearly all pairs differ in their heads, which are compared as numbers.
        let key = |entry: &Entry| (entry.id, entry.pack, entry.offset);
        entries.sort_unstable_by(|a, b| head(&a.id).cmp(&head(&b.id)).then_with(|| key(a).cmp(&key(b))));
        entries.dedup_by_key(|entry| key(entry));
        entries.shrink_to_fit();
        damaged.sort_by(|a, b| a.path.cmp(&b.path));
        let buckets = Buckets::of(entries.iter().map(|entry| &entry.id));
        Ok(Index { entries, buckets, packs, files, damaged })
    }
}

#[derive(Default)]
struct Building {
    entries: Vec<Entry>,
    packs: Vec<KnownPack>,
    numbers: HashMap<Id, u32>,
}

impl Building {
    fn add(&mut self, pack: &IndexedPack, recovered: bool) {
        let number = *self.numbers.entry(pack.id).or_insert_with(|| {
            self.packs.push(KnownPack { id: pack.id, length: 0, recovered });
            self.packs.len() as u32 - 1
        });
        let known = &mut self.packs[number as usize];
        known.length = known.length.max(pack_file_length(&pack.blobs));
        self.entries.extend(pack.blobs.iter().map(|blob| Entry {
            id: blob.id,
            pack: number | if blob.kind == BlobKind::Tree { TREE_BIT } else { 0 },
            offset: blob.offset,
            length: blob.length,
            raw_length: blob.raw_length.unwrap_or(0),
        }));
    }

    /// Reads the headers of all packs that no readable index names; returns those that have none to be read.
    fn recover(&mut self, store: &dyn Store, key: &MasterKey) -> Result<Vec<DamagedFile>, VaultError> {
        let mut damaged = Vec::new();
        let known: HashSet<Id> = self.numbers.keys().copied().collect();
        for file in store.list("data").map_err(|error| error.when("list the packs"))? {
            let Ok(id) = file.name.parse::<Id>() else { continue };
            if known.contains(&id) {
                continue;
            }
            match read_pack_header(store, key, &id, file.size) {
                Ok(blobs) => self.add(&IndexedPack { id, blobs }, true),
                Err(problem) => damaged.push(DamagedFile { path: pack_path(&id), problem }),
            }
        }
        Ok(damaged)
    }
}

/// Path of a pack.
pub(crate) fn pack_path(id: &Id) -> String {
    let name = id.to_hex();
    format!("data/{}/{name}", &name[..2])
}

/// The blobs of a pack by its own header; an error is a sentence.
pub(crate) fn read_pack_header(
    store: &dyn Store,
    key: &MasterKey,
    id: &Id,
    size: u64,
) -> Result<Vec<PackedBlob>, String> {
    let path = pack_path(id);
    let trailer_at = size.checked_sub(PACK_TRAILER_BYTES as u64).ok_or("it is shorter than a pack can be")?;
    let trailer = store.get_range(&path, trailer_at, PACK_TRAILER_BYTES).map_err(|error| error.to_string())?;
    let trailer = trailer.try_into().map_err(|_| "it is shorter than a pack can be")?;
    let length = pack_header_length(trailer, size).map_err(|error| error.to_string())?;
    let mut header = store.get_range(&path, trailer_at - length as u64, length).map_err(|error| error.to_string())?;
    let header = key.open_in_place(&mut header).map_err(|error| format!("its header: {error}"))?;
    decode_pack_header(header, size).map_err(|error| format!("its header: {error}"))
}

/// One index file; the inner error is a sentence about what is wrong with it.
pub(crate) fn read_index(
    store: &dyn Store,
    key: &MasterKey,
    name: &str,
) -> Result<Result<IndexFile, String>, VaultError> {
    let path = format!("index/{name}");
    let sealed = match store.get(&path, INDEX_BYTES_MAX) {
        Ok(sealed) => sealed,
        Err(error @ (StoreError::NotFound { .. } | StoreError::Short { .. } | StoreError::TooLarge { .. })) => {
            return Ok(Err(error.to_string()));
        }
        // Whoever cannot be reached is not damaged.
        Err(error) => return Err(error.when("read the index")),
    };
    let found = Id::of(&sealed);
    if found.to_hex() != name {
        return Ok(Err(format!("its SHA-256 is {found}")));
    }
    let decoded = decode_unpacked(key, sealed).and_then(|json| IndexFile::decode(&json));
    Ok(decoded.map_err(|error| crate::error::chain(&error)))
}
