//! Locks in the store what protected recovery points need, where the store locks objects: what stands in the vault binds
//! every worker, and this binds whoever has the store's credentials.
//!
//! Content is deduplicated, so a new recovery point consists mostly of packs that were uploaded for older ones. Therefore not
//! the upload locks a pack but the recovery point that needs it: at its commit, before that is acknowledged; when a
//! protection is added, for those that it concerns; and in a pass over all of them, which a check makes. A lock is only ever
//! prolonged. What was set stands in `holdfast/retention`, so that only what is missing is asked for.
//!
//! A recovery point needs its snapshot file, the packs of all its blobs, `config`, the key files and `holdfast/keep`. Index
//! files it does not need: the packs say themselves what they hold, and each prune replaces the index.

mod needs;
mod record;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use driver_api::Control;
use jiff::Timestamp;
use vault_format::Id;

use self::needs::Needs;
pub(crate) use self::record::DIRECTORY as RETENTION;
use self::record::{Locked, Record, Subject};
use crate::error::chain;
use crate::keep::{self, Retention};
use crate::locks::Lock;
use crate::store::ObjectLock;
use crate::vault::snapshot_path;
use crate::{Keep, KeepEntry, SnapshotSummary, StoreError, Vault, VaultError};

/// Files that the store is asked to lock in one go; a work that is to stop stops between two.
const FILES_AT_ONCE: usize = 512;
/// What was set is written down after so many files at the latest.
const FILES_UNRECORDED_MAX: usize = 16 * FILES_AT_ONCE;
/// Files whose locks a check looks at in the store itself.
const SAMPLE: usize = 32;

/// What a pass over protected recovery points did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RetentionReport {
    /// Snapshots that are protected.
    pub snapshots: u64,
    /// Files whose lock was set or prolonged.
    pub files_locked: u64,
    /// Files that the store keeps as long as it should and less strictly, because it lets nobody make a lock stricter.
    pub files_less_strict: u64,
    /// Files whose lock was not as it had been set.
    pub short: Vec<ShortLock>,
    /// The first thing that a protected recovery point needs and that could not be found.
    pub problem: Option<String>,
}

/// A file whose lock somebody has taken away or shortened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShortLock {
    /// Its path in the repository.
    pub path: String,
    /// What had been set and what is there.
    pub problem: String,
}

/// Which recovery points a pass looks at, and how.
pub(crate) struct Pass<'a> {
    /// Packs that are about to leave the vault.
    pub(crate) leaving: &'a HashSet<Id>,
    /// None for all.
    pub(crate) entry: Option<&'a KeepEntry>,
    /// Whether some locks are looked at in the store.
    pub(crate) sample: bool,
    pub(crate) control: &'a dyn Control,
}

/// What came of locking.
#[derive(Default)]
struct Done {
    locked: u64,
    gone: Vec<String>,
}

impl Vault {
    /// Sees to it that the store keeps what protected recovery points need, where it locks objects; asks only for what is
    /// missing. May be repeated, and stopped at any point.
    ///
    /// # Errors
    /// [`VaultError::KeepBroken`] when it cannot be known what is protected; otherwise when the store fails or refuses, or the
    /// work is to stop. What was locked until then stays locked.
    pub fn retain_protected(&self, control: &dyn Control) -> Result<RetentionReport, VaultError> {
        if self.locking()?.is_none() {
            return Ok(RetentionReport::default());
        }
        let lock = self.lock()?;
        self.retain_all(&lock, &Pass { leaving: &HashSet::new(), entry: None, sample: false, control })
    }

    /// What protects recovery points and the store's own lock, where there are both.
    fn locking(&self) -> Result<Option<(Keep, &dyn ObjectLock)>, VaultError> {
        let Some(store_lock) = self.store().object_lock() else { return Ok(None) };
        let is_on = || store_lock.is_on().map_err(|error| error.when("lock what is protected"));
        match self.keep() {
            Ok(keep) if !keep.protects_anything() => Ok(None),
            Ok(keep) => Ok(is_on()?.then_some((keep, store_lock))),
            Err(error @ VaultError::KeepBroken { .. }) => {
                if is_on()? {
                    Err(error)
                } else {
                    Ok(None)
                }
            }
            Err(error) => Err(error),
        }
    }

