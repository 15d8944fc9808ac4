//! A store in memory that fails when it is told to, and that a power cut leaves as it would leave a real disk.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use rand::Rng;
use rand::rngs::StdRng;

use crate::store::{Listed, Store, StoreError};

/// When all scenes start.
pub(super) const START: Timestamp = Timestamp::constant(1_795_219_200, 0);

/// A file and when it was written, in seconds of the disk's clock.
#[derive(Clone, PartialEq, Eq)]
struct Stored {
    bytes: Bytes,
    written: i64,
}

/// Files by their path.
type Files = BTreeMap<String, Stored>;

/// What several clients see at the same time.
pub(super) struct Disk {
    contents: Mutex<Contents>,
    /// Seconds since the start of the scene.
    seconds: AtomicI64,
}

#[derive(Clone, Default)]
struct Contents {
    visible: Files,
    /// What survives a power cut for certain.
    durable: Files,
}

impl Disk {
    pub(super) fn new() -> Self {
        Self { contents: Mutex::default(), seconds: AtomicI64::new(0) }
    }

    /// The same files at the same time on another disk.
    pub(super) fn twin(&self) -> Self {
        Self { contents: Mutex::new(self.contents.lock().clone()), seconds: AtomicI64::new(self.seconds()) }
    }

    /// The disk's clock.
    pub(super) fn seconds(&self) -> i64 {
        self.seconds.load(Ordering::SeqCst)
    }

    /// Time goes by.
    pub(super) fn wait(&self, seconds: i64) {
        self.seconds.fetch_add(seconds, Ordering::SeqCst);
    }

    /// Everything that is there.
    pub(super) fn files(&self) -> BTreeMap<String, Bytes> {
        let contents = self.contents.lock();
        contents.visible.iter().map(|(path, stored)| (path.clone(), stored.bytes.clone())).collect()
    }

    /// Puts a file there as if it had always been.
    pub(super) fn place(&self, path: &str, bytes: impl Into<Bytes>) {
        let stored = Stored { bytes: bytes.into(), written: self.seconds() };
        let mut contents = self.contents.lock();
        contents.visible.insert(path.to_owned(), stored.clone());
        contents.durable.insert(path.to_owned(), stored);
    }

    /// The worst that a power cut can do: of all that no barrier followed, what was removed is gone, and nothing that was
    /// written is there.
    pub(super) fn cut_power_at_its_worst(&self) {
        let mut contents = self.contents.lock();
        let Contents { visible, durable } = &mut *contents;
        durable.retain(|path, _| visible.contains_key(path));
        visible.clone_from(durable);
    }

    /// Each change since the last barrier came to the disk or did not, in no order. Of a new pack, which is not synced
    /// on its own, a part may be missing.
    pub(super) fn cut_power(&self, random: &mut StdRng) {
        let mut contents = self.contents.lock();
        let paths: BTreeSet<String> = contents.visible.keys().chain(contents.durable.keys()).cloned().collect();
        let Contents { visible, durable } = &mut *contents;
        for path in paths {
            let (new, old) = (visible.get(&path).cloned(), durable.get(&path).cloned());
            if new == old {
                continue;
            }
            let left = match (random.random_range(0..3), new) {
                (0, _) => old,
                (1, Some(new)) if path.starts_with("data/") => {
                    let length = random.random_range(0..=new.bytes.len());
                    Some(Stored { bytes: new.bytes.slice(..length), ..new })
                }
                (_, new) => new,
            };
            match left {
                Some(stored) => visible.insert(path, stored),
                None => visible.remove(&path),
            };
        }
        *durable = visible.clone();
    }
}

/// How one call of a client goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// Nothing happens, and the caller hears so.
    Error,
    /// Half of a file is left under its name, and the caller hears of a failure.
    ShortWrite,
    /// It happens, and the caller hears of a failure.
    Unacknowledged,
    /// One bit of what is read is wrong.
    Corrupted,
    /// No space for a write, and for none after it.
    Full,
    /// The client is cut off: nothing of what it tries happens any more.
    Dead,
}

impl Failure {
    /// All of them.
    pub(super) const ALL: [Self; 6] =
        [Self::Error, Self::ShortWrite, Self::Unacknowledged, Self::Corrupted, Self::Full, Self::Dead];
}

/// One process that uses the disk.
pub(super) struct Client {
    disk: Arc<Disk>,
    /// Which of its calls, counted from 0, goes wrong, and how.
    fault: Option<(u64, Failure)>,
    calls: AtomicU64,
    fetched: AtomicU64,
    sent: AtomicU64,
    hit: Mutex<Option<String>>,
    interruption: Mutex<Option<Interruption>>,
    /// What it wrote and removed since it settled last.
    changed: Mutex<BTreeSet<String>>,
}

