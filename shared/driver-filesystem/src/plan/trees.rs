//! Trees of several directories at once, read by all processors.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use driver_api::{ReadError, SnapshotReader};
use parking_lot::Mutex;
use vault_format::{Id, Node, NodeKind, Tree};

/// Most trees that are read together.
pub(super) const TOGETHER: usize = 256;
/// No further tree is asked for when those that were read take about so many bytes, or as many as a window.
const BYTES: usize = 4 << 20;

/// Reads trees, and keeps what was read too early.
pub(super) struct Trees {
    bytes: usize,
    early: HashMap<Id, Result<Tree, ReadError>>,
}

impl Trees {
    pub(super) fn new(window_bytes: usize) -> Self {
        Self { bytes: BYTES.min(window_bytes), early: HashMap::new() }
    }

    /// The trees of the first of these directories: of all of them, or of as many as may be held. That is the
    /// same number whenever it is asked.
    pub(super) fn read(&mut self, reader: &dyn SnapshotReader, wanted: &[Id]) -> Result<Vec<Tree>, ReadError> {
        let read = self.read_some(reader, wanted);
        let mut trees = Vec::new();
        let mut bytes = 0;
        let mut read = wanted.iter().zip(read);
        for (id, tree) in read.by_ref() {
            // The first of them were all read; that needs no proof where it can be read here.
            let tree = tree.unwrap_or_else(|| reader.tree(id))?;
            bytes += weight(&tree);
            trees.push(tree);
            if bytes >= self.bytes {
                break;
            }
        }
        self.early.extend(read.filter_map(|(id, tree)| Some((*id, tree?))));
        Ok(trees)
    }

    /// At least as many from the front as [`Self::read`] gives, and not many more.
    fn read_some(&mut self, reader: &dyn SnapshotReader, wanted: &[Id]) -> Vec<Option<Result<Tree, ReadError>>> {
        let mut slots = Vec::new();
        let mut missing = Vec::new();
        for (at, id) in wanted.iter().enumerate() {
            let early = self.early.remove(id);
            if early.is_none() {
                missing.push(at);
            }
            slots.push(Mutex::new(early));
        }
        // Whatever is not among the first is of a directory that was passed over, and is read again.
        self.early.clear();
        let enough = self.bytes;
        let (next, bytes) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let work = || {
            while bytes.load(Ordering::Relaxed) < enough
                && let Some(at) = missing.get(next.fetch_add(1, Ordering::Relaxed))
            {
                let tree = reader.tree(&wanted[*at]);
                bytes.fetch_add(tree.as_ref().map_or(0, weight), Ordering::Relaxed);
                *slots[*at].lock() = Some(tree);
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

/// About what a tree takes in memory: what large files consist of may be most of it.
fn weight(tree: &Tree) -> usize {
    let content = |node: &Node| match &node.kind {
        NodeKind::File { content, .. } => size_of_val(&**content),
        _ => 0,
    };
    tree.nodes.iter().map(|node| size_of::<Node>() + node.name.len() + content(node)).sum()
}
