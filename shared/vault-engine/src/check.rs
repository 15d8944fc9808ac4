//! Looks for damage: files, packs and, where asked to, every blob; and says which snapshots it touches.

mod documents;
mod locked;
mod packs;
mod scrub;
mod trees;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use driver_api::Control;
use job_model::RecoveryPointId;
use vault_format::{BlobKind, Id};

use self::packs::check_packs;
pub use self::scrub::{ScrubOptions, ScrubReport};
use self::trees::TreeWalk;
use crate::index::Index;
use crate::{SnapshotSummary, Vault, VaultError};

/// How thorough a check is.
#[derive(Clone, Copy)]
pub struct CheckOptions<'a> {
    /// Whether every pack is read and every blob verified; without it only files, sizes and trees are.
    pub read_data: bool,
    /// Stop and progress.
    pub control: &'a dyn Control,
}

impl std::fmt::Debug for CheckOptions<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CheckOptions").field("read_data", &self.read_data).finish_non_exhaustive()
    }
}

/// What kind of damage a check found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CheckFindingKind {
    /// An index file cannot be used.
    IndexDamaged,
    /// A snapshot file cannot be used.
    SnapshotDamaged,
    /// A pack in an index is not in the store.
    PackMissing,
    /// A pack is not what its name, its header or its index says.
    PackDamaged,
    /// A blob does not decrypt or is not what its id says.
    BlobDamaged,
    /// A snapshot needs a blob that no readable index has.
    BlobMissing,
    /// A tree cannot be read.
    TreeDamaged,
    /// A key file cannot be used, or is not as it was written.
    KeyDamaged,
    /// What protects recovery points is not as it was written, or what it protects is gone.
    KeepBroken,
    /// A note of a prune or of a scrub cannot be used; the next one replaces it.
    NoteDamaged,
    /// A piece of a stream cannot be used.
    PieceDamaged,
    /// The store does not keep what a protected recovery point needs as it was told to, or refuses to.
    LockShort,
}

/// One thing a check found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckFinding {
    /// What kind.
    pub kind: CheckFindingKind,
    /// The file or blob.
    pub subject: String,
    /// What was expected and what was seen.
    pub message: String,
}

/// What a check found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckReport {
    /// All damage; empty for a sound vault.
    pub findings: Vec<CheckFinding>,
    /// Snapshots that were looked through.
    pub snapshots: u64,
    /// Snapshots that cannot be restored whole.
    pub snapshots_affected: Vec<Id>,
    /// Recovery points that cannot be restored whole, as far as it can still be told which they are.
    pub recovery_points_affected: BTreeSet<RecoveryPointId>,
    /// Packs in the indexes.
    pub packs: u64,
    /// Packs read.
    pub packs_read: u64,
    /// Bytes read from packs.
    pub bytes_read: u64,
    /// Packs in the store that no index names: left by a crash, harmless.
    pub packs_unreferenced: u64,
    /// Packs that a snapshot needs and no index named; they were named again, from their own headers.
    pub packs_named_again: u64,
    /// Files whose lock in the store was set or prolonged, because protected recovery points need them.
    pub files_locked: u64,
}

impl CheckReport {
    /// Whether nothing was found.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.findings.is_empty()
    }
}

/// Blobs that cannot be read, with no whole copy elsewhere.
pub(crate) type LostBlobs = HashSet<(BlobKind, Id)>;

impl CheckReport {
    fn misses_blobs(&self) -> bool {
        self.findings.iter().any(|finding| finding.kind == CheckFindingKind::BlobMissing)
    }

    fn add(&mut self, kind: CheckFindingKind, subject: impl Into<String>, message: impl Into<String>) {
        self.findings.push(CheckFinding { kind, subject: subject.into(), message: message.into() });
    }
}

/// Packs first, so that the walk through the snapshots knows what is lost.
pub(crate) fn run(vault: &Vault, options: &CheckOptions<'_>) -> Result<CheckReport, VaultError> {
    let lock = vault.lock()?;
    let index = vault.load_index()?;
    let reading = Reading { chosen: &|_| options.read_data, done: &|_, _| {}, control: options.control };
    let mut report = look(vault, index, &reading)?;
    locked::renew(vault, &lock, options.control, &mut report)?;
    if options.read_data {
        documents::check_pieces(vault, options.control, &mut report)?;
    }
    Ok(report)
}

/// The snapshots that need something of what is lost.
pub(crate) fn touched_by(
    vault: &Vault,
    index: Arc<Index>,
    lost: &LostBlobs,
    control: &dyn Control,
) -> Result<Vec<SnapshotSummary>, VaultError> {
    let mut walk = TreeWalk::new(vault, index, lost);
    let mut report = CheckReport::default();
    let mut touched = Vec::new();
    for snapshot in vault.snapshots()?.readable {
        if control.is_stopped() {
            return Err(VaultError::Stopped);
        }
        if !walk.is_whole(snapshot.tree, &mut report)? {
            touched.push(snapshot);
        }
    }
    Ok(touched)
}

