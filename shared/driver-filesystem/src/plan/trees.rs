//! What lies in several directories at once, read and judged by all processors.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};

use driver_api::DriverError;
use parking_lot::Mutex;
use vault_format::{Id, Node, NodeKind, Tree};

use super::entry::Entry;
use super::links::SharedFile;
use super::walk::{Waiting, Way};
use crate::{display, join};

/// Most trees that are read together.
pub(super) const TOGETHER: usize = 256;
/// No further tree is asked for when those that were read take about so many bytes, or as many as a window of several.
const BYTES: usize = 4 << 20;

/// What a directory holds of what is wanted, all but what goes by the order of the walk.
pub(super) struct Listing {
    pub(super) entries: Vec<Listed>,
    /// About what the tree took in memory. By it the walk is cut, so that it is the same each time.
    weight: usize,
}

/// An entry without a number, holder and leader.
pub(super) struct Listed {
    pub(super) entry: Entry,
    /// The tree of a directory.
    pub(super) subtree: Option<Id>,
    pub(super) shared: Option<SharedFile>,
}

/// Reads trees, and keeps what was read too early.
pub(super) struct Trees {
    bytes: usize,
    judges: bool,
    /// By the number of the directory.
    early: HashMap<usize, Result<Listing, DriverError>>,
}

impl Trees {
    pub(super) fn new(part_bytes: usize, judges: bool) -> Self {
        Self { bytes: BYTES.min(part_bytes), judges, early: HashMap::new() }
    }

    /// What the first of these directories hold: all of them, or as many as may be held. That is the same number whenever it
    /// is asked.
    pub(super) fn read(&mut self, way: &Way<'_>, wanted: &[&Waiting]) -> Result<Vec<Listing>, DriverError> {
        let read = self.read_some(way, wanted);
        let mut listings = Vec::new();
        let mut bytes = 0;
        let mut read = wanted.iter().zip(read);
        for (directory, listing) in read.by_ref() {
            // The first of them were all read; that needs no proof where it can be read here.
            let listing = listing.unwrap_or_else(|| list(way, directory, self.judges))?;
            bytes += listing.weight;
            listings.push(listing);
            if bytes >= self.bytes {
                break;
            }
        }
        self.early.extend(read.filter_map(|(directory, listing)| Some((directory.number, listing?))));
        Ok(listings)
    }

    /// At least as many from the front as [`Self::read`] gives, and not many more.
    fn read_some(&mut self, way: &Way<'_>, wanted: &[&Waiting]) -> Vec<Option<Result<Listing, DriverError>>> {
        let mut slots = Vec::new();
        let mut missing = Vec::new();
        let mut there = 0;
        for (at, directory) in wanted.iter().enumerate() {
            // What lies behind a missing one waits long: it is read again, lest more and more is held.
            let early = self.early.remove(&directory.number).filter(|_| missing.is_empty());
            match &early {
                Some(listing) => there += listing.as_ref().map_or(0, |listing| listing.weight),
                None => missing.push(at),
            }
            slots.push(Mutex::new(early));
        }
        self.early.clear();
        let (enough, judges) = (self.bytes, self.judges);
        let (next, bytes) = (AtomicUsize::new(0), AtomicUsize::new(there));
        let work = || {
            while bytes.load(Ordering::Relaxed) < enough
                && let Some(at) = missing.get(next.fetch_add(1, Ordering::Relaxed))
            {
                let listing = list(way, wanted[*at], judges);
                bytes.fetch_add(listing.as_ref().map_or(0, |listing| listing.weight), Ordering::Relaxed);
                *slots[*at].lock() = Some(listing);
            }
        };
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        std::thread::scope(|scope| {
            for _ in 1..threads.min(missing.len()) {
                scope.spawn(work);
            }
            work();
        });
        slots.into_iter().map(Mutex::into_inner).collect()
    }
}

fn list(way: &Way<'_>, directory: &Waiting, judges: bool) -> Result<Listing, DriverError> {
    let tree = way.reader.tree(&directory.tree)?;
    if judges {
        judge_names(&directory.path, &tree.nodes)?;
    }
    let weight = weight(&tree);
    let mut entries = Vec::with_capacity(tree.nodes.len());
    for node in &tree.nodes {
        let path = join(&directory.path, &node.name);
        let whole = directory.whole || way.include.contains(&path[..]);
        if !whole && !leads_to(&path, &way.include) {
            continue;
        }
        let subtree = match node.kind {
            NodeKind::Dir { subtree } => Some(subtree),
            _ => None,
        };
        let attributes = way.attributes.get(&path);
        let entry = Entry::new((0, 0), path, node, attributes, whole, way.reader)?;
        entries.push(Listed { entry, subtree, shared: SharedFile::of(node) });
    }
    Ok(Listing { entries, weight })
}

/// About what a tree takes in memory: what large files consist of may be most of it.
fn weight(tree: &Tree) -> usize {
    let content = |node: &Node| match &node.kind {
        NodeKind::File { content, .. } => size_of_val(&**content),
        _ => 0,
    };
    tree.nodes.iter().map(|node| size_of::<Node>() + node.name.len() + content(node)).sum()
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
