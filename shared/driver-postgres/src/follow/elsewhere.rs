//! What is otherwise in a follower's life when the log comes from an archive.

use std::path::Path;
use std::sync::mpsc::SyncSender;

use parking_lot::Mutex;

use super::FollowError;
use super::beat::Pulse;
use super::collect::{Collector, Found};
use super::judge::Judge;
use super::origin::first_wanted;
use super::receive::{Acknowledged, Incoming};
use super::run::{Hole, Life};
use crate::ledger::NewHistory;
use crate::wal::Lsn;

impl<'a> Life<'a> {
    /// Brings what is in the vault and what the server says together, where it says something. Timelines and missing segments
    /// show in the archive.
    pub(super) fn meet_archive(&mut self, gap: Option<Hole>) -> Result<(), FollowError> {
        let (timeline, have) = (self.tail.timeline, self.tail.end);
        let (found, end) = (self.server.identity.timeline, self.server.identity.end);
        if self.server.is_heard && have > Lsn(0) {
            if found < timeline {
                return Err(FollowError::OldTimeline { found, have: timeline });
            }
            if found == timeline && end < have {
                return Err(FollowError::ServerBehind { timeline, found: end, have });
            }
        }
        let Some(Hole { reason, damaged: Some(at) }) = gap else { return Ok(()) };
        let size = self.server.size;
        let to = size.segment_at(timeline, at).end(size);
        self.note_gap(to, reason)?;
        self.begin_tail(timeline, to)
    }

    /// Goes on with this segment: the first of all, or the one after a hole.
    pub(super) fn go_on(
        &mut self,
        timeline: u32,
        to: Lsn,
        reason: Option<String>,
        history: Option<NewHistory>,
    ) -> Result<(), FollowError> {
        let is_new = history.is_some();
        self.histories.extend(history);
        match reason {
            Some(reason) => self.note_gap(to, reason)?,
            // The history is in the vault before its file goes.
            None if is_new => self.commit(false)?,
            None => {}
        }
        self.begin_tail(timeline, to)?;
        self.since = self.hole_free_since();
        Ok(())
    }

    /// Who takes the log out of the directory.
    pub(super) fn collector<'b>(
        &self,
        directory: &Path,
        acknowledged: &'b Acknowledged,
        sender: SyncSender<Incoming>,
        pulse: &'b Mutex<Pulse>,
    ) -> Collector<'b>
    where
        'a: 'b,
    {
        Collector {
            follower: self.follower,
            directory: directory.to_owned(),
            size: self.server.size,
            system_id: self.server.identity.system_id.clone(),
            acknowledged,
            sender,
            pulse,
            histories: self.known.iter().map(|history| (history.timeline, history.clone())).collect(),
            wanted: first_wanted(self.server.size, self.tail.timeline, self.tail.end),
            judge: Judge::default(),
            found: Found::default(),
        }
    }
}
