//! The tree of a data directory, put together from entries in any order.

use std::collections::BTreeMap;

use driver_api::{CaptureWriter, DriverError};
use jiff::Timestamp;
use vault_format::{Id, Node, NodeKind, Tree};

/// Metadata of an entry.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attributes {
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mtime: Timestamp,
}

/// A node with these attributes.
pub(crate) fn node(name: &str, kind: NodeKind, attributes: Attributes) -> Node {
    let Attributes { mode, uid, gid, mtime } = attributes;
    Node { uid, gid, ..Node::unowned(name, kind, mode & 0o7777, mtime) }
}

#[derive(Debug, Default)]
struct Directory {
    attributes: Option<Attributes>,
    directories: BTreeMap<String, Directory>,
    files: BTreeMap<String, Node>,
}

/// Collects entries by their path below the data directory.
#[derive(Debug, Default)]
pub(crate) struct TreeBuilder {
    root: Directory,
    pub(crate) items: u64,
    pub(crate) bytes: u64,
}

impl TreeBuilder {
    fn directory_at(&mut self, path: &str) -> &mut Directory {
        path.split('/')
            .filter(|name| !name.is_empty() && *name != ".")
            .fold(&mut self.root, |directory, name| directory.directories.entry(name.to_owned()).or_default())
    }

    /// A directory; it need not come before what is in it.
    pub(crate) fn directory(&mut self, path: &str, attributes: Attributes) {
        let directory = self.directory_at(path);
        let is_new = directory.attributes.replace(attributes).is_none();
        let is_root = path.split('/').all(|name| name.is_empty() || name == ".");
        self.items += u64::from(is_new && !is_root);
    }

    /// A file.
    pub(crate) fn file(&mut self, path: &str, content: Vec<Id>, size: u64, attributes: Attributes) {
        let (directory, name) = path.rsplit_once('/').unwrap_or(("", path));
        let node = node(name, NodeKind::File { content, size }, attributes);
        self.directory_at(directory).files.insert(name.to_owned(), node);
        self.items += 1;
        self.bytes += size;
    }

    /// Stores all trees and gives the node `data`. Directories nobody described are as the root is.
    pub(crate) fn store(mut self, writer: &dyn CaptureWriter, root: Attributes) -> Result<Node, DriverError> {
        self.root.attributes = Some(root);
        store(writer, "data", self.root, root)
    }
}

fn store(
    writer: &dyn CaptureWriter,
    name: &str,
    directory: Directory,
    inherited: Attributes,
) -> Result<Node, DriverError> {
    let attributes = directory.attributes.unwrap_or(inherited);
    let mut nodes: Vec<Node> = directory.files.into_values().collect();
    for (name, child) in directory.directories {
        nodes.push(store(writer, &name, child, inherited)?);
    }
    let subtree = writer.write_tree(Tree { nodes })?;
    Ok(node(name, NodeKind::Dir { subtree }, attributes))
}
