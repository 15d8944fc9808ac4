//! Reads many blobs: by pack, in the order they lie in, neighbours in one request, each once.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use driver_api::{Control, ReadError};
use parking_lot::Mutex;
use vault_format::{BlobKind, Id, PackedBlob, unpack_blob};

use crate::Vault;
use crate::index::{Index, Location, pack_path};
use crate::store::StoreError;

/// Longest range of a pack that is read at once, in bytes; one blob may be longer.
const RANGE_BYTES_MAX: u32 = 8 << 20;
/// Bytes between two blobs that are rather read than skipped.
const GAP_BYTES_MAX: u32 = 128 << 10;

/// A blob that somebody wants, and the wanter's note on it.
pub(crate) struct Wanted<T> {
    pub(crate) location: Location,
    pub(crate) note: T,
}

/// A blob, decrypted and verified.
pub(crate) struct Opened<'a> {
    /// As it was stored: compressed where `raw_length` is set.
    pub(crate) stored: Cow<'a, [u8]>,
    /// Length of the plaintext where it is compressed.
    pub(crate) raw_length: Option<u32>,
    /// The plaintext.
    pub(crate) plaintext: Vec<u8>,
}

/// Takes a blob for all who want it.
type Take<'a, T> = dyn Fn(&[Wanted<T>], &Opened<'_>) -> Result<(), ReadError> + Sync + 'a;

/// Reads all of them and calls `take` once for each blob with all the notes on it. Holds at most one range and one blob
/// per thread.
pub(crate) fn read_all<T: Sync + Send>(
    vault: &Vault,
    index: &Index,
    mut wanted: Vec<Wanted<T>>,
    threads: usize,
    control: &dyn Control,
    take: &Take<'_, T>,
) -> Result<(), ReadError> {
    wanted.sort_unstable_by_key(|wanted| (wanted.location.pack, wanted.location.blob.offset));
    let ranges = plan(&wanted);
    let next = AtomicUsize::new(0);
    let ended = AtomicBool::new(false);
    let failure = Mutex::new(None);
    let work = || {
        while let Some(range) = ranges.get(next.fetch_add(1, Ordering::Relaxed)) {
            if ended.load(Ordering::Relaxed) {
                return;
            }
            let result = if control.is_stopped() {
                Err(ReadError::Stopped)
            } else {
                read_range(vault, index, &wanted[range.clone()], take)
            };
            if let Err(error) = result {
                ended.store(true, Ordering::Relaxed);
                failure.lock().get_or_insert(error);
                return;
            }
        }
    };
    thread::scope(|scope| {
        for _ in 1..threads.min(ranges.len()) {
            scope.spawn(work);
        }
        work();
    });
    failure.into_inner().map_or(Ok(()), Err)
}

/// Cuts the sorted list into ranges to be read at once.
fn plan<T>(wanted: &[Wanted<T>]) -> Vec<Range<usize>> {
    let mut ranges: Vec<Range<usize>> = Vec::new();
    let mut begin: u32 = 0;
    let mut end: u32 = 0;
    for (at, Wanted { location, .. }) in wanted.iter().enumerate() {
        let PackedBlob { offset, length, .. } = location.blob;
        let joins = ranges.last().is_some_and(|range| {
            wanted[range.start].location.pack == location.pack
                && offset.saturating_sub(end) <= GAP_BYTES_MAX
                && (offset + length).saturating_sub(begin) <= RANGE_BYTES_MAX
        });
        match ranges.last_mut() {
            Some(range) if joins => {
                range.end = at + 1;
                end = end.max(offset + length);
            }
            _ => {
                ranges.push(at..at + 1);
                begin = offset;
                end = offset + length;
            }
        }
    }
    ranges
}

fn read_range<T>(vault: &Vault, index: &Index, wanted: &[Wanted<T>], take: &Take<'_, T>) -> Result<(), ReadError> {
    let Some(first) = wanted.first() else { return Ok(()) };
    let begin = first.location.blob.offset;
    let end =
        wanted.iter().map(|wanted| wanted.location.blob.offset + wanted.location.blob.length).max().unwrap_or(begin);
    let path = pack_path(&index.pack(first.location.pack).id);
    let mut bytes = vault.store().get_range(&path, begin.into(), (end - begin) as usize);
    for same in wanted.chunk_by(|a, b| a.location == b.location) {
        let location = same[0].location;
        let from = (location.blob.offset - begin) as usize;
        let opened = match &mut bytes {
            Ok(bytes) => open(vault, &mut bytes[from..from + location.blob.length as usize], &location.blob),
            Err(error) => Err(error.to_string()),
        };
        let opened = match opened {
            Ok(opened) => opened,
            // There may be another copy of it.
            Err(_) => read_blob(vault, index, location.blob.kind, &location.blob.id)?,
        };
        take(same, &opened)?;
    }
    Ok(())
}

/// Reads one blob from the first place where it is sound.
pub(crate) fn read_blob(vault: &Vault, index: &Index, kind: BlobKind, id: &Id) -> Result<Opened<'static>, ReadError> {
    let mut failure = ReadError::Missing { id: *id };
    for location in index.find(kind, id) {
        let path = pack_path(&index.pack(location.pack).id);
        let damaged =
            |problem| ReadError::Damaged { what: format!("{} blob {id} in pack `{path}`", kind.as_str()), problem };
        match vault.store().get_range(&path, location.blob.offset.into(), location.blob.length as usize) {
            Ok(mut sealed) => match open(vault, &mut sealed, &location.blob) {
                Ok(Opened { stored, raw_length, plaintext }) => {
                    return Ok(Opened { stored: Cow::Owned(stored.into_owned()), raw_length, plaintext });
                }
                Err(problem) => failure = damaged(problem),
            },
            Err(StoreError::NotFound { .. }) => failure = damaged("the pack is not there".to_owned()),
            Err(StoreError::Short { .. }) => failure = damaged("the pack is cut off".to_owned()),
            Err(error) => failure = error.when(format!("read pack `{path}`")).into(),
        }
    }
    Err(failure)
}

/// Decrypts and verifies a blob; an error is a sentence.
pub(crate) fn open<'a>(vault: &Vault, sealed: &'a mut [u8], blob: &PackedBlob) -> Result<Opened<'a>, String> {
    let stored = vault.key().open_in_place(sealed).map_err(|error| error.to_string())?;
    let plaintext = unpack_blob(stored, blob.raw_length, &blob.id).map_err(|error| crate::error::chain(&error))?;
    Ok(Opened { stored: Cow::Borrowed(stored), raw_length: blob.raw_length, plaintext })
}
