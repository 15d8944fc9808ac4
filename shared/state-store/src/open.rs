//! Opening a directory: new, sound, or damaged and rebuilt.
//!
//! A directory is made beside its place and renamed into it, so that one that exists was finished. A lock file beside it
//! keeps a second process out even while the directory itself is moved.

use std::fs::{File, OpenOptions};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use tokio::sync::watch;

use crate::ImportSummary;
use crate::backend::mark::Mark;
use crate::backend::sled_db::{SledDb, is_locked, panic_message};
use crate::config::{StoreConfig, beside};
use crate::engine::{Engine, causes};
use crate::error::{BackendError, ImportError, OpenError};
use crate::scan::{self, Problem, Verified};
use crate::store::StateStore;

mod build;
mod rebuild;

/// How long opening may take without reading one more row.
const WATCHDOG: Duration = Duration::from_secs(30);

/// An open store, and what had to be done for it.
#[derive(Debug)]
pub struct Opened {
    /// The store.
    pub store: StateStore,
    /// What was found.
    pub recovery: Recovery,
}

/// What was found at the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recovery {
    /// Nothing: the directory was made.
    Created,
    /// Sound state.
    Clean,
    /// Damaged state, or none where exports say that there was some. What the newest good export holds is back; what came
    /// later is lost and has to be found again from the bus and the vaults. The store has a new identity.
    Rebuilt {
        /// Where the damaged directory is now; the directory itself when it was missing.
        quarantined_to: PathBuf,
        /// The export that was taken; `None` when there was no good one and the state begins empty.
        restored_from: Option<PathBuf>,
        /// What was wrong and what is lost.
        reason: String,
    },
}

/// What a look at a directory showed.
enum Look {
    Sound(Box<SledDb>, Verified),
    Damaged(String),
}

pub(crate) fn open(config: &StoreConfig) -> Result<Opened, OpenError> {
    let lock = lock(config)?;
    let made = if holds_state(&config.dir)? { None } else { Some(rebuild::begin(config)?) };
    let (backend, verified, recovery) = match (look(config)?, made) {
        (Look::Sound(backend, verified), made) => (backend, verified, made.unwrap_or(Recovery::Clean)),
        (Look::Damaged(problem), None) => {
            let recovery = rebuild::replace(config, &problem)?;
            let (backend, verified) = sound(config)?;
            (backend, verified, recovery)
        }
        (Look::Damaged(problem), Some(_)) => return Err(unusable(config, problem)),
    };
    let (sender, failed) = watch::channel(None);
    let instance = verified.instance.clone();
    let engine = Engine::new(backend, verified, config.dir.display().to_string(), config.on_fatal, sender);
    let store = StateStore::start(engine, failed, instance, config, lock)
        .map_err(io_error("start the writer thread for", &config.dir))?;
    Ok(Opened { store, recovery })
}

pub(crate) fn import(file: &Path, into: &StoreConfig) -> Result<ImportSummary, ImportError> {
    let failed = |error| ImportError::Open(Box::new(error));
    let _lock = lock(into).map_err(failed)?;
    if holds_state(&into.dir).map_err(failed)? {
        return Err(ImportError::Occupied { dir: into.dir.clone() });
    }
    let summary = build::restored(into, file)?;
    tracing::info!(dir = %into.dir.display(), file = %file.display(), rows = summary.rows, "state imported");
    Ok(summary)
}

fn unusable(config: &StoreConfig, problem: String) -> OpenError {
    OpenError::Unusable { dir: config.dir.clone(), problem }
}

fn io_error(step: &'static str, path: &Path) -> impl FnOnce(io::Error) -> OpenError {
    let path = path.to_owned();
    move |source| OpenError::Io { step, path, source }
}

fn parent(dir: &Path) -> &Path {
    match dir.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Takes the lock file beside the directory; the kernel frees it with the process.
fn lock(config: &StoreConfig) -> Result<File, OpenError> {
    let parent = parent(&config.dir);
    std::fs::create_dir_all(parent).map_err(io_error("create directory", parent))?;
    let path = beside(&config.dir, ".lock");
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(&path);
    let file = file.map_err(io_error("open lock file", &path))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(OpenError::InUse { dir: config.dir.clone() }),
        Err(errno) => Err(io_error("lock", &path)(errno.into())),
    }
}

