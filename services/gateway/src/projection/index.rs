//! What lists are paged by, in memory: rows of fixed size in the order of their list, with the values that can be filtered
//! by in columns of their own. Any filter is one pass over the columns it names, so that the time of a page hardly depends
//! on what is asked for, and there is no filter that no index was made for.
//!
//! A list is cut in blocks of at most [`block::ROWS_MAX`] rows. Two neighbours together have more than half as many, so that
//! what is allocated stays below four times of what is there; a list that only grows at its end has full blocks.

mod block;

use std::collections::HashMap;

use uuid::Uuid;

use block::Block;

/// Place of a row in its list: by time, then by id, so that there are no two at one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Place {
    /// Milliseconds since the epoch.
    pub(crate) at_ms: i64,
    pub(crate) id: Uuid,
}

impl Place {
    /// Before all rows of a millisecond.
    fn first(at_ms: i64) -> Self {
        Self { at_ms, id: Uuid::nil() }
    }

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

/// Which rows are wanted. What is absent is not asked for.
#[derive(Clone, Debug)]
pub(crate) struct Wanted<M, const N: usize> {
    /// What stands for the values that are filtered by.
    pub(crate) marks: [Option<M>; N],
    /// Created after and before, exclusive.
    pub(crate) created: (Option<i64>, Option<i64>),
}

impl<M, const N: usize> Default for Wanted<M, N> {
    fn default() -> Self {
        Self { marks: std::array::from_fn(|_| None), created: (None, None) }
    }
}

/// Whether an instant lies between two others, exclusive.
pub(crate) fn between(at: i64, (after, before): (Option<i64>, Option<i64>)) -> bool {
    after.is_none_or(|after| at > after) && before.is_none_or(|before| at < before)
}

/// Lists by their names: an account in a region, and what else its caller puts into the name. Each row has `N` marks by which
/// it is filtered, and what its caller keeps beside them.
#[derive(Debug)]
pub(crate) struct Index<M, const N: usize, R> {
    lists: HashMap<String, Vec<Block<M, N, R>>>,
}

impl<M, const N: usize, R> Default for Index<M, N, R> {
    fn default() -> Self {
        Self { lists: HashMap::new() }
    }
}

impl<M: Copy + Eq, const N: usize, R> Index<M, N, R> {
    /// Puts a row in; gives back the one that was at its place.
    pub(crate) fn put(&mut self, list: &str, place: Place, marks: [M; N], row: R) -> Option<([M; N], R)> {
        if !self.lists.contains_key(list) {
            self.lists.insert(list.to_owned(), Vec::new());
        }
        let blocks = self.lists.get_mut(list)?;
        // The first block that ends at or after the place; what is newer than everything goes to the last one.
        let found = blocks.partition_point(|block| block.last() < Some(place));
        let at = found.min(blocks.len().saturating_sub(1));
        let Some(block) = blocks.get_mut(at) else {
            let mut block = Block::new();
            block.insert(0, place, marks, row);
            blocks.push(block);
            return None;
        };
        match block.find(&place) {
            Ok(within) => Some(block.replace(within, marks, row)),
            Err(within) if block.len() < block::ROWS_MAX => {
                block.insert(within, place, marks, row);
                None
            }
            Err(within) => {
                // At the end of a list nothing comes in between later: the block stays full. Elsewhere it is halved.
                let cut = if within == block.len() { within } else { block.len() / 2 };
                let mut next = block.split_off(cut);
                if within >= cut {
                    next.insert(within - cut, place, marks, row);
                } else {
                    block.insert(within, place, marks, row);
                }
                blocks.insert(at + 1, next);
                None
            }
        }
    }

    /// Takes a row out of a list.
    pub(crate) fn take(&mut self, list: &str, place: &Place) -> Option<([M; N], R)> {
        let blocks = self.lists.get_mut(list)?;
        let at = blocks.partition_point(|block| block.last() < Some(*place));
        let block = blocks.get_mut(at)?;
        let within = block.find(place).ok()?;
        let taken = block.remove(within);
        if block.len() == 0 {
            blocks.remove(at);
        }
        for left in [at, at.saturating_sub(1)] {
            if let Some([a, b]) = blocks.get(left..left + 2)
                && a.len() + b.len() <= block::ROWS_MAX / 2
            {
                let next = blocks.remove(left + 1);
                blocks[left].append(next);
            }
        }
        if blocks.is_empty() {
            self.lists.remove(list);
        }
        Some(taken)
    }

    /// The row at a place.
    pub(crate) fn get(&self, list: &str, place: &Place) -> Option<([M; N], &R)> {
        let blocks = self.lists.get(list)?;
        let block = blocks.get(blocks.partition_point(|block| block.last() < Some(*place)))?;
        let within = block.find(place).ok()?;
        Some((block.marks(within), block.row(within)))
    }

    /// All rows that are wanted, newest first, beginning after `after`.
    pub(crate) fn newest_first<'a>(
        &'a self,
        list: &str,
        wanted: &'a Wanted<M, N>,
        after: Option<Place>,
    ) -> impl Iterator<Item = (Place, [M; N], &'a R)> + use<'a, M, N, R> {
        // From `low` on, below `high`.
        let low = wanted.created.0.map_or(Place::first(i64::MIN), |after| Place::first(after.saturating_add(1)));
        let high = match (after, wanted.created.1.map(Place::first)) {
            (Some(after), Some(before)) => Some(after.min(before)),
            (one, other) => one.or(other),
        };
        let blocks: &[Block<M, N, R>] = self.lists.get(list).map_or(&[], Vec::as_slice);
        let is_low = |block: &Block<M, N, R>| block.last() < Some(low);
        let first = blocks.partition_point(is_low);
        let past = high.map_or(blocks.len(), |high| {
            blocks.partition_point(|block| block.places().first().is_some_and(|place| *place < high))
        });
        blocks.get(first..past).unwrap_or_default().iter().rev().flat_map(move |block| {
            let begin = block.places().partition_point(|place| *place < low);
            let end = high.map_or(block.len(), |high| block.places().partition_point(|place| *place < high));
            let range = begin.min(end)..end;
            block.matching(range, wanted).map(move |at| (block.places()[at], block.marks(at), block.row(at)))
        })
    }

    /// All places of all lists.
    pub(crate) fn places(&self) -> impl Iterator<Item = (&str, Place)> {
        self.lists.iter().flat_map(|(list, blocks)| {
            blocks.iter().flat_map(|block| block.places()).map(move |place| (list.as_str(), *place))
        })
    }
}

#[cfg(test)]
mod tests;
