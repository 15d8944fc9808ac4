//! What lists are filtered by, in memory: one short entry for each row, in the order of the list. Any filter is one pass
//! over entries of fixed size, so that the time of a page does not depend on what is asked for.
//!
//! Values are compared by their 64-bit digests; the rows themselves are held against the filter again when they were read,
//! so that two values with one digest can make a page shorter, never wrong.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::ops::Bound;

use uuid::Uuid;

/// Place of a row in its list: by time, then by id, so that there are no two at one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Place {
    /// Milliseconds since the epoch.
    pub(crate) at_ms: i64,
    pub(crate) id: Uuid,
}

impl Place {
    /// As a key of the store and inside page tokens; sorts like the place.
    pub(crate) fn to_bytes(self) -> Vec<u8> {
        // With the sign's bit turned around, negative numbers sort before positive ones.
        let at = (self.at_ms ^ i64::MIN).to_be_bytes();
        [at.as_slice(), self.id.as_bytes()].concat()
    }

    /// Back from bytes.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (at, id) = bytes.split_first_chunk::<8>()?;
        Some(Self { at_ms: i64::from_be_bytes(*at) ^ i64::MIN, id: Uuid::from_slice(id).ok()? })
    }
}

/// One entry. `N` values can be filtered by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry<const N: usize> {
    /// Digests of the row's values.
    pub(crate) values: [u64; N],
    /// When it ended, in milliseconds; none for what has not.
    pub(crate) ended_ms: Option<i64>,
}

/// Which entries are wanted. What is absent is not asked for.
#[derive(Clone, Debug)]
pub(crate) struct Wanted<const N: usize> {
    pub(crate) values: [Option<u64>; N],
    /// Created after and before, exclusive.
    pub(crate) created: (Option<i64>, Option<i64>),
    /// Ended after and before, exclusive.
    pub(crate) ended: (Option<i64>, Option<i64>),
}

impl<const N: usize> Default for Wanted<N> {
    fn default() -> Self {
        Self { values: [None; N], created: (None, None), ended: (None, None) }
    }
}

impl<const N: usize> Wanted<N> {
    fn takes(&self, entry: &Entry<N>) -> bool {
        self.values.iter().zip(&entry.values).all(|(wanted, value)| wanted.is_none_or(|wanted| wanted == *value))
            && (self.ended == (None, None) || entry.ended_ms.is_some_and(|at| between(at, self.ended)))
    }
}

fn between(at: i64, (after, before): (Option<i64>, Option<i64>)) -> bool {
    after.is_none_or(|after| at > after) && before.is_none_or(|before| at < before)
}

/// Entries by list. A list is an account in a region, and what else its caller puts into the name.
#[derive(Debug)]
pub(crate) struct Index<const N: usize> {
    lists: HashMap<String, BTreeMap<Place, Entry<N>>>,
    hasher: RandomState,
}

impl<const N: usize> Default for Index<N> {
    fn default() -> Self {
        Self { lists: HashMap::new(), hasher: RandomState::new() }
    }
}

impl<const N: usize> Index<N> {
    /// The digest of a value. Of this process only: the keys are drawn at its start, so that nobody can choose values that
    /// collide.
    pub(crate) fn digest(&self, value: &str) -> u64 {
        self.hasher.hash_one(value)
    }

    /// Puts an entry in, or replaces the one at its place; tells whether there was none.
    pub(crate) fn put(&mut self, list: &str, place: Place, entry: Entry<N>) -> bool {
        match self.lists.get_mut(list) {
            Some(entries) => entries.insert(place, entry).is_none(),
            None => {
                self.lists.insert(list.to_owned(), BTreeMap::from([(place, entry)]));
                true
            }
        }
    }

    /// Takes an entry out of a list.
    pub(crate) fn take(&mut self, list: &str, place: &Place) -> Option<Entry<N>> {
        let entries = self.lists.get_mut(list)?;
        let taken = entries.remove(place);
        if entries.is_empty() {
            self.lists.remove(list);
        }
        taken
    }

