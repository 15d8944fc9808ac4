//! The database on disk.
//!
//! What this file knows of sled 0.34.7, and why it does what it does:
//!
//! * `flush()` ends in `sync_file_range`, which reaches neither the file's size nor the disk's cache: `fdatasync` follows
//!   on a descriptor of our own.
//! * sled never syncs `conf`, its snapshots or its directory: [`SledDb::sync_files`] does after every open.
//! * Segments are collected by the background flush only, so it stays on.
//! * A closed database keeps its file, and the lock on it, until its last I/O thread is through: [`open_waiting`].
//! * It panics on some damage: every call goes through [`guarded`].

use std::any::Any;
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

use sled::transaction::{ConflictableTransactionError, TransactionError, Transactional, TransactionalTree};

use super::mark::Mark;
use super::{Backend, Direction, KeyRange, Visitor, Writes};
use crate::error::BackendError;

/// sled's background flush, which also collects its garbage.
const FLUSH_EVERY_MS: u64 = 500;

/// How long the lock on the data file is waited for. Its holder is an earlier handle of this process that is being closed:
/// other processes are kept out by the lock file beside the directory.
const LOCK_WAIT: Duration = Duration::from_secs(10);
const LOCK_GLANCE: Duration = Duration::from_millis(10);

/// An open database.
pub(crate) struct SledDb {
    db: sled::Db,
    data: File,
    mark: Mark,
    trees: BTreeMap<String, sled::Tree>,
}

impl std::fmt::Debug for SledDb {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // sled's own `Debug` walks every row.
        f.debug_struct("SledDb").field("trees", &self.trees.keys()).finish_non_exhaustive()
    }
}

/// Runs a call into sled; its panics become errors.
fn guarded<T>(step: &'static str, call: impl FnOnce() -> sled::Result<T>) -> Result<T, BackendError> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(source)) => Err(BackendError::Database { step, source }),
        Err(panic) => Err(BackendError::Panicked { step, message: panic_message(panic.as_ref()) }),
    }
}

/// The text of a panic.
pub(crate) fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".to_owned())
}

fn io_error(step: &'static str) -> impl FnOnce(io::Error) -> BackendError {
    move |source| BackendError::Io { step, source }
}

/// Whether somebody else has the data file. sled has no error of its own for this; the text is that of its
/// `Config::open`.
pub(crate) fn is_locked(error: &BackendError) -> bool {
    matches!(error, BackendError::Database { source: sled::Error::Io(source), .. }
        if source.to_string().contains("could not acquire lock"))
}

/// Opens the database as soon as an earlier handle has let go of it.
fn open_waiting(dir: &Path, cache_bytes: u64) -> Result<sled::Db, BackendError> {
    let begun = Instant::now();
    loop {
        let opened = guarded("open", || {
            sled::Config::new().path(dir).cache_capacity(cache_bytes).flush_every_ms(Some(FLUSH_EVERY_MS)).open()
        });
        match opened {
            Err(error) if is_locked(&error) && begun.elapsed() < LOCK_WAIT => std::thread::sleep(LOCK_GLANCE),
            opened => return opened,
        }
    }
}

impl SledDb {
    /// Opens what is there, or makes it.
    pub(crate) fn open(dir: &Path, cache_bytes: u64) -> Result<Self, BackendError> {
        let db = open_waiting(dir, cache_bytes)?;
        let mut trees = BTreeMap::new();
        for name in guarded("list its trees", || Ok(db.tree_names()))? {
            let name = String::from_utf8_lossy(&name).into_owned();
            if name != "__sled__default" {
                let tree = guarded("open a tree", || db.open_tree(&name))?;
                trees.insert(name, tree);
            }
        }
        let data = File::open(dir.join("db")).map_err(io_error("open the data file"))?;
        let mark = Mark::open(dir).map_err(io_error("open the mark of acknowledged commits"))?;
        let mut store = Self { db, data, mark, trees };
        store.flush()?;
        Self::sync_files(dir).map_err(io_error("sync the files of the database"))?;
        Ok(store)
    }

