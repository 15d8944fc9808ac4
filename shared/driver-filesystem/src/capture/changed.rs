//! Large files: cloned while the tree is walked, and read by what changed since the parent.

use std::fs::File;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::sync::Arc;

use driver_api::{BlobSpan, CaptureRequest, DriverError, FileContent, WriteError};
use file_clones::Identity;
use parking_lot::Mutex;
use rustix::fs::OFlags;
use vault_format::{Id, NodeKind, Xattr};

use super::instant::{CloneSet, Cloned};
use super::parent::ParentTree;
use super::remains::{Base, open_nofollow};
use super::walk::{Directory, open_quietly};
use super::{Entry, Stored, Walk};
use crate::extents::{Extent, Piece, pieces, within};
use crate::inode::{self, Place, Stat};
use crate::sidecar::Attributes;

/// What is reported of a change by extents, in bytes: the smallest block of the file systems that share any.
const GRANULE_BYTES: u64 = 4096;

/// A clone to read.
pub(super) struct Deferred {
    directory: Arc<Directory>,
    entry: Entry,
    /// The file that the clone is of.
    identity: Identity,
    clone: PathBuf,
    attributes: Attributes,
    xattrs: Vec<Xattr>,
    parent_tree: Option<Arc<ParentTree>>,
}

/// Compares with what the parent's capture left.
pub(super) struct Comparison {
    /// An error in words when there is nothing to compare with.
    base: Result<Base, String>,
    is_wanted: bool,
    seen: Mutex<Seen>,
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    /// Files that were read by what changed in them.
    pub(super) files: u64,
    pub(super) held_bytes: u64,
    /// Why more was read than had changed.
    pub(super) fallback: Option<String>,
}

impl Comparison {
    pub(super) fn new(request: &CaptureRequest<'_>, fallback: Option<String>) -> Self {
        let is_wanted = request.tracking.is_some() && request.parent.is_some();
        let base = if is_wanted { Base::open(request) } else { Err(String::new()) };
        Self { base, is_wanted, seen: Mutex::new(Seen { fallback, ..Seen::default() }) }
    }

    pub(super) fn finish(&self) -> Seen {
        self.seen.lock().clone()
    }
}

/// A file of the parent, and what may have changed in it.
pub(super) struct Known {
    spans: Vec<BlobSpan>,
    changed: Vec<Range<u64>>,
}

