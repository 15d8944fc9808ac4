//! From extents to the tree of a volume.

use std::collections::BTreeMap;

use driver_api::{CaptureWriter, DriverError};
use vault_format::{Id, Node, NodeKind, Tree};

use crate::layout::{LEVEL_BYTES, name, node};

/// Stores all directories of these extents but the uppermost, and gives the nodes of that.
pub(super) fn above(
    writer: &dyn CaptureWriter,
    extents: BTreeMap<u64, Node>,
) -> Result<BTreeMap<u64, Node>, DriverError> {
    LEVEL_BYTES.iter().rev().try_fold(extents, |nodes, length| level(writer, nodes, *length))
}

/// Puts what lies in the same directory of a level into one.
pub(super) fn level(
    writer: &dyn CaptureWriter,
    nodes: BTreeMap<u64, Node>,
    length: u64,
) -> Result<BTreeMap<u64, Node>, DriverError> {
    let mut directories: BTreeMap<u64, BTreeMap<u64, Node>> = BTreeMap::new();
    for (offset, node) in nodes {
        directories.entry(offset / length * length).or_default().insert(offset, node);
    }
    directories.into_iter().map(|(offset, nodes)| Ok((offset, at(offset, directory(writer, nodes)?)))).collect()
}

/// Stores a directory.
pub(super) fn directory(writer: &dyn CaptureWriter, nodes: BTreeMap<u64, Node>) -> Result<Id, DriverError> {
    Ok(writer.write_tree(Tree { nodes: nodes.into_values().collect() })?)
}

/// The node of a directory at an offset of the volume.
pub(super) fn at(offset: u64, subtree: Id) -> Node {
    node(name(offset), NodeKind::Dir { subtree })
}
