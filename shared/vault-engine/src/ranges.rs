//! Reads many blobs: by pack, in the order they lie in, neighbours in one request, each once.

use std::cell::RefCell;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use driver_api::{Control, ReadError};
use parking_lot::Mutex;
use vault_format::{BlobKind, BlobOpener, BlobToOpen, Id, OpenedBlob, PackedBlob};

use crate::Vault;
use crate::index::{Index, Location, pack_path};
use crate::store::StoreError;

/// Longest range of a pack that is read at once, in bytes, where a request costs time; one blob may be longer. Sixteen chunks of
/// a volume that did not become shorter, as many as are opened at a time, go into it.
const RANGE_BYTES_MAX: u32 = (4 << 20) + (4 << 10);
/// The same where it does not; more where further blobs can be opened at a time with the last ones.
pub(crate) const NEAR_RANGE_BYTES_MAX: u32 = 512 << 10;
/// Bytes between two blobs that are rather read than skipped.
const GAP_BYTES_MAX: u32 = 128 << 10;
/// Plaintext of blobs that are opened at a time, in bytes: long ones gain less by it, but take memory in each thread.
const OPENED_BYTES_MAX: u32 = 4 << 20;

/// How much may be read that nobody wants, so that fewer requests are made.
#[derive(Clone, Copy)]
pub(crate) enum Gaps {
    /// Every gap that takes less time than a request.
    Short,
    /// At most so many bytes in all, the shortest gaps first: for what has to cross a network.
    AtMost(u64),
}

/// A blob that somebody wants, and the wanter's note on it.
pub(crate) struct Wanted<T> {
    pub(crate) location: Location,
    pub(crate) note: T,
}

/// Takes a blob for all who want it.
type Take<'a, T> = dyn Fn(&[Wanted<T>], &OpenedBlob<'_>) -> Result<(), ReadError> + Sync + 'a;

/// Blobs in a row that are opened at a time.
#[derive(Clone, Copy, Default)]
struct Together {
    blobs: usize,
    opened_bytes: u32,
}

impl Together {
    fn of(blob: &PackedBlob) -> Self {
        Self { blobs: 1, opened_bytes: blob.plain_length() }
    }

    /// With a further one, or None where that begins anew. A long one is opened alone.
    fn with(self, blob: &PackedBlob, at_once: usize) -> Option<Self> {
        let opened_bytes = self.opened_bytes.saturating_add(blob.plain_length());
        let fits = self.blobs == 0 || (self.blobs < at_once && opened_bytes <= OPENED_BYTES_MAX);
        fits.then_some(Self { blobs: self.blobs + 1, opened_bytes })
    }
}