    /// The places of a page, newest first, beginning after `after`.
    pub(crate) fn page(&self, list: &str, wanted: &Wanted<N>, after: Option<Place>, limit: usize) -> Vec<Place> {
        self.newest_first(list, wanted, after).map(|(place, _)| place).take(limit).collect()
    }

    /// All entries that are wanted, newest first.
    pub(crate) fn newest_first<'a>(
        &'a self,
        list: &str,
        wanted: &'a Wanted<N>,
        after: Option<Place>,
    ) -> impl Iterator<Item = (Place, &'a Entry<N>)> {
        let first = |at_ms| Place { at_ms, id: Uuid::nil() };
        let low = match wanted.created.0 {
            Some(after) => Bound::Included(first(after.saturating_add(1))),
            None => Bound::Unbounded,
        };
        let before = wanted.created.1.map(first);
        let high = match (after, before) {
            (Some(after), Some(before)) => Bound::Excluded(after.min(before)),
            (Some(place), None) | (None, Some(place)) => Bound::Excluded(place),
            (None, None) => Bound::Unbounded,
        };
        let is_empty = match (&low, &high) {
            (Bound::Included(low), Bound::Excluded(high)) => low >= high,
            _ => false,
        };
        let entries = self.lists.get(list).filter(|_| !is_empty);
        let range = entries.into_iter().flat_map(move |entries| entries.range((low, high)).rev());
        range.filter(|(_, entry)| wanted.takes(entry)).map(|(place, entry)| (*place, entry))
    }

    /// All places of all lists.
    pub(crate) fn places(&self) -> impl Iterator<Item = (&str, Place)> {
        self.lists.iter().flat_map(|(list, entries)| entries.keys().map(move |place| (list.as_str(), *place)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn place(at_ms: i64, id: u128) -> Place {
        Place { at_ms, id: Uuid::from_u128(id) }
    }

    #[test]
    fn bytes_of_places_sort_like_places() {
        let places = [place(i64::MIN, 0), place(-1, 9), place(0, 0), place(0, 1), place(7, 0), place(i64::MAX, 1)];
        let bytes: Vec<_> = places.iter().map(|place| place.to_bytes()).collect();
        assert!(bytes.is_sorted());
        for (place, bytes) in places.iter().zip(&bytes) {
            assert_eq!(Place::from_bytes(bytes), Some(*place));
        }
        assert_eq!(Place::from_bytes(b"short"), None);
    }

    proptest! {
        /// Pages of any size give what a plain filter gives, also when entries come and go between them: nothing that was
        /// there all the time is missed or told twice.
        #[test]
        fn pages_are_stable_under_change(
            rows in prop::collection::btree_map((0i64..50, 0u128..1000), (0u64..3, 0u64..3), 0..80),
            changes in prop::collection::vec((0i64..50, 2000u128..3000), 0..10),
            wanted in (prop::option::of(0u64..3), prop::option::of(0u64..3)),
            created in (prop::option::of(0i64..50), prop::option::of(0i64..50)),
            limit in 1usize..9,
        ) {
            let mut index = Index::<2>::default();
            for ((at, id), (a, b)) in &rows {
                index.put("l", place(*at, *id), Entry { values: [*a, *b], ended_ms: None });
            }
            let wanted = Wanted { values: [wanted.0, wanted.1], created, ended: (None, None) };
            let expected: Vec<Place> = rows
                .iter()
                .rev()
                .filter(|((at, _), (a, b))| {
                    between(*at, created)
                        && wanted.values[0].is_none_or(|w| w == *a)
                        && wanted.values[1].is_none_or(|w| w == *b)
                })
                .map(|((at, id), _)| place(*at, *id))
                .collect();
            let mut changes = changes.into_iter();
            let (mut told, mut after) = (Vec::new(), None);
            loop {
                let page = index.page("l", &wanted, after, limit);
                let Some(last) = page.last() else { break };
                after = Some(*last);
                told.extend(page.into_iter().filter(|place| place.id.as_u128() < 2000));
                if let Some((at, id)) = changes.next() {
                    index.put("l", place(at, id), Entry { values: [1, 1], ended_ms: None });
                }
            }
            prop_assert_eq!(told, expected);
        }
    }
}
