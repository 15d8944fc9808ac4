//! What a recovery point holds, read and judged as a whole before anything is written or compared.

use std::collections::{HashMap, HashSet, VecDeque};
use std::ops::Range;

use driver_api::{BlobSpan, DriverError, ReadError, SnapshotReader};
use vault_format::{Id, Node, NodeKind, Tree};

use crate::sidecar::{self, Attributes};
use crate::{display, join};

/// An entry that is to be restored or compared.
#[derive(Debug)]
pub(crate) struct Entry {
    /// The directory that holds it; the root's is itself.
    pub(crate) holder: usize,
    pub(crate) path: Vec<u8>,
    pub(crate) node: Node,
    pub(crate) attributes: Attributes,
    /// Entries of this directory.
    pub(crate) children: Range<usize>,
    /// Where its content is cut; empty for all but files.
    pub(crate) spans: Vec<BlobSpan>,
    /// The first name of the same file, for names of a file that has several.
    pub(crate) leader: Option<usize>,
    /// False for a directory that only leads to what is to be restored.
    pub(crate) whole: bool,
}

impl Entry {
    pub(crate) fn is_dir(&self) -> bool {
        matches!(self.node.kind, NodeKind::Dir { .. })
    }

    pub(crate) fn is_file(&self) -> bool {
        matches!(self.node.kind, NodeKind::File { .. })
    }

    pub(crate) fn size(&self) -> u64 {
        match self.node.kind {
            NodeKind::File { size, .. } => size,
            _ => 0,
        }
    }

    /// The path for people.
    pub(crate) fn display(&self) -> String {
        display(&self.path)
    }
}

/// All entries; the root first, each directory's entries together and after it.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) entries: Vec<Entry>,
    /// Names of each file that has several, by the first of them.
    pub(crate) groups: HashMap<usize, Vec<usize>>,
}

impl Plan {
    /// Reads all trees and the spans of all files.
    ///
    /// Fails when a tree is lost or damaged, a blob is in no index, a name could lead out of the target, or a path that is
    /// to be included is not in the recovery point.
    pub(crate) fn load(
        reader: &dyn SnapshotReader,
        description: &serde_json::Value,
        include: &[String],
    ) -> Result<Self, DriverError> {
        let mut attributes = sidecar::read(reader, description)?;
        let include = include.iter().map(|path| included(path)).collect::<Result<HashSet<_>, _>>()?;
        let root = reader.tree(&reader.root())?.nodes.into_iter().find(|node| node.name == b"data");
        let root = root.ok_or_else(|| DriverError::NotOurs { problem: "it has no `data`".to_owned() })?;
        let whole = include.is_empty() || include.contains(&b""[..]);
        let mut entries = vec![Entry::new(0, Vec::new(), root, attributes.remove(&b""[..]).unwrap_or_default(), whole)];
        if !entries[0].is_dir() {
            return Err(DriverError::NotOurs { problem: "`data` is not a directory".to_owned() });
        }
        let mut index = 0;
        let mut trees = Trees::default();
        while index < entries.len() {
            if let NodeKind::Dir { subtree } = entries[index].node.kind {
                let first = entries.len();
                let (path, whole) = (entries[index].path.clone(), entries[index].whole);
                let nodes = trees.take(reader, &entries[index..], &subtree)?.nodes;
                judge_names(&path, &nodes)?;
                for node in nodes {
                    let path = join(&path, &node.name);
                    let whole = whole || include.contains(&path[..]);
                    if whole || leads_to(&path, &include) {
                        let attributes = attributes.remove(&path).unwrap_or_default();
                        entries.push(Entry::new(index, path, node, attributes, whole));
                    }
                }
                entries[index].children = first..entries.len();
            }
            index += 1;
        }
        let found: HashSet<&[u8]> = entries.iter().map(|entry| &entry.path[..]).collect();
        if let Some(path) = include.iter().find(|path| !found.contains(&path[..])) {
            return Err(DriverError::BadLocation {
                location: display(path),
                problem: "the recovery point has no such path; browse it to see what it has".to_owned(),
            });
        }
        drop(found);
        let groups = link(&mut entries);
        for entry in &mut entries {
            entry.spans = spans(reader, entry)?;
            if let NodeKind::File { content, .. } = &mut entry.node.kind {
                // The spans say the same and more; a plan is as large as its tree.
                *content = Vec::new();
            }
        }
        Ok(Self { entries, groups })
    }

