//! What restores and checks are given and give back.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use job_model::{Finding, OverwritePolicy, PhaseTiming};

use crate::{Control, SnapshotReader};

/// What a driver is to restore.
#[derive(Clone, Copy)]
pub struct RestoreRequest<'a> {
    /// The snapshot; its root holds `data` and `holdfast`.
    pub reader: &'a dyn SnapshotReader,
    /// `holdfast/recovery-point.json`, parsed.
    pub description: &'a serde_json::Value,
    /// Where to: a directory for a file tree, a file or block device for a volume. Its parent must exist.
    pub target: &'a Path,
    /// What may be touched there.
    pub overwrite: OverwritePolicy,
    /// Paths below the resource to restore; empty for all.
    pub include: &'a [String],
    /// What the request says beyond that, by AWS's names of restore metadata; each driver says what it understands.
    pub options: &'a BTreeMap<String, String>,
    /// How many threads to use.
    pub parallelism: usize,
    /// Stop and progress.
    pub control: &'a dyn Control,
    /// Tells how long things take; monotonic milliseconds.
    pub elapsed_ms: &'a (dyn Fn() -> u64 + Sync),
}

impl std::fmt::Debug for RestoreRequest<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RestoreRequest")
            .field("target", &self.target)
            .field("overwrite", &self.overwrite)
            .finish_non_exhaustive()
    }
}

/// What a driver restored.
#[derive(Clone, Debug, Default)]
pub struct Restored {
    /// Where the restored thing lies: what a user opens.
    pub location: PathBuf,
    /// What could not be set (owner without root, …) and other things worth knowing.
    pub findings: Vec<Finding>,
    /// Phases: `plan`, `fetch`, `metadata`, `sync`.
    pub phases: Vec<PhaseTiming>,
}

/// What a driver is to check.
#[derive(Clone, Copy)]
pub struct CheckRequest<'a> {
    /// The snapshot as it was captured; its root was compared with the digest taken at capture.
    pub reader: &'a dyn SnapshotReader,
    /// `holdfast/recovery-point.json`, parsed.
    pub description: &'a serde_json::Value,
    /// What was restored.
    pub restored: &'a Path,
    /// What the restore test says beyond that, as in [`RestoreRequest::options`].
    pub options: &'a BTreeMap<String, String>,
    /// Whether the restore ran as root; without it owners and some attributes are not compared.
    pub privileged: bool,
    /// How many threads to use.
    pub parallelism: usize,
    /// Stop and progress.
    pub control: &'a dyn Control,
    /// Tells how long things take; monotonic milliseconds.
    pub elapsed_ms: &'a (dyn Fn() -> u64 + Sync),
}

impl std::fmt::Debug for CheckRequest<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CheckRequest").field("restored", &self.restored).finish_non_exhaustive()
    }
}

/// What a check saw.
#[derive(Clone, Debug, Default)]
pub struct Check {
    /// Everything that is not as it was captured; empty when all is.
    pub findings: Vec<Finding>,
    /// When the first piece of content was read back and found right: where the RTO ends. Milliseconds of the caller's
    /// clock; none when nothing was.
    pub first_correct_read_ms: Option<u64>,
    /// Bytes compared.
    pub bytes: u64,
    /// Entries compared.
    pub items: u64,
    /// Steps of the check with their times, in order; empty where there is only one.
    pub steps: Vec<PhaseTiming>,
    /// Phases between the end of the restore and the first correct read that a recovery has too, where the check had to go
    /// through them: a server's start. Empty where the first correct read needs nothing but the files; what a check does
    /// besides does not count into the RTO then.
    pub rto_phases: Vec<PhaseTiming>,
    /// What was compared with what, as a sentence for the verdict, where it is not every entry with what was captured.
    pub compared: Option<String>,
}