impl Walk<'_> {
    /// Clones a large file and puts off reading it; false when that cannot be done and it is to be read as it is.
    pub(super) fn large(
        &self,
        clones: &CloneSet<'_>,
        (directory, fd): (&Arc<Directory>, BorrowedFd<'_>),
        entry: &Entry,
        tree: Option<&Arc<ParentTree>>,
    ) -> Result<bool, DriverError> {
        let opened = open_quietly(fd, &entry.name, OFlags::empty()).map(File::from);
        let Ok(file) = opened else { return Ok(false) };
        let (Ok(before), Ok(identity)) = (Stat::of(&file), Identity::of(&file)) else { return Ok(false) };
        if !before.is_file() || before.inode != entry.stat.inode || before.links != 1 {
            return Ok(false);
        }
        let Cloned::Yes(clone, identity) = clones.clone_file(&file, identity)? else { return Ok(false) };
        let at_rest = Stat::of(&file).is_ok_and(|after| after.same_state(&before)) && identity.size == before.size;
        let as_it_was = Entry { name: entry.name.clone(), path: entry.path.clone(), stat: before };
        // What the parent has is what was cloned only if nobody wrote it meanwhile.
        if at_rest && let Some(node) = self.unchanged(&as_it_was, tree.map(Arc::as_ref)) {
            self.complete(directory.clone(), Some(node))?;
            return Ok(true);
        }
        let attributes = Attributes {
            flags: inode::flags(&file).unwrap_or(0) & inode::FLAGS_KEPT,
            project: inode::project(&file),
            data: None,
        };
        let xattrs = self.xattrs(Place::Open(file.as_fd()), &entry.path);
        // Times from before the clone: what was written after them is found again by the next capture.
        let entry = Entry { stat: Stat { size: identity.size, ..before }, ..as_it_was };
        let (directory, parent_tree) = (directory.clone(), tree.cloned());
        self.deferred.lock().push(Deferred { directory, entry, identity, clone, attributes, xattrs, parent_tree });
        Ok(true)
    }

    /// Reads a clone.
    pub(super) fn deferred(&self, job: Deferred) -> Result<(), DriverError> {
        let Deferred { directory, entry, identity, clone, attributes, xattrs, parent_tree } = job;
        let file = open_nofollow(&clone)
            .map_err(|error| crate::io_error("open the clone", clone.display().to_string(), error))?;
        let read = self.content(&file, identity.size, &entry, Some(identity), parent_tree.as_deref())?;
        let node = read.map(|(content, data)| {
            let kind = NodeKind::File { content: content.blobs, size: content.size };
            let stored =
                Stored { node: self.node(&entry, xattrs, kind), attributes: Attributes { data, ..attributes } };
            self.keep(&entry, stored)
        });
        self.complete(directory, node)
    }

    /// What may have changed in a file at rest since the parent; none when it is new there, or that is not known, which is
    /// noted.
    pub(super) fn compare(
        &self,
        file: &File,
        entry: &Entry,
        identity: &Identity,
        tree: Option<&ParentTree>,
    ) -> Option<Known> {
        let parent = self.parent.as_ref().filter(|_| self.comparison.is_wanted)?;
        let node = tree?.find(&entry.name).filter(|node| node.inode == entry.stat.inode)?;
        let NodeKind::File { content, size } = &node.kind else { return None };
        let base = self.comparison.base.as_ref().map_err(Clone::clone);
        let found = base.and_then(|base| base.file(&entry.path, node, identity, file)).and_then(|base| {
            let shown = PathBuf::from(crate::display(&entry.path));
            let changes = file_clones::changed(&base, file, GRANULE_BYTES, &shown).map_err(|e| crate::chain(&e))?;
            let spans = parent.spans(content).ok_or("the vault's index lacks a chunk that the parent has")?;
            let end = spans.last().map_or(0, |span| span.offset + u64::from(span.length));
            if end == *size { Ok((changes, spans)) } else { Err("the parent's chunks are not all of it".to_owned()) }
        });
        let mut seen = self.comparison.seen.lock();
        match found {
            Ok((changes, spans)) => {
                seen.files += 1;
                seen.held_bytes = seen.held_bytes.saturating_add(changes.held_bytes);
                Some(Known { spans, changed: changes.ranges })
            }
            Err(why) => {
                seen.fallback.get_or_insert_with(|| format!("`{}` was read whole: {why}", crate::display(&entry.path)));
                None
            }
        }
    }

    /// Stores a file, taking over those chunks of the parent in which nothing changed.
    pub(super) fn store_changed(
        &self,
        file: &File,
        size: u64,
        extents: Option<&[Extent]>,
        known: &Known,
    ) -> Result<FileContent, WriteError> {
        let mut content = FileContent::default();
        for part in parts(size, &known.spans, &known.changed, |id| self.request.writer.has_content(&[id])) {
            match part {
                Part::Taken(span) => {
                    content.blobs.push(span.id);
                    content.size += u64::from(span.length);
                }
                Part::Read(range) => {
                    let stored = self.store(file, &pieces_within(extents, &range))?;
                    content.blobs.extend(stored.blobs);
                    content.size += stored.size;
                }
            }
        }
        Ok(content)
    }
}

/// How a part of a file gets into the vault.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    /// The parent's chunk.
    Taken(BlobSpan),
    Read(Range<u64>),
}

