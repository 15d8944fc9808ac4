//! What differs between two clones of a file.

use std::fs::File;
use std::io;
use std::num::NonZero;
use std::ops::Range;
use std::panic;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::CloneError;
use crate::extents::{Extent, Extents, Matter};
use crate::subvolume::is_xfs;

/// How often extents may have moved between two looks.
const TRIES: usize = 5;
/// Files are compared in parts of at least so many bytes, by several threads.
const PART_BYTES: u64 = 1 << 30;
/// And in so many parts at most: holes cost nothing, however long they are.
const PARTS_MAX: u64 = 1024;
/// Most threads: it is the system that works, and it has locks of its own.
const THREADS_MAX: usize = 4;
/// The same on XFS, which takes the lock of an allocation group for each extent to see whether it is shared: two threads put each
/// other to sleep for every one. Where a processor is slow to wake, as a virtual one is, both together took four times as long as
/// one does (0.58 s for three lists of 15,000 extents).
const XFS_THREADS_MAX: usize = 1;

/// What may have changed from one clone to the other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Parts of the newer file, in order, apart, widened to whole granules and cut at its end.
    pub ranges: Vec<Range<u64>>,
    /// Bytes on the device that only the older clone keeps from being freed.
    pub held_bytes: u64,
}

/// Compares two clones by their extents. `granule` is what the caller reads at once, in bytes; both files are at rest.
/// The time it takes grows with the number of extents, the memory with that of changes, and neither with the size.
///
/// # Errors
/// When the file system gives no extents, or moves them again and again.
pub fn changed(base: &File, now: &File, granule: u64, shown: &Path) -> Result<Changes, CloneError> {
    let failed = |source| CloneError::io("list the extents of", shown, source);
    let size = |file: &File| file.metadata().map(|metadata| metadata.len()).map_err(failed);
    let sizes = (size(base)?, size(now)?);
    let common = sizes.0.min(sizes.1);
    let parts = parts(sizes.0.max(sizes.1));
    let next = AtomicUsize::new(0);
    let work = || {
        let mut found = Vec::new();
        while let Some(part) = parts.get(next.fetch_add(1, Ordering::Relaxed)) {
            let compared = settled(base, now, part, common).map_err(failed)?;
            let unsettled = || CloneError::Unsettled { path: shown.display().to_string() };
            found.push((part.start, compared.ok_or_else(unsettled)?));
        }
        Ok::<_, CloneError>(found)
    };
    let threads_max = if is_xfs(base).map_err(failed)? { XFS_THREADS_MAX } else { THREADS_MAX };
    let threads = thread::available_parallelism().map_or(1, NonZero::get).min(threads_max).min(parts.len());
    let mut found = thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        let mut found = work()?;
        for other in others {
            found.extend(other.join().unwrap_or_else(|panic| panic::resume_unwind(panic))?);
        }
        Ok::<_, CloneError>(found)
    })?;
    found.sort_unstable_by_key(|(start, _)| *start);
    let mut ranges = Ranges { granule: granule.max(1), size: sizes.1, ranges: Vec::new() };
    found.iter().flat_map(|(_, part)| &part.ranges).for_each(|range| ranges.add(range.clone()));
    if sizes.0 != sizes.1 {
        // With the last byte both have: what is cut in pieces has a last piece of another length.
        ranges.add(common.saturating_sub(1)..sizes.1);
    }
    let held_bytes = found.iter().fold(0, |sum: u64, (_, part)| sum.saturating_add(part.exclusive));
    Ok(Changes { ranges: ranges.ranges, held_bytes })
}

/// What a file of a size is compared in. The last part has no end: space may be reserved behind the last byte.
fn parts(size: u64) -> Vec<Range<u64>> {
    let length = (size / PARTS_MAX).next_multiple_of(PART_BYTES).max(PART_BYTES);
    let last = size.saturating_sub(1) / length;
    (0..=last).map(|part| part * length..if part == last { u64::MAX } else { (part + 1) * length }).collect()
}

/// What was found in a part.
struct Part {
    /// Not certainly what it was, in order, and not yet joined.
    ranges: Vec<Range<u64>>,
    /// Bytes that only the older file keeps from being freed.
    exclusive: u64,
}

