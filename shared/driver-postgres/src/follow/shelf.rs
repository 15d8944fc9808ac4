//! What lies in an archive directory, and what is to be taken of it next. Pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::archive::LogFile;
use crate::timeline::{Branch, History};
use crate::wal::{Lsn, Segment, SegmentSize};

/// The files of an archive directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Shelf {
    /// Whole segments.
    pub(super) segments: BTreeSet<Segment>,
    /// Last segments of timelines.
    pub(super) partials: BTreeSet<Segment>,
    /// Marks of base backups: the segment and the file's name.
    pub(super) marks: BTreeSet<(Segment, String)>,
    /// Timelines whose history is there.
    pub(super) histories: BTreeSet<u32>,
    /// Names of other files.
    pub(super) strangers: BTreeSet<String>,
}

impl Shelf {
    /// Sorts names; hidden ones are nobody's business.
    pub(super) fn of(names: impl Iterator<Item = String>, size: SegmentSize) -> Self {
        let mut shelf = Self::default();
        for name in names.filter(|name| !name.starts_with('.')) {
            match LogFile::parse(&name, size) {
                Some(LogFile::Segment(segment)) => drop(shelf.segments.insert(segment)),
                Some(LogFile::Partial(segment)) => drop(shelf.partials.insert(segment)),
                Some(LogFile::Mark(segment)) => drop(shelf.marks.insert((segment, name))),
                Some(LogFile::History(timeline)) => drop(shelf.histories.insert(timeline)),
                None => drop(shelf.strangers.insert(name)),
            }
        }
        shelf
    }

    /// The first segment of a newer timeline that does not descend from this one, as far as histories are known.
    pub(super) fn unrelated(&self, timeline: u32, histories: &BTreeMap<u32, History>) -> Option<Segment> {
        let descends = |of: u32| {
            let branches = histories.get(&of).map(|history| &history.branches);
            branches.is_some_and(|branches| branches.iter().any(|branch| branch.parent == timeline))
        };
        // One between may be known from its descendant's history alone.
        let is_between = |of: u32| {
            histories.values().any(|h| descends(h.timeline) && h.branches.iter().any(|branch| branch.parent == of))
        };
        self.segments
            .iter()
            .find(|s| s.timeline > timeline && !descends(s.timeline) && !is_between(s.timeline))
            .copied()
    }

    /// Where the newest whole segment ends.
    pub(super) fn end(&self, size: SegmentSize) -> Lsn {
        self.segments.iter().map(|segment| segment.end(size)).max().unwrap_or(Lsn(0))
    }
}

/// What comes next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// It is not there yet.
    Wait,
    /// Nothing was ever taken; the log begins with this segment.
    Begin(Segment),
    /// This segment.
    Take(Segment),
    /// The timeline ends, and another one goes on.
    Switch {
        /// Where it ends.
        at: Lsn,
        /// The one that goes on.
        next: u32,
        /// The timeline in whose history that stands.
        of: u32,
    },
    /// The segment is missing although the log goes on after it.
    Missing {
        /// The segment.
        wanted: Segment,
        /// Where the log goes on.
        to: Lsn,
    },
}

/// What comes next when `wanted` is the segment to take; none when nothing was ever taken.
pub(super) fn next_step(
    wanted: Option<Segment>,
    shelf: &Shelf,
    histories: &BTreeMap<u32, History>,
    size: SegmentSize,
) -> Step {
    let Some(wanted) = wanted else {
        return shelf.segments.first().map_or(Step::Wait, |first| Step::Begin(*first));
    };
    let switch = successor(wanted.timeline, histories).map(|(of, branch, next)| {
        let last = size.segment_at(wanted.timeline, branch.until);
        // The log of the next timeline begins with a copy of what the old one had in that segment. It is archived after
        // the old one's last segment, so that nothing of the old one comes when it is there.
        let goes_on = shelf.segments.range(Segment { timeline: next, number: last.number }..);
        let goes_on = goes_on.take_while(|segment| segment.timeline == next).next().is_some();
        (of, branch.until, next, last, goes_on || shelf.partials.contains(&last))
    });
    if let Some((of, at, next, last, is_there)) = switch
        && wanted.number >= last.number
    {
        return if is_there { Step::Switch { at, next, of } } else { Step::Wait };
    }
    if shelf.segments.contains(&wanted) {
        return Step::Take(wanted);
    }
    let later = shelf.segments.range(wanted..).find(|segment| segment.timeline == wanted.timeline);
    let to = match (later, switch) {
        (Some(later), Some((_, at, ..))) => Some(later.start(size).min(size.floor(at))),
        (Some(later), None) => Some(later.start(size)),
        (None, Some((_, at, _, _, true))) => Some(size.floor(at)),
        (None, _) => None,
    };
    to.map_or(Step::Wait, |to| Step::Missing { wanted, to })
}

/// The newest timeline that descends from one, where that one ends, and which timeline goes on there.
fn successor(timeline: u32, histories: &BTreeMap<u32, History>) -> Option<(u32, Branch, u32)> {
    histories.range(timeline + 1..).rev().find_map(|(of, history)| {
        let at = history.branches.iter().position(|branch| branch.parent == timeline)?;
        Some((*of, history.branches[at], history.branches.get(at + 1).map_or(*of, |next| next.parent)))
    })
}

