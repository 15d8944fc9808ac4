//! restic's locks: a file in `locks/` says that somebody works here. Ours are not exclusive, as backups, copies, restores
//! and prunes go well together; a foreign exclusive one (`restic prune`, `restic forget`) makes us wait outside.
//!
//! Our locks carry a field that restic passes over: a name drawn for the holder, the same in every renewal, by which a
//! prune knows later whether somebody who worked when packs left the index works still.

use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use parking_lot::{Condvar, Mutex};
use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};
use vault_format::{Id, LockFile, LockPurpose, MasterKey, decode_unpacked, encode_unpacked};

use crate::store::{Store, StoreError};
use crate::{Surroundings, VaultError};

/// Age at which restic takes a lock for left behind.
const STALE: Duration = Duration::from_secs(30 * 60);
/// How often a lock is renewed.
const REFRESH: Duration = Duration::from_secs(5 * 60);
/// Without a renewal for so long nothing may be committed: others may soon take the lock for left behind.
const TRUSTED: Duration = Duration::from_secs(25 * 60);
/// Longest lock file that is read.
const LOCK_BYTES_MAX: u64 = 1 << 20;

/// What a lock is held for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    /// Reads or adds; any number of these go together.
    Work,
    /// Takes packs out of the index and removes them; one at a time.
    Prune,
}

impl Operation {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Work => "work",
            Self::Prune => "prune",
        }
    }
}

/// A held lock; removed when dropped.
pub(crate) struct Lock {
    held: Arc<Held>,
    refresher: Option<JoinHandle<()>>,
}

struct Held {
    store: Arc<dyn Store>,
    key: MasterKey,
    surroundings: Surroundings,
    purpose: LockPurpose,
    state: Mutex<State>,
    stop: Condvar,
}

struct State {
    /// Path of the newest lock file.
    path: String,
    renewed: Instant,
    /// Somebody removed it.
    lost: bool,
    ended: bool,
}

impl Lock {
    /// Takes a lock that is not exclusive.
    pub(crate) fn acquire(
        store: &Arc<dyn Store>,
        key: &MasterKey,
        surroundings: &Surroundings,
        operation: Operation,
    ) -> Result<Self, VaultError> {
        let holder = Id::new(surroundings.random()).to_hex();
        let purpose = LockPurpose { holder, operation: operation.as_str().to_owned() };
        // Looked at before the first write, so that whoever may not write is refused for the right reason.
        refuse_if_exclusive(&look(store.as_ref(), key, surroundings, None)?)?;
        let path = write_lock(store.as_ref(), key, surroundings, &purpose)?;
        let state = State { path, renewed: Instant::now(), lost: false, ended: false };
        let held = Held {
            store: Arc::clone(store),
            key: key.clone(),
            surroundings: surroundings.clone(),
            purpose,
            state: Mutex::new(state),
            stop: Condvar::new(),
        };
        let mut lock = Self { held: Arc::new(held), refresher: None };
        // Somebody may have looked before ours was there and gone on; one of the two sees the other now. Dropping ours
        // removes it.
        refuse_if_exclusive(&lock.others()?)?;
        let held = Arc::clone(&lock.held);
        let refresher = thread::Builder::new().name("vault-lock".to_owned()).spawn(move || held.keep());
        lock.refresher = Some(refresher.map_err(|source| {
            StoreError::Io { action: "start a thread for", path: "locks".to_owned(), source }.when("keep the lock")
        })?);
        Ok(lock)
    }

    /// Whether others still respect it: it was renewed in time and nobody has removed it.
    pub(crate) fn verify(&self) -> Result<(), VaultError> {
        let mut state = self.held.state.lock();
        match self.held.store.get(&state.path, LOCK_BYTES_MAX) {
            Err(StoreError::NotFound { .. }) => state.lost = true,
            Err(error) => return Err(error.when("look after the lock")),
            Ok(_) => {}
        }
        if !state.lost && state.renewed.elapsed() < TRUSTED { Ok(()) } else { Err(VaultError::LockLost) }
    }

