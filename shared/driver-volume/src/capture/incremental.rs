//! Stores a volume by what changed since its parent, in time that grows with the change: directories in which nothing
//! changed are taken over from the parent without being read.

use std::collections::BTreeMap;
use std::ops::Range;

use driver_api::{DriverError, ReadError, SnapshotReader, queue};
use job_model::Progress;
use parking_lot::Mutex;
use vault_format::{Id, Node, NodeKind};

use super::ahead::Ahead;
use super::extent::{Before, Extents};
use super::trees;
use crate::layout::{EXTENT_BYTES, GROUP_BYTES, LEVEL_BYTES, offset_of};

/// Groups whose extents are held in memory at once.
const GROUPS_AT_ONCE: usize = 512;

/// What was stored.
pub(super) struct Stored {
    pub(super) subtree: Id,
    /// Extents of the whole volume.
    pub(super) extents: u64,
}

/// The parent as far as it is needed.
pub(super) struct Parent<'a> {
    pub(super) reader: &'a dyn SnapshotReader,
    /// Its directory `data`.
    pub(super) data: Id,
    /// Size of the volume then.
    pub(super) size: u64,
    /// Extents it had.
    pub(super) extents: u64,
}

/// Stores the volume. `changed` is in order and apart, in whole chunks.
///
/// # Errors
/// [`ReadError::Missing`] and [`ReadError::Damaged`] when the parent cannot be used after all.
pub(super) fn store(extents: &Extents<'_>, parent: &Parent<'_>, changed: &[Range<u64>]) -> Result<Stored, DriverError> {
    let size = extents.source.size();
    let work = Work { extents, parent, changed, size, removed: Mutex::new(0), added: Mutex::new(0) };
    let (control, threads) = (extents.request.control, extents.request.parallelism);
    // What stays of each level, and what has to be opened of the one that was looked at last.
    let mut kept: Vec<BTreeMap<u64, Node>> = Vec::new();
    let mut open: Vec<Opened> = vec![(0, Some(parent.data))];
    let mut above = size.max(parent.size);
    for length in LEVEL_BYTES {
        let looked = Mutex::new((BTreeMap::new(), Vec::new()));
        queue::for_each(threads, control, &open, |(offset, was)| {
            let until = offset.saturating_add(above);
            let mut children = work.children_of(*was, length, until)?;
            let open = work.to_open(&mut children, length, *offset..until)?;
            let mut looked = looked.lock();
            looked.0.extend(children);
            looked.1.extend(open);
            Ok(())
        })?;
        let (stays, opened) = looked.into_inner();
        kept.push(stays);
        open = opened;
        above = length;
    }
    open.sort_unstable_by_key(|(offset, _)| *offset);
    // So many at once that the threads have enough to do and memory stays bounded whatever has changed.
    let mut nodes = kept.pop().unwrap_or_default();
    for batch in open.chunks(GROUPS_AT_ONCE) {
        nodes.extend(work.groups(batch)?);
    }
    for (mut stays, length) in kept.into_iter().zip(LEVEL_BYTES).rev() {
        stays.extend(trees::level(extents.request.writer, nodes, length)?);
        nodes = stays;
    }
    let subtree = trees::directory(extents.request.writer, nodes)?;
    let count = parent.extents.saturating_sub(*work.removed.lock()) + *work.added.lock();
    Ok(Stored { subtree, extents: count })
}

/// A directory that must be looked into: its offset, and what it was.
type Opened = (u64, Option<Id>);

struct Work<'a> {
    extents: &'a Extents<'a>,
    parent: &'a Parent<'a>,
    changed: &'a [Range<u64>],
    size: u64,
    removed: Mutex<u64>,
    added: Mutex<u64>,
}

