//! What a recovery point holds, read and judged as a whole before anything is written or compared, and dealt with in parts
//! that fit in memory.

mod entry;
mod links;
mod trees;
mod walk;

use std::collections::HashSet;
use std::sync::mpsc;

use driver_api::{DriverError, SnapshotReader};
use vault_format::NodeKind;

pub(crate) use self::entry::{Entry, Kind, holder, name};
pub(crate) use self::links::Links;
pub(crate) use self::walk::{Directory, Window};

use self::links::SharedFile;
use self::walk::{Walk, Way};
use crate::{display, sidecar};

/// What the entries of a window weigh, about, before it is closed, where one is enough for all.
pub(crate) const WINDOW_BYTES: usize = 24 << 20;
/// Where there are several, each weighs a third of that: one is dealt with while the next is read.
const PARTS: usize = 3;

/// All entries: the root first, each directory before what it holds.
pub(crate) struct Plan<'a> {
    way: Way<'a>,
    /// The only window, where there is but one: then it is read once.
    only: Option<Window>,
    pub(crate) root: Entry,
    pub(crate) links: Links,
    /// How many entries there are, the root among them.
    pub(crate) entries: usize,
    /// Bytes of all files, of those with several names once.
    pub(crate) bytes: u64,
}

impl<'a> Plan<'a> {
    /// Reads all trees, and asks the index for all content.
    ///
    /// Fails when a tree is lost or damaged, a blob is in no index, a name could lead out of the target, or a path that is
    /// to be included is not in the recovery point.
    pub(crate) fn load(
        reader: &'a dyn SnapshotReader,
        description: &serde_json::Value,
        include: &[String],
        window_bytes: usize,
    ) -> Result<Self, DriverError> {
        let attributes = sidecar::read(reader, description)?;
        let include = include.iter().map(|path| included(path)).collect::<Result<HashSet<_>, _>>()?;
        let root = reader.tree(&reader.root())?.nodes.into_iter().find(|node| node.name == b"data");
        let root = root.ok_or_else(|| DriverError::NotOurs { problem: "it has no `data`".to_owned() })?;
        let NodeKind::Dir { subtree: tree } = root.kind else {
            return Err(DriverError::NotOurs { problem: "`data` is not a directory".to_owned() });
        };
        let way = Way { reader, attributes, include, root, tree, part_bytes: window_bytes.div_ceil(PARTS) };
        let mut missing: HashSet<Vec<u8>> = way.include.clone();
        let mut links = links::Finder::default();
        let (mut entries, mut bytes) = (0, 0);
        let mut walk = Walk::new(&way, window_bytes, true);
        let mut first = None;
        let mut only = None;
        loop {
            let window = walk.window(&mut |entry, shared| {
                entries += 1;
                if first.is_none() {
                    first = Some(entry.clone());
                }
                if !missing.is_empty() {
                    missing.remove(entry.path());
                }
                let leader = shared.and_then(|shared| links.add(entry.number, shared));
                if leader.is_none_or(|leader| leader == entry.number) {
                    bytes += entry.size();
                }
                leader
            })?;
            let Some(window) = window else { break };
            only = (entries == window.entries.len() && walk.is_at_end()).then_some(window);
        }
        if let Some(path) = missing.iter().next() {
            return Err(DriverError::BadLocation {
                location: display(path),
                problem: "the recovery point has no such path; browse it to see what it has".to_owned(),
            });
        }
        let Some(root) = first else {
            return Err(DriverError::NotOurs { problem: "`data` has no entries".to_owned() });
        };
        let links = links.finish();
        Ok(Self { way, only, root, links, entries, bytes })
    }

    /// Whether an entry may have what only the sidecar says.
    pub(crate) fn has_attributes(&self) -> bool {
        !self.way.attributes.is_empty()
    }

    /// Goes through all entries, from the first to the last. The first error ends it.
    pub(crate) fn windows(&self, mut work: impl FnMut(&Window) -> Result<(), DriverError>) -> Result<(), DriverError> {
        if let Some(only) = &self.only {
            return work(only);
        }
        // The next window is read while one is worked on, and waits until that is done.
        let (sender, windows) = mpsc::sync_channel(0);
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let mut walk = Walk::new(&self.way, self.way.part_bytes, false);
                let mut look =
                    |entry: &Entry, shared: Option<&SharedFile>| shared.and_then(|_| self.links.leader(entry.number));
                while let Some(window) = walk.window(&mut look).transpose() {
                    let ended = window.is_err();
                    // Nobody takes it when the work has failed.
                    if sender.send(window).is_err() || ended {
                        return;
                    }
                }
            });
            // Dropped before the thread is waited for, which may have one more to send.
            for window in windows {
                work(&window?)?;
            }
            Ok(())
        })
    }

    /// How many names of this file are in the plan.
    pub(crate) fn names(&self, entry: &Entry) -> u64 {
        entry.leader.map_or(1, |leader| self.links.names(leader).count() as u64)
    }
}

/// A path below the resource as the plan has it: without slashes at its ends.
fn included(path: &str) -> Result<Vec<u8>, DriverError> {
    let path = path.trim_matches('/');
    let bad = path.split('/').any(|name| matches!(name, "." | "..")) || path.contains("//") || path.contains('\0');
    if bad {
        return Err(DriverError::BadLocation {
            location: path.to_owned(),
            problem: "write the path below the resource without `.`, `..` and empty names".to_owned(),
        });
    }
    Ok(path.as_bytes().to_vec())
}
