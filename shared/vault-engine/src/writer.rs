//! Writes a snapshot.
//!
//! Hashing, compression and encryption happen on the caller's thread; finished packs go to a few threads that upload
//! them. Order of commit: packs, barrier, index, barrier, snapshot, barrier. Whatever is cut short leaves packs that
//! nobody refers to, or an index of packs that nobody refers to, which the next attempt finds and uses.

mod chunks;
mod known;
mod packer;
mod touched;
mod uploads;

use std::cell::RefCell;
use std::collections::HashSet;
use std::fmt;
use std::io::{self, Read};
use std::sync::atomic::{AtomicU64, Ordering};

use driver_api::{CaptureWriter, Chunking, Control, FileContent, WriteError};
use jiff::{SignedDuration, Timestamp};
use job_model::Progress;
use vault_format::{
    BlobKind, BlobSealer, FormatError, Id, Node, NodeKind, SealedBlob, Snapshot, Tree, encode_tree, encode_unpacked,
};

use self::chunks::{BufferPool, CHUNK_BYTES_MAX};
use self::known::{Claim, KnownBlobs};
use self::packer::Packer;
pub use self::touched::{DamageMet, TouchedSnapshot};
pub(crate) use self::uploads::Own;
use self::uploads::Uploads;
use crate::error::chain;
use crate::locks::Lock;
use crate::vault::snapshot_path;
use crate::{Vault, VaultError};

/// zstd level of content: on two cores nearly twice as fast as level 3 for 7 % more bytes.
const DATA_LEVEL: i32 = 1;
/// zstd level of trees with names and times.
const TREE_LEVEL: i32 = 3;
/// How long half-written files of killed processes are kept: far longer than anybody writes one.
const UNFINISHED_KEPT: SignedDuration = SignedDuration::from_hours(24);

/// What a snapshot is of.
#[derive(Clone, Debug)]
pub struct SnapshotInput {
    /// Its root.
    pub root: Tree,
    /// When it was taken.
    pub time: Timestamp,
    /// Name of the machine; empty for this one.
    pub hostname: String,
    /// What it is of; restic groups by it.
    pub paths: Vec<String>,
    /// Tags, see [`crate::recovery_point_tag`].
    pub tags: Vec<String>,
    /// The snapshot it was compared with.
    pub parent: Option<Id>,
}

/// What was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WriteStats {
    /// Blobs the vault did not have.
    pub blobs_new: u64,
    /// Blobs it had, or that this writer had stored before.
    pub blobs_known: u64,
    /// Plaintext bytes of new blobs.
    pub bytes_new: u64,
    /// Bytes of new blobs as stored, compressed and encrypted.
    pub bytes_stored: u64,
}

/// A snapshot in the vault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// The name of its file.
    pub snapshot_id: Id,
    /// Its root tree.
    pub tree_id: Id,
    /// What was written.
    pub stats: WriteStats,
    /// Packs of the vault that were missing or damaged when the writer began, and what it touches; none when none was.
    pub damage: Option<DamageMet>,
}

/// Takes a capture; see [`CaptureWriter`] for what a driver does with it. Adds `bytes_new` and `bytes_stored` to the
/// progress of its control; what was read and dealt with is the driver's to count. Dropping it without
/// [`Writer::commit`] gives the snapshot up.
pub struct Writer<'a> {
    vault: &'a Vault,
    control: &'a dyn Control,
    known: KnownBlobs,
    packers: [Packer; 2],
    uploads: Uploads,
    buffers: BufferPool,
    counts: Counts,
    /// Last: the lock goes when everything else has ended.
    lock: Lock,
}

#[derive(Default)]
struct Counts {
    blobs_new: AtomicU64,
    blobs_known: AtomicU64,
    bytes_new: AtomicU64,
    bytes_stored: AtomicU64,
}

thread_local! {
    /// For little effort and for more.
    static SEALERS: RefCell<[Option<BlobSealer>; 2]> = const { RefCell::new([None, None]) };
}

/// How hard compression tries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effort {
    Little,
    More,
}

impl Effort {
    const fn of(kind: BlobKind) -> Self {
        match kind {
            BlobKind::Data => Self::Little,
            BlobKind::Tree => Self::More,
        }
    }

    /// Of what is mostly ids, as the directories of a volume are, more effort makes nothing less: they are noise, and that
    /// their digits are hexadecimal is found with little.
    fn of_tree(tree: &Tree, json: &[u8]) -> Self {
        /// Bytes of an id in JSON.
        const ID_BYTES: usize = 67;
        let chunks = |node: &Node| if let NodeKind::File { content, .. } = &node.kind { content.len() } else { 0 };
        let ids: usize = tree.nodes.iter().map(chunks).sum();
        if ids * ID_BYTES > json.len() / 2 { Self::Little } else { Self::More }
    }
}