    /// The store's time when our lock was written or renewed last: it lags behind by some minutes at most.
    pub(crate) fn store_time(&self) -> Result<Timestamp, VaultError> {
        let files = self.held.store.list("locks").map_err(|error| error.when("list the locks"))?;
        let path = self.held.state.lock().path.clone();
        let own = files.into_iter().find(|file| path.ends_with(&file.name));
        own.map(|file| file.modified).filter(|time| *time != Timestamp::MAX).ok_or(VaultError::LockLost)
    }

    /// The locks of all others that live. What the dead left behind is removed, and that is judged by the store's clock
    /// as well as by ours: a machine whose clock is wrong takes nobody's lock away.
    pub(crate) fn others(&self) -> Result<Vec<LockFile>, VaultError> {
        let Held { store, key, surroundings, purpose, state, .. } = self.held.as_ref();
        let own = state.lock().path.clone();
        let living = look(store.as_ref(), key, surroundings, Some(&own))?;
        let ours = |lock: &LockFile| lock.holdfast.as_ref().is_some_and(|other| other.holder == purpose.holder);
        Ok(living.into_iter().filter(|lock| !ours(lock)).collect())
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        self.held.state.lock().ended = true;
        self.held.stop.notify_all();
        if let Some(refresher) = self.refresher.take() {
            // It died only by a panic, which it has reported itself.
            let _ = refresher.join();
        }
        let path = self.held.state.lock().path.clone();
        if let Err(error) = self.held.store.delete(&path) {
            tracing::warn!(path, error = &error as &dyn std::error::Error, "a lock stays behind until it is stale");
        }
    }
}

impl Held {
    fn keep(&self) {
        let mut state = self.state.lock();
        // Asked before each wait: the end may have come before this thread began.
        while !state.ended {
            if !self.stop.wait_for(&mut state, REFRESH).timed_out() {
                continue;
            }
            match write_lock(self.store.as_ref(), &self.key, &self.surroundings, &self.purpose) {
                Ok(path) => {
                    let old = std::mem::replace(&mut state.path, path);
                    state.renewed = Instant::now();
                    match self.store.delete(&old) {
                        Ok(true) => {}
                        Ok(false) => {
                            // While it was away others had every right to work as if we did not.
                            state.lost = true;
                            tracing::error!(path = old, "somebody removed our lock; nothing will be committed");
                        }
                        Err(error) => tracing::warn!(
                            path = old,
                            error = &error as &dyn std::error::Error,
                            "an old lock stays behind"
                        ),
                    }
                }
                Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, "the lock was not renewed"),
            }
        }
    }
}

fn write_lock(
    store: &dyn Store,
    key: &MasterKey,
    surroundings: &Surroundings,
    purpose: &LockPurpose,
) -> Result<String, VaultError> {
    let lock = LockFile {
        time: surroundings.now(),
        exclusive: false,
        hostname: surroundings.hostname.clone(),
        username: surroundings.username.clone(),
        pid: surroundings.pid,
        holdfast: Some(purpose.clone()),
    };
    let encode = |source| VaultError::Encode { what: "a lock", source };
    let json = lock.encode().map_err(encode)?;
    let sealed = encode_unpacked(key, surroundings.random(), &json).map_err(encode)?;
    let path = format!("locks/{}", Id::of(&sealed));
    match store.put(&path, sealed.into()) {
        Ok(()) => Ok(path),
        Err(error) => {
            // It may be there all the same, or half of it; the first error is the one to tell.
            let _ = store.delete(&path);
            Err(error.when("lock the vault"))
        }
    }
}