/// The parts of a file of this size, in order: chunks of the parent that end within it, in which nothing changed and which the
/// vault has; all else is read, from the begin of a chunk to the end of one. `changed` is in order and apart and has all
/// beyond the parent's end.
fn parts(size: u64, spans: &[BlobSpan], changed: &[Range<u64>], has: impl Fn(Id) -> bool) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    let read = |parts: &mut Vec<Part>, range: Range<u64>| match parts.last_mut() {
        Some(Part::Read(last)) => last.end = range.end,
        _ if range.start < range.end => parts.push(Part::Read(range)),
        _ => {}
    };
    let mut position = 0;
    for span in spans {
        let end = span.offset + u64::from(span.length);
        if end > size {
            break;
        }
        let next = changed.partition_point(|range| range.end <= span.offset);
        let differs = changed.get(next).is_some_and(|range| range.start < end);
        if differs || !has(span.id) {
            read(&mut parts, span.offset..end);
        } else {
            parts.push(Part::Taken(*span));
        }
        position = end;
    }
    if position < size {
        read(&mut parts, position..size);
    }
    parts
}

/// How to store a part of a file.
fn pieces_within(extents: Option<&[Extent]>, range: &Range<u64>) -> Vec<Piece> {
    let length = range.end - range.start;
    let clipped: Option<Vec<Extent>> = extents
        .map(|extents| within(extents, range.start, length).map(|(start, len)| (start - range.start, len)).collect());
    let moved = |piece| match piece {
        Piece::Data(start, end) => Piece::Data(start + range.start, end + range.start),
        hole @ Piece::Hole(_) => hole,
    };
    pieces(length, clipped.as_deref()).into_iter().map(moved).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn only(range: Range<u64>) -> Vec<Range<u64>> {
        vec![range]
    }

    fn spans(lengths: &[u32]) -> Vec<BlobSpan> {
        let mut offset = 0;
        let span = |(number, length): (usize, &u32)| {
            let span = BlobSpan { id: Id::new([number as u8; 32]), offset, length: *length };
            offset += u64::from(*length);
            span
        };
        lengths.iter().enumerate().map(span).collect()
    }

    #[test]
    fn chunks_in_which_nothing_changed_are_taken_over_and_all_else_is_read_once() {
        let old = spans(&[10, 20, 30, 40]);
        let taken = |number: usize| Part::Taken(old[number]);
        let all = |_| true;
        assert_eq!(parts(100, &old, &[], all), [taken(0), taken(1), taken(2), taken(3)]);
        assert_eq!(parts(100, &old, &only(12..13), all), [taken(0), Part::Read(10..30), taken(2), taken(3)]);
        // Neighbours are read together.
        assert_eq!(parts(100, &old, &only(29..31), all), [taken(0), Part::Read(10..60), taken(3)]);
        // Longer, shorter, and cut in a chunk.
        assert_eq!(parts(150, &old, &only(99..150), all), [taken(0), taken(1), taken(2), Part::Read(60..150)]);
        assert_eq!(parts(70, &old, &only(69..70), all), [taken(0), taken(1), taken(2), Part::Read(60..70)]);
        assert_eq!(parts(0, &old, &[], all), []);
        // What the vault lost is read again.
        let lost = |id: Id| id != old[2].id;
        assert_eq!(parts(100, &old, &[], lost), [taken(0), taken(1), Part::Read(30..60), taken(3)]);
        assert_eq!(parts(5, &[], &only(0..5), all), [Part::Read(0..5)]);
    }

    #[test]
    fn holes_within_a_part_are_not_read() {
        const MIB: u64 = 1 << 20;
        let extents = [(0, 2 * MIB), (8 * MIB, MIB)];
        assert_eq!(
            pieces_within(Some(&extents), &(MIB..9 * MIB)),
            [Piece::Data(MIB, 2 * MIB), Piece::Hole(6 * MIB), Piece::Data(8 * MIB, 9 * MIB)]
        );
        assert_eq!(pieces_within(None, &(5..9)), [Piece::Data(5, 9)]);
    }
}
