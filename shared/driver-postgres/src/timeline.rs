//! Timelines: who branched off whom, and where.

use serde::{Deserialize, Serialize};

use crate::wal::{Lsn, SegmentSize};

/// Why a history file cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line `{line}` of the history of timeline {timeline} is not `parent position reason`")]
pub struct InvalidHistory {
    /// The timeline.
    pub timeline: u32,
    /// The line.
    pub line: String,
}

/// Where a timeline left its parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Branch {
    /// The parent.
    pub parent: u32,
    /// The parent's log counts up to here.
    pub until: Lsn,
}

/// How a timeline came to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// The timeline.
    pub timeline: u32,
    /// Its ancestors, oldest first.
    pub branches: Vec<Branch>,
}

impl History {
    /// A timeline without ancestors.
    #[must_use]
    pub const fn of_first(timeline: u32) -> Self {
        Self { timeline, branches: Vec::new() }
    }

    /// Reads a history file (`00000002.history`).
    ///
    /// # Errors
    /// When a line is not what PostgreSQL writes.
    pub fn parse(timeline: u32, text: &str) -> Result<Self, InvalidHistory> {
        let invalid = |line: &str| InvalidHistory { timeline, line: line.to_owned() };
        let mut branches: Vec<Branch> = Vec::new();
        for line in text.lines() {
            let content = line.trim();
            if content.is_empty() || content.starts_with('#') {
                continue;
            }
            let mut fields = content.split_whitespace();
            let parent = fields.next().and_then(|field| field.parse().ok()).ok_or_else(|| invalid(line))?;
            let until = fields.next().and_then(|field| field.parse().ok()).ok_or_else(|| invalid(line))?;
            let ascends = branches.last().is_none_or(|last| last.parent < parent && last.until <= until);
            if !ascends || parent >= timeline {
                return Err(invalid(line));
            }
            branches.push(Branch { parent, until });
        }
        Ok(Self { timeline, branches })
    }

    /// The timeline whose log counts at this position.
    #[must_use]
    pub fn timeline_at(&self, lsn: Lsn) -> u32 {
        self.branches.iter().find(|branch| lsn < branch.until).map_or(self.timeline, |branch| branch.parent)
    }

    /// Where its own log begins.
    #[must_use]
    pub fn begin(&self) -> Lsn {
        self.branches.last().map_or(Lsn(0), |branch| branch.until)
    }

    /// Whether the log of a timeline counts at this position.
    #[must_use]
    pub fn holds(&self, timeline: u32, lsn: Lsn) -> bool {
        self.timeline_at(lsn) == timeline
    }

    /// The timeline in whose files recovery looks first for a segment: the newest one that begins in it or before.
    #[must_use]
    pub fn timeline_of_segment(&self, number: u64, size: SegmentSize) -> u32 {
        let begins = |until: Lsn| until.0 / size.bytes();
        let mut timeline = self.branches.first().map_or(self.timeline, |first| first.parent);
        for (at, branch) in self.branches.iter().enumerate() {
            if begins(branch.until) <= number {
                timeline = self.branches.get(at + 1).map_or(self.timeline, |next| next.parent);
            }
        }
        timeline
    }

    /// The name of its file.
    #[must_use]
    pub fn file_name(timeline: u32) -> String {
        format!("{timeline:08X}.history")
    }

    /// The timeline of a history file's name.
    #[must_use]
    pub fn parse_file_name(name: &str) -> Option<u32> {
        let digits = name.strip_suffix(".history")?;
        (digits.len() == 8).then(|| u32::from_str_radix(digits, 16).ok())?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_history_says_which_timeline_counts_where() {
        let text = "1\t0/5000000\tno recovery target specified\n\n2\t0/9000028\tbefore 2026-11-21 00:00:00+00\n";
        let history = History::parse(3, text).unwrap();
        let at = |text: &str| history.timeline_at(text.parse().unwrap());
        assert_eq!([at("0/0"), at("0/4FFFFFF"), at("0/5000000"), at("0/9000027"), at("0/9000028")], [1, 1, 2, 2, 3]);
        assert!(history.holds(2, "0/5000000".parse().unwrap()));
        assert_eq!(history.begin(), "0/9000028".parse().unwrap());
        let wanted: Vec<u32> = (3..11).map(|n| history.timeline_of_segment(n, SegmentSize::DEFAULT)).collect();
        assert_eq!(wanted, [1, 1, 2, 2, 2, 2, 3, 3]);
        assert_eq!(History::of_first(1).timeline_of_segment(7, SegmentSize::DEFAULT), 1);
        assert_eq!(History::parse_file_name(&History::file_name(26)), Some(26));
    }

    #[test]
    fn a_history_that_goes_backwards_is_refused() {
        for text in ["x\t0/1", "1\tx", "2\t0/5\n1\t0/6", "1\t0/6\n2\t0/5", "3\t0/1"] {
            assert!(History::parse(3, text).is_err(), "{text}");
        }
    }
}
