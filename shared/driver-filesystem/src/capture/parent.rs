//! The newest recovery point of the same tree: what may be taken over without reading.

use std::sync::Arc;

use driver_api::{BlobSpan, ParentPoint, SnapshotReader};
use jiff::{SignedDuration, Timestamp};
use vault_format::{Id, Node, NodeKind, Tree};

use crate::inode::Stat;
use crate::sidecar::{self, Attributes, Sidecar};

/// The kernel's clock for files lags behind by up to a tick (10 ms at most); what changed so shortly before a capture may
/// have changed once more after it was read, with the same times.
const CLOCK_TICK: SignedDuration = SignedDuration::from_millis(20);

/// A parent that can be compared with.
pub(super) struct Parent<'a> {
    reader: &'a dyn SnapshotReader,
    sidecar: Sidecar,
    trusted_before: Timestamp,
    root: Id,
}

/// A directory of the parent.
pub(super) struct ParentTree(Tree);

impl<'a> Parent<'a> {
    /// None when the parent says too little, is damaged, or is of another device: then everything is read.
    pub(super) fn open(point: &ParentPoint<'a>, device: u64) -> Option<Self> {
        let driver = point.description.get("driver")?;
        let started_at: Timestamp = driver.get("started_at")?.as_str()?.parse().ok()?;
        if driver.get("device")?.as_u64()? != device {
            tracing::warn!("the tree is on another device than in the parent recovery point; reading everything");
            return None;
        }
        let loaded = sidecar::read(point.reader, point.description)
            .map_err(|e| e.to_string())
            .and_then(|s| Ok((s, point.reader.tree(&point.reader.root()).map_err(|e| e.to_string())?)));
        let (sidecar, root) = match loaded {
            Ok(loaded) => loaded,
            Err(error) => {
                tracing::warn!(error, "the parent recovery point is damaged; reading everything");
                return None;
            }
        };
        let root = sidecar::subtree(&root, b"data")?;
        Some(Self { reader: point.reader, sidecar, trusted_before: started_at - CLOCK_TICK, root })
    }

    pub(super) fn root(&self) -> Option<Arc<ParentTree>> {
        self.load(&self.root)
    }

    /// The tree of a directory in `tree`.
    pub(super) fn child(&self, tree: &ParentTree, name: &[u8]) -> Option<Arc<ParentTree>> {
        match tree.find(name)?.kind {
            NodeKind::Dir { subtree } => self.load(&subtree),
            _ => None,
        }
    }

    fn load(&self, id: &Id) -> Option<Arc<ParentTree>> {
        match self.reader.tree(id) {
            Ok(tree) => Some(Arc::new(ParentTree(tree))),
            Err(error) => {
                tracing::warn!(%error, "a directory of the parent recovery point cannot be read; reading its files");
                None
            }
        }
    }

    /// The parent's node of a file that has not changed since.
    pub(super) fn unchanged<'t>(&self, tree: &'t ParentTree, name: &[u8], stat: &Stat) -> Option<&'t Node> {
        let node = tree.find(name)?;
        let NodeKind::File { size, .. } = node.kind else { return None };
        let same =
            node.inode == stat.inode && node.ctime == stat.ctime && node.mtime == stat.mtime && size == stat.size;
        (same && stat.ctime < self.trusted_before).then_some(node)
    }

    /// Where the chunks of a file lie in it; none when the index lacks some.
    pub(super) fn spans(&self, content: &[Id]) -> Option<Vec<BlobSpan>> {
        self.reader.spans(content).ok()
    }

    /// What the parent's sidecar says about a path.
    pub(super) fn attributes(&self, path: &[u8]) -> Attributes {
        self.sidecar.get(path).cloned().unwrap_or_default()
    }
}

impl ParentTree {
    pub(super) fn find(&self, name: &[u8]) -> Option<&Node> {
        let index = self.0.nodes.binary_search_by(|node| node.name.as_slice().cmp(name)).ok()?;
        self.0.nodes.get(index)
    }
}
