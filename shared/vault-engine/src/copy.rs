//! Copies a snapshot into another vault.

use std::collections::HashSet;
use std::sync::Arc;

use driver_api::{Control, ReadError, SnapshotReader};
use job_model::Progress;
use vault_format::{BlobKind, Id, NodeKind, OpenedBlob, decode_tree};

use crate::error::chain;
use crate::index::Index;
use crate::ranges::{Gaps, Wanted, read_all, read_blob_as};
use crate::vault::RECOVERY_POINT_TAG;
use crate::{DamageMet, Reader, Vault, VaultError, WriteStats, Writer};

/// Of what is fetched for a copy, at most one part in so many lies between what is needed.
const GAPS_SHARE: u64 = 100;

/// What to copy.
pub struct CopyRequest<'a> {
    /// From where.
    pub source: &'a Vault,
    /// What.
    pub snapshot_id: Id,
    /// The root tree it was captured with; another one is refused.
    pub expected_tree: Id,
    /// To where.
    pub destination: &'a Vault,
    /// Tags of the copy instead of those of the source. The tag of [`crate::recovery_point_tag`] must be among them.
    pub tags: Vec<String>,
    /// How many threads to use.
    pub parallelism: usize,
    /// Stop and progress.
    pub control: &'a dyn Control,
}

impl std::fmt::Debug for CopyRequest<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CopyRequest").field("snapshot_id", &self.snapshot_id).finish_non_exhaustive()
    }
}

/// What a copy did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copied {
    /// The snapshot in the destination.
    pub snapshot_id: Id,
    /// Whether an earlier attempt had committed it already.
    pub already_there: bool,
    /// What was transferred.
    pub stats: WriteStats,
    /// Packs of the destination that were missing or damaged, and what it touches; none when none was.
    pub damage: Option<DamageMet>,
}

/// Makes a snapshot exist in another vault. Every blob is decrypted, verified against its id and encrypted under the
/// other vault's key; what is compressed stays as it is. Only what the destination lacks is transferred, so a repeated
/// attempt goes on where the last one was. When a snapshot with the same recovery point's tag and the same tree is there
/// already, that one is the result.
///
/// # Errors
/// [`VaultError::SnapshotDiffers`] when the source is not what was captured, or when the destination has another tree
/// under the same tag; otherwise when either vault fails or the work is to stop. There is no snapshot then.
pub fn copy_snapshot(request: &CopyRequest<'_>) -> Result<Copied, VaultError> {
    let reader = request.source.reader(request.snapshot_id)?;
    let mut snapshot = request.source.read_snapshot(request.snapshot_id)?;
    if snapshot.tree != request.expected_tree {
        return Err(differs(request.snapshot_id, request.expected_tree, snapshot.tree));
    }
    if let Some(tag) = request.tags.iter().find(|tag| tag.starts_with(RECOVERY_POINT_TAG))
        && let Some(earlier) = request.destination.find_whole_snapshot_by_tag(tag, request.control)?
    {
        if earlier.tree != request.expected_tree {
            return Err(differs(earlier.id, request.expected_tree, earlier.tree));
        }
        return Ok(Copied { snapshot_id: earlier.id, already_there: true, stats: WriteStats::default(), damage: None });
    }
    let writer = request.destination.writer(request.control)?;
    let damaged = |error| VaultError::of_read(error, || format!("snapshot {}", request.snapshot_id));
    let found =
        reader.with_index_of_all(|index| Ok((Arc::clone(index), transfer_trees(&reader, index, &writer, request)?)));
    let (index, missing) = found.map_err(damaged)?;
    let trees = writer.stats();
    let bytes_total: u64 = missing.iter().map(|wanted| u64::from(wanted.location.blob.plain_length())).sum();
    let items_total = missing.len() as u64;
    request.control.advance(Progress {
        bytes_total: Some(trees.bytes_new + bytes_total),
        items_total: Some(trees.blobs_new + items_total),
        ..Progress::default()
    });
    let sealed: u64 = missing.iter().map(|wanted| u64::from(wanted.location.blob.length)).sum();
    let gaps = Gaps::AtMost(sealed / GAPS_SHARE);
    let transfer = |same: &[Wanted<()>], opened: &OpenedBlob<'_>| {
        Ok(store(&writer, BlobKind::Data, same[0].location.blob.id, opened, request.control)?)
    };
    read_all(request.source, &index, missing, gaps, request.parallelism.max(1), request.control, &transfer)
        .map_err(damaged)?;
    snapshot.parent = None;
    snapshot.original.get_or_insert(request.snapshot_id);
    snapshot.tags.clone_from(&request.tags);
    let (snapshot_id, stats, damage) = writer.commit_copy(&snapshot)?;
    Ok(Copied { snapshot_id, already_there: false, stats, damage })
}

/// Stores a blob of the source under the destination's key.
fn store(
    writer: &Writer<'_>,
    kind: BlobKind,
    id: Id,
    opened: &OpenedBlob<'_>,
    control: &dyn Control,
) -> Result<(), VaultError> {
    writer.store_encoded(kind, id, opened.stored, opened.raw_length, opened.plaintext.len())?;
    control.advance(Progress {
        bytes_done: opened.plaintext.len() as u64,
        bytes_read: opened.stored.len() as u64,
        items_done: 1,
        ..Progress::default()
    });
    Ok(())
}

/// Walks all trees of the snapshot, verifying them; stores those that the destination lacks, so that none is fetched twice,
/// and collects the content that it lacks.
fn transfer_trees(
    reader: &Reader<'_>,
    index: &Index,
    writer: &Writer<'_>,
    request: &CopyRequest<'_>,
) -> Result<Vec<Wanted<()>>, ReadError> {
    let mut seen: HashSet<(BlobKind, Id)> = HashSet::new();
    let mut wanted = Vec::new();
    let mut open = vec![reader.root()];
    while let Some(id) = open.pop() {
        if request.control.is_stopped() {
            return Err(ReadError::Stopped);
        }
        if !seen.insert((BlobKind::Tree, id)) {
            continue;
        }
        let is_missing = !writer.has(BlobKind::Tree, &id);
        let taken = read_blob_as(request.source, index, BlobKind::Tree, &id, |opened| {
            if is_missing {
                store(writer, BlobKind::Tree, id, opened, request.control)?;
            }
            let damaged = |error| ReadError::Damaged { what: format!("tree {id}"), problem: chain(&error) };
            decode_tree(opened.plaintext).map_err(damaged)
        });
        for node in taken??.nodes {
            match node.kind {
                NodeKind::Dir { subtree } => open.push(subtree),
                NodeKind::File { content, .. } => {
                    for blob in content {
                        if seen.insert((BlobKind::Data, blob)) && !writer.has(BlobKind::Data, &blob) {
                            let location = index.find(BlobKind::Data, &blob).next();
                            let location = location.ok_or(ReadError::Missing { id: blob })?;
                            wanted.push(Wanted { location, note: () });
                        }
                    }
                }
                _ => {}
            }
        }
    }
    Ok(wanted)
}

fn differs(id: Id, expected: Id, found: Id) -> VaultError {
    VaultError::SnapshotDiffers { id, expected, found }
}
