//! From a target to the base backup and the log it needs.

use std::fmt::Write as _;

use jiff::{SignedDuration, Timestamp};
use job_model::RestoreInstant;
use serde::{Deserialize, Serialize};

use super::{Base, Interval, Log, Run, intervals};
use crate::wal::{InvalidPosition, Lsn};

/// Up to where to restore.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Target {
    /// All that is durable.
    Latest,
    /// Every commit up to and including this instant.
    Time(Timestamp),
    /// Up to and including the record at this position.
    Lsn(Lsn),
    /// A point named with `pg_create_restore_point`.
    Point(String),
}

impl Target {
    /// From what a restore asks for.
    ///
    /// # Errors
    /// When a position is none.
    pub fn of(instant: &RestoreInstant) -> Result<Self, InvalidPosition> {
        Ok(match instant {
            RestoreInstant::Latest => Self::Latest,
            RestoreInstant::Time(at) => Self::Time(*at),
            RestoreInstant::Position(text) => Self::Lsn(text.trim().parse()?),
            RestoreInstant::Point(name) => Self::Point(name.clone()),
        })
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Latest => f.write_str("the latest instant"),
            Self::Time(time) => write!(f, "{time}"),
            Self::Lsn(lsn) => write!(f, "position {lsn}"),
            Self::Point(name) => write!(f, "restore point `{name}`"),
        }
    }
}

/// Why a target cannot be reached.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{target} cannot be restored: {problem}; restorable is {window}")]
pub struct Refusal {
    /// The target.
    pub target: String,
    /// Why not.
    pub problem: String,
    /// The window in words.
    pub window: String,
}

/// How a target is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The base backup to begin with.
    pub base: Base,
    /// The timeline to follow.
    pub timeline: u32,
    /// The log that is needed begins here, at the start of a segment.
    pub from: Lsn,
    /// Where the log without a hole ends. Whatever recovery asks for below must be given; what is beyond is not there.
    pub until: Lsn,
    /// Up to where.
    pub target: Target,
}

/// Finds the newest base backup that ended before the target and from which the log reaches it without a hole.
///
/// # Errors
/// [`Refusal`], with the window: no such base, a hole, or a target that nothing durable proves to be over.
pub fn plan(bases: &[Base], log: &Log, target: &Target) -> Result<Plan, Refusal> {
    let runs = log.runs();
    let window = intervals(bases, log);
    let refuse = |problem: String| Refusal { target: target.to_string(), problem, window: window_in_words(&window) };
    let usable: Vec<(&Base, &Run)> = bases.iter().filter_map(|base| Some((base, log.run_of(base, &runs)?))).collect();
    let found = match target {
        Target::Latest => usable.iter().max_by_key(|(base, run)| (run.end, base.stop)).copied(),
        // A commit after the target must be there, or recovery would end without having reached it.
        Target::Time(time) => {
            let reaches = |(base, run): &&(&Base, &Run)| base.stopped_at < *time && run.last.is_some_and(|l| *time < l);
            usable.iter().filter(reaches).max_by_key(|(base, _)| base.stop).copied()
        }
        Target::Lsn(lsn) => {
            let reaches = |(base, run): &&(&Base, &Run)| base.stop <= *lsn && run.last_mark.is_some_and(|m| *lsn <= m);
            usable.iter().filter(reaches).max_by_key(|(base, _)| base.stop).copied()
        }
        Target::Point(name) => {
            let points: Vec<Lsn> = log
                .segments
                .iter()
                .flat_map(|facts| facts.points.iter().map(move |point| (facts.timeline, point)))
                .filter(|(timeline, point)| point.name == *name && log.history.holds(*timeline, point.at))
                .map(|(_, point)| point.at)
                .collect();
            let Some(at) = points.iter().max().copied() else {
                return Err(refuse("no point of that name is in the log that is kept".to_owned()));
            };
            let reaches = |(base, run): &&(&Base, &Run)| base.stop <= at && at < run.end;
            let found = usable.iter().filter(reaches).max_by_key(|(base, _)| base.stop).copied();
            // Recovery stops at the first point of the name that it meets.
            if let Some((base, _)) = found
                && let Some(earlier) = points.iter().find(|other| **other < at && **other >= base.start)
            {
                return Err(refuse(format!(
                    "the name was given at {earlier} and again at {at}, with no base backup between; restore to a position"
                )));
            }
            found
        }
    };
    let Some((base, run)) = found else {
        return Err(refuse(why_not(target, &window, &runs, log)));
    };
    Ok(Plan {
        base: base.clone(),
        timeline: log.history.timeline,
        from: log.size.floor(base.start),
        until: run.end,
        target: target.clone(),
    })
}

