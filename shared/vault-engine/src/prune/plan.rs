//! The decision: a pure function from what is there to what shall be done, as a value that a person can read.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use vault_format::Id;

use super::marks::Marked;

/// The newest schema of [`PrunePlan`].
pub const PRUNE_SCHEMA: u32 = 1;

/// What a prune would do, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrunePlan {
    /// Version of this document; see [`PRUNE_SCHEMA`].
    pub schema: u32,
    /// The repository it was made for.
    pub repository_id: String,
    /// When it was made.
    pub made_at: Timestamp,
    /// Snapshots that were looked through.
    pub snapshots: u64,
    /// Packs in the store.
    pub packs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Stored bytes of the blobs that the snapshots need, each once.
    pub bytes_needed: u64,
    /// Packs that snapshots need and no index names. They are put back first; while there are any, nothing else is planned.
    pub restore: Vec<PlannedPack>,
    /// Packs without a blob that a snapshot needs (or with such only as others have too): they leave the index.
    pub unreferenced: Vec<PlannedPack>,
    /// Packs used in part: what is needed goes into new packs, then they leave the index.
    pub repack: Vec<RepackedPack>,
    /// Packs that the index names, the store does not have and no snapshot needs: they leave the index.
    pub forget_lost: Vec<PlannedPack>,
    /// Packs that snapshots need and the store does not have whole. They stay in the index, to be healed.
    pub damaged: Vec<PlannedPack>,
    /// Packs whose grace period is over: they are removed from the store.
    pub remove: Vec<PlannedPack>,
    /// Packs out of the index that stay in the store for now.
    pub waiting: Vec<WaitingPack>,
    /// Unused bytes that stay because packing anew is not worth it, or not allowed in one run.
    pub bytes_tolerated: u64,
    /// Others whose locks are no Holdfast's, as `process on host`. While there are any, nothing leaves the index.
    pub held_up_by: Vec<String>,
}

/// A pack and its length in the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedPack {
    /// Its name.
    pub pack: Id,
    /// Its length in bytes; for a pack that is lost, the one it should have.
    pub bytes: u64,
}

/// A pack that is packed anew.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RepackedPack {
    /// Its name.
    pub pack: Id,
    /// Its length in bytes.
    pub bytes: u64,
    /// How many of them nobody needs.
    pub bytes_unused: u64,
}

/// A pack that could go but for the reason given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaitingPack {
    /// Its name.
    pub pack: Id,
    /// Its length in bytes.
    pub bytes: u64,
    /// Why it stays.
    pub reason: WaitingReason,
}

/// Why a pack out of the index stays in the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "because", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum WaitingReason {
    /// No run has marked it yet; the next one does.
    NotMarked,
    /// Its grace period is not over, by the store's clock or by ours.
    Grace {
        /// When the mark was made, by the store's clock.
        marked_at: Timestamp,
    },
    /// Somebody who worked when it was marked works still.
    HolderWorks {
        /// Their machine.
        hostname: String,
        /// Their process.
        pid: u32,
    },
}

/// A pack that the index names.
#[derive(Clone, Debug)]
pub(super) struct NamedPack {
    pub(super) id: Id,
    /// The length that its blobs make.
    pub(super) length: u64,
    /// The length in the store.
    pub(super) stored: Option<u64>,
    pub(super) blobs: u64,
    /// Those of them that must be kept here.
    pub(super) kept_blobs: u64,
    pub(super) kept_bytes: u64,
}

/// What a decision is made from.
pub(super) struct Situation {
    pub(super) repository_id: String,
    pub(super) snapshots: u64,
    pub(super) named: Vec<NamedPack>,
    /// Packs in the store that no index names.
    pub(super) unnamed: BTreeMap<Id, u64>,
    pub(super) restore: Vec<PlannedPack>,
    pub(super) marked: BTreeMap<Id, Marked>,
    /// Names of the holders of locks.
    pub(super) living: HashSet<String>,
    pub(super) foreign: Vec<String>,
    /// By our clock.
    pub(super) now: Timestamp,
    /// By the store's; it may lag behind by the age of our lock.
    pub(super) store_now: Timestamp,
    pub(super) grace: Duration,
    pub(super) max_unused_percent: u8,
    pub(super) repack_bytes_max: Option<u64>,
}

