//! Reads the layout of a recovery point, a part of the volume at a time: the ids of all chunks of a large volume would take
//! more memory than everything else together.

use std::ops::Range;

use driver_api::{BlobSpan, DriverError, ReadError, SnapshotReader};
use vault_format::{Id, NodeKind};

use super::{EXTENT_BYTES, Facts, data, misplaced, name, offset_of};

/// Bytes of the volume whose chunks are known at the same time: 16,384 chunks. Lowest directories of older layouts may hold more.
const WINDOW_BYTES: u64 = if cfg!(test) { EXTENT_BYTES } else { 4 << 30 };

/// An extent of a recovery point, with its chunks at their offsets in the volume.
pub(crate) struct Extent {
    pub(crate) offset: u64,
    pub(crate) length: u64,
    pub(crate) spans: Vec<BlobSpan>,
}

/// A part of a volume, which begins where the one before it ends, and its extents in order. Everything between them is zeros.
pub(crate) struct Window {
    pub(crate) part: Range<u64>,
    pub(crate) extents: Vec<Extent>,
}

/// The lowest directories of a recovery point, which hold its extents, in order.
pub(crate) struct Layout<'a> {
    reader: &'a dyn SnapshotReader,
    facts: Facts,
    groups: Vec<Group>,
}

struct Group {
    offset: u64,
    tree: Id,
}

impl<'a> Layout<'a> {
    /// Fails when a directory is lost or damaged, or is not that of a volume of this size.
    pub(crate) fn read(reader: &'a dyn SnapshotReader, facts: &Facts) -> Result<Self, DriverError> {
        let mut groups = Vec::new();
        below(reader, data(reader)?, facts.levels(), 0..facts.size, facts.size, &mut groups)?;
        groups.sort_by_key(|group| group.offset);
        match groups.windows(2).find(|pair| pair[0].offset == pair[1].offset) {
            Some(pair) => Err(misplaced(&name(pair[0].offset), "is there twice")),
            None => Ok(Self { reader, facts: facts.clone(), groups }),
        }
    }

    pub(crate) const fn facts(&self) -> &Facts {
        &self.facts
    }

    /// The whole volume, part by part.
    ///
    /// One fails when its directories are lost or damaged, a chunk is in no index, or an extent is not as it must be.
    pub(crate) fn windows(&self) -> impl Iterator<Item = Result<Window, DriverError>> + '_ {
        let group_bytes = self.group_bytes();
        let together = usize::try_from(WINDOW_BYTES / group_bytes).unwrap_or(usize::MAX).max(1);
        // What holds nothing but zeros has no directories, and is one window.
        let count = self.groups.len().div_ceil(together).max(1);
        let begin_of = move |number: usize| match (number, self.groups.get(number * together)) {
            (0, _) => 0,
            (_, Some(group)) => group.offset,
            (_, None) => self.facts.size,
        };
        (0..count).map(move |number| {
            let mut extents = Vec::new();
            for group in self.groups.iter().skip(number * together).take(together) {
                self.extents(group, group_bytes, &mut extents)?;
            }
            Ok(Window { part: begin_of(number)..begin_of(number + 1), extents })
        })
    }

    /// What a lowest directory holds.
    fn group_bytes(&self) -> u64 {
        self.facts.levels().last().copied().unwrap_or(EXTENT_BYTES)
    }

    fn extents(&self, group: &Group, group_bytes: u64, extents: &mut Vec<Extent>) -> Result<(), DriverError> {
        let before = extents.len();
        for file in self.reader.tree(&group.tree)?.nodes {
            let NodeKind::File { content, size } = &file.kind else { return Err(misplaced(&file.name, "is no file")) };
            let extent = self.extent(&file.name, content, *size)?;
            if !(group.offset..group.offset.saturating_add(group_bytes)).contains(&extent.offset) {
                return Err(misplaced(&file.name, "is in another directory"));
            }
            extents.push(extent);
        }
        let found = &mut extents[before..];
        found.sort_by_key(|extent| extent.offset);
        match found.windows(2).find(|pair| pair[0].offset == pair[1].offset) {
            Some(pair) => Err(misplaced(&name(pair[0].offset), "is there twice")),
            None => Ok(()),
        }
    }

    fn extent(&self, name: &[u8], content: &[Id], size: u64) -> Result<Extent, DriverError> {
        let offset = offset_of(name, EXTENT_BYTES, self.facts.size)?;
        let length = EXTENT_BYTES.min(self.facts.size - offset);
        let mut spans = self.reader.spans(content)?;
        let chunk_bytes = self.facts.chunk_bytes;
        let cut_right =
            spans.iter().all(|span| u64::from(span.length) == chunk_bytes.min(length - span.offset.min(length)));
        let sum: u64 = spans.iter().map(|span| u64::from(span.length)).sum();
        if size != length || sum != length || !cut_right {
            return Err(DriverError::Read(ReadError::Damaged {
                what: format!("extent `{}`", String::from_utf8_lossy(name)),
                problem: format!("it has {sum} bytes instead of {length}, or is cut at other places"),
            }));
        }
        for span in &mut spans {
            span.offset += offset;
        }
        Ok(Extent { offset, length, spans })
    }
}

/// The lowest directories below one that holds this part of the volume, in directories of these levels.
fn below(
    reader: &dyn SnapshotReader,
    id: Id,
    levels: &[u64],
    part: Range<u64>,
    size: u64,
    groups: &mut Vec<Group>,
) -> Result<(), DriverError> {
    let Some((length, levels)) = levels.split_first() else {
        groups.push(Group { offset: part.start, tree: id });
        return Ok(());
    };
    for entry in reader.tree(&id)?.nodes {
        let NodeKind::Dir { subtree } = entry.kind else { return Err(misplaced(&entry.name, "is not a directory")) };
        let offset = offset_of(&entry.name, *length, size)?;
        if !part.contains(&offset) {
            return Err(misplaced(&entry.name, "is in another directory"));
        }
        below(reader, subtree, levels, offset..offset.saturating_add(*length), size, groups)?;
    }
    Ok(())
}