    /// Syncs every file of the directory, the directory and its parent.
    pub(crate) fn sync_files(dir: &Path) -> io::Result<()> {
        for entry in std::fs::read_dir(dir)? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                match File::open(entry.path()) {
                    Ok(file) => file.sync_all()?,
                    // A snapshot that was replaced meanwhile.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => return Err(error),
                }
            }
        }
        File::open(dir)?.sync_all()
    }

    /// Writes the mark anew, for a directory whose rows were just checked.
    pub(crate) fn remember(&self, number: u64) -> Result<(), BackendError> {
        self.mark.reset(number).map_err(io_error("write the mark of acknowledged commits"))
    }

    fn flush(&mut self) -> Result<(), BackendError> {
        guarded("flush its log", || self.db.flush())?;
        self.data.sync_data().map_err(io_error("sync the data file"))
    }

    fn tree(&mut self, name: &str) -> Result<sled::Tree, BackendError> {
        if let Some(tree) = self.trees.get(name) {
            return Ok(tree.clone());
        }
        let tree = guarded("make a tree", || self.db.open_tree(name))?;
        self.trees.insert(name.to_owned(), tree.clone());
        Ok(tree)
    }
}

impl Backend for SledDb {
    fn get(&self, tree: &str, key: &[u8]) -> Result<Option<Vec<u8>>, BackendError> {
        let Some(tree) = self.trees.get(tree) else { return Ok(None) };
        guarded("read a row", || tree.get(key)).map(|value| value.map(|value| value.to_vec()))
    }

    fn visit(
        &self,
        tree: &str,
        range: KeyRange<'_>,
        direction: Direction,
        visitor: Visitor<'_>,
    ) -> Result<(), BackendError> {
        let Some(tree) = self.trees.get(tree) else { return Ok(()) };
        let mut rows = tree.range::<&[u8], _>(range);
        loop {
            let next = guarded("read rows", || match direction {
                Direction::Forward => rows.next().transpose(),
                Direction::Backward => rows.next_back().transpose(),
            })?;
            // After an error sled's iterator repeats it for ever: the `?` above is what ends the loop.
            let Some((key, value)) = next else { return Ok(()) };
            if visitor(&key, &value).is_break() {
                return Ok(());
            }
        }
    }

    fn trees(&self) -> Result<Vec<String>, BackendError> {
        Ok(self.trees.keys().cloned().collect())
    }

    fn commit(&mut self, writes: &Writes) -> Result<(), BackendError> {
        let mut trees = Vec::with_capacity(writes.len());
        let mut batches = Vec::with_capacity(writes.len());
        for (name, rows) in writes {
            let mut batch = sled::Batch::default();
            for (key, value) in rows {
                match value {
                    Some(value) => batch.insert(key.as_slice(), value.as_slice()),
                    None => batch.remove(key.as_slice()),
                }
            }
            trees.push(self.tree(name)?);
            batches.push(batch);
        }
        guarded("commit a transaction", || {
            let committed = trees.as_slice().transaction(|views: &Vec<TransactionalTree>| {
                for (view, batch) in views.iter().zip(&batches) {
                    view.apply_batch(batch)?;
                }
                Ok::<_, ConflictableTransactionError<std::convert::Infallible>>(())
            });
            committed.map_err(|error| match error {
                TransactionError::Storage(error) => error,
                TransactionError::Abort(never) => match never {},
            })
        })
    }

    fn barrier(&mut self, number: u64) -> Result<(), BackendError> {
        self.flush()?;
        self.mark.set(number).map_err(io_error("write the mark of acknowledged commits"))
    }

    fn size(&self) -> Result<u64, BackendError> {
        guarded("measure its size", || self.db.size_on_disk())
    }
}
