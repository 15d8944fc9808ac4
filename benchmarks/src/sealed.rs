//! Content that lies sealed in memory, and is opened by several threads: what no restore can do without.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use vault_format::{BlobOpener, BlobSealer, BlobToOpen, Id, MasterKey};

use crate::error::BenchError;
use crate::step::threads;

/// A part of a file or of a volume.
#[derive(Clone)]
pub(crate) struct Sealed {
    bytes: Vec<u8>,
    /// Bytes of the content.
    pub(crate) length: usize,
    raw_length: Option<u32>,
    id: Id,
}

impl Sealed {
    pub(crate) fn new(sealer: &mut BlobSealer, key: &MasterKey, content: &[u8]) -> Result<Self, BenchError> {
        let sealed = sealer.seal(key, [1; 16], content)?;
        let (bytes, raw_length) = (sealed.bytes.to_vec(), sealed.raw_length);
        Ok(Self { bytes, length: content.len(), raw_length, id: Id::of(content) })
    }

    /// What an opener takes. It is opened in place, so once.
    pub(crate) fn blob(&mut self) -> BlobToOpen<'_> {
        BlobToOpen { sealed: &mut self.bytes, raw_length: self.raw_length, id: self.id }
    }
}

/// Gives all items to threads, so many of each for a processor and so many items at once.
pub(crate) fn each_group<T: Send>(
    items: &mut [T],
    together: usize,
    threads_per_processor: usize,
    work: impl Fn(&mut [T], &mut BlobOpener) -> Result<(), BenchError> + Sync,
) -> Result<(), BenchError> {
    let next = AtomicUsize::new(0);
    let groups: Vec<_> = items.chunks_mut(together).map(|group| Mutex::new(Some(group))).collect();
    let one = || -> Result<(), BenchError> {
        let mut opener = BlobOpener::new()?;
        while let Some(group) = groups.get(next.fetch_add(1, Ordering::Relaxed)) {
            let taken = group.lock().unwrap_or_else(PoisonError::into_inner).take();
            taken.into_iter().try_for_each(|group| work(group, &mut opener))?;
        }
        Ok(())
    };
    thread::scope(|scope| {
        let handles: Vec<_> = (0..threads() * threads_per_processor).map(|_| scope.spawn(one)).collect();
        for handle in handles {
            handle.join().map_err(|_| BenchError::Wrong("a thread died".to_owned()))??;
        }
        Ok(())
    })
}
