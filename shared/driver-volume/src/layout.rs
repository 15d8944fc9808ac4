//! How a volume is laid out as files in a snapshot.

mod windows;

use driver_api::{DriverError, SnapshotReader};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use vault_format::{Id, Node, NodeKind};

pub(crate) use self::windows::{Extent, Layout, Window};
use crate::volume::{ImageFile, Kind};

/// Length of a chunk. What changed is read, hashed and stored again in whole chunks: half of this would be a third less for
/// small changes, at twice the index.
pub const CHUNK_BYTES: u64 = 256 << 10;

/// Lengths of the chunks of older recovery points.
const OLD_CHUNK_BYTES: [u64; 2] = [1 << 20, 512 << 10];

/// Length of an extent.
pub const EXTENT_BYTES: u64 = 64 << 20;

/// What a directory of each level holds of the volume, from the uppermost down: sections, parts, groups. A group is what is
/// read and stored again around a chunk that changed: an extent, whose ids take 17 KB.
pub const LEVEL_BYTES: [u64; 3] = [64 << 30, 2 << 30, GROUP_BYTES];

/// Length of a group, the lowest directory.
pub const GROUP_BYTES: u64 = EXTENT_BYTES;

/// Version of the layout in the facts.
const FORMAT: u32 = 3;

/// The levels of the layout by version, the newest first.
const LEVELS: [(u32, &[u64]); 3] = [(FORMAT, &LEVEL_BYTES), (2, &[64 << 30, 1 << 30]), (1, &[16 << 30])];

/// What a capture says about the volume; stands under `driver` in `recovery-point.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Facts {
    format: u32,
    /// Size of the volume in bytes.
    pub(crate) size: u64,
    pub(crate) kind: Kind,
    /// Length of its chunks.
    pub(crate) chunk_bytes: u64,
    extent_bytes: u64,
    /// Extents that are not all hole; absent in the older layout.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) extents: Option<u64>,
    /// Attributes of the image file, where it is one.
    #[serde(default)]
    pub(crate) image_file: Option<ImageFile>,
}

impl Facts {
    pub(crate) fn new(size: u64, kind: Kind, extents: u64, image_file: Option<ImageFile>) -> Self {
        let (chunk_bytes, extent_bytes) = (CHUNK_BYTES, EXTENT_BYTES);
        Self { format: FORMAT, size, kind, chunk_bytes, extent_bytes, extents: Some(extents), image_file }
    }

    /// Whether it has the layout that this version writes.
    pub(crate) const fn is_newest(&self) -> bool {
        self.format == FORMAT && self.chunk_bytes == CHUNK_BYTES
    }

    fn levels(&self) -> &'static [u64] {
        LEVELS.iter().find(|(format, _)| *format == self.format).map_or(&[], |(_, levels)| levels)
    }

    pub(crate) fn read(description: &serde_json::Value) -> Result<Self, DriverError> {
        let broken = |problem: String| DriverError::NotOurs { problem };
        let driver = description.get("driver").ok_or_else(|| broken("it has no `driver` facts".to_owned()))?;
        let facts: Self = serde_json::from_value(driver.clone()).map_err(|e| broken(format!("its facts: {e}")))?;
        let is_known = !facts.levels().is_empty();
        let is_cut = facts.chunk_bytes == CHUNK_BYTES || OLD_CHUNK_BYTES.contains(&facts.chunk_bytes);
        if !is_known || !is_cut || facts.extent_bytes != EXTENT_BYTES {
            let Self { format, chunk_bytes, extent_bytes, .. } = facts;
            return Err(broken(format!(
                "its layout has format `{format}`, chunks of {chunk_bytes} and extents of {extent_bytes} bytes; use a newer \
                 version"
            )));
        }
        Ok(facts)
    }
}

/// Name of the extent or directory that begins at an offset.
pub(crate) fn name(offset: u64) -> Vec<u8> {
    format!("{offset:016x}").into_bytes()
}

/// A node of the layout. Its metadata means nothing and never changes, so that the same volume has the same tree.
pub(crate) fn node(name: Vec<u8>, kind: NodeKind) -> Node {
    let mode = if matches!(kind, NodeKind::Dir { .. }) { 0o700 } else { 0o600 };
    Node::unowned(name, kind, mode, Timestamp::UNIX_EPOCH)
}

/// The directory with the volume.
pub(crate) fn data(reader: &dyn SnapshotReader) -> Result<Id, DriverError> {
    let root = reader.tree(&reader.root())?;
    match root.nodes.iter().find(|node| node.name == b"data").map(|node| &node.kind) {
        Some(NodeKind::Dir { subtree }) => Ok(*subtree),
        _ => Err(DriverError::NotOurs { problem: "it has no directory `data`".to_owned() }),
    }
}

pub(crate) fn offset_of(name: &[u8], multiple: u64, size: u64) -> Result<u64, DriverError> {
    let text = std::str::from_utf8(name).ok().filter(|text| text.len() == 16 && !text.starts_with('+'));
    let offset = text.and_then(|text| u64::from_str_radix(text, 16).ok());
    match offset {
        Some(offset) if offset % multiple == 0 && offset < size => Ok(offset),
        _ => Err(misplaced(name, "is not the offset of a part of the volume")),
    }
}

fn misplaced(name: &[u8], problem: &str) -> DriverError {
    DriverError::NotOurs { problem: format!("entry `{}` {problem}", String::from_utf8_lossy(name)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_offsets_and_nothing_else() {
        assert_eq!(name(EXTENT_BYTES), b"0000000004000000");
        assert_eq!(offset_of(b"0000000004000000", EXTENT_BYTES, 1 << 30).unwrap(), EXTENT_BYTES);
        let long = name(1 << 40);
        for bad in [&b"../../etc/passwd"[..], b"0000000000000001", b"+000000004000000", b"4000000", &long] {
            assert!(offset_of(bad, EXTENT_BYTES, 1 << 30).is_err());
        }
    }

    #[test]
    fn each_level_has_whole_directories_of_the_next() {
        for (_, levels) in LEVELS {
            let parts = levels.iter().copied().chain([EXTENT_BYTES, CHUNK_BYTES]).collect::<Vec<_>>();
            assert!(parts.windows(2).all(|pair| pair[0] % pair[1] == 0), "{parts:?}");
        }
    }
}
