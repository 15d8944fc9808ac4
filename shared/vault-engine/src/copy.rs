//! Copies a snapshot into another vault.

use std::collections::HashSet;
use std::sync::Arc;

use driver_api::{Control, ReadError, SnapshotReader};
use job_model::Progress;
use vault_format::{BlobKind, Id, NodeKind, OpenedBlob};

use crate::error::chain;
use crate::ranges::{Wanted, read_all};
use crate::vault::RECOVERY_POINT_TAG;
use crate::{DamageMet, Reader, Vault, VaultError, WriteStats, Writer};

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
        && let Some(earlier) = request.destination.find_snapshot_by_tag(tag)?
    {
        if earlier.tree != request.expected_tree {
            return Err(differs(earlier.id, request.expected_tree, earlier.tree));
        }
        return Ok(Copied { snapshot_id: earlier.id, already_there: true, stats: WriteStats::default(), damage: None });
    }
    let writer = request.destination.writer(request.control)?;
    let missing = find_missing(&reader, &writer, request.control)?;
    let bytes_total = missing.iter().map(|wanted| u64::from(wanted.location.blob.plain_length())).sum();
    let items_total = missing.len() as u64;
    request.control.advance(Progress {
        bytes_total: Some(bytes_total),
        items_total: Some(items_total),
        ..Progress::default()
    });
    let index = Arc::clone(reader.index());
    let transfer = |same: &[Wanted<()>], opened: &OpenedBlob<'_>| {
        let blob = same[0].location.blob;
        writer.store_encoded(blob.kind, blob.id, opened.stored, opened.raw_length, opened.plaintext.len())?;
        request.control.advance(Progress {
            bytes_done: opened.plaintext.len() as u64,
            bytes_read: opened.stored.len() as u64,
            items_done: 1,
            ..Progress::default()
        });
        Ok(())
    };
    read_all(request.source, &index, missing, request.parallelism.max(1), request.control, &transfer)
        .map_err(|error| from_read(error, request.snapshot_id))?;
    snapshot.parent = None;
    snapshot.original.get_or_insert(request.snapshot_id);
    snapshot.tags.clone_from(&request.tags);
    let (snapshot_id, stats, damage) = writer.commit_copy(&snapshot)?;
    Ok(Copied { snapshot_id, already_there: false, stats, damage })
}

/// Walks all trees of the snapshot, verifying them, and collects what the destination lacks.
fn find_missing(
    reader: &Reader<'_>,
    writer: &Writer<'_>,
    control: &dyn Control,
) -> Result<Vec<Wanted<()>>, VaultError> {
    let mut seen: HashSet<(BlobKind, Id)> = HashSet::new();
    let mut wanted = Vec::new();
    let mut open = vec![reader.root()];
    let mut want = |kind, id: Id| -> Result<bool, VaultError> {
        if !seen.insert((kind, id)) {
            return Ok(false);
        }
        if !writer.has(kind, &id) {
            let location = reader.index().find(kind, &id).next();
            let location = location.ok_or_else(|| from_read(ReadError::Missing { id }, id))?;
            wanted.push(Wanted { location, note: () });
        }
        Ok(true)
    };
    while let Some(id) = open.pop() {
        if control.is_stopped() {
            return Err(VaultError::Stopped);
        }
        if !want(BlobKind::Tree, id)? {
            continue;
        }
        for node in reader.tree(&id).map_err(|error| from_read(error, id))?.nodes {
            match node.kind {
                NodeKind::Dir { subtree } => open.push(subtree),
                NodeKind::File { content, .. } => {
                    for blob in content {
                        want(BlobKind::Data, blob)?;
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

/// Damage of the source in the vault's own words.
fn from_read(error: ReadError, subject: Id) -> VaultError {
    match error {
        ReadError::Stopped => VaultError::Stopped,
        ReadError::Damaged { what, problem } => VaultError::Damaged { what, problem },
        ReadError::Vault(source) => match source.downcast::<VaultError>() {
            Ok(vault) => *vault,
            Err(other) => VaultError::Damaged { what: format!("{subject}"), problem: chain(other.as_ref()) },
        },
        other => VaultError::Damaged { what: "the source vault".to_owned(), problem: chain(&other) },
    }
}