fn why_not(target: &Target, window: &[Interval], runs: &[Run], log: &Log) -> String {
    let (Some(first), Some(last)) = (window.first(), window.last()) else {
        return "there is no base backup with the log after it yet; wait for the first one".to_owned();
    };
    match target {
        Target::Time(time) if *time <= first.from => "it is before the end of the first base backup".to_owned(),
        Target::Time(time) if *time >= last.to => "it is after the last durable commit".to_owned(),
        Target::Time(_) => {
            let gap = window.windows(2).find_map(|pair| match (target, pair) {
                (Target::Time(time), [before, after]) if *time >= before.to && *time <= after.from => {
                    Some((before, after))
                }
                _ => None,
            });
            match gap {
                Some((before, after)) => format!(
                    "it is in a gap: after {} the log is missing from {}, and the next base backup ended at {}",
                    before.to, before.to_lsn, after.from
                ),
                None => "it is in a gap of the log".to_owned(),
            }
        }
        Target::Lsn(lsn) if *lsn < first.from_lsn => {
            format!("the first base backup is consistent at {}", first.from_lsn)
        }
        Target::Lsn(lsn) if runs.iter().any(|run| run.start <= *lsn && *lsn < run.end) => {
            "no commit after it is durable yet, or no base backup ended before it".to_owned()
        }
        Target::Lsn(_) => {
            format!("the log on the way to timeline {} is not there at that position", log.history.timeline)
        }
        Target::Point(_) => "no base backup ended before it".to_owned(),
        Target::Latest => "the newest part of the log has no base backup yet".to_owned(),
    }
}

fn window_in_words(window: &[Interval]) -> String {
    if window.is_empty() {
        return "nothing yet".to_owned();
    }
    let mut text = String::new();
    for interval in window {
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            "{}{} to {} ({} to {})",
            if text.is_empty() { "" } else { ", and " },
            interval.from,
            interval.to,
            interval.from_lsn,
            interval.to_lsn
        );
    }
    text
}

/// From where the log is needed by any of these base backups; none where there is none.
#[must_use]
pub fn log_needed_from(bases: &[Base]) -> Option<Lsn> {
    bases.iter().map(|base| base.start).min()
}

/// Decides which base backups no instant of the last `keep` needs, the oldest first. The newest one always stays, and so does
/// the newest one that ended before the window, from which its first instants are restored.
#[must_use]
pub fn retire(bases: &[Base], now: Timestamp, keep: SignedDuration) -> Vec<String> {
    let horizon = now - keep;
    let newest = bases.iter().max_by_key(|base| base.stop);
    let first_needed = bases
        .iter()
        .filter(|base| base.stopped_at <= horizon)
        .max_by_key(|base| base.stop)
        .or_else(|| bases.iter().min_by_key(|base| base.stop));
    let (Some(newest), Some(first)) = (newest, first_needed) else { return Vec::new() };
    let mut gone: Vec<&Base> = bases.iter().filter(|base| base.stop < first.stop && base.id != newest.id).collect();
    gone.sort_by_key(|base| base.stop);
    gone.into_iter().map(|base| base.id.clone()).collect()
}