/// Whether there is a database, sound or not.
fn holds_state(dir: &Path) -> Result<bool, OpenError> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(io_error("read directory", dir)(error)),
    };
    let names: Result<Vec<_>, _> = entries.map(|entry| entry.map(|entry| entry.file_name())).collect();
    let names = names.map_err(io_error("read directory", dir))?;
    let known = |name: &std::ffi::OsString| {
        let name = name.to_string_lossy();
        name == "db" || name == "conf" || name == "acknowledged" || name.starts_with("snap.")
    };
    match names.as_slice() {
        [] => Ok(false),
        names if names.iter().any(known) => Ok(true),
        _ => Err(OpenError::Foreign { dir: dir.to_owned() }),
    }
}

/// A look at what was made a moment ago.
fn sound(config: &StoreConfig) -> Result<(Box<SledDb>, Verified), OpenError> {
    match look(config)? {
        Look::Sound(backend, verified) => Ok((backend, verified)),
        Look::Damaged(problem) => Err(unusable(config, problem)),
    }
}

/// Opens and reads everything, on a thread that may get stuck.
fn look(config: &StoreConfig) -> Result<Look, OpenError> {
    let rows = Arc::new(AtomicU64::new(0));
    let (sender, receiver) = mpsc::channel();
    let scanner = std::thread::Builder::new().name("state-scan".to_owned()).spawn({
        let (config, rows) = (config.clone(), rows.clone());
        move || {
            let looked = catch_unwind(AssertUnwindSafe(|| inspect(&config, &rows)));
            let looked = looked.unwrap_or_else(|panic| Ok(Look::Damaged(panic_message(panic.as_ref()))));
            // Nobody waits any more after the watchdog has spoken.
            let _stalled = sender.send(looked);
        }
    });
    scanner.map_err(io_error("start the scan of", &config.dir))?;
    let mut seen = 0;
    loop {
        match receiver.recv_timeout(WATCHDOG) {
            Ok(looked) => return looked,
            Err(RecvTimeoutError::Timeout) if rows.load(Ordering::Relaxed) > seen => {
                seen = rows.load(Ordering::Relaxed);
                tracing::warn!(dir = %config.dir.display(), rows = seen, "the scan of the state takes long");
            }
            Err(RecvTimeoutError::Timeout) => {
                return Err(OpenError::Stalled { dir: config.dir.clone(), waited: WATCHDOG });
            }
            Err(RecvTimeoutError::Disconnected) => return Ok(Look::Damaged("the scan ended early".to_owned())),
        }
    }
}

fn inspect(config: &StoreConfig, rows: &AtomicU64) -> Result<Look, OpenError> {
    let acknowledged = Mark::read(&config.dir);
    if acknowledged.is_none() {
        tracing::warn!(dir = %config.dir.display(), "the mark of acknowledged commits is missing or damaged; whether the newest are there cannot be told");
    }
    let backend = match SledDb::open(&config.dir, config.cache_bytes) {
        Ok(backend) => backend,
        Err(error) => return judge(config, error),
    };
    let progress = || {
        rows.fetch_add(1, Ordering::Relaxed);
    };
    match scan::verify(&backend, acknowledged, &progress) {
        Ok(verified) => {
            backend.remember(verified.number).map_err(|error| unusable(config, causes(&error)))?;
            Ok(Look::Sound(Box::new(backend), verified))
        }
        Err(Problem::Damage(problem)) => Ok(Look::Damaged(problem)),
        Err(Problem::Format(found)) => Err(OpenError::Format { dir: config.dir.clone(), found, known: scan::FORMAT }),
        Err(Problem::Backend(error)) => judge(config, error),
    }
}

/// Tells damage, for which an export helps, from a disk or a permission that somebody has to mend.
fn judge(config: &StoreConfig, error: BackendError) -> Result<Look, OpenError> {
    use io::ErrorKind::{InvalidData, InvalidInput, NotFound, Other, UnexpectedEof};
    let dir = &config.dir;
    match error {
        BackendError::Io { step, source } => Err(io_error(step, dir)(source)),
        error if is_locked(&error) => Err(OpenError::InUse { dir: dir.clone() }),
        BackendError::Database { source: sled::Error::Io(source), .. }
            if !matches!(source.kind(), InvalidData | InvalidInput | NotFound | Other | UnexpectedEof) =>
        {
            Err(io_error("read the database in", dir)(source))
        }
        damage => Ok(Look::Damaged(causes(&damage))),
    }
}