    /// Indices of all but the root.
    pub(crate) fn below_root(&self) -> Range<usize> {
        1..self.entries.len()
    }

    /// How many names of this file are in the plan.
    pub(crate) fn names(&self, index: usize) -> u64 {
        self.entries[index].leader.and_then(|leader| self.groups.get(&leader)).map_or(1, |group| group.len() as u64)
    }
}

/// Trees that will be needed next, read by all processors at once.
#[derive(Default)]
struct Trees(VecDeque<(Id, Result<Tree, ReadError>)>);

impl Trees {
    /// Most trees that are read ahead.
    const AHEAD: usize = 256;

    /// The tree of the first of these entries, which are the ones that are looked at next.
    fn take(&mut self, reader: &dyn SnapshotReader, next: &[Entry], id: &Id) -> Result<Tree, ReadError> {
        if self.0.is_empty() {
            let subtree = |entry: &Entry| match entry.node.kind {
                NodeKind::Dir { subtree } => Some(subtree),
                _ => None,
            };
            let wanted: Vec<Id> = next.iter().filter_map(subtree).take(Self::AHEAD).collect();
            let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
            let share = wanted.len().div_ceil(threads).max(1);
            let read = |ids: &[Id]| ids.iter().map(|id| (*id, reader.tree(id))).collect::<Vec<_>>();
            std::thread::scope(|scope| {
                let handles: Vec<_> = wanted.chunks(share).map(|ids| scope.spawn(move || read(ids))).collect();
                // What a thread that died would have read is read when it is needed.
                self.0.extend(handles.into_iter().filter_map(|handle| handle.join().ok()).flatten());
            });
        }
        match self.0.pop_front() {
            Some((found, tree)) if found == *id => tree,
            _ => {
                self.0.clear();
                reader.tree(id)
            }
        }
    }
}

impl Entry {
    fn new(holder: usize, path: Vec<u8>, node: Node, attributes: Attributes, whole: bool) -> Self {
        // Owners are restored and compared by their numbers.
        let node = Node { user: String::new(), group: String::new(), ..node };
        Self { holder, path, node, attributes, children: 0..0, spans: Vec::new(), leader: None, whole }
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

fn leads_to(path: &[u8], include: &HashSet<Vec<u8>>) -> bool {
    include.iter().any(|wanted| wanted.strip_prefix(path).is_some_and(|rest| rest.first() == Some(&b'/')))
}

/// Finds the names of each file that has several.
fn link(entries: &mut [Entry]) -> HashMap<usize, Vec<usize>> {
    let mut leaders: HashMap<(u64, u64), usize> = HashMap::new();
    let mut groups: HashMap<usize, Vec<usize>> = HashMap::new();
    for index in 0..entries.len() {
        let node = &entries[index].node;
        if node.links < 2 || entries[index].is_dir() {
            continue;
        }
        let leader = *leaders.entry((node.device_id, node.inode)).or_insert(index);
        // Two names of one file cannot differ; if they do, they are kept apart, each with its own.
        let first = &entries[leader].node;
        if first.kind == node.kind && (first.mode, first.uid, first.gid) == (node.mode, node.uid, node.gid) {
            entries[index].leader = Some(leader);
            groups.entry(leader).or_default().push(index);
        }
    }
    groups
}

fn spans(reader: &dyn SnapshotReader, entry: &Entry) -> Result<Vec<BlobSpan>, DriverError> {
    let NodeKind::File { content, size } = &entry.node.kind else { return Ok(Vec::new()) };
    let spans = reader.spans(content)?;
    let length: u64 = spans.iter().map(|span| u64::from(span.length)).sum();
    if length != *size {
        return Err(DriverError::Read(ReadError::Damaged {
            what: format!("file `{}`", entry.display()),
            problem: format!("its chunks have {length} bytes instead of {size}"),
        }));
    }
    Ok(spans)
}
