//! Decoded trees that may be needed again.

use std::collections::HashMap;
use std::mem;
use std::sync::Arc;

use parking_lot::Mutex;
use vault_format::{Id, Tree};

/// Bytes of JSON in each of the two generations. Decoded trees take about twice as much. Whoever walks through a snapshot
/// needs each tree once; this is for those who look around in it.
const GENERATION_BYTES: usize = 2 << 20;

/// Two generations: when the young one is full it becomes the old one, and the old one goes.
#[derive(Default)]
pub(super) struct TreeCache(Mutex<Generations>);

#[derive(Default)]
struct Generations {
    young: HashMap<Id, (Arc<Tree>, usize)>,
    young_bytes: usize,
    old: HashMap<Id, (Arc<Tree>, usize)>,
}

impl TreeCache {
    pub(super) fn get(&self, id: &Id) -> Option<Arc<Tree>> {
        let mut generations = self.0.lock();
        if let Some((tree, _)) = generations.young.get(id) {
            return Some(Arc::clone(tree));
        }
        let (tree, bytes) = generations.old.remove(id)?;
        generations.put(*id, Arc::clone(&tree), bytes);
        Some(tree)
    }

    pub(super) fn put(&self, id: Id, tree: Arc<Tree>, bytes: usize) {
        if bytes <= GENERATION_BYTES {
            self.0.lock().put(id, tree, bytes);
        }
    }
}

impl Generations {
    fn put(&mut self, id: Id, tree: Arc<Tree>, bytes: usize) {
        if self.young_bytes + bytes > GENERATION_BYTES {
            self.old = mem::take(&mut self.young);
            self.young_bytes = 0;
        }
        if self.young.insert(id, (tree, bytes)).is_none() {
            self.young_bytes += bytes;
        }
    }
}