/// What is missing below a tree, in packs that are there with their length; none when nothing is. Reads the trees only.
pub(crate) fn problem_below(vault: &Vault, tree: Id, control: &dyn Control) -> Result<Option<String>, VaultError> {
    vault.name_what_is_needed(tree, control)?;
    let index = vault.load_index()?;
    let listed = vault.store().list("data").map_err(|error| error.when("list the packs"))?;
    let sizes: HashMap<Id, u64> =
        listed.into_iter().filter_map(|file| Some((file.name.parse().ok()?, file.size))).collect();
    let whole: Vec<bool> = index.packs().iter().map(|pack| sizes.get(&pack.id) == Some(&pack.length)).collect();
    let is_elsewhere = |kind, id: &Id| index.find(kind, id).any(|location| whole[location.pack as usize]);
    let mut lost = LostBlobs::new();
    for (pack, blobs) in index.blobs_by_pack() {
        if !whole[pack as usize] {
            lost.extend(blobs.iter().map(|b| (b.kind, b.id)).filter(|(kind, id)| !is_elsewhere(*kind, id)));
        }
    }
    if control.is_stopped() {
        return Err(VaultError::Stopped);
    }
    let mut report = CheckReport::default();
    if TreeWalk::new(vault, index, &lost).is_whole(tree, &mut report)? {
        return Ok(None);
    }
    let first = report.findings.first().map(|found| format!("{}: {}", found.subject, found.message));
    Ok(Some(first.unwrap_or_else(|| "content that it needs is in no whole pack".to_owned())))
}

/// Which packs are read, and who is told of those that were.
struct Reading<'a> {
    chosen: &'a (dyn Fn(&Id) -> bool + Sync),
    /// Called once for each chosen pack: whether it is sound.
    done: &'a (dyn Fn(&Id, bool) + Sync),
    control: &'a dyn Control,
}

/// Findings about a snapshot that hold at a later look as well; none when all is there by now, or the snapshot is not: it
/// came after the index was read, or was forgotten. Where packs that it needs are in the store and in no index, they are
/// named again: nobody but a prune that had not seen the snapshot has taken them out.
fn later_look(
    vault: &Vault,
    snapshot: &SnapshotSummary,
    lost: &LostBlobs,
    control: &dyn Control,
    packs_named_again: &mut u64,
) -> Result<Option<Vec<CheckFinding>>, VaultError> {
    /// A prune takes packs out in one go, and one that begins now sees the snapshot: one look may be too early for it.
    const LOOKS: u32 = 2;
    let mut last = CheckReport::default();
    for _ in 0..LOOKS {
        let is_there = vault.snapshots()?.readable.iter().any(|other| other.id == snapshot.id);
        if !is_there {
            return Ok(None);
        }
        *packs_named_again += vault.name_what_is_needed(snapshot.tree, control)?.packs;
        last = CheckReport::default();
        if TreeWalk::new(vault, vault.load_index()?, lost).is_whole(snapshot.tree, &mut last)? {
            return Ok(None);
        }
        if !last.misses_blobs() {
            break;
        }
    }
    Ok(Some(last.findings))
}

fn look(vault: &Vault, index: Arc<Index>, reading: &Reading<'_>) -> Result<CheckReport, VaultError> {
    let mut report = CheckReport::default();
    for file in index.damaged() {
        let kind = if file.path.starts_with("index/") {
            CheckFindingKind::IndexDamaged
        } else {
            CheckFindingKind::PackDamaged
        };
        report.add(kind, &file.path, &file.problem);
    }
    let lost = check_packs(vault, &index, reading, &mut report)?;
    let listing = vault.snapshots()?;
    documents::check(vault, &listing, &mut report)?;
    for file in listing.damaged {
        report.snapshots_affected.extend(file.path.rsplit('/').next().and_then(|name| name.parse::<Id>().ok()));
        report.add(CheckFindingKind::SnapshotDamaged, file.path, file.problem);
    }
    let mut walk = TreeWalk::new(vault, index, &lost);
    let mut was_wrong = false;
    let mut told = HashSet::new();
    for snapshot in listing.readable {
        if reading.control.is_stopped() {
            return Err(VaultError::Stopped);
        }
        report.snapshots += 1;
        let mut found = CheckReport::default();
        if walk.is_whole(snapshot.tree, &mut found)? {
            continue;
        }
        // What others do meanwhile looks like damage. The walk remembers what it missed, and says so once.
        if found.misses_blobs() || was_wrong {
            match later_look(vault, &snapshot, &lost, reading.control, &mut report.packs_named_again)? {
                Some(findings) => found.findings = findings,
                None => {
                    was_wrong = true;
                    continue;
                }
            }
        }
        for finding in found.findings {
            if told.insert((format!("{:?}", finding.kind), finding.subject.clone())) {
                report.findings.push(finding);
            }
        }
        report.snapshots_affected.push(snapshot.id);
        report.recovery_points_affected.extend(snapshot.recovery_point());
    }
    Ok(report)
}