    /// The same for one snapshot that is there, `own` being packs that its writer has made. Nothing is done where nothing
    /// protects it.
    ///
    /// # Errors
    /// [`VaultError::Pruned`] when something that it needs is gone; otherwise as [`Vault::retain_protected`].
    pub(crate) fn retain_snapshot(
        &self,
        id: Id,
        own: &[Id],
        lock: &Lock,
        control: &dyn Control,
    ) -> Result<(), VaultError> {
        let Some((keep, store_lock)) = self.locking()? else { return Ok(()) };
        let now = self.surroundings().now().min(lock.store_time()?);
        let snapshot = self.snapshot(id)?;
        let written = self.snapshots_written()?;
        let since = written.get(&id).copied().unwrap_or(snapshot.time);
        let Some(wanted) = keep.retention_of(snapshot.recovery_point(), since, now) else { return Ok(()) };
        let mut record = Record::load(self, store_lock.place(), now)?;
        let before = self.like(&snapshot, wanted, &record)?;
        let mut needs = Needs::new(self, &HashSet::new(), None)?;
        needs.take(snapshot.tree, before, wanted, &record, control)?;
        // Also what it healed for others: they are not looked at now.
        needs.take_packs(&own.iter().copied().collect(), wanted);
        if let Some(problem) = needs.problem() {
            return Err(VaultError::Pruned { what: problem.to_owned() });
        }
        let mut files: Vec<(Subject, Retention)> = needs.packs().collect();
        drop(needs);
        files.extend(self.common_files()?.into_iter().map(|path| (Subject::File(path), wanted)));
        // Last: a snapshot that is locked has what it needs.
        files.push((Subject::File(snapshot_path(id)), wanted));
        let done = self.lock_files(store_lock, &mut record, &files, control)?;
        if let Some(path) = done.gone.first() {
            return Err(VaultError::Pruned { what: format!("`{path}`") });
        }
        record.learn_whole(id, wanted);
        record.save(self)?;
        let less_strict = less_strict(&record, &files);
        if less_strict > 0 {
            let vault = self.location();
            tracing::warn!(
                vault,
                files = less_strict,
                "the store makes no lock stricter; they stay in mode GOVERNANCE"
            );
        }
        tracing::debug!(vault = self.location(), snapshot = %id, %wanted, files = done.locked, "locked in the store");
        Ok(())
    }

