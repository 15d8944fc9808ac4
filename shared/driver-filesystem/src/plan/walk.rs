//! Walks through a recovery point, always in the same order: directories go deep rather than wide, so that few wait, and
//! the entries of each have numbers that follow each other.

use std::collections::{HashSet, VecDeque};
use std::ops::Range;

use driver_api::{DriverError, SnapshotReader};
use vault_format::{Id, Node};

use super::entry::Entry;
use super::links::SharedFile;
use super::trees::{Listing, TOGETHER, Trees};
use crate::sidecar::Sidecar;

/// What a walk goes by.
pub(super) struct Way<'a> {
    pub(super) reader: &'a dyn SnapshotReader,
    pub(super) attributes: Sidecar,
    /// Paths to restore; empty for all.
    pub(super) include: HashSet<Vec<u8>>,
    /// The node of the resource's root.
    pub(super) root: Node,
    /// Its tree.
    pub(super) tree: Id,
    /// What a window weighs where there are several, and trees that are read together at most. All walks have to read the same
    /// trees together: the numbers of entries go by it.
    pub(super) part_bytes: usize,
}

/// Entries that are dealt with together: all of some directories.
#[derive(Debug, Default)]
pub(crate) struct Window {
    first: usize,
    /// With numbers that follow each other; the root is the first of the first window.
    pub(crate) entries: Vec<Entry>,
    /// The directories that hold them, each before all that are below it, and after the directory that holds it.
    pub(crate) directories: Vec<Directory>,
    pub(super) weight: usize,
}

/// A directory whose entries are in a window; its own may be in an earlier one.
#[derive(Debug)]
pub(crate) struct Directory {
    pub(crate) number: usize,
    pub(crate) path: Box<[u8]>,
    pub(crate) whole: bool,
    /// Numbers of its entries.
    pub(crate) children: Range<usize>,
}

impl Window {
    /// An entry by its number.
    pub(crate) fn entry(&self, number: usize) -> Option<&Entry> {
        number.checked_sub(self.first).and_then(|at| self.entries.get(at))
    }

    /// The entries of one of its directories.
    pub(crate) fn children(&self, directory: &Directory) -> &[Entry] {
        let Range { start, end } = directory.children;
        self.entries.get(start.saturating_sub(self.first)..end.saturating_sub(self.first)).unwrap_or_default()
    }

    /// All but the resource's root.
    pub(crate) fn below_root(&self) -> &[Entry] {
        &self.entries[usize::from(self.first == 0 && !self.entries.is_empty())..]
    }
}

/// A directory whose entries were not looked at yet.
pub(super) struct Waiting {
    pub(super) number: usize,
    pub(super) path: Box<[u8]>,
    pub(super) whole: bool,
    pub(super) tree: Id,
}

/// What is done with each entry before it is in a window: finds its leader.
pub(super) type Look<'a> = dyn FnMut(&Entry, Option<&SharedFile>) -> Option<usize> + 'a;

pub(super) struct Walk<'a> {
    way: &'a Way<'a>,
    window_bytes: usize,
    trees: Trees,
    /// The next is at the end.
    waiting: Vec<Waiting>,
    /// Whose trees were read.
    ready: VecDeque<(Waiting, Listing)>,
    /// Directories in those that were ready; none of them is looked into before all of those.
    found: Vec<Waiting>,
    next: usize,
}

impl<'a> Walk<'a> {
    /// With `judges`, names are judged, which is enough once.
    pub(super) fn new(way: &'a Way<'a>, window_bytes: usize, judges: bool) -> Self {
        Self {
            way,
            window_bytes,
            trees: Trees::new(way.part_bytes, judges),
            waiting: Vec::new(),
            ready: VecDeque::new(),
            found: Vec::new(),
            next: 0,
        }
    }

    /// The next window: one directory after the other until they weigh enough; none when there is nothing more.
    pub(super) fn window(&mut self, look: &mut Look<'_>) -> Result<Option<Window>, DriverError> {
        let mut window = Window { first: self.next, ..Window::default() };
        if self.next == 0 {
            self.enter_root(&mut window, look)?;
        }
        while window.weight < self.window_bytes {
            let Some((directory, listing)) = self.next_directory()? else { break };
            self.enter(directory, listing, &mut window, look);
        }
        Ok(if window.entries.is_empty() && window.directories.is_empty() { None } else { Some(window) })
    }

    /// Whether there is nothing after the last window.
    pub(super) fn is_at_end(&self) -> bool {
        self.waiting.is_empty() && self.ready.is_empty() && self.found.is_empty()
    }

    fn enter_root(&mut self, window: &mut Window, look: &mut Look<'_>) -> Result<(), DriverError> {
        let Way { reader, attributes, include, root, tree, .. } = self.way;
        let whole = include.is_empty() || include.contains(&b""[..]);
        let mut entry = Entry::new((0, 0), Vec::new(), root, attributes.get(b""), whole, *reader)?;
        entry.leader = look(&entry, SharedFile::of(root).as_ref());
        window.add(entry);
        self.next = 1;
        self.waiting.push(Waiting { number: 0, path: Box::default(), whole, tree: *tree });
        Ok(())
    }

    fn next_directory(&mut self) -> Result<Option<(Waiting, Listing)>, DriverError> {
        if self.ready.is_empty() {
            self.waiting.extend(self.found.drain(..).rev());
            let from = self.waiting.len().saturating_sub(TOGETHER);
            let wanted: Vec<&Waiting> = self.waiting[from..].iter().rev().collect();
            let listings = self.trees.read(self.way, &wanted)?;
            let from = self.waiting.len() - listings.len();
            self.ready.extend(self.waiting.drain(from..).rev().zip(listings));
        }
        Ok(self.ready.pop_front())
    }

    /// Gives its entries their numbers.
    fn enter(&mut self, directory: Waiting, listing: Listing, window: &mut Window, look: &mut Look<'_>) {
        let Waiting { number, path, whole, .. } = directory;
        let first = self.next;
        for listed in listing.entries {
            let mut entry = listed.entry;
            (entry.number, entry.holder) = (self.next, number);
            self.next += 1;
            if let Some(tree) = listed.subtree {
                let path = entry.path().into();
                self.found.push(Waiting { number: entry.number, path, whole: entry.whole, tree });
            }
            entry.leader = look(&entry, listed.shared.as_ref());
            window.add(entry);
        }
        window.directories.push(Directory { number, path, whole, children: first..self.next });
    }
}

impl Window {
    fn add(&mut self, entry: Entry) {
        self.weight += entry.weight();
        self.entries.push(entry);
    }
}
