//! Has the system read what changed before a thread asks for it. Changes lie apart, so the system does not guess the next one,
//! and a thread would wait for each.

use std::ops::Range;

use parking_lot::Mutex;

use crate::source::Source;

/// Bytes that are read before they are asked for.
const AHEAD_BYTES: u64 = 32 << 20;

/// What changed in a part of a volume that is read from its beginning to its end, by several threads at about the same place.
pub(super) struct Ahead<'a> {
    source: &'a dyn Source,
    changed: &'a [Range<u64>],
    /// How many of the changes the system was told of.
    told: Mutex<usize>,
}

impl<'a> Ahead<'a> {
    /// `changed` is in order and apart.
    pub(super) fn new(source: &'a dyn Source, changed: &'a [Range<u64>]) -> Self {
        Self { source, changed, told: Mutex::new(0) }
    }

    /// A thread begins to read here.
    pub(super) fn reach(&self, position: u64) {
        let next = {
            let mut told = self.told.lock();
            let next = due(self.changed, *told, position);
            *told = next.end;
            next
        };
        for range in &self.changed[next] {
            // Of what is long the system guesses the rest.
            self.source.will_read(range.start..range.end.min(range.start + AHEAD_BYTES));
        }
    }
}

/// Which changes to tell of when a thread is at this position and so many were told of: those up to [`AHEAD_BYTES`] further on.
fn due(changed: &[Range<u64>], told: usize, position: u64) -> Range<usize> {
    let passed = changed.partition_point(|range| range.end <= position);
    let start = told.max(passed);
    let mut waiting: u64 = changed[passed..start].iter().map(|range| range.end - range.start).sum();
    let mut end = start;
    while end < changed.len() && waiting < AHEAD_BYTES {
        waiting = waiting.saturating_add(changed[end].end - changed[end].start);
        end += 1;
    }
    start..end
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Changes of this many bytes, each a gigabyte from the next.
    fn changes(bytes: u64, count: u64) -> Vec<Range<u64>> {
        (0..count).map(|number| (number << 30)..(number << 30) + bytes).collect()
    }

    #[test]
    fn as_much_is_told_of_as_may_be_read_ahead_and_each_change_once() {
        let changed = changes(AHEAD_BYTES / 4, 10);
        assert_eq!(due(&changed, 0, 0), 0..4);
        assert_eq!(due(&changed, 4, 0), 4..4);
        assert_eq!(due(&changed, 4, 1 << 30), 4..5);
        assert_eq!(due(&changed, 5, 9 << 30), 9..10);
        assert_eq!(due(&changed, 10, 10 << 30), 10..10);
    }

    #[test]
    fn what_is_longer_than_that_is_told_of_alone() {
        let changed = changes(4 * AHEAD_BYTES, 3);
        assert_eq!(due(&changed, 0, 0), 0..1);
        assert_eq!(due(&changed, 1, 5), 1..1);
        assert_eq!(due(&changed, 1, 1 << 30), 1..2);
    }

    #[test]
    fn a_thread_that_is_behind_another_one_tells_nothing() {
        let changed = changes(AHEAD_BYTES, 4);
        assert_eq!(due(&changed, 3, 1 << 30), 3..3);
    }

    #[test]
    fn where_nothing_changed_there_is_nothing_to_tell() {
        assert_eq!(due(&[], 0, 17), 0..0);
    }
}
