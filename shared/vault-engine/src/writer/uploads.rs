//! Sends packs and index files to the store, in the background and with bounded memory.

use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use job_model::FailureCode;
use parking_lot::{Mutex, MutexGuard};
use vault_format::{Id, IndexedPack, MasterKey, encode_pack_header};

use super::packer::{FilledPack, PACK_ROOM};
use crate::error::chain;
use crate::index::pack_path;
use crate::store::{Store, StoreError};
use crate::{Surroundings, Vault, VaultError, index_files};

/// Threads that upload. Each holds a pack, and one more may wait.
const THREADS: usize = 2;
/// An index is written when so many packs have none: about 4 GiB that a repeated attempt need not send again.
const PACKS_WITHOUT_INDEX_MAX: usize = if cfg!(test) { 3 } else { 256 };
/// Or after so long.
const TIME_WITHOUT_INDEX_MAX: Duration = Duration::from_secs(10 * 60);

/// See the module.
pub(super) struct Uploads {
    shared: Arc<Shared>,
    sender: Mutex<Option<SyncSender<FilledPack>>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

struct Shared {
    store: Arc<dyn Store>,
    key: MasterKey,
    surroundings: Surroundings,
    has_failed: AtomicBool,
    failure: Mutex<Option<(String, FailureCode)>>,
    done: Mutex<Done>,
    own: Mutex<Own>,
    /// Given up: what still waits is not sent.
    abandoned: AtomicBool,
    /// Buffers of packs that were sent. There are never more than packs at one time.
    buffers: Mutex<Vec<BytesMut>>,
}

/// What a writer has put into the index.
#[derive(Default)]
pub(crate) struct Own {
    /// Names of the index files.
    pub(crate) files: Vec<String>,
    /// The packs that they name.
    pub(crate) packs: Vec<Id>,
}

struct Done {
    /// In the store, in no index yet.
    packs: Vec<IndexedPack>,
    since: Instant,
}

impl Uploads {
    pub(super) fn start(vault: &Vault) -> Result<Self, VaultError> {
        let shared = Arc::new(Shared {
            store: Arc::clone(vault.shared_store()),
            key: vault.key().clone(),
            surroundings: vault.surroundings().clone(),
            has_failed: AtomicBool::new(false),
            failure: Mutex::new(None),
            done: Mutex::new(Done { packs: Vec::new(), since: Instant::now() }),
            own: Mutex::default(),
            abandoned: AtomicBool::new(false),
            buffers: Mutex::default(),
        });
        let (sender, receiver) = sync_channel(1);
        let receiver = Arc::new(Mutex::new(receiver));
        let uploads = Self { shared, sender: Mutex::new(Some(sender)), threads: Mutex::new(Vec::new()) };
        for _ in 0..THREADS {
            let (shared, receiver) = (Arc::clone(&uploads.shared), Arc::clone(&receiver));
            let thread = thread::Builder::new().name("vault-upload".to_owned()).spawn(move || shared.work(&receiver));
            let thread = thread.map_err(|source| {
                StoreError::Io { action: "start a thread for", path: "data".to_owned(), source }.when("upload packs")
            })?;
            uploads.threads.lock().push(thread);
        }
        Ok(uploads)
    }

    /// An empty buffer for a pack.
    pub(super) fn buffer(&self) -> BytesMut {
        self.shared.buffers.lock().pop().unwrap_or_else(|| BytesMut::with_capacity(PACK_ROOM))
    }

    /// Hands a pack over; waits while all threads are busy.
    pub(super) fn send(&self, pack: FilledPack) -> Result<(), VaultError> {
        self.failure()?;
        let sender = self.sender.lock().clone();
        let sent = sender.is_some_and(|sender| sender.send(pack).is_ok());
        if sent { Ok(()) } else { Err(died()) }
    }

