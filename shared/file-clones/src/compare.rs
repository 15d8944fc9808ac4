//! What differs between two clones of a file.

use std::collections::hash_map::DefaultHasher;
use std::fs::File;
use std::hash::Hasher;
use std::io;
use std::ops::Range;
use std::path::Path;

use crate::CloneError;
use crate::extents::{Extent, Extents, Matter};

/// How often extents may have moved between two looks.
const TRIES: usize = 5;

/// What may have changed from one clone to the other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Parts of the newer file, in order, apart, widened to whole granules and cut at its end.
    pub ranges: Vec<Range<u64>>,
    /// Bytes on the device that only the older clone keeps from being freed.
    pub held_bytes: u64,
}

/// Compares two clones by their extents. `granule` is what the caller reads at once, in bytes; both files are at rest.
/// The time and memory it takes grow with the number of extents and of changes, not with the size.
///
/// # Errors
/// When the file system gives no extents, or moves them again and again.
pub fn changed(base: &File, now: &File, granule: u64, shown: &Path) -> Result<Changes, CloneError> {
    let failed = |source| CloneError::io("list the extents of", shown, source);
    let size = |file: &File| Ok(file.metadata()?.len());
    for _ in 0..TRIES {
        let (mut of_base, mut of_now) = (Watched::of(base), Watched::of(now));
        let sizes = (size(base).map_err(failed)?, size(now).map_err(failed)?);
        let mut ranges = Ranges { granule: granule.max(1), size: sizes.1, ranges: Vec::new() };
        compare(&mut of_base, &mut of_now, sizes, |range| ranges.add(range)).map_err(failed)?;
        let stable = of_base.finish().map_err(failed)? == digest(base).map_err(failed)?
            && of_now.finish().map_err(failed)? == digest(now).map_err(failed)?;
        if stable {
            return Ok(Changes { ranges: ranges.ranges, held_bytes: of_base.exclusive });
        }
    }
    Err(CloneError::Unsettled { path: shown.display().to_string() })
}

/// Extents, with a digest of all that were seen.
struct Watched<'a> {
    extents: Extents<'a>,
    digest: DefaultHasher,
    exclusive: u64,
}

impl<'a> Watched<'a> {
    fn of(file: &'a File) -> Self {
        Self { extents: Extents::of(file), digest: DefaultHasher::new(), exclusive: 0 }
    }

    fn finish(&mut self) -> io::Result<u64> {
        for extent in self.by_ref() {
            extent?;
        }
        Ok(self.digest.finish())
    }
}

impl Iterator for Watched<'_> {
    type Item = io::Result<Extent>;

    fn next(&mut self) -> Option<Self::Item> {
        let extent = self.extents.next()?;
        if let Ok(extent) = &extent {
            let (kind, place) = match extent.matter {
                Matter::Stored(place) => (0, place),
                Matter::Zeros => (1, 0),
                Matter::Unknown => (2, 0),
            };
            for number in [extent.start, extent.end, kind, place] {
                self.digest.write_u64(number);
            }
            if !extent.shared {
                self.exclusive = self.exclusive.saturating_add(extent.end - extent.start);
            }
        }
        Some(extent)
    }
}

fn digest(file: &File) -> io::Result<u64> {
    Watched::of(file).finish()
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

/// Tells, in order, all parts of the newer file that are not certainly what they were. `sizes` are those of the older and
/// the newer file.
fn compare(
    base: impl Iterator<Item = io::Result<Extent>>,
    now: impl Iterator<Item = io::Result<Extent>>,
    sizes: (u64, u64),
    mut differs: impl FnMut(Range<u64>),
) -> io::Result<()> {
    let (mut base, mut now) = (Side::new(base)?, Side::new(now)?);
    let common = sizes.0.min(sizes.1);
    let mut position = 0;
    while position < common {
        let (was, was_until) = base.at(position)?;
        let (is, is_until) = now.at(position)?;
        let end = was_until.min(is_until).min(common);
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
    if sizes.0 != sizes.1 {
        // With the last byte both have: what is cut in pieces has a last piece of another length.
        differs(common.saturating_sub(1)..sizes.1);
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
        fn every_block_that_is_not_certainly_the_same_is_named_and_no_other(
            was in prop::collection::vec(matter(), 0..40),
            is in prop::collection::vec(matter(), 0..40),
        ) {
            let sizes = (was.len() as u64 * BLOCK, is.len() as u64 * BLOCK);
            let mut ranges = Ranges { granule: BLOCK, size: sizes.1, ranges: Vec::new() };
            compare(joined(&was).into_iter(), extents(&is).into_iter(), sizes, |r| ranges.add(r)).unwrap();
            for (number, is) in is.iter().enumerate() {
                let same = was.get(number) == Some(is) && *is != Matter::Unknown;
                let last_common = sizes.0 != sizes.1 && number + 1 == was.len().min((sizes.1 / BLOCK) as usize);
                let start = number as u64 * BLOCK;
                let named = ranges.ranges.iter().any(|r| r.start <= start && start < r.end);
                prop_assert_eq!(named, !same || last_common, "block {}", number);
            }
        }
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
