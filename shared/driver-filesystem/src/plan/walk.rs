//! Walks through a recovery point, always in the same order: directories go deep rather than wide, so that few wait, and
//! the entries of each have numbers that follow each other.

use std::collections::{HashSet, VecDeque};
use std::ops::Range;

use driver_api::{DriverError, SnapshotReader};
use vault_format::{Id, Node, NodeKind, Tree};

use super::entry::Entry;
use super::trees::{TOGETHER, Trees};
use crate::sidecar::Sidecar;
use crate::{display, join};

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
struct Waiting {
    number: usize,
    path: Box<[u8]>,
    whole: bool,
    tree: Id,
}

/// What is done with each entry before it is in a window: finds its leader.
pub(super) type Look<'a> = dyn FnMut(&Entry, &Node) -> Option<usize> + 'a;

pub(super) struct Walk<'a> {
    way: &'a Way<'a>,
    window_bytes: usize,
    trees: Trees,
    /// The next is at the end.
    waiting: Vec<Waiting>,
    /// Whose trees are there.
    ready: VecDeque<(Waiting, Tree)>,
    /// Directories in those that were ready; none of them is looked into before all of those.
    found: Vec<Waiting>,
    next: usize,
    /// Whether names are judged, which is enough once.
    judges: bool,
}

impl<'a> Walk<'a> {
    pub(super) fn new(way: &'a Way<'a>, window_bytes: usize, judges: bool) -> Self {
        Self {
            way,
            window_bytes,
            trees: Trees::new(window_bytes),
            waiting: Vec::new(),
            ready: VecDeque::new(),
            found: Vec::new(),
            next: 0,
            judges,
        }
    }

    /// The next window: one directory after the other until they weigh enough; none when there is nothing more.
    pub(super) fn window(&mut self, look: &mut Look<'_>) -> Result<Option<Window>, DriverError> {
        let mut window = Window { first: self.next, ..Window::default() };
        if self.next == 0 {
            self.enter_root(&mut window, look)?;
        }
        while window.weight < self.window_bytes {
            let Some((directory, tree)) = self.next_directory()? else { break };
            self.enter(directory, tree, &mut window, look)?;
        }
        Ok(if window.entries.is_empty() && window.directories.is_empty() { None } else { Some(window) })
    }

    fn enter_root(&mut self, window: &mut Window, look: &mut Look<'_>) -> Result<(), DriverError> {
        let Way { reader, attributes, include, root, tree } = self.way;
        let whole = include.is_empty() || include.contains(&b""[..]);
        let mut entry = Entry::new((0, 0), Vec::new(), root, attributes.get(b""), whole, *reader)?;
        entry.leader = look(&entry, root);
        window.add(entry);
        self.next = 1;
        self.waiting.push(Waiting { number: 0, path: Box::default(), whole, tree: *tree });
        Ok(())
    }

    fn next_directory(&mut self) -> Result<Option<(Waiting, Tree)>, DriverError> {
        if self.ready.is_empty() {
            self.waiting.extend(self.found.drain(..).rev());
            let from = self.waiting.len().saturating_sub(TOGETHER);
            let wanted: Vec<Id> = self.waiting[from..].iter().rev().map(|waiting| waiting.tree).collect();
            let trees = self.trees.read(self.way.reader, &wanted)?;
            let from = self.waiting.len() - trees.len();
            self.ready.extend(self.waiting.drain(from..).rev().zip(trees));
        }
        Ok(self.ready.pop_front())
    }

    fn enter(
        &mut self,
        directory: Waiting,
        tree: Tree,
        window: &mut Window,
        look: &mut Look<'_>,
    ) -> Result<(), DriverError> {
        let Way { reader, attributes, include, .. } = self.way;
        if self.judges {
            judge_names(&directory.path, &tree.nodes)?;
        }
        let first = self.next;
        for node in tree.nodes {
            let path = join(&directory.path, &node.name);
            let whole = directory.whole || include.contains(&path[..]);
            if !whole && !leads_to(&path, include) {
                continue;
            }
            let number = self.next;
            self.next += 1;
            if let NodeKind::Dir { subtree } = node.kind {
                self.found.push(Waiting { number, path: path[..].into(), whole, tree: subtree });
            }
            let attributes = attributes.get(&path);
            let mut entry = Entry::new((number, directory.number), path, &node, attributes, whole, *reader)?;
            entry.leader = look(&entry, &node);
            window.add(entry);
        }
        let Waiting { number, path, whole, .. } = directory;
        window.directories.push(Directory { number, path, whole, children: first..self.next });
        Ok(())
    }
}

impl Window {
    fn add(&mut self, entry: Entry) {
        self.weight += entry.weight();
        self.entries.push(entry);
    }
}

/// Refuses names that could lead out of the target or stand for two entries.
fn judge_names(directory: &[u8], nodes: &[Node]) -> Result<(), DriverError> {
    let mut names = HashSet::new();
    for node in nodes {
        let name = &node.name[..];
        let problem = match name {
            b"" => "it has no name",
            b"." | b".." => "its name stands for another directory",
            _ if name.contains(&b'/') => "its name has a slash",
            _ if name.contains(&0) => "its name has a NUL byte",
            _ if !names.insert(name) => "its name is there twice",
            _ => continue,
        };
        return Err(DriverError::Escape { path: display(&join(directory, name)), problem: problem.to_owned() });
    }
    Ok(())
}

fn leads_to(path: &[u8], include: &HashSet<Vec<u8>>) -> bool {
    include.iter().any(|wanted| wanted.strip_prefix(path).is_some_and(|rest| rest.first() == Some(&b'/')))
}