impl Work<'_> {
    /// The entries of one of the parent's directories by their offset.
    fn children(&self, id: &Id, multiple: u64, until: u64) -> Result<BTreeMap<u64, Node>, DriverError> {
        let nodes = self.parent.reader.tree(id)?.nodes;
        nodes.into_iter().map(|node| Ok((offset_of(&node.name, multiple, until.max(1))?, node))).collect()
    }

    fn children_of(&self, id: Option<Id>, multiple: u64, until: u64) -> Result<BTreeMap<u64, Node>, DriverError> {
        id.map_or_else(|| Ok(BTreeMap::new()), |id| self.children(&id, multiple, until))
    }

    /// Takes those directories out that cannot be kept as they are: something in them changed, or the vault may have lost
    /// something of them; and names those that are new.
    fn to_open(
        &self,
        kept: &mut BTreeMap<u64, Node>,
        length: u64,
        within: Range<u64>,
    ) -> Result<Vec<Opened>, DriverError> {
        let mut open: BTreeMap<u64, Option<Id>> = BTreeMap::new();
        for range in self.changed_in(&within) {
            let mut offset = range.start.max(within.start) / length * length;
            while offset < range.end.min(within.end) {
                open.insert(offset, None);
                offset += length;
            }
        }
        let mut left = BTreeMap::new();
        for (offset, node) in std::mem::take(kept) {
            let subtree = subtree(&node)?;
            let lost = || !self.extents.request.writer.has_subtrees(&[subtree]);
            if offset >= self.size || open.contains_key(&offset) || lost() {
                open.insert(offset, Some(subtree));
            } else {
                let bytes_done = length.min(self.size - offset);
                self.extents.request.control.advance(Progress { bytes_done, ..Progress::default() });
                left.insert(offset, node);
            }
        }
        *kept = left;
        Ok(open.into_iter().collect())
    }

    fn changed_in(&self, within: &Range<u64>) -> &[Range<u64>] {
        let first = self.changed.partition_point(|range| range.end <= within.start);
        let last = self.changed.partition_point(|range| range.start < within.end);
        self.changed.get(first..last).unwrap_or_default()
    }

    /// Stores groups; their extents are shared out among the threads.
    fn groups(&self, open: &[Opened]) -> Result<BTreeMap<u64, Node>, DriverError> {
        let (control, threads) = (self.extents.request.control, self.extents.request.parallelism);
        let kept: Mutex<BTreeMap<u64, Node>> = Mutex::default();
        let jobs: Mutex<Vec<(u64, Option<Node>)>> = Mutex::default();
        queue::for_each(threads, control, open, |(offset, was)| {
            let until = offset.saturating_add(GROUP_BYTES);
            let nodes = self.children_of(*was, EXTENT_BYTES, until)?;
            *self.removed.lock() += nodes.len() as u64;
            let mut todo = Vec::new();
            let mut same = BTreeMap::new();
            let mut position = *offset;
            let mut nodes = nodes.into_iter().peekable();
            while position < until.min(self.size) {
                let was = nodes.next_if(|(at, _)| *at == position).map(|(_, node)| node);
                let bytes = EXTENT_BYTES.min(self.size - position);
                let changed = !self.changed_in(&(position..position + bytes)).is_empty();
                match was {
                    None if !changed => control.advance(Progress { bytes_done: bytes, ..Progress::default() }),
                    Some(node) if !changed && self.has(&node) => {
                        control.advance(Progress { bytes_done: bytes, items_done: 1, ..Progress::default() });
                        same.insert(position, node);
                    }
                    was => todo.push((position, was)),
                }
                position += EXTENT_BYTES;
            }
            kept.lock().extend(same);
            jobs.lock().extend(todo);
            Ok(())
        })?;
        let mut jobs = jobs.into_inner();
        jobs.sort_by_key(|(offset, _)| *offset);
        let ahead = Ahead::new(self.extents.source, self.changed_in(&within(open)));
        queue::for_each(threads, control, &jobs, |(offset, was)| {
            ahead.reach(*offset);
            let changed = self.changed_in(&(*offset..offset + EXTENT_BYTES));
            let before = match was.as_ref().map(|node| &node.kind) {
                Some(NodeKind::File { content, size }) if self.is_cut_alike(*offset, *size) => {
                    Before::Chunks { content, changed }
                }
                Some(_) => Before::Unknown,
                None => Before::Hole { changed },
            };
            if let Some(node) = self.extents.store(*offset, before)? {
                kept.lock().insert(*offset, node);
            } else {
                let bytes_done = EXTENT_BYTES.min(self.size - offset);
                control.advance(Progress { bytes_done, ..Progress::default() });
            }
            Ok(())
        })?;
        let mut groups: BTreeMap<u64, BTreeMap<u64, Node>> = BTreeMap::new();
        let kept = kept.into_inner();
        *self.added.lock() += kept.len() as u64;
        for (offset, node) in kept {
            groups.entry(offset / GROUP_BYTES * GROUP_BYTES).or_default().insert(offset, node);
        }
        let groups: Vec<_> = groups.into_iter().collect();
        let stored: Mutex<BTreeMap<u64, Node>> = Mutex::default();
        queue::for_each(threads, control, &groups, |(offset, nodes)| {
            let subtree = trees::directory(self.extents.request.writer, nodes.clone())?;
            stored.lock().insert(*offset, trees::at(*offset, subtree));
            Ok(())
        })?;
        Ok(stored.into_inner())
    }

    /// Whether an extent of the parent had the length that the extent at this offset had in a volume of that size: its
    /// chunks then are those of the same places.
    fn is_cut_alike(&self, offset: u64, size: u64) -> bool {
        offset < self.parent.size && size == EXTENT_BYTES.min(self.parent.size - offset)
    }

    fn has(&self, node: &Node) -> bool {
        match &node.kind {
            NodeKind::File { content, .. } => self.extents.request.writer.has_content(content),
            _ => false,
        }
    }
}

/// From the first of these groups to the end of the last one.
fn within(groups: &[Opened]) -> Range<u64> {
    let end = groups.last().map_or(0, |(offset, _)| offset.saturating_add(GROUP_BYTES));
    groups.first().map_or(0, |(offset, _)| *offset)..end
}

fn subtree(node: &Node) -> Result<Id, DriverError> {
    match node.kind {
        NodeKind::Dir { subtree } => Ok(subtree),
        _ => Err(DriverError::Read(ReadError::Damaged {
            what: format!("entry `{}` of the parent", String::from_utf8_lossy(&node.name)),
            problem: "it is not a directory".to_owned(),
        })),
    }
}