/// The history of a timeline that stands in one of its descendants'.
pub(super) fn history_within(timeline: u32, descendant: &History) -> String {
    let before = descendant.branches.iter().filter(|branch| branch.parent < timeline);
    let reason = format!("from the history of timeline {}", descendant.timeline);
    before.map(|branch| format!("{}\t{}\t{reason}\n", branch.parent, branch.until)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: SegmentSize = SegmentSize::DEFAULT;

    fn segment(timeline: u32, number: u64) -> Segment {
        Segment { timeline, number }
    }

    fn shelf(segments: &[(u32, u64)], partials: &[(u32, u64)]) -> Shelf {
        Shelf {
            segments: segments.iter().map(|(timeline, number)| segment(*timeline, *number)).collect(),
            partials: partials.iter().map(|(timeline, number)| segment(*timeline, *number)).collect(),
            ..Shelf::default()
        }
    }

    fn histories(texts: &[(u32, &str)]) -> BTreeMap<u32, History> {
        texts.iter().map(|(timeline, text)| (*timeline, History::parse(*timeline, text).unwrap())).collect()
    }

    #[test]
    fn segments_are_taken_in_order_and_a_missing_one_is_noticed() {
        let none = BTreeMap::new();
        let next = |wanted, shelf: &Shelf| next_step(wanted, shelf, &none, SIZE);
        assert_eq!(next(None, &shelf(&[], &[])), Step::Wait);
        assert_eq!(next(None, &shelf(&[(1, 5), (1, 4)], &[])), Step::Begin(segment(1, 4)));
        let wanted = Some(segment(1, 5));
        assert_eq!(next(wanted, &shelf(&[(1, 3), (1, 4)], &[])), Step::Wait);
        assert_eq!(next(wanted, &shelf(&[(1, 5), (1, 6)], &[])), Step::Take(segment(1, 5)));
        let missing = Step::Missing { wanted: segment(1, 5), to: segment(1, 7).start(SIZE) };
        assert_eq!(next(wanted, &shelf(&[(1, 4), (1, 8), (1, 7)], &[])), missing);
        // Nobody knows yet where that timeline comes from.
        assert_eq!(next(wanted, &shelf(&[(2, 5)], &[(1, 5)])), Step::Wait);
    }

    #[test]
    fn a_timeline_is_left_where_the_next_one_begins() {
        // In the middle of segment 6.
        let at: Lsn = "0/6800000".parse().unwrap();
        let known = histories(&[(2, "1\t0/6800000\tno recovery target specified\n")]);
        let next = |number, shelf: &Shelf| next_step(Some(segment(1, number)), shelf, &known, SIZE);
        let switch = Step::Switch { at, next: 2, of: 2 };
        assert_eq!(next(5, &shelf(&[(1, 5), (2, 6)], &[(1, 6)])), Step::Take(segment(1, 5)));
        assert_eq!(next(6, &shelf(&[], &[])), Step::Wait);
        assert_eq!(next(6, &shelf(&[], &[(1, 6)])), switch);
        assert_eq!(next(6, &shelf(&[(2, 6)], &[])), switch);
        // A branch that nobody follows any more is not taken up.
        assert_eq!(next(6, &shelf(&[(1, 6), (1, 7)], &[])), Step::Wait);
        assert_eq!(next(8, &shelf(&[(1, 8), (2, 6)], &[])), switch);
        let missing = Step::Missing { wanted: segment(1, 4), to: segment(1, 6).start(SIZE) };
        assert_eq!(next(4, &shelf(&[(2, 6)], &[])), missing);
        assert_eq!(next(4, &shelf(&[(1, 9), (2, 6)], &[])), missing);
        assert_eq!(next(4, &shelf(&[], &[])), Step::Wait);
    }

    #[test]
    fn the_newest_descendant_is_followed_over_all_that_are_between() {
        let known = histories(&[(2, "1\t0/5000000\ta\n"), (4, "1\t0/6000000\tb\n3\t0/9000000\tc\n"), (5, "")]);
        let next = |wanted, shelf: &Shelf| next_step(Some(wanted), shelf, &known, SIZE);
        let at: Lsn = "0/6000000".parse().unwrap();
        assert_eq!(next(segment(1, 6), &shelf(&[(3, 6)], &[])), Step::Switch { at, next: 3, of: 4 });
        let at: Lsn = "0/9000000".parse().unwrap();
        assert_eq!(next(segment(3, 9), &shelf(&[(4, 9)], &[])), Step::Switch { at, next: 4, of: 4 });
        assert_eq!(next(segment(2, 9), &shelf(&[(4, 9)], &[])), Step::Wait);
        assert_eq!(shelf(&[(3, 6), (4, 9)], &[]).unrelated(1, &known), None);
        assert_eq!(shelf(&[(4, 9), (5, 9)], &[]).unrelated(2, &known), Some(segment(4, 9)));
        assert_eq!(shelf(&[(2, 9), (7, 9)], &[]).unrelated(2, &known), Some(segment(7, 9)));
        let within = History::parse(3, &history_within(3, &known[&4])).unwrap();
        assert_eq!(within.branches, known[&4].branches[..1]);
    }
}
