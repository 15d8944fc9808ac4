//! Removes what no snapshot needs, in three steps, each by its own run or later:
//!
//! 1. **plan**: which packs nobody refers to, which are used in part and worth packing anew, which wait, which may go;
//! 2. **mark**: such packs leave the index, so that nobody who comes later relies on them, and a note in
//!    `holdfast/marks/` says which packs had no index then and who was working;
//! 3. **sweep**: a later run removes the files of packs that have been out of the index since their mark, when the grace
//!    period is over by the store's clock and by ours and everybody who was working then has ended.
//!
//! Nothing is removed in the run that finds it unused, whatever the grace period. What a snapshot needs and no index names
//! is put back first, from the packs' own headers. When it cannot be known what the snapshots need, nothing is done.

mod execute;
mod marks;
mod plan;
mod survey;

use std::fmt;
use std::time::Duration;

use driver_api::Control;

pub(crate) use self::execute::{plan, run};
pub(crate) use self::marks::DIRECTORY as MARKS;
pub use self::plan::{PRUNE_SCHEMA, PlannedPack, PrunePlan, RepackedPack, WaitingPack, WaitingReason};
pub(crate) use self::survey::Survey;

/// How to prune.
#[derive(Clone, Copy)]
pub struct PruneOptions<'a> {
    /// How long a pack stays in the store after it left the index. It protects what keeps no lock: rustic, and readers of
    /// a vault that they cannot write to. Make it longer than the longest of those work.
    pub grace: Duration,
    /// How much of what is kept may be unused, in percent, before packs are packed anew.
    pub max_unused_percent: u8,
    /// Most bytes that are packed anew in one run; none for no limit.
    pub repack_bytes_max: Option<u64>,
    /// Stop and progress.
    pub control: &'a dyn Control,
}

impl<'a> PruneOptions<'a> {
    /// A day of grace, 5 % of unused bytes, no limit.
    #[must_use]
    pub const fn new(control: &'a dyn Control) -> Self {
        Self { grace: Duration::from_secs(24 * 60 * 60), max_unused_percent: 5, repack_bytes_max: None, control }
    }
}

impl fmt::Debug for PruneOptions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PruneOptions")
            .field("grace", &self.grace)
            .field("max_unused_percent", &self.max_unused_percent)
            .field("repack_bytes_max", &self.repack_bytes_max)
            .finish_non_exhaustive()
    }
}

/// What a prune did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PruneReport {
    /// What it set out to do.
    pub plan: PrunePlan,
    /// Index files that were damaged and made anew from the packs' own headers.
    pub indexes_healed: u64,
    /// Packs put back into the index because snapshots need them.
    pub packs_restored: u64,
    /// Packs whose blobs were stored in new packs.
    pub packs_repacked: u64,
    /// Bytes of the blobs that were stored in new packs.
    pub bytes_repacked: u64,
    /// Packs that left the index; a later run removes them.
    pub packs_marked: u64,
    /// Packs removed from the store.
    pub packs_removed: u64,
    /// Bytes freed in the store.
    pub bytes_freed: u64,
    /// Packs that were to be packed anew and could not be read whole: their names.
    pub packs_unreadable: Vec<String>,
}

impl PruneReport {
    /// Whether anything in the vault is other than before.
    #[must_use]
    pub const fn did_anything(&self) -> bool {
        self.indexes_healed + self.packs_restored + self.packs_repacked + self.packs_marked + self.packs_removed > 0
    }
}