    /// All that are protected, or all that an entry concerns.
    pub(crate) fn retain_all(&self, lock: &Lock, pass: &Pass<'_>) -> Result<RetentionReport, VaultError> {
        let mut report = RetentionReport::default();
        let Some((keep, store_lock)) = self.locking()? else { return Ok(report) };
        let now = self.surroundings().now().min(lock.store_time()?);
        let written = self.snapshots_written()?;
        let mut wanted: Vec<(Retention, SnapshotSummary)> = Vec::new();
        for snapshot in self.snapshots()?.readable {
            let since = written.get(&snapshot.id).copied().unwrap_or(snapshot.time);
            let point = snapshot.recovery_point();
            let concerned = pass.entry.is_none_or(|entry| entry.concerns(point));
            wanted.extend(keep.retention_of(point, since, now).filter(|_| concerned).map(|kept| (kept, snapshot)));
        }
        let Some(strongest) = wanted.iter().map(|(kept, _)| *kept).reduce(Retention::with) else { return Ok(report) };
        report.snapshots = wanted.len() as u64;
        // Those that are kept for longest first: what they share with others is walked once.
        wanted.sort_unstable_by_key(|(kept, snapshot)| std::cmp::Reverse((*kept, snapshot.id)));
        let mut record = Record::load(self, store_lock.place(), now)?;
        let stored = self.store().list("data").map_err(|error| error.when("list the packs"))?;
        let stored: HashMap<Id, u64> =
            stored.into_iter().filter_map(|file| Some((file.name.parse().ok()?, file.size))).collect();
        let mut needs = Needs::new(self, pass.leaving, Some(&stored))?;
        drop(stored);
        for (kept, snapshot) in &wanted {
            needs.take(snapshot.tree, None, *kept, &record, pass.control)?;
        }
        report.problem = needs.problem().map(str::to_owned);
        let mut files: Vec<(Subject, Retention)> = needs.packs().collect();
        drop(needs);
        files.extend(self.common_files()?.into_iter().map(|path| (Subject::File(path), strongest)));
        files.extend(wanted.iter().map(|(kept, snapshot)| (Subject::File(snapshot_path(snapshot.id)), *kept)));
        let mut untold = None;
        if pass.sample {
            match self.short_locks(store_lock, &record, &files) {
                Ok(short) => report.short = short,
                // What is missing is locked all the same.
                Err(error @ StoreError::LockRefused { .. }) => untold = Some(error.when("look at what is locked")),
                Err(error) => {
                    let (vault, error) = (self.location(), chain(&error));
                    tracing::warn!(vault, error, "the store does not tell what is locked");
                }
            }
            if !report.short.is_empty() {
                record.refute();
            }
        }
        let done = self.lock_files(store_lock, &mut record, &files, pass.control)?;
        if let Some(error) = untold {
            return Err(error);
        }
        report.files_locked = done.locked;
        report.files_less_strict = less_strict(&record, &files);
        // A snapshot may have been forgotten since, and the files of a damaged vault are another matter.
        let gone = done.gone.into_iter().find(|path| !path.starts_with("snapshots/")).map(|path| format!("`{path}`"));
        report.problem = report.problem.or(gone);
        if report.problem.is_none() {
            wanted.iter().for_each(|(kept, snapshot)| record.learn_whole(snapshot.id, *kept));
        }
        record.save(self)?;
        tracing::info!(
            vault = self.location(),
            snapshots = report.snapshots,
            files = report.files_locked,
            "the store keeps what is protected"
        );
        Ok(report)
    }

    /// The root of a snapshot that is much like this one and of which everything is locked so; its parent best of all.
    fn like(&self, snapshot: &SnapshotSummary, wanted: Retention, record: &Record) -> Result<Option<Id>, VaultError> {
        let tree = |id: Id| match self.snapshot(id) {
            Ok(found) => Ok(Some(found)),
            Err(VaultError::SnapshotMissing { .. } | VaultError::Damaged { .. }) => Ok(None),
            Err(error) => Err(error),
        };
        if let Some(parent) = snapshot.parent.filter(|parent| record.is_whole(parent, wanted)) {
            return Ok(tree(parent)?.map(|parent| parent.tree));
        }
        let mut alike: Option<SnapshotSummary> = None;
        for (id, _) in record.whole().filter(|(id, kept)| **id != snapshot.id && kept.covers(&wanted)) {
            let Some(found) = tree(*id)? else { continue };
            let is_alike = found.paths == snapshot.paths && found.hostname == snapshot.hostname;
            if is_alike && alike.as_ref().is_none_or(|best| best.time < found.time) {
                alike = Some(found);
            }
        }
        Ok(alike.map(|snapshot| snapshot.tree))
    }

    /// When each snapshot was written, by the store's clock: a clock of a worker that is ahead must lock nothing for years
    /// that nobody can take back.
    fn snapshots_written(&self) -> Result<HashMap<Id, Timestamp>, VaultError> {
        let files = self.store().list("snapshots").map_err(|error| error.when("list the snapshots"))?;
        let known = files.into_iter().filter(|file| file.modified != Timestamp::MAX);
        Ok(known.filter_map(|file| Some((file.name.parse().ok()?, file.modified))).collect())
    }

