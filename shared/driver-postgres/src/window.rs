//! What can be restored: from the base backups and the log that are there to intervals of time, and from a target to the
//! base and the log it needs, or to a refusal that names the window. Pure.

mod plan;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::facts::PhysicalFacts;
use crate::timeline::History;
use crate::wal::{Lsn, Mark, MarkKind, Segment, SegmentSize};

pub use plan::{Plan, Refusal, Target, log_needed_from, plan, retire};

/// A base backup, as far as a restore of its log needs to know it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Base {
    /// Whatever the caller knows it by.
    pub id: String,
    /// The timeline it was taken on.
    pub timeline: u32,
    /// Where its replay begins.
    pub start: Lsn,
    /// Where it is consistent.
    pub stop: Lsn,
    /// The server's clock once it was consistent: no commit before `stop` is later.
    pub stopped_at: Timestamp,
}

impl Base {
    /// From the facts of a recovery point; none where its log cannot be rolled forward, as for a server that was at rest.
    #[must_use]
    pub fn of(id: &str, facts: &PhysicalFacts) -> Option<Self> {
        Some(Self {
            id: id.to_owned(),
            timeline: facts.timeline,
            start: facts.start_lsn.as_ref()?.parse().ok()?,
            stop: facts.stop_lsn.as_ref()?.parse().ok()?,
            stopped_at: facts.stop_time?,
        })
    }
}

/// A point somebody named with `pg_create_restore_point`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedPoint {
    /// Its name.
    pub name: String,
    /// Where the record begins.
    pub at: Lsn,
    /// The server's clock.
    pub time: Timestamp,
}

/// What a segment that is in the vault holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentFacts {
    /// Its timeline.
    pub timeline: u32,
    /// Its number.
    pub number: u64,
    /// Where its known content ends, when that is before its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Lsn>,
    /// Transactions that ended in it.
    #[serde(default)]
    pub commits: u64,
    /// Time of the earliest of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first: Option<Timestamp>,
    /// Time of the latest of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<Timestamp>,
    /// Where the last record begins that recovery can stop at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_mark: Option<Lsn>,
    /// Named points in it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub points: Vec<NamedPoint>,
}

impl SegmentFacts {
    /// Of a segment that nothing is known of yet.
    #[must_use]
    pub const fn new(segment: Segment) -> Self {
        Self {
            timeline: segment.timeline,
            number: segment.number,
            until: None,
            commits: 0,
            first: None,
            last: None,
            last_mark: None,
            points: Vec::new(),
        }
    }

    /// Which one it is.
    #[must_use]
    pub const fn segment(&self) -> Segment {
        Segment { timeline: self.timeline, number: self.number }
    }

    /// Takes a record up.
    pub fn add(&mut self, mark: Mark) {
        self.last_mark = Some(mark.start);
        match mark.kind {
            MarkKind::RestorePoint(name) => {
                self.points.push(NamedPoint { name, at: mark.start, time: mark.time });
            }
            MarkKind::Commit | MarkKind::Abort => {
                self.commits += 1;
                self.first = Some(self.first.map_or(mark.time, |first| first.min(mark.time)));
                self.last = Some(self.last.map_or(mark.time, |last| last.max(mark.time)));
            }
        }
    }
}

/// All of the log that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// Bytes of a segment.
    pub size: SegmentSize,
    /// How the newest timeline came to be.
    pub history: History,
    /// Sorted by timeline and number, none twice.
    pub segments: Vec<SegmentFacts>,
}

/// A part of the log without a hole, on the way to the newest timeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// Where it begins.
    pub start: Lsn,
    /// Where it ends.
    pub end: Lsn,
    /// Time of the latest commit in it.
    pub last: Option<Timestamp>,
    /// Where the last record begins that recovery can stop at.
    pub last_mark: Option<Lsn>,
}

/// Instants that can be restored: after `from` and before `to`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interval {
    /// The end of the earliest base backup.
    pub from: Timestamp,
    /// The latest commit that is durable. The instant itself is restored with `latest`.
    pub to: Timestamp,
    /// Where the earliest base backup is consistent.
    pub from_lsn: Lsn,
    /// Where the log ends.
    pub to_lsn: Lsn,
}

impl Log {
    /// Its parts without holes, oldest first.
    #[must_use]
    pub fn runs(&self) -> Vec<Run> {
        let mut wanted: Vec<&SegmentFacts> = self
            .segments
            .iter()
            .filter(|facts| self.history.timeline_of_segment(facts.number, self.size) == facts.timeline)
            .collect();
        wanted.sort_by_key(|facts| facts.number);
        let mut runs: Vec<Run> = Vec::new();
        for facts in wanted {
            let segment = facts.segment();
            let (start, end) = (segment.start(self.size), facts.until.unwrap_or(segment.end(self.size)));
            match runs.last_mut() {
                Some(run) if run.end == start => {
                    run.end = end;
                    run.last = run.last.max(facts.last);
                    run.last_mark = run.last_mark.max(facts.last_mark);
                }
                _ => runs.push(Run { start, end, last: facts.last, last_mark: facts.last_mark }),
            }
        }
        runs
    }

    /// The latest transaction that is known to have ended by an instant, among those that ended after a base backup on the way
    /// to the newest timeline; a lower bound, because of each segment only the earliest and the latest are known.
    #[must_use]
    pub fn committed_by(&self, base: &Base, at: Timestamp) -> Option<Timestamp> {
        let after = self.size.floor(base.stop);
        let wanted = self.segments.iter().filter(|facts| {
            self.history.timeline_of_segment(facts.number, self.size) == facts.timeline
                && facts.segment().start(self.size) >= after
        });
        wanted
            .flat_map(|facts| [facts.first, facts.last])
            .flatten()
            .filter(|time| base.stopped_at < *time && *time <= at)
            .max()
    }

    /// The run that a base backup can be brought forward with.
    fn run_of<'a>(&self, base: &Base, runs: &'a [Run]) -> Option<&'a Run> {
        let on_the_way = self.history.holds(base.timeline, base.start)
            && self.history.holds(base.timeline, Lsn(base.stop.0.saturating_sub(1)));
        let start = self.size.floor(base.start);
        runs.iter().find(|run| on_the_way && run.start <= start && base.stop <= run.end)
    }
}

/// The intervals that can be restored, oldest first.
#[must_use]
pub fn intervals(bases: &[Base], log: &Log) -> Vec<Interval> {
    let runs = log.runs();
    let mut intervals = Vec::new();
    for run in &runs {
        let of_run = bases.iter().filter(|base| log.run_of(base, &runs) == Some(run));
        let (Some(first), Some(to)) = (of_run.min_by_key(|base| base.stop), run.last) else { continue };
        if first.stopped_at < to {
            intervals.push(Interval { from: first.stopped_at, to, from_lsn: first.stop, to_lsn: run.end });
        }
    }
    intervals
}

#[cfg(test)]
mod tests;