/// Does something with this thread's sealer for blobs that are worth so much effort.
fn with_sealer<R>(effort: Effort, work: impl FnOnce(&mut BlobSealer) -> R) -> Result<R, FormatError> {
    SEALERS.with_borrow_mut(|sealers| {
        let (slot, level) = match effort {
            Effort::Little => (&mut sealers[0], DATA_LEVEL),
            Effort::More => (&mut sealers[1], TREE_LEVEL),
        };
        let sealer = match slot {
            Some(sealer) => sealer,
            None => slot.insert(BlobSealer::new(level)?),
        };
        Ok(work(sealer))
    })
}

impl<'a> Writer<'a> {
    pub(crate) fn begin(vault: &'a Vault, control: &'a dyn Control) -> Result<Self, VaultError> {
        let lock = vault.lock()?;
        let old = vault.surroundings().now() - UNFINISHED_KEPT;
        if let Err(error) = vault.store().remove_unfinished(old) {
            tracing::warn!(vault = vault.location(), error = chain(&error), "leftovers could not be removed");
        }
        // After the lock, so that no prune takes away what is found here.
        let index = vault.load_index()?;
        let mut known = KnownBlobs::new(vault, index)?;
        // What a scrub found damaged is stored anew while the source has it.
        known.distrust(&vault.damaged_packs()?);
        Ok(Self {
            vault,
            control,
            known,
            packers: [Packer::new(), Packer::new()],
            uploads: Uploads::start(vault)?,
            buffers: BufferPool::default(),
            counts: Counts::default(),
            lock,
        })
    }

    /// Makes the snapshot visible. When this returns, it survives a power cut.
    ///
    /// # Errors
    /// When anything that was written is not in the store, the lock was lost, or the work is to stop; there is no
    /// snapshot then.
    pub fn commit(self, input: SnapshotInput) -> Result<Committed, VaultError> {
        let SnapshotInput { mut root, time, hostname, paths, tags, parent } = input;
        self.go_on()?;
        let json = encode_tree(&mut root).map_err(|source| VaultError::Encode { what: "the root tree", source })?;
        let (tree_id, _) = self.store_blob(BlobKind::Tree, Effort::More, &json)?;
        let surroundings = self.vault.surroundings();
        let snapshot = Snapshot {
            time,
            parent,
            tree: tree_id,
            paths,
            hostname: if hostname.is_empty() { surroundings.hostname.clone() } else { hostname },
            username: surroundings.username.clone(),
            tags,
            original: None,
            program_version: format!("holdfast {}", env!("CARGO_PKG_VERSION")),
        };
        let snapshot_id = self.put_snapshot(&snapshot)?;
        let damage = self.damage_met(snapshot_id);
        Ok(Committed { snapshot_id, tree_id, stats: self.stats(), damage })
    }

    /// Commits a snapshot whose tree is there already.
    pub(crate) fn commit_copy(self, snapshot: &Snapshot) -> Result<(Id, WriteStats, Option<DamageMet>), VaultError> {
        self.go_on()?;
        let id = self.put_snapshot(snapshot)?;
        let damage = self.damage_met(id);
        Ok((id, self.stats(), damage))
    }

    /// Which recovery points it touches that packs are lost. Nothing of it harms the snapshot that is committed.
    fn damage_met(&self, own: Id) -> Option<DamageMet> {
        let lost = self.known.lost()?;
        let packs = lost.packs.clone();
        let stored = |blob: &(BlobKind, Id)| self.known.stored(blob);
        let damage = touched::look(self.vault, self.known.index(), lost, stored, own, self.control);
        let damage = damage.unwrap_or_else(|error| {
            tracing::warn!(
                vault = self.vault.location(),
                error = chain(&error),
                "what the damage touches is not known"
            );
            DamageMet { packs, touched: Vec::new() }
        });
        touched::report(self.vault, &damage);
        Some(damage)
    }

    /// Begins to store blobs anew that lie in packs which shall leave the vault.
    pub(crate) fn begin_repack(
        vault: &'a Vault,
        control: &'a dyn Control,
        leaving: &HashSet<Id>,
    ) -> Result<Self, VaultError> {
        let mut writer = Self::begin(vault, control)?;
        writer.known.leave(leaving);
        Ok(writer)
    }

    /// Ends without a snapshot: what was stored is durable and in the index.
    pub(crate) fn finish_repack(self) -> Result<WriteStats, VaultError> {
        self.go_on()?;
        self.finish_packs()?;
        Ok(self.stats())
    }