    /// What every recovery point needs.
    fn common_files(&self) -> Result<Vec<String>, VaultError> {
        let mut paths = vec!["config".to_owned()];
        for directory in ["keys", keep::DIRECTORY] {
            let files = self.store().list(directory).map_err(|error| error.when(format!("list `{directory}`")))?;
            paths.extend(files.into_iter().map(|file| format!("{directory}/{}", file.name)));
        }
        Ok(paths)
    }

    /// Locks what is not locked so yet, in the order given as far as it is locked alike, and writes down what was set.
    fn lock_files(
        &self,
        store_lock: &dyn ObjectLock,
        record: &mut Record,
        files: &[(Subject, Retention)],
        control: &dyn Control,
    ) -> Result<Done, VaultError> {
        let mut alike: BTreeMap<Retention, Vec<Subject>> = BTreeMap::new();
        for (subject, wanted) in files {
            if let Some(missing) = record.missing(subject, *wanted) {
                alike.entry(missing).or_default().push(subject.clone());
            }
        }
        let mut done = Done::default();
        let result = lock_alike(store_lock, self, record, &alike, control, &mut done);
        // What was set counts, whatever came then.
        let saved = record.save(self);
        result.and(saved).map(|()| done)
    }

    /// Looks at some of the locks that are said to be there.
    fn short_locks(
        &self,
        store_lock: &dyn ObjectLock,
        record: &Record,
        files: &[(Subject, Retention)],
    ) -> Result<Vec<ShortLock>, StoreError> {
        let known: Vec<(&Subject, Retention)> =
            files.iter().filter_map(|(subject, _)| Some((subject, record.known(subject)?))).collect();
        // Each time others, and all of them where there are few.
        let draw = || u64::from_le_bytes(self.surroundings().random()) as usize % known.len();
        let chosen: BTreeSet<usize> =
            if known.len() <= SAMPLE { (0..known.len()).collect() } else { (0..SAMPLE).map(|_| draw()).collect() };
        let mut short = Vec::new();
        for (subject, recorded) in chosen.into_iter().map(|number| known[number]) {
            let path = subject.path();
            let found = store_lock.retention(&path)?;
            if found.is_some_and(|found| found.covers(&recorded)) {
                continue;
            }
            // What has gone since, or long ago, is another matter.
            if let (None, Err(StoreError::NotFound { .. })) = (found, self.store().get_range(&path, 0, 1)) {
                continue;
            }
            let found = found.map_or_else(|| "it is not locked".to_owned(), |found| format!("it is locked {found}"));
            short.push(ShortLock { path, problem: format!("{found}, and was locked {recorded}") });
        }
        Ok(short)
    }
}

/// How many are locked less strictly than they should be.
fn less_strict(record: &Record, files: &[(Subject, Retention)]) -> u64 {
    let is_less =
        |(subject, wanted): &&(Subject, Retention)| record.known(subject).is_some_and(|known| known.mode < wanted.mode);
    files.iter().filter(is_less).count() as u64
}

fn lock_alike(
    store_lock: &dyn ObjectLock,
    vault: &Vault,
    record: &mut Record,
    alike: &BTreeMap<Retention, Vec<Subject>>,
    control: &dyn Control,
    done: &mut Done,
) -> Result<(), VaultError> {
    let mut unrecorded = 0;
    for (wanted, subjects) in alike {
        for part in subjects.chunks(FILES_AT_ONCE) {
            if control.is_stopped() {
                return Err(VaultError::Stopped);
            }
            let paths: Vec<String> = part.iter().map(Subject::path).collect();
            let locks = store_lock.retain(&paths, *wanted);
            let locks = locks.map_err(|error: StoreError| error.when("lock what is protected"))?;
            for ((subject, path), lock) in part.iter().zip(paths).zip(locks) {
                let Some(retention) = lock else {
                    done.gone.push(path);
                    continue;
                };
                let mode_stays = retention.mode < wanted.mode;
                done.locked += 1;
                record.learn(subject.clone(), Locked { retention, mode_stays });
            }
            unrecorded += part.len();
            if unrecorded >= FILES_UNRECORDED_MAX {
                record.save(vault)?;
                unrecorded = 0;
            }
        }
    }
    Ok(())
}