/// See the module.
pub(super) fn decide(situation: Situation) -> PrunePlan {
    let stored = situation.named.iter().filter_map(|pack| pack.stored);
    let mut plan = PrunePlan {
        schema: PRUNE_SCHEMA,
        repository_id: situation.repository_id.clone(),
        made_at: situation.now,
        snapshots: situation.snapshots,
        packs: stored.clone().count() as u64 + situation.unnamed.len() as u64,
        bytes: stored.sum::<u64>() + situation.unnamed.values().sum::<u64>(),
        bytes_needed: situation.named.iter().map(|pack| pack.kept_bytes).sum(),
        restore: situation.restore.clone(),
        unreferenced: Vec::new(),
        repack: Vec::new(),
        forget_lost: Vec::new(),
        damaged: Vec::new(),
        remove: Vec::new(),
        waiting: Vec::new(),
        bytes_tolerated: 0,
        held_up_by: situation.foreign.clone(),
    };
    if !plan.restore.is_empty() {
        return plan;
    }
    decide_named(&situation, &mut plan);
    for (pack, bytes) in &situation.unnamed {
        let (pack, bytes) = (*pack, *bytes);
        match wait(&situation, situation.marked.get(&pack)) {
            Some(reason) => plan.waiting.push(WaitingPack { pack, bytes, reason }),
            None => plan.remove.push(PlannedPack { pack, bytes }),
        }
    }
    plan
}

fn decide_named(situation: &Situation, plan: &mut PrunePlan) {
    let mut in_part = Vec::new();
    for NamedPack { id, length, stored, blobs, kept_blobs, kept_bytes } in &situation.named {
        let planned = |bytes| PlannedPack { pack: *id, bytes };
        match stored {
            None if *kept_blobs == 0 => plan.forget_lost.push(planned(*length)),
            Some(bytes) if *kept_blobs == 0 => plan.unreferenced.push(planned(*bytes)),
            // It is read from as far as it goes, and never packed anew as if it were whole.
            None => plan.damaged.push(planned(*length)),
            Some(bytes) if bytes != length => plan.damaged.push(planned(*bytes)),
            Some(bytes) if kept_blobs < blobs => {
                in_part.push(RepackedPack {
                    pack: *id,
                    bytes: *bytes,
                    bytes_unused: bytes.saturating_sub(*kept_bytes),
                });
            }
            Some(_) => {}
        }
    }
    // Those first that free most for what must be read; compared without division.
    let share = |pack: &RepackedPack| u128::from(pack.bytes_unused);
    in_part.sort_by(|a, b| {
        (share(b) * u128::from(a.bytes)).cmp(&(share(a) * u128::from(b.bytes))).then(a.pack.cmp(&b.pack))
    });
    let mut unused: u64 = in_part.iter().map(|pack| pack.bytes_unused).sum();
    let tolerated = plan.bytes_needed / 100 * u64::from(situation.max_unused_percent);
    let mut allowance = situation.repack_bytes_max.unwrap_or(u64::MAX);
    for pack in in_part {
        let to_read = pack.bytes - pack.bytes_unused;
        if unused <= tolerated {
            break;
        }
        if to_read <= allowance {
            allowance -= to_read;
            unused -= pack.bytes_unused;
            plan.repack.push(pack);
        }
    }
    plan.bytes_tolerated = unused;
}

