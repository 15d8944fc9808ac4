//! restic's locks: a file in `locks/` says that somebody works here. Ours are not exclusive, as backups, copies and
//! restores go well together; a foreign exclusive one (`restic prune`, `restic forget`) makes us wait outside.

use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use parking_lot::{Condvar, Mutex};
use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};
use vault_format::{Id, LockFile, MasterKey, decode_unpacked, encode_unpacked};

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

/// A held lock; removed when dropped.
pub(crate) struct Lock {
    held: Arc<Held>,
    refresher: Option<JoinHandle<()>>,
}

struct Held {
    store: Arc<dyn Store>,
    key: MasterKey,
    surroundings: Surroundings,
    state: Mutex<State>,
    stop: Condvar,
}

struct State {
    /// Path of the newest lock file.
    path: String,
    renewed: Instant,
    ended: bool,
}

impl Lock {
    /// Takes a lock that is not exclusive.
    pub(crate) fn acquire(
        store: &Arc<dyn Store>,
        key: &MasterKey,
        surroundings: &Surroundings,
    ) -> Result<Self, VaultError> {
        refuse_if_exclusive(store.as_ref(), key, surroundings)?;
        let path = write_lock(store.as_ref(), key, surroundings)?;
        let state = State { path, renewed: Instant::now(), ended: false };
        let held = Held {
            store: Arc::clone(store),
            key: key.clone(),
            surroundings: surroundings.clone(),
            state: Mutex::new(state),
            stop: Condvar::new(),
        };
        let mut lock = Self { held: Arc::new(held), refresher: None };
        // Somebody may have looked before ours was there and gone on; one of the two sees the other now. Dropping ours
        // removes it.
        refuse_if_exclusive(store.as_ref(), key, surroundings)?;
        let held = Arc::clone(&lock.held);
        let refresher = thread::Builder::new().name("vault-lock".to_owned()).spawn(move || held.keep());
        lock.refresher = Some(refresher.map_err(|source| {
            StoreError::Io { action: "start a thread for", path: "locks".to_owned(), source }.when("keep the lock")
        })?);
        Ok(lock)
    }

    /// Whether others still respect it.
    pub(crate) fn verify(&self) -> Result<(), VaultError> {
        if self.held.state.lock().renewed.elapsed() < TRUSTED { Ok(()) } else { Err(VaultError::LockLost) }
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
            match write_lock(self.store.as_ref(), &self.key, &self.surroundings) {
                Ok(path) => {
                    let old = std::mem::replace(&mut state.path, path);
                    state.renewed = Instant::now();
                    if let Err(error) = self.store.delete(&old) {
                        tracing::warn!(
                            path = old,
                            error = &error as &dyn std::error::Error,
                            "an old lock stays behind"
                        );
                    }
                }
                Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, "the lock was not renewed"),
            }
        }
    }
}

fn write_lock(store: &dyn Store, key: &MasterKey, surroundings: &Surroundings) -> Result<String, VaultError> {
    let lock = LockFile {
        time: surroundings.now(),
        exclusive: false,
        hostname: surroundings.hostname.clone(),
        username: surroundings.username.clone(),
        pid: surroundings.pid,
    };
    let encode = |source| VaultError::Encode { what: "a lock", source };
    let json = lock.encode().map_err(encode)?;
    let sealed = encode_unpacked(key, surroundings.random(), &json).map_err(encode)?;
    let path = format!("locks/{}", Id::of(&sealed));
    store.put(&path, sealed.into()).map_err(|error| error.when("lock the vault"))?;
    Ok(path)
}

fn refuse_if_exclusive(store: &dyn Store, key: &MasterKey, surroundings: &Surroundings) -> Result<(), VaultError> {
    for file in store.list("locks").map_err(|error| error.when("list the locks"))? {
        let path = format!("locks/{}", file.name);
        let sealed = match store.get(&path, LOCK_BYTES_MAX) {
            Ok(sealed) => sealed,
            // Released since it was listed.
            Err(StoreError::NotFound { .. }) => continue,
            Err(error) => return Err(error.when("read a lock")),
        };
        let lock = decode_unpacked(key, sealed).and_then(|json| LockFile::decode(&json)).map_err(|error| {
            VaultError::Damaged {
                what: format!("lock file `{path}`"),
                problem: format!("{error}; if nobody works with the vault, run `restic unlock --remove-all`"),
            }
        })?;
        if is_stale(&lock, surroundings.now(), &surroundings.hostname) {
            tracing::info!(path, hostname = lock.hostname, pid = lock.pid, "removing a lock that was left behind");
            store.delete(&path).map_err(|error| error.when("remove a stale lock"))?;
        } else if lock.exclusive {
            return Err(VaultError::Locked { hostname: lock.hostname, pid: lock.pid, since: lock.time });
        }
    }
    Ok(())
}

/// Whether the holder is gone: it has not renewed its lock, or it ran on this machine and does not any more.
fn is_stale(lock: &LockFile, now: Timestamp, hostname: &str) -> bool {
    let age = now.duration_since(lock.time);
    let old = SignedDuration::try_from(STALE).is_ok_and(|stale| age > stale);
    old || lock.hostname == hostname && is_dead(lock.pid)
}

fn is_dead(pid: u32) -> bool {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    pid.is_some_and(|pid| test_kill_process(pid) == Err(Errno::SRCH))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lock(age_minutes: i64, hostname: &str, pid: u32) -> (LockFile, Timestamp) {
        let now: Timestamp = "2026-11-21T12:00:00Z".parse().unwrap();
        let time = now - SignedDuration::from_mins(age_minutes);
        (LockFile { time, exclusive: true, hostname: hostname.to_owned(), username: String::new(), pid }, now)
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
            let (lock, now) = lock(age, host, pid);
            assert_eq!(is_stale(&lock, now, "here"), stale, "{age} {host} {pid}");
        }
    }
}