    /// What was written so far.
    #[must_use]
    pub fn stats(&self) -> WriteStats {
        WriteStats {
            blobs_new: self.counts.blobs_new.load(Ordering::Relaxed),
            blobs_known: self.counts.blobs_known.load(Ordering::Relaxed),
            bytes_new: self.counts.bytes_new.load(Ordering::Relaxed),
            bytes_stored: self.counts.bytes_stored.load(Ordering::Relaxed),
        }
    }

    /// Whether the vault has this blob in a pack that is known to be whole.
    pub(crate) fn has(&self, kind: BlobKind, id: &Id) -> bool {
        self.known.has(kind, id)
    }

    /// Stores a blob that is compressed already, under this vault's key.
    pub(crate) fn store_encoded(
        &self,
        kind: BlobKind,
        id: Id,
        stored: &[u8],
        raw_length: Option<u32>,
        plain_length: usize,
    ) -> Result<bool, VaultError> {
        self.go_on()?;
        let Some(claim) = self.known.claim(kind, id) else {
            self.counts.blobs_known.fetch_add(1, Ordering::Relaxed);
            return Ok(false);
        };
        let nonce = self.vault.surroundings().random();
        with_sealer(Effort::of(kind), |sealer| {
            let bytes = sealer.seal_stored(self.vault.key(), nonce, stored);
            self.pack(claim, SealedBlob { bytes, raw_length }, plain_length)
        })
        .map_err(encode)??;
        Ok(true)
    }

    fn store_blob(&self, kind: BlobKind, effort: Effort, plaintext: &[u8]) -> Result<(Id, bool), VaultError> {
        self.go_on()?;
        self.store_digested(kind, effort, Id::of(plaintext), plaintext)
    }

    /// The same where the digest is known.
    fn store_digested(
        &self,
        kind: BlobKind,
        effort: Effort,
        id: Id,
        plaintext: &[u8],
    ) -> Result<(Id, bool), VaultError> {
        let Some(claim) = self.known.claim(kind, id) else {
            self.counts.blobs_known.fetch_add(1, Ordering::Relaxed);
            return Ok((id, false));
        };
        let nonce = self.vault.surroundings().random();
        with_sealer(effort, |sealer| {
            let sealed = sealer.seal(self.vault.key(), nonce, plaintext).map_err(encode)?;
            self.pack(claim, sealed, plaintext.len())
        })
        .map_err(encode)??;
        Ok((id, true))
    }

    /// Appends to the open pack of its kind; a full pack goes to be uploaded.
    fn pack(&self, claim: Claim<'_>, sealed: SealedBlob<'_>, plain_length: usize) -> Result<(), VaultError> {
        let (kind, id) = (claim.kind(), claim.id());
        let packer = &self.packers[usize::from(kind == BlobKind::Tree)];
        if let Some(full) = packer.add(kind, id, sealed, || self.uploads.buffer()) {
            self.uploads.send(full)?;
        }
        claim.stored();
        let bytes_new = plain_length as u64;
        let bytes_stored = sealed.bytes.len() as u64;
        self.counts.blobs_new.fetch_add(1, Ordering::Relaxed);
        self.counts.bytes_new.fetch_add(bytes_new, Ordering::Relaxed);
        self.counts.bytes_stored.fetch_add(bytes_stored, Ordering::Relaxed);
        self.control.advance(Progress { bytes_new, bytes_stored, ..Progress::default() });
        Ok(())
    }

    fn go_on(&self) -> Result<(), VaultError> {
        if self.control.is_stopped() {
            return Err(VaultError::Stopped);
        }
        self.uploads.failure()
    }

    /// All packs and their index are in the store and durable when this returns.
    fn finish_packs(&self) -> Result<(), VaultError> {
        if self.known.was_broken_off() {
            return Err(VaultError::WriterFailed {
                problem: "a thread ended before its chunk was stored".to_owned(),
                code: job_model::FailureCode::Internal,
            });
        }
        for packer in &self.packers {
            if let Some(pack) = packer.take() {
                self.uploads.send(pack)?;
            }
        }
        self.uploads.finish()
    }