/// Why a pack without an index must stay; none when it may go.
fn wait(situation: &Situation, marked: Option<&Marked>) -> Option<WaitingReason> {
    let Some(Marked { modified, written_at, holders }) = marked else { return Some(WaitingReason::NotMarked) };
    let grace = SignedDuration::try_from(situation.grace).unwrap_or(SignedDuration::MAX);
    // One clock that is wrong deletes nothing: both must agree.
    let age = situation.store_now.duration_since(*modified).min(situation.now.duration_since(*written_at));
    if age < grace {
        return Some(WaitingReason::Grace { marked_at: *modified });
    }
    let works = holders.iter().find(|holder| situation.living.contains(&holder.holder))?;
    Some(WaitingReason::HolderWorks { hostname: works.hostname.clone(), pid: works.pid })
}

impl PrunePlan {
    /// Bytes that the run frees at once.
    #[must_use]
    pub fn bytes_removed(&self) -> u64 {
        self.remove.iter().map(|pack| pack.bytes).sum()
    }

    /// Bytes that leave the index in this run and are freed by a later one.
    #[must_use]
    pub fn bytes_marked(&self) -> u64 {
        let unreferenced: u64 = self.unreferenced.iter().map(|pack| pack.bytes).sum();
        unreferenced + self.repack.iter().map(|pack| pack.bytes).sum::<u64>()
    }

    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let not_marked = self.waiting.iter().any(|pack| pack.reason == WaitingReason::NotMarked);
        !not_marked
            && self.restore.is_empty()
            && self.unreferenced.is_empty()
            && self.repack.is_empty()
            && self.forget_lost.is_empty()
            && self.remove.is_empty()
    }
}

impl fmt::Display for PrunePlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} packs with {} bytes; {} snapshots need {} bytes of blobs",
            self.packs, self.bytes, self.snapshots, self.bytes_needed
        )?;
        let mut line = |count: usize, bytes: u64, what: &str| {
            if count == 0 { Ok(()) } else { writeln!(f, "{count} packs, {bytes} bytes: {what}") }
        };
        let total = |packs: &[PlannedPack]| packs.iter().map(|pack| pack.bytes).sum();
        line(
            self.restore.len(),
            total(&self.restore),
            "needed by a snapshot and in no index, put back into the index",
        )?;
        line(self.remove.len(), total(&self.remove), "out of the index for the whole grace period, removed")?;
        line(self.unreferenced.len(), total(&self.unreferenced), "needed by no snapshot, leave the index")?;
        let repacked = self.repack.iter().map(|pack| pack.bytes).sum();
        line(self.repack.len(), repacked, "used in part, packed anew, then leave the index")?;
        line(self.forget_lost.len(), total(&self.forget_lost), "lost and needed by no snapshot, leave the index")?;
        line(self.damaged.len(), total(&self.damaged), "lost or not whole and needed, stay in the index to be healed")?;
        for (what, is_it) in [
            (
                "out of the index, marked by the next run",
                (|reason| *reason == WaitingReason::NotMarked) as fn(&_) -> bool,
            ),
            ("out of the index, wait for the end of the grace period", |reason| {
                matches!(reason, WaitingReason::Grace { .. })
            }),
            ("out of the index, wait for somebody who worked when they were marked", |reason| {
                matches!(reason, WaitingReason::HolderWorks { .. })
            }),
        ] {
            let waiting = || self.waiting.iter().filter(|pack| is_it(&pack.reason));
            line(waiting().count(), waiting().map(|pack| pack.bytes).sum(), what)?;
        }
        if self.bytes_tolerated > 0 {
            writeln!(f, "{} unused bytes stay in packs that are not worth packing anew", self.bytes_tolerated)?;
        }
        if !self.held_up_by.is_empty() {
            writeln!(f, "nothing leaves the index while others than Holdfast work: {}", self.held_up_by.join(", "))?;
        }
        write!(f, "frees {} bytes now and {} after the grace period", self.bytes_removed(), self.bytes_marked())
    }
}

#[cfg(test)]
mod tests;