    /// The first thing that went wrong.
    pub(super) fn failure(&self) -> Result<(), VaultError> {
        if !self.shared.has_failed.load(Ordering::Acquire) {
            return Ok(());
        }
        match self.shared.failure.lock().clone() {
            Some((problem, code)) => Err(VaultError::WriterFailed { problem, code }),
            None => Ok(()),
        }
    }

    /// Waits until all packs are in the store, then writes what the index lacks. Both are durable when it returns.
    pub(super) fn finish(&self) -> Result<(), VaultError> {
        self.join()?;
        self.failure()?;
        let packs = mem::take(&mut self.shared.done.lock().packs);
        self.shared.write_index(packs)?;
        self.shared.store.settle().map_err(|error| error.when("make the index durable"))
    }

    /// What was put into the index; complete after [`Self::finish`].
    pub(super) fn own(&self) -> MutexGuard<'_, Own> {
        self.shared.own.lock()
    }

    fn join(&self) -> Result<(), VaultError> {
        drop(self.sender.lock().take());
        let threads = mem::take(&mut *self.threads.lock());
        let results: Vec<_> = threads.into_iter().map(JoinHandle::join).collect();
        if results.iter().any(Result::is_err) { Err(died()) } else { Ok(()) }
    }
}

impl Drop for Uploads {
    fn drop(&mut self) {
        self.shared.abandoned.store(true, Ordering::Release);
        // A thread that died has said so, and there is no snapshot that could be wrong.
        let _ = self.join();
    }
}

fn died() -> VaultError {
    VaultError::WriterFailed { problem: "an upload thread died".to_owned(), code: FailureCode::Internal }
}

impl Shared {
    fn work(&self, receiver: &Mutex<Receiver<FilledPack>>) {
        loop {
            // The lock is held while waiting; whoever gets a pack lets the next one wait.
            let received = receiver.lock().recv();
            let Ok(pack) = received else { return };
            if self.abandoned.load(Ordering::Acquire) || self.has_failed.load(Ordering::Acquire) {
                // Taken all the same, so that nobody who sends waits for ever.
                continue;
            }
            if let Err(error) = self.upload(pack) {
                let code = error.failure_code();
                self.failure.lock().get_or_insert((chain(&error), code));
                self.has_failed.store(true, Ordering::Release);
            }
        }
    }

    fn upload(&self, pack: FilledPack) -> Result<(), VaultError> {
        let FilledPack { mut bytes, blobs } = pack;
        let header = self.key.seal(self.surroundings.random(), &encode_pack_header(&blobs));
        bytes.extend_from_slice(&header);
        // At most PACK_BLOBS_MAX entries of 41 bytes.
        bytes.extend_from_slice(&(header.len() as u32).to_le_bytes());
        let bytes: Bytes = bytes.freeze();
        let id = Id::of(&bytes);
        self.store.put(&pack_path(&id), bytes.clone()).map_err(|error| error.when("write a pack"))?;
        // A store that still holds on to the bytes keeps them.
        if let Ok(mut buffer) = bytes.try_into_mut() {
            buffer.clear();
            self.buffers.lock().push(buffer);
        }
        let mut done = self.done.lock();
        done.packs.push(IndexedPack { id, blobs });
        if done.packs.len() < PACKS_WITHOUT_INDEX_MAX && done.since.elapsed() < TIME_WITHOUT_INDEX_MAX {
            return Ok(());
        }
        done.since = Instant::now();
        let packs = mem::take(&mut done.packs);
        drop(done);
        self.write_index(packs)
    }

    fn write_index(&self, packs: Vec<IndexedPack>) -> Result<(), VaultError> {
        if packs.is_empty() {
            return Ok(());
        }
        // The packs must be durable before an index names them.
        self.store.settle().map_err(|error| error.when("make packs durable"))?;
        let ids: Vec<Id> = packs.iter().map(|pack| pack.id).collect();
        let files = index_files::write(self.store.as_ref(), &self.key, &self.surroundings, packs)?;
        let mut own = self.own.lock();
        own.files.extend(files);
        own.packs.extend(ids);
        Ok(())
    }
}