/// Compares a part of both files, of which they have `common` bytes. The older file is looked at, then the newer one, then
/// the older one again: where that is what it was, it was that too when the newer one was looked at, and data at the same
/// place was the same data. None when extents moved each time.
fn settled(base: &File, now: &File, part: &Range<u64>, common: u64) -> io::Result<Option<Part>> {
    for _ in 0..TRIES {
        let before = Extents::within(base, part.clone()).collect::<io::Result<Vec<_>>>()?;
        let within = part.start..part.end.min(common);
        let mut ranges = Vec::new();
        let extents = before.iter().copied().map(Ok);
        compare(extents, Extents::within(now, within.clone()), within, |range| ranges.push(range))?;
        if is_as_before(&before, Extents::within(base, part.clone()))? {
            let exclusive = before.iter().filter(|extent| !extent.shared).map(|extent| extent.end - extent.start);
            return Ok(Some(Part { ranges, exclusive: exclusive.fold(0, u64::saturating_add) }));
        }
    }
    Ok(None)
}

/// Whether extents lie where they lay, and there are no others. Whether somebody else has them too may change at any time.
fn is_as_before(before: &[Extent], mut again: impl Iterator<Item = io::Result<Extent>>) -> io::Result<bool> {
    let place = |extent: &Extent| (extent.start, extent.end, extent.matter);
    for was in before {
        match again.next().transpose()? {
            Some(is) if place(&is) == place(was) => {}
            _ => return Ok(false),
        }
    }
    Ok(again.next().transpose()?.is_none())
}

/// Ranges that come in order, widened and joined.
struct Ranges {
    granule: u64,
    size: u64,
    ranges: Vec<Range<u64>>,
}

impl Ranges {
    fn add(&mut self, range: Range<u64>) {
        let start = range.start / self.granule * self.granule;
        let end = range.end.div_ceil(self.granule).saturating_mul(self.granule).min(self.size);
        match self.ranges.last_mut() {
            Some(last) if start <= last.end => last.end = last.end.max(end),
            _ if start < end => self.ranges.push(start..end),
            _ => {}
        }
    }
}

/// What both files are made of from a position to the next place where one of them changes.
struct Side<I> {
    extents: I,
    next: Option<Extent>,
}

impl<I: Iterator<Item = io::Result<Extent>>> Side<I> {
    fn new(mut extents: I) -> io::Result<Self> {
        let next = extents.next().transpose()?;
        Ok(Self { extents, next })
    }

    /// The matter at a position and where it ends. Positions only grow.
    fn at(&mut self, position: u64) -> io::Result<(Matter, u64)> {
        while self.next.is_some_and(|extent| extent.end <= position) {
            self.next = self.extents.next().transpose()?;
        }
        Ok(match self.next {
            None => (Matter::Zeros, u64::MAX),
            Some(extent) if extent.start > position => (Matter::Zeros, extent.start),
            Some(Extent { start, end, matter: Matter::Stored(place), .. }) => {
                (Matter::Stored(place + (position - start)), end)
            }
            Some(extent) => (extent.matter, extent.end),
        })
    }
}