    fn put_snapshot(&self, snapshot: &Snapshot) -> Result<Id, VaultError> {
        self.finish_packs()?;
        let encode = |source| VaultError::Encode { what: "the snapshot", source };
        let mut snapshot = snapshot.clone();
        snapshot.tags.retain(|tag| !Vault::is_keep_tag(tag));
        snapshot.tags.extend(self.vault.keep_tag()?);
        let json = snapshot.encode().map_err(encode)?;
        let sealed = encode_unpacked(self.vault.key(), self.vault.surroundings().random(), &json).map_err(encode)?;
        let id = Id::of(&sealed);
        self.lock.verify()?;
        self.vault.confirm(self.known.index(), &self.uploads.own(), snapshot.tree)?;
        self.go_on()?;
        let failed = |error: crate::StoreError| error.when("write the snapshot");
        self.vault.store().put(&snapshot_path(id), sealed.into()).map_err(failed)?;
        self.vault.store().settle().map_err(failed)?;
        // A prune that did not see the snapshot has replaced the index before this looks at it.
        if let Err(error) = self.vault.confirm(self.known.index(), &self.uploads.own(), snapshot.tree) {
            self.take_back(id)?;
            return Err(error);
        }
        // What protects it may have been written meanwhile: whoever wrote that either sees the snapshot, or is seen here.
        let own = self.uploads.own().packs.clone();
        match self.vault.retain_snapshot(id, &own, &self.lock, self.control) {
            Ok(()) => Ok(id),
            Err(error @ VaultError::Pruned { .. }) => {
                self.take_back(id)?;
                Err(error)
            }
            // It is whole; the next attempt finds it and has the store keep it.
            Err(error) => Err(error),
        }
    }

    fn take_back(&self, id: Id) -> Result<(), VaultError> {
        let removed = self.vault.store().delete(&snapshot_path(id));
        removed.map(drop).map_err(|error| error.when("take back the snapshot"))
    }
}

fn encode(source: FormatError) -> VaultError {
    VaultError::Encode { what: "a blob", source }
}

fn judge_length(chunk: &[u8]) -> Result<(), WriteError> {
    if (1..=CHUNK_BYTES_MAX).contains(&chunk.len()) {
        return Ok(());
    }
    let problem = format!("a chunk has 1 to {CHUNK_BYTES_MAX} bytes, not {}", chunk.len());
    Err(WriteError::Source(io::Error::new(io::ErrorKind::InvalidInput, problem)))
}

impl CaptureWriter for Writer<'_> {
    fn write_content(&self, chunking: Chunking, source: &mut dyn Read) -> Result<FileContent, WriteError> {
        let mut content = FileContent::default();
        self.buffers.cut(chunking, source, |chunk| {
            let (id, new) = self.store_blob(BlobKind::Data, Effort::Little, chunk)?;
            content.blobs.push(id);
            content.size += chunk.len() as u64;
            content.bytes_new += if new { chunk.len() as u64 } else { 0 };
            Ok(())
        })?;
        Ok(content)
    }

    fn write_chunk(&self, chunk: &[u8]) -> Result<(Id, bool), WriteError> {
        judge_length(chunk)?;
        Ok(self.store_blob(BlobKind::Data, Effort::Little, chunk)?)
    }

    fn write_chunks(&self, chunks: &[&[u8]]) -> Result<Vec<Id>, WriteError> {
        chunks.iter().try_for_each(|chunk| judge_length(chunk))?;
        let ids = Id::of_each(chunks);
        for (id, chunk) in ids.iter().zip(chunks) {
            self.go_on()?;
            self.store_digested(BlobKind::Data, Effort::Little, *id, chunk)?;
        }
        Ok(ids)
    }

    fn write_tree(&self, mut tree: Tree) -> Result<Id, WriteError> {
        let json = encode_tree(&mut tree).map_err(|source| VaultError::Encode { what: "a tree", source })?;
        Ok(self.store_blob(BlobKind::Tree, Effort::of_tree(&tree, &json), &json)?.0)
    }

    fn has_content(&self, blobs: &[Id]) -> bool {
        blobs.iter().all(|id| self.known.has(BlobKind::Data, id))
    }

    fn has_subtrees(&self, trees: &[Id]) -> bool {
        self.known.is_whole() && trees.iter().all(|id| self.known.has(BlobKind::Tree, id))
    }
}

impl fmt::Debug for Writer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer")
            .field("vault", &self.vault.location())
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(chunks: u64) -> Node {
        let content = (0..chunks).map(|number| Id::of(&number.to_le_bytes())).collect();
        Node::unowned(format!("{chunks}"), NodeKind::File { content, size: chunks }, 0o600, Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn what_is_mostly_ids_is_worth_little_effort_as_more_makes_it_no_shorter() {
        for (files, effort) in [(vec![256], Effort::Little), (vec![1, 2, 3], Effort::More), (vec![], Effort::More)] {
            let mut tree = Tree { nodes: files.into_iter().map(file).collect() };
            let json = encode_tree(&mut tree).unwrap();
            assert_eq!(Effort::of_tree(&tree, &json), effort);
            if effort == Effort::Little {
                let stored = |level| BlobSealer::new(level).unwrap().seal(&key(), [0; 16], &json).unwrap().bytes.len();
                assert!(stored(DATA_LEVEL) * 100 <= stored(TREE_LEVEL) * 101);
            }
        }
    }

    fn key() -> vault_format::MasterKey {
        vault_format::MasterKey::from_bytes(zeroize::Zeroizing::new([7; 64]))
    }
}
