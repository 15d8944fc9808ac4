//! A table held in memory that remembers which of its rows changed.

use std::collections::BTreeMap;
use std::ops::Bound;

/// Rows by key. Every change goes through [`Shelf::put`] or [`Shelf::remove`], so that the changed rows, and only they,
/// are written at the end of a step.
#[derive(Clone, Debug)]
pub(crate) struct Shelf<K, R> {
    rows: BTreeMap<K, R>,
    /// What the rows of the changed keys were before.
    changed: BTreeMap<K, Option<R>>,
}

impl<K, R> Default for Shelf<K, R> {
    fn default() -> Self {
        Self { rows: BTreeMap::new(), changed: BTreeMap::new() }
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
        let before = self.rows.insert(key.clone(), row);
        self.changed.entry(key).or_insert(before);
    }

    pub(crate) fn remove(&mut self, key: &K) -> Option<R> {
        let row = self.rows.remove(key)?;
        self.changed.entry(key.clone()).or_insert_with(|| Some(row.clone()));
        Some(row)
    }

    pub(crate) fn values(&self) -> impl DoubleEndedIterator<Item = &R> {
        self.rows.values()
    }

    /// Puts a row that came from the store: not a change.
    pub(crate) fn load(&mut self, key: K, row: R) {
        self.rows.insert(key, row);
    }

    /// The rows after this key, or all, in the order of their keys.
    pub(crate) fn after(&self, key: Option<K>) -> impl Iterator<Item = (&K, &R)> {
        let begin = key.map_or(Bound::Unbounded, Bound::Excluded);
        self.rows.range((begin, Bound::Unbounded))
    }

    /// What changed since the changes were last taken: key, row before, row now.
    pub(crate) fn changes(&self) -> impl Iterator<Item = (&K, Option<&R>, Option<&R>)> {
        self.changed.iter().map(|(key, before)| (key, before.as_ref(), self.rows.get(key)))
    }

    /// The changed rows since the last call, `None` for removed ones.
    pub(crate) fn take_changes(&mut self) -> Vec<(K, Option<R>)> {
        std::mem::take(&mut self.changed)
            .into_keys()
            .map(|key| {
                let row = self.rows.get(&key).cloned();
                (key, row)
            })
            .collect()
    }
}