/// All locks whose holders live. With `own`, a lock that was just written and tells the store's time, the others' leftovers
/// are removed.
fn look(
    store: &dyn Store,
    key: &MasterKey,
    surroundings: &Surroundings,
    own: Option<&str>,
) -> Result<Vec<LockFile>, VaultError> {
    let files = store.list("locks").map_err(|error| error.when("list the locks"))?;
    let path_of = |name: &str| format!("locks/{name}");
    // Our file may be some minutes old, which makes the others look younger.
    let store_now = files.iter().find(|file| own == Some(&path_of(&file.name))).map(|file| file.modified);
    let mut living = Vec::new();
    for file in files {
        let path = path_of(&file.name);
        let sealed = match store.get(&path, LOCK_BYTES_MAX) {
            Ok(sealed) => sealed,
            // Released since it was listed.
            Err(StoreError::NotFound { .. }) => continue,
            Err(error) => return Err(error.when("read a lock")),
        };
        let decoded = decode_unpacked(key, sealed).and_then(|json| LockFile::decode(&json));
        let lock = match (decoded, store_now) {
            (Ok(lock), _) => lock,
            // Nobody renews it, as whoever wrote it half has given up or has another by now.
            (Err(_), Some(now)) if is_old(now.duration_since(file.modified)) => {
                tracing::warn!(path, "removing a lock that cannot be read and is old");
                store.delete(&path).map_err(|error| error.when("remove a stale lock"))?;
                continue;
            }
            // Whether it is old is decided when the store's time is known.
            (Err(_), None) => continue,
            (Err(error), Some(_)) => {
                let problem = format!("{error}; if nobody works with the vault, run `restic unlock --remove-all`");
                return Err(VaultError::Damaged { what: format!("lock file `{path}`"), problem });
            }
        };
        let age = surroundings.now().duration_since(lock.time);
        let age = store_now.map_or(age, |now| age.min(now.duration_since(file.modified)));
        if !is_stale(&lock, age, &surroundings.hostname) {
            living.push(lock);
        } else if own.is_some() {
            tracing::info!(path, hostname = lock.hostname, pid = lock.pid, "removing a lock that was left behind");
            store.delete(&path).map_err(|error| error.when("remove a stale lock"))?;
        }
    }
    Ok(living)
}

fn refuse_if_exclusive(living: &[LockFile]) -> Result<(), VaultError> {
    match living.iter().find(|lock| lock.exclusive) {
        Some(LockFile { hostname, pid, time, .. }) => {
            Err(VaultError::Locked { hostname: hostname.clone(), pid: *pid, since: *time })
        }
        None => Ok(()),
    }
}

/// Whether the holder is gone: it has not renewed its lock, or it ran on this machine and does not any more.
fn is_stale(lock: &LockFile, age: SignedDuration, hostname: &str) -> bool {
    is_old(age) || lock.hostname == hostname && is_dead(lock.pid)
}

fn is_old(age: SignedDuration) -> bool {
    SignedDuration::try_from(STALE).is_ok_and(|stale| age > stale)
}

fn is_dead(pid: u32) -> bool {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    pid.is_some_and(|pid| test_kill_process(pid) == Err(Errno::SRCH))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lock(hostname: &str, pid: u32) -> LockFile {
        let hostname = hostname.to_owned();
        LockFile {
            time: Timestamp::UNIX_EPOCH,
            exclusive: true,
            hostname,
            username: String::new(),
            pid,
            holdfast: None,
        }
    }

    #[test]
    fn a_lock_is_stale_when_it_is_old_or_its_process_is_gone() {
        let ours = std::process::id();
        // The largest number a process can have on Linux is 2^22.
        let gone = i32::MAX as u32;
        for (age, host, pid, stale) in [
            (29, "other", gone, false),
            (31, "other", gone, true),
            (29, "here", gone, true),
            (29, "here", ours, false),
            (31, "here", ours, true),
            (-10, "here", ours, false),
            (1, "here", 0, false),
        ] {
            let age = SignedDuration::from_mins(age);
            assert_eq!(is_stale(&lock(host, pid), age, "here"), stale, "{age} {host} {pid}");
        }
    }
}
