//! Files that have several names.

use std::collections::HashMap;

use sha2::{Digest, Sha256};
use vault_format::{Id, Node, NodeKind};

/// The names of each such file, by the numbers of their entries: the first is its leader.
#[derive(Debug, Default)]
pub(crate) struct Links {
    /// Name and leader, sorted.
    by_name: Vec<(usize, usize)>,
    /// Leader and name, sorted.
    by_leader: Vec<(usize, usize)>,
}

impl Links {
    pub(crate) const fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// The leader of a name of a file that has several.
    pub(super) fn leader(&self, name: usize) -> Option<usize> {
        let at = self.by_name.binary_search_by_key(&name, |(name, _)| *name).ok()?;
        Some(self.by_name[at].1)
    }

    /// All names of a leader, it among them, in their order.
    pub(crate) fn names(&self, leader: usize) -> impl Iterator<Item = usize> + Clone + '_ {
        let first = self.by_leader.partition_point(|(other, _)| *other < leader);
        self.by_leader[first..].iter().take_while(move |(other, _)| *other == leader).map(|(_, name)| *name)
    }
}

/// A file that may have several names.
#[derive(Clone, Copy, Debug)]
pub(super) struct SharedFile {
    /// Its device and inode when it was captured.
    place: (u64, u64),
    /// Stands for all in which two names of one file cannot differ.
    digest: Id,
}

impl SharedFile {
    /// None for what has one name.
    pub(super) fn of(node: &Node) -> Option<Self> {
        let may_have_more = node.links > 1 && !matches!(node.kind, NodeKind::Dir { .. });
        may_have_more.then(|| Self { place: (node.device_id, node.inode), digest: digest(node) })
    }
}

/// Finds them while all entries are looked at, in the order of their numbers.
#[derive(Default)]
pub(super) struct Finder {
    leaders: HashMap<(u64, u64), (usize, Id)>,
    links: Links,
}

impl Finder {
    /// The leader of this entry's names, if it is one of them.
    pub(super) fn add(&mut self, number: usize, shared: &SharedFile) -> Option<usize> {
        let SharedFile { place, digest } = *shared;
        let (leader, first) = *self.leaders.entry(place).or_insert((number, digest));
        // Two names of one file cannot differ; if they do, they are kept apart, each with its own.
        if first != digest {
            return None;
        }
        self.links.by_name.push((number, leader));
        Some(leader)
    }

    pub(super) fn finish(self) -> Links {
        let Links { mut by_name, .. } = self.links;
        by_name.shrink_to_fit();
        let mut by_leader: Vec<_> = by_name.iter().map(|(name, leader)| (*leader, *name)).collect();
        by_leader.sort_unstable();
        Links { by_name, by_leader }
    }
}

fn digest(node: &Node) -> Id {
    let mut hash = Sha256::new();
    for number in [node.mode, node.uid, node.gid] {
        hash.update(number.to_le_bytes());
    }
    match &node.kind {
        NodeKind::File { content, size } => {
            hash.update(b"file");
            hash.update(size.to_le_bytes());
            content.iter().for_each(|id| hash.update(id.as_bytes()));
        }
        NodeKind::Dir { subtree } => {
            hash.update(b"dir");
            hash.update(subtree.as_bytes());
        }
        NodeKind::Symlink { target } => {
            hash.update(b"symlink");
            hash.update(target);
        }
        NodeKind::BlockDevice { device } => {
            hash.update(b"block");
            hash.update(device.to_le_bytes());
        }
        NodeKind::CharDevice { device } => {
            hash.update(b"char");
            hash.update(device.to_le_bytes());
        }
        NodeKind::Fifo => hash.update(b"fifo"),
        NodeKind::Socket => hash.update(b"socket"),
    }
    Id::new(hash.finalize().into())
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    #[test]
    fn names_of_one_file_are_found_and_those_that_differ_are_kept_apart() {
        let node = |inode, links, device| Node {
            inode,
            links,
            device_id: 1,
            ..Node::unowned("x", NodeKind::CharDevice { device }, 0o600, Timestamp::UNIX_EPOCH)
        };
        let nodes = [node(5, 3, 0), node(6, 2, 0), node(5, 3, 0), node(7, 1, 0), node(7, 1, 0), node(5, 3, 9)];
        let mut finder = Finder::default();
        let leaders: Vec<_> =
            nodes.iter().zip(10..).map(|(node, number)| finder.add(number, &SharedFile::of(node)?)).collect();
        assert_eq!(leaders, [Some(10), Some(11), Some(10), None, None, None]);
        let links = finder.finish();
        assert_eq!((10..16).map(|number| links.leader(number)).collect::<Vec<_>>(), leaders);
        assert_eq!(links.names(10).collect::<Vec<_>>(), [10, 12]);
        assert_eq!(links.names(11).collect::<Vec<_>>(), [11]);
        assert_eq!(links.names(13).count(), 0);
    }
}
