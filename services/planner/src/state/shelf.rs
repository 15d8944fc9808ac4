//! A table held in memory that remembers which of its rows changed.

use std::collections::{BTreeMap, BTreeSet};

/// Rows by key. Every change goes through [`Shelf::put`] or [`Shelf::remove`], so that the changed rows, and only they,
/// are written at the end of a step.
#[derive(Clone, Debug)]
pub(crate) struct Shelf<K, R> {
    rows: BTreeMap<K, R>,
    changed: BTreeSet<K>,
}

impl<K, R> Default for Shelf<K, R> {
    fn default() -> Self {
        Self { rows: BTreeMap::new(), changed: BTreeSet::new() }
    }
}

impl<K: Ord + Clone, R: Clone> Shelf<K, R> {
    pub(crate) fn get(&self, key: &K) -> Option<&R> {
        self.rows.get(key)
    }

    pub(crate) fn contains(&self, key: &K) -> bool {
        self.rows.contains_key(key)
    }

    pub(crate) fn put(&mut self, key: K, row: R) {
        self.changed.insert(key.clone());
        self.rows.insert(key, row);
    }

    pub(crate) fn remove(&mut self, key: &K) -> Option<R> {
        let row = self.rows.remove(key)?;
        self.changed.insert(key.clone());
        Some(row)
    }

    pub(crate) fn values(&self) -> impl DoubleEndedIterator<Item = &R> {
        self.rows.values()
    }

    /// Puts a row that came from the store: not a change.
    pub(crate) fn load(&mut self, key: K, row: R) {
        self.rows.insert(key, row);
    }

    /// The changed rows since the last call, `None` for removed ones.
    pub(crate) fn take_changes(&mut self) -> Vec<(K, Option<R>)> {
        std::mem::take(&mut self.changed)
            .into_iter()
            .map(|key| {
                let row = self.rows.get(&key).cloned();
                (key, row)
            })
            .collect()
    }
}