/// What others do right before a call.
struct Interruption {
    /// Number of the call, counted from 0.
    at: u64,
    happens: Box<dyn FnOnce() + Send>,
}

/// What a call is to do.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Effect {
    Whole,
    Half,
    Unacknowledged,
    Flipped,
}

impl Client {
    pub(super) fn new(disk: &Arc<Disk>, fault: Option<(u64, Failure)>) -> Arc<Self> {
        Arc::new(Self {
            disk: Arc::clone(disk),
            fault,
            calls: AtomicU64::new(0),
            fetched: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            hit: Mutex::new(None),
            interruption: Mutex::new(None),
            changed: Mutex::default(),
        })
    }

    /// Lets others do something right before one of the calls, counted from 0. The call waits for them.
    pub(super) fn interrupt(&self, at: u64, happens: impl FnOnce() + Send + 'static) {
        *self.interruption.lock() = Some(Interruption { at, happens: Box::new(happens) });
    }

    /// How many calls it made.
    pub(super) fn calls(&self) -> u64 {
        self.calls.load(Ordering::SeqCst)
    }

    /// Bytes that it read and bytes that it wrote.
    pub(super) fn moved(&self) -> (u64, u64) {
        (self.fetched.load(Ordering::SeqCst), self.sent.load(Ordering::SeqCst))
    }

    /// The call that went wrong or was interrupted, if it was reached and could go wrong that way.
    pub(super) fn hit(&self) -> Option<String> {
        self.hit.lock().clone()
    }

    fn meet(&self, verb: &'static str, path: &str) -> Result<Effect, StoreError> {
        let number = self.calls.fetch_add(1, Ordering::SeqCst);
        let due = self.interruption.lock().take_if(|interruption| interruption.at == number);
        if let Some(Interruption { happens, .. }) = due {
            self.hit.lock().get_or_insert_with(|| format!("{verb} `{path}`"));
            happens();
        }
        let Some((at, failure)) = self.fault else { return Ok(Effect::Whole) };
        let (writes, reads) = (verb == "put", verb == "get");
        let met = match failure {
            Failure::Dead => number >= at,
            Failure::Full => number >= at && writes,
            Failure::Corrupted => number == at && reads,
            Failure::ShortWrite => number == at && writes,
            Failure::Unacknowledged => number == at && !reads && verb != "list",
            Failure::Error => number == at,
        };
        if !met {
            return Ok(Effect::Whole);
        }
        self.hit.lock().get_or_insert_with(|| format!("{verb} `{path}`"));
        match failure {
            Failure::ShortWrite => Ok(Effect::Half),
            Failure::Unacknowledged => Ok(Effect::Unacknowledged),
            Failure::Corrupted => Ok(Effect::Flipped),
            Failure::Full => Err(failed(path, ErrorKind::StorageFull)),
            Failure::Error | Failure::Dead => Err(failed(path, ErrorKind::TimedOut)),
        }
    }

    fn write(&self, path: &str, bytes: Bytes, replace: bool) -> Result<bool, StoreError> {
        let effect = self.meet("put", path)?;
        self.sent.fetch_add(bytes.len() as u64, Ordering::SeqCst);
        let mut contents = self.disk.contents.lock();
        if !replace && contents.visible.contains_key(path) {
            return Ok(false);
        }
        let half = bytes.len() / 2;
        let kept = if effect == Effect::Half { bytes.slice(..half) } else { bytes };
        contents.visible.insert(path.to_owned(), Stored { bytes: kept, written: self.disk.seconds() });
        self.changed.lock().insert(path.to_owned());
        if effect == Effect::Whole { Ok(true) } else { Err(failed(path, ErrorKind::TimedOut)) }
    }

    fn read(&self, path: &str) -> Result<(Bytes, Effect), StoreError> {
        let effect = self.meet("get", path)?;
        let bytes = self.disk.contents.lock().visible.get(path).map(|stored| stored.bytes.clone());
        Ok((bytes.ok_or_else(|| StoreError::NotFound { path: path.to_owned() })?, effect))
    }
}

fn failed(path: &str, kind: ErrorKind) -> StoreError {
    StoreError::Io { action: "reach", path: path.to_owned(), source: io::Error::from(kind) }
}

