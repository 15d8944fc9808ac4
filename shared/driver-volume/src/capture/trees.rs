//! From extents to the tree of a volume.

use std::collections::BTreeMap;

use driver_api::{CaptureWriter, DriverError};
use vault_format::{Id, Node, NodeKind, Tree};

use crate::layout::{group_of, name, node, section_of};

/// Stores the groups and sections of extents and gives the nodes of the sections.
pub(super) fn sections(
    writer: &dyn CaptureWriter,
    extents: BTreeMap<u64, Node>,
) -> Result<BTreeMap<u64, Node>, DriverError> {
    let groups = level(writer, extents, group_of)?;
    level(writer, groups, section_of)
}

/// Puts what lies in the same directory into one; `place` tells the directory's offset.
fn level(
    writer: &dyn CaptureWriter,
    nodes: BTreeMap<u64, Node>,
    place: fn(u64) -> u64,
) -> Result<BTreeMap<u64, Node>, DriverError> {
    let mut directories: BTreeMap<u64, BTreeMap<u64, Node>> = BTreeMap::new();
    for (offset, node) in nodes {
        directories.entry(place(offset)).or_default().insert(offset, node);
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