/// Reads all of them and calls `take` once for each blob with all the notes on it. Each thread holds a range and what is opened
/// at a time of it, in buffers that are used again where they are not longer than most.
pub(crate) fn read_all<T: Sync + Send>(
    vault: &Vault,
    index: &Index,
    mut wanted: Vec<Wanted<T>>,
    gaps: Gaps,
    threads: usize,
    control: &dyn Control,
    take: &Take<'_, T>,
) -> Result<(), ReadError> {
    wanted.sort_unstable_by_key(|wanted| (wanted.location.pack, wanted.location.blob.offset));
    let gap_bytes_max = match gaps {
        Gaps::Short => GAP_BYTES_MAX,
        Gaps::AtMost(bytes) => gap_within(&wanted, bytes),
    };
    let range_bytes_max = if vault.store().is_near() { NEAR_RANGE_BYTES_MAX } else { RANGE_BYTES_MAX };
    let place = |wanted: &Wanted<T>| (wanted.location.pack, wanted.location.blob);
    let ranges = plan(&wanted, place, gap_bytes_max, range_bytes_max, Id::at_once());
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

/// The longest gap such that all that are not longer have at most so many bytes together.
fn gap_within<T>(wanted: &[Wanted<T>], bytes: u64) -> u32 {
    let mut gaps: Vec<u32> = Vec::new();
    for pair in wanted.windows(2) {
        let [before, after] = [pair[0].location, pair[1].location];
        let gap = after.blob.offset.saturating_sub(before.blob.offset + before.blob.length);
        if before.pack == after.pack && (1..=GAP_BYTES_MAX).contains(&gap) {
            gaps.push(gap);
        }
    }
    gaps.sort_unstable();
    let (mut longest, mut sum) = (0, 0);
    for same in gaps.chunk_by(|a, b| a == b) {
        sum += u64::from(same[0]) * same.len() as u64;
        if sum > bytes {
            break;
        }
        longest = same[0];
    }
    longest
}

/// Cuts a list, sorted by pack and offset, into ranges to be read at once; `at_once` of them are opened at a time.
pub(crate) fn plan<T>(
    sorted: &[T],
    place: impl Fn(&T) -> (u32, PackedBlob),
    gap_bytes_max: u32,
    range_bytes_max: u32,
    at_once: usize,
) -> Vec<Range<usize>> {
    let mut ranges: Vec<Range<usize>> = Vec::new();
    let (mut open, mut begin, mut end) = (0, 0, 0);
    let mut together = Together::default();
    for (at, item) in sorted.iter().enumerate() {
        let (pack, blob) = place(item);
        let PackedBlob { offset, length, .. } = blob;
        let joined = together.with(&blob, at_once);
        // None is opened alone where it can be helped.
        let limit = if joined.is_none() { range_bytes_max } else { RANGE_BYTES_MAX };
        match ranges.last_mut() {
            Some(range)
                if open == pack
                    && offset.saturating_sub(end) <= gap_bytes_max
                    && (offset + length).saturating_sub(begin) <= limit =>
            {
                range.end = at + 1;
                end = end.max(offset + length);
                together = joined.unwrap_or(Together::of(&blob));
            }
            _ => {
                ranges.push(at..at + 1);
                (open, begin, end) = (pack, offset, offset + length);
                together = Together::of(&blob);
            }
        }
    }
    ranges
}

thread_local! {
    /// What this thread read last, and what opens it.
    static BUFFERS: RefCell<(Vec<u8>, Option<BlobOpener>)> = const { RefCell::new((Vec::new(), None)) };
}

fn read_range<T>(vault: &Vault, index: &Index, wanted: &[Wanted<T>], take: &Take<'_, T>) -> Result<(), ReadError> {
    let Some(first) = wanted.first() else { return Ok(()) };
    let begin = first.location.blob.offset;
    let end =
        wanted.iter().map(|wanted| wanted.location.blob.offset + wanted.location.blob.length).max().unwrap_or(begin);
    let path = pack_path(&index.pack(first.location.pack).id);
    // Taken, not borrowed: whoever takes a blob may read others.
    let (mut bytes, mut opener) = BUFFERS.take();
    let read = vault.store().get_range_into(&path, begin.into(), (end - begin) as usize, &mut bytes);
    let groups: Vec<&[Wanted<T>]> = wanted.chunk_by(|a, b| a.location == b.location).collect();
    // There may be another copy of what is not sound here.
    let elsewhere = |same: &[Wanted<T>]| {
        let PackedBlob { kind, id, .. } = same[0].location.blob;
        read_blob_as(vault, index, kind, &id, |opened| take(same, opened)).and_then(|taken| taken)
    };
    let result = match read {
        Ok(()) => {
            let blobs: Vec<PackedBlob> = groups.iter().map(|same| same[0].location.blob).collect();
            open_all(vault, &mut opener, &mut bytes, begin, &blobs, |number, opened| match opened {
                Ok(opened) => take(groups[number], &opened),
                Err(_) => elsewhere(groups[number]),
            })
        }
        Err(_) => groups.iter().try_for_each(|same| elsewhere(same)),
    };
    // What a long one took is not kept.
    if wanted.iter().all(|wanted| wanted.location.blob.plain_length() <= OPENED_BYTES_MAX) {
        BUFFERS.set((bytes, opener));
    }
    result
}

/// Opens all of these blobs of a part of a pack that begins at `begin`, sorted by their offsets, and hands each on with
/// its number. The first error of `take` ends it.
pub(crate) fn open_all<E>(
    vault: &Vault,
    opener: &mut Option<BlobOpener>,
    bytes: &mut [u8],
    begin: u32,
    blobs: &[PackedBlob],
    mut take: impl FnMut(usize, Result<OpenedBlob<'_>, String>) -> Result<(), E>,
) -> Result<(), E> {
    let opener = match the(opener) {
        Ok(opener) => opener,
        Err(problem) => return (0..blobs.len()).try_for_each(|number| take(number, Err(problem.clone()))),
    };
    let mut number = 0;
    while number < blobs.len() {
        let parts = apart(&blobs[number..], begin, &mut *bytes);
        if parts.is_empty() {
            take(number, Err("it lies beyond the end of its pack".to_owned()))?;
            number += 1;
            continue;
        }
        for opened in opener.open_each(vault.key(), parts) {
            take(number, opened.map_err(|error| crate::error::chain(&error)))?;
            number += 1;
        }
    }
    Ok(())
}

/// As many of these blobs as are worth opening at the same time, up to one that lies in the one before it or beyond the end.
fn apart<'a>(blobs: &[PackedBlob], begin: u32, bytes: &'a mut [u8]) -> Vec<BlobToOpen<'a>> {
    let mut parts = Vec::with_capacity(Id::at_once());
    let (mut rest, mut passed, mut together) = (bytes, 0, Together::default());
    for blob in blobs {
        let Some(joined) = together.with(blob, Id::at_once()) else { break };
        together = joined;
        let from = (blob.offset - begin) as usize;
        let Some(skipped) = from.checked_sub(passed) else { break };
        let Some((sealed, after)) =
            rest.split_at_mut_checked(skipped).and_then(|(_, rest)| rest.split_at_mut_checked(blob.length as usize))
        else {
            break;
        };
        parts.push(part(blob, sealed));
        (rest, passed) = (after, from + blob.length as usize);
    }
    parts
}

fn part<'a>(blob: &PackedBlob, sealed: &'a mut [u8]) -> BlobToOpen<'a> {
    BlobToOpen { sealed, raw_length: blob.raw_length, id: blob.id }
}