/// Wrong in one bit where the fault says so. Which one depends on the file alone, so that a case can be repeated.
fn maybe_flipped(mut bytes: Vec<u8>, effect: Effect) -> Vec<u8> {
    let at = bytes.len() / 3;
    if effect == Effect::Flipped
        && let Some(byte) = bytes.get_mut(at)
    {
        *byte ^= 0x10;
    }
    bytes
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("fault", &self.fault).finish_non_exhaustive()
    }
}

impl Store for Client {
    fn put(&self, path: &str, bytes: Bytes) -> Result<(), StoreError> {
        self.write(path, bytes, true).map(drop)
    }

    fn put_durable(&self, path: &str, bytes: &[u8]) -> Result<(), StoreError> {
        let written = self.write(path, Bytes::copy_from_slice(bytes), true);
        let mut contents = self.disk.contents.lock();
        if let Some(stored) = contents.visible.get(path).cloned() {
            contents.durable.insert(path.to_owned(), stored);
        }
        written.map(drop)
    }

    fn put_new(&self, path: &str, bytes: Bytes) -> Result<bool, StoreError> {
        self.write(path, bytes, false)
    }

    fn get(&self, path: &str, limit: u64) -> Result<Vec<u8>, StoreError> {
        let (bytes, effect) = self.read(path)?;
        if bytes.len() as u64 > limit {
            return Err(StoreError::TooLarge { path: path.to_owned(), found: bytes.len() as u64, limit });
        }
        self.fetched.fetch_add(bytes.len() as u64, Ordering::SeqCst);
        Ok(maybe_flipped(bytes.to_vec(), effect))
    }

    fn get_range(&self, path: &str, offset: u64, length: usize) -> Result<Vec<u8>, StoreError> {
        let (bytes, effect) = self.read(path)?;
        let needed = offset + length as u64;
        let range = usize::try_from(offset).unwrap()..usize::try_from(needed).unwrap();
        let part = bytes.get(range).ok_or_else(|| StoreError::Short { path: path.to_owned(), needed })?;
        self.fetched.fetch_add(part.len() as u64, Ordering::SeqCst);
        Ok(maybe_flipped(part.to_vec(), effect))
    }

    fn list(&self, directory: &str) -> Result<Vec<Listed>, StoreError> {
        self.meet("list", directory)?;
        let below = format!("{directory}/");
        let contents = self.disk.contents.lock();
        let found = contents.visible.iter().filter(|(path, _)| path.starts_with(&below));
        let name = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
        let listed = found.map(|(path, stored)| Listed {
            name: name(path),
            size: stored.bytes.len() as u64,
            modified: START + SignedDuration::from_secs(stored.written),
        });
        Ok(listed.collect())
    }

    fn top_level(&self) -> Result<Vec<String>, StoreError> {
        self.meet("list", "/")?;
        let contents = self.disk.contents.lock();
        let names: BTreeSet<&str> = contents.visible.keys().filter_map(|path| path.split('/').next()).collect();
        Ok(names.into_iter().map(str::to_owned).collect())
    }

    fn delete(&self, path: &str) -> Result<bool, StoreError> {
        let effect = self.meet("delete", path)?;
        let there = self.disk.contents.lock().visible.remove(path).is_some();
        self.changed.lock().insert(path.to_owned());
        if effect == Effect::Whole { Ok(there) } else { Err(failed(path, ErrorKind::TimedOut)) }
    }

    fn prepare(&self) -> Result<(), StoreError> {
        self.meet("prepare", "/").map(drop)
    }

    fn remove_unfinished(&self, _before: Timestamp) -> Result<(), StoreError> {
        self.meet("sweep", "tmp").map(drop)
    }

    fn settle(&self) -> Result<(), StoreError> {
        let effect = self.meet("settle", "/")?;
        let changed = std::mem::take(&mut *self.changed.lock());
        let mut contents = self.disk.contents.lock();
        let Contents { visible, durable } = &mut *contents;
        let is_settled = |path: &String| changed.contains(path) || path.starts_with("index/");
        durable.retain(|path, _| !is_settled(path));
        let settled = visible.iter().filter(|(path, _)| is_settled(path));
        durable.extend(settled.map(|(path, stored)| (path.clone(), stored.clone())));
        if effect == Effect::Whole { Ok(()) } else { Err(failed("/", ErrorKind::TimedOut)) }
    }

    fn barrier(&self) -> Result<(), StoreError> {
        let effect = self.meet("barrier", "/")?;
        let mut contents = self.disk.contents.lock();
        contents.durable = contents.visible.clone();
        if effect == Effect::Whole { Ok(()) } else { Err(failed("/", ErrorKind::TimedOut)) }
    }
}
