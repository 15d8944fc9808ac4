//! Trees that may be needed again, as JSON: most are not, and those cost nothing to keep that way.

use std::collections::HashMap;
use std::mem;
use std::sync::Arc;

use parking_lot::Mutex;
use vault_format::Id;

/// Bytes of JSON in each of the two generations. Whoever walks through a snapshot needs each tree once; this is for those who
/// look around in it.
const GENERATION_BYTES: usize = 2 << 20;

/// Two generations: when the young one is full it becomes the old one, and the old one goes.
#[derive(Default)]
pub(super) struct TreeCache(Mutex<Generations>);

#[derive(Default)]
struct Generations {
    young: HashMap<Id, Arc<Vec<u8>>>,
    young_bytes: usize,
    old: HashMap<Id, Arc<Vec<u8>>>,
}

impl TreeCache {
    pub(super) fn get(&self, id: &Id) -> Option<Arc<Vec<u8>>> {
        let mut generations = self.0.lock();
        if let Some(json) = generations.young.get(id) {
            return Some(Arc::clone(json));
        }
        let json = generations.old.remove(id)?;
        generations.put(*id, Arc::clone(&json));
        Some(json)
    }

    pub(super) fn put(&self, id: Id, json: Vec<u8>) {
        if json.len() <= GENERATION_BYTES {
            self.0.lock().put(id, Arc::new(json));
        }
    }
}

impl Generations {
    fn put(&mut self, id: Id, json: Arc<Vec<u8>>) {
        let bytes = json.len();
        if self.young_bytes + bytes > GENERATION_BYTES {
            self.old = mem::take(&mut self.young);
            self.young_bytes = 0;
        }
        if self.young.insert(id, json).is_none() {
            self.young_bytes += bytes;
        }
    }
}