fn the(opener: &mut Option<BlobOpener>) -> Result<&mut BlobOpener, String> {
    match opener {
        Some(opener) => Ok(opener),
        None => Ok(opener.insert(BlobOpener::new().map_err(|error| crate::error::chain(&error))?)),
    }
}

/// The plaintext of one blob, from the first place where it is sound.
pub(crate) fn read_blob(vault: &Vault, index: &Index, kind: BlobKind, id: &Id) -> Result<Vec<u8>, ReadError> {
    read_blob_as(vault, index, kind, id, |opened| opened.plaintext.to_vec())
}

/// Reads one blob from the first place where it is sound.
pub(crate) fn read_blob_as<R>(
    vault: &Vault,
    index: &Index,
    kind: BlobKind,
    id: &Id,
    mut take: impl FnMut(&OpenedBlob<'_>) -> R,
) -> Result<R, ReadError> {
    let mut failure = ReadError::Missing { id: *id };
    let (mut bytes, mut opener) = BUFFERS.take();
    for location in index.find(kind, id) {
        let path = pack_path(&index.pack(location.pack).id);
        let damaged =
            |problem| ReadError::Damaged { what: format!("{} blob {id} in pack `{path}`", kind.as_str()), problem };
        let PackedBlob { offset, length, .. } = location.blob;
        match vault.store().get_range_into(&path, offset.into(), length as usize, &mut bytes) {
            Ok(()) => match open(vault, &mut opener, &mut bytes, &location.blob) {
                Ok(opened) => {
                    let taken = take(&opened);
                    BUFFERS.set((bytes, opener));
                    return Ok(taken);
                }
                Err(problem) => failure = damaged(problem),
            },
            Err(StoreError::NotFound { .. }) => failure = damaged("the pack is not there".to_owned()),
            Err(StoreError::Short { .. }) => failure = damaged("the pack is cut off".to_owned()),
            Err(error) => failure = error.when(format!("read pack `{path}`")).into(),
        }
    }
    BUFFERS.set((bytes, opener));
    Err(failure)
}

/// Decrypts and verifies a blob; an error is a sentence.
fn open<'a>(
    vault: &Vault,
    opener: &'a mut Option<BlobOpener>,
    sealed: &'a mut [u8],
    blob: &PackedBlob,
) -> Result<OpenedBlob<'a>, String> {
    the(opener)?.open(vault.key(), part(blob, sealed)).map_err(|error| crate::error::chain(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Blobs in a row, of so many bytes in the pack and in all.
    fn blobs(lengths: &[(u32, u32)]) -> Vec<PackedBlob> {
        let mut offset = 0;
        let blob = |&(length, raw_length): &(u32, u32)| {
            let blob =
                PackedBlob { kind: BlobKind::Data, id: Id::new([7; 32]), offset, length, raw_length: Some(raw_length) };
            offset += length;
            blob
        };
        lengths.iter().map(blob).collect()
    }

    fn lengths_of_ranges(blobs: &[PackedBlob], at_once: usize) -> Vec<usize> {
        let ranges = plan(blobs, |blob| (0, *blob), GAP_BYTES_MAX, NEAR_RANGE_BYTES_MAX, at_once);
        ranges.iter().map(ExactSizeIterator::len).collect()
    }

    #[test]
    fn range_goes_on_beyond_its_length_for_blobs_that_are_opened_with_its_last_ones_and_no_further() {
        // Four of them are as long as a range.
        let chunks = blobs(&[(128 << 10, 256 << 10); 40]);
        assert_eq!(lengths_of_ranges(&chunks, 2), [4; 10]);
        assert_eq!(lengths_of_ranges(&chunks, 16), [16, 16, 8]);
        assert_eq!(lengths_of_ranges(&chunks, 3), [[6; 6].as_slice(), &[4]].concat());
    }

    #[test]
    fn range_ends_where_what_is_opened_at_a_time_would_take_too_much_memory() {
        let of_one_mebibyte = blobs(&[(400 << 10, 1 << 20); 16]);
        assert_eq!(lengths_of_ranges(&of_one_mebibyte, 16), [4; 4]);
        let long = blobs(&[(400 << 10, 3 << 20); 4]);
        assert_eq!(lengths_of_ranges(&long, 16), [1; 4]);
    }

    #[test]
    fn as_many_are_opened_at_a_time_as_fit_in_memory_and_a_longer_one_alone() {
        let counts = |lengths: &[(u32, u32)]| {
            let blobs = blobs(lengths);
            let mut bytes = vec![0; lengths.iter().map(|(length, _)| *length as usize).sum()];
            let (mut at, mut counts) = (0, Vec::new());
            while at < blobs.len() {
                counts.push(apart(&blobs[at..], 0, &mut bytes).len());
                at += counts[counts.len() - 1];
            }
            counts
        };
        let many = Id::at_once();
        assert_eq!(counts(&vec![(100, 200); many + 1]), if many == 1 { vec![1, 1] } else { vec![many, 1] });
        assert_eq!(counts(&[(100, OPENED_BYTES_MAX - 1), (100, 2), (100, OPENED_BYTES_MAX + 1), (100, 1)]), [1; 4]);
    }
}