/// Tells, in order, what of a part is not certainly what it was. Both files have all of the part.
fn compare(
    base: impl Iterator<Item = io::Result<Extent>>,
    now: impl Iterator<Item = io::Result<Extent>>,
    within: Range<u64>,
    mut differs: impl FnMut(Range<u64>),
) -> io::Result<()> {
    let (mut base, mut now) = (Side::new(base)?, Side::new(now)?);
    let mut position = within.start;
    while position < within.end {
        let (was, was_until) = base.at(position)?;
        let (is, is_until) = now.at(position)?;
        let end = was_until.min(is_until).min(within.end);
        let same = match (was, is) {
            (Matter::Stored(was), Matter::Stored(is)) => was == is,
            (Matter::Zeros, Matter::Zeros) => true,
            _ => false,
        };
        if !same {
            differs(position..end);
        }
        position = end;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BLOCK: u64 = 4096;

    /// One block each.
    fn extents(blocks: &[Matter]) -> Vec<io::Result<Extent>> {
        let extent = |(number, matter): (usize, &Matter)| {
            let start = number as u64 * BLOCK;
            Extent { start, end: start + BLOCK, matter: *matter, shared: true }
        };
        blocks.iter().enumerate().map(extent).filter(|e| e.matter != Matter::Zeros).map(Ok).collect()
    }

    /// The same with neighbours on the device joined.
    fn joined(blocks: &[Matter]) -> Vec<io::Result<Extent>> {
        let mut all: Vec<Extent> = Vec::new();
        for extent in extents(blocks).into_iter().flatten() {
            match (all.last_mut(), extent.matter) {
                (Some(Extent { start, end, matter: Matter::Stored(place), .. }), Matter::Stored(next))
                    if *end == extent.start && *place + (*end - *start) == next =>
                {
                    *end = extent.end;
                }
                _ => all.push(extent),
            }
        }
        all.into_iter().map(Ok).collect()
    }

    fn matter() -> impl Strategy<Value = Matter> {
        prop_oneof![
            6 => (0_u64..6).prop_map(|place| Matter::Stored(place * BLOCK)),
            2 => Just(Matter::Zeros),
            1 => Just(Matter::Unknown),
        ]
    }

    proptest! {
        #[test]
        fn every_block_of_a_part_that_is_not_certainly_the_same_is_named_and_no_other(
            was in prop::collection::vec(matter(), 0..40),
            is in prop::collection::vec(matter(), 0..40),
            from in 0_usize..10,
        ) {
            let common = was.len().min(is.len());
            let from = from.min(common);
            let within = from as u64 * BLOCK..common as u64 * BLOCK;
            let mut ranges = Ranges { granule: BLOCK, size: within.end, ranges: Vec::new() };
            compare(joined(&was).into_iter(), extents(&is).into_iter(), within, |r| ranges.add(r)).unwrap();
            for (number, is) in is.iter().enumerate() {
                let same = number < from || number >= common || was[number] == *is && *is != Matter::Unknown;
                let start = number as u64 * BLOCK;
                let named = ranges.ranges.iter().any(|r| r.start <= start && start < r.end);
                prop_assert_eq!(named, !same, "block {}", number);
            }
        }
    }

    #[test]
    fn parts_cover_everything_and_are_not_too_many() {
        for size in [0, 1, PART_BYTES - 1, PART_BYTES, PART_BYTES + 1, 60 << 30, 100 << 40, 1 << 62] {
            let parts = parts(size);
            assert_eq!((parts[0].start, parts.last().unwrap().end), (0, u64::MAX));
            assert!(parts.windows(2).all(|pair| pair[0].end == pair[1].start && pair[1].start < size), "{size}");
            assert!(parts.len() as u64 <= (size / PART_BYTES + 1).min(PARTS_MAX + 1), "{size}: {}", parts.len());
        }
    }

    #[test]
    fn an_extent_that_moved_came_or_went_is_noticed_and_one_that_is_shared_since_is_not() {
        let before: Vec<Extent> =
            extents(&[Matter::Stored(0), Matter::Zeros, Matter::Stored(9 * BLOCK)]).into_iter().flatten().collect();
        let is_as_before = |now: &[Extent]| super::is_as_before(&before, now.iter().copied().map(Ok)).unwrap();
        assert!(is_as_before(&before));
        assert!(is_as_before(&before.iter().map(|extent| Extent { shared: false, ..*extent }).collect::<Vec<_>>()));
        for other in [
            &[Matter::Stored(0), Matter::Zeros, Matter::Stored(8 * BLOCK)][..],
            &[Matter::Stored(0), Matter::Stored(9 * BLOCK)],
            &[Matter::Stored(0)],
            &[Matter::Stored(0), Matter::Zeros, Matter::Stored(9 * BLOCK), Matter::Unknown],
        ] {
            assert!(!is_as_before(&extents(other).into_iter().flatten().collect::<Vec<_>>()), "{other:?}");
        }
        assert!(super::is_as_before(&before, [Err(io::ErrorKind::Other.into())].into_iter()).is_err());
    }

    #[test]
    fn ranges_are_whole_granules_up_to_the_end() {
        let mut ranges = Ranges { granule: 100, size: 1050, ranges: Vec::new() };
        for range in [5..6, 199..201, 1000..1001, 1040..1050] {
            ranges.add(range);
        }
        assert_eq!(ranges.ranges, [0..300, 1000..1050]);
    }
}
