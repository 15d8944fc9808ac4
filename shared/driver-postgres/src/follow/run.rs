//! One life of a follower.

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver as Channel, RecvTimeoutError, TryRecvError, sync_channel};
use std::thread::{self, Scope, ScopedJoinHandle};
use std::time::{Duration, Instant};

use driver_api::ReadError;
use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;

use super::beat::{Pulse, beat};
use super::origin::{self, Bringer, LogSource, Origin, Server};
use super::receive::{Acknowledged, Incoming, Receiver};
use super::slot::Slot;
use super::tail::Tail;
use super::{FollowError, FollowStatus, Follower};
use crate::connection::{Connection, Mode};
use crate::error::PgError;
use crate::ledger::{self, Gap, NewHistory, NewSegment, STREAM_KIND, STREAM_SCHEMA, Stored, StreamFacts, node_named};
use crate::priority::Priority;
use crate::timeline::History;
use crate::wal::{Lsn, Segment, SegmentSize, WalDamage};
use crate::window::SegmentFacts;

/// Messages between the socket and the vault: at most 128 KiB each.
const CHANNEL: usize = 128;
/// Bytes that go to the vault without waiting for more.
const BATCH_BYTES: u64 = 4 << 20;
/// How often messages are looked for while bytes are gathered.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// How often somebody hears where the follower is.
const WATCH_EVERY: Duration = Duration::from_secs(1);
/// How often a life begins while the one before still has the slot, and the time between.
const BEGINS_MAX: u32 = 50;
const BEGIN_EVERY: Duration = Duration::from_millis(100);
/// The server has removed a segment that is asked for.
const REMOVED: &str = "58P01";

pub(super) fn run(follower: &Follower<'_>) -> Result<(), FollowError> {
    let life = Life::begin(follower, None)?;
    let lost = life.slot_lost.clone();
    match life.live() {
        // The log between what is in the vault and what the server has is lost. It has to be said, and then to go on.
        Err(FollowError::Server(PgError::Server(error))) if error.code == REMOVED => {
            tracing::error!(%error, "the server has removed log that was not received");
            let reason = lost.unwrap_or_else(|| "the server has removed its log; was the slot dropped?".to_owned());
            begin_again(follower, Some(&Hole { reason, damaged: None }))?.live()
        }
        Err(FollowError::Damaged(damage)) => after_damage(follower, damage),
        other => other,
    }
}

/// A record that is damaged again when it is received again is damaged at the server: no recovery gets beyond it, so the log
/// has a hole there, and is followed from the next segment on.
fn after_damage(follower: &Follower<'_>, damage: WalDamage) -> Result<(), FollowError> {
    tracing::warn!(%damage, "receiving it again");
    match begin_again(follower, None)?.live() {
        Err(FollowError::Damaged(again)) if again == damage => {
            let hole = Hole { reason: again.to_string(), damaged: Some(again.at) };
            begin_again(follower, Some(&hole))?.live()
        }
        other => other,
    }
}

/// Begins right after another life has ended, of which the server may not know yet.
fn begin_again<'a>(follower: &'a Follower<'a>, hole: Option<&Hole>) -> Result<Life<'a>, FollowError> {
    let mut tries = 0;
    loop {
        match Life::begin(follower, hole.cloned()) {
            Err(FollowError::SlotActive { .. }) if tries < BEGINS_MAX && !follower.control.is_stopped() => tries += 1,
            other => return other,
        }
        thread::sleep(BEGIN_EVERY);
    }
}

/// A part of the log that cannot be had.
#[derive(Clone)]
pub(super) struct Hole {
    pub(super) reason: String,
    /// Where a record is damaged; none where the server has removed its log.
    pub(super) damaged: Option<Lsn>,
}

pub(super) struct Life<'a> {
    pub(super) follower: &'a Follower<'a>,
    pub(super) server: Server,
    sql: Option<Connection>,
    facts: StreamFacts,
    committed: Vec<SegmentFacts>,
    pub(super) histories: Vec<NewHistory>,
    /// Histories that were in the vault when this life began.
    pub(super) known: Vec<History>,
    pub(super) tail: Tail,
    pub(super) since: Lsn,
    segments: u64,
    bytes: u64,
    server_end: Lsn,
    delay: SignedDuration,
    last_commit: Option<Timestamp>,
    slot_lost: Option<String>,
}

/// The way to the snapshot of what the tail gives it.
struct Commit {
    facts: StreamFacts,
    before: Vec<SegmentFacts>,
    segments: Vec<SegmentFacts>,
    new: Vec<NewSegment>,
    histories: Vec<NewHistory>,
}

impl<'a> Life<'a> {
    fn begin(follower: &'a Follower<'a>, gap: Option<Hole>) -> Result<Self, FollowError> {
        let settings = follower.settings;
        let spool = &settings.spool;
        match fs::remove_dir_all(spool) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(FollowError::spool("empty", spool)(error));
            }
            _ => fs::create_dir_all(spool).map_err(FollowError::spool("create", spool))?,
        }
        let mut stored = ledger::load(follower.store)?;
        follower.store.remove(&stored.covered)?;
        let Origin { server, sql, slot, histories } = origin::open(follower, &stored)?;
        let is_new = stored.facts.is_none();
        let facts = stored.facts.take().unwrap_or_else(|| StreamFacts {
            kind: STREAM_KIND.to_owned(),
            schema: STREAM_SCHEMA,
            system_id: server.identity.system_id.clone(),
            server_version: String::new(),
            segment_size: server.size,
            timeline: server.identity.timeline,
            end: Lsn(0),
            gaps: Vec::new(),
        });
        let tail = Tail::begin(spool, server.size, 0, Lsn(0));
        let mut life = Self {
            follower,
            server,
            sql,
            known: stored.histories.clone(),
            facts,
            committed: std::mem::take(&mut stored.segments),
            histories,
            tail,
            since: Lsn(0),
            segments: 0,
            bytes: 0,
            server_end: Lsn(0),
            delay: SignedDuration::ZERO,
            last_commit: None,
            slot_lost: slot.lost.clone(),
        };
        life.facts.server_version.clone_from(&life.server.version);
        life.last_commit = life.committed.iter().filter_map(|facts| facts.last).max();
        life.rebuild(&stored, &slot)?;
        life.meet(&slot, gap)?;
        if is_new {
            // From the first piece on the vault knows whose log it is.
            life.commit(false)?;
        }
        life.since = life.hole_free_since();
        Ok(life)
    }

    /// Makes the tail from the pieces. What lies in pieces before the last hole or timeline goes into the snapshot first.
    fn rebuild(&mut self, stored: &Stored, slot: &Slot) -> Result<(), FollowError> {
        let store = self.follower.store;
        let mut begun = false;
        for span in &stored.pieces {
            let continues =
                begun && self.tail.timeline == span.lane && (span.start..span.end).contains(&self.tail.end.0);
            if !continues {
                if begun {
                    self.commit(true)?;
                }
                let start = self.committed_end(span.lane).filter(|end| (span.start..=span.end).contains(&end.0));
                self.begin_tail(span.lane, start.unwrap_or(self.server.size.floor(Lsn(span.start))))?;
                begun = true;
            }
            self.tail.take_piece(*span, &store.piece(*span)?)?;
        }
        if begun {
            return Ok(());
        }
        let newest = self.committed.iter().map(|facts| facts.timeline).max();
        match newest.and_then(|timeline| Some((timeline, self.committed_end(timeline)?))) {
            Some((timeline, end)) => self.begin_tail(timeline, end),
            None => self.begin_tail(self.server.identity.timeline, self.server.size.floor(slot.restart)),
        }
    }

    /// The end of the last whole segment of a timeline in the snapshot.
    fn committed_end(&self, timeline: u32) -> Option<Lsn> {
        let whole = self.committed.iter().filter(|facts| facts.timeline == timeline && facts.until.is_none());
        whole.map(|facts| facts.segment().end(self.server.size)).max()
    }

    pub(super) fn begin_tail(&mut self, timeline: u32, start: Lsn) -> Result<(), FollowError> {
        let size = self.server.size;
        self.tail = Tail::begin(&self.follower.settings.spool, size, timeline, start);
        let before = start.0.checked_sub(size.bytes()).map(|at| size.segment_at(timeline, Lsn(at)));
        let Some(before) = before.filter(|s| self.committed.iter().any(|f| f.segment() == *s && f.until.is_none()))
        else {
            return Ok(());
        };
        let mut bytes = Vec::new();
        self.follower.store.look(&mut |state| {
            if let Some(state) = state
                && let Some(node) = node_named(state.reader, &path_of(before, size).each_ref().map(String::as_str))?
                && let vault_format::NodeKind::File { content, .. } = &node.kind
            {
                let mut reader = state.reader.open(content);
                std::io::copy(&mut reader, &mut bytes).map_err(|error| ReadError::Vault(Box::new(error)))?;
            }
            Ok(())
        })?;
        if bytes.len() as u64 == size.bytes() { self.tail.prime(&bytes) } else { Ok(()) }
    }

    /// Brings what is in the vault and what the server is together: timelines, gaps, a server that was set back.
    fn meet(&mut self, slot: &Slot, gap: Option<Hole>) -> Result<(), FollowError> {
        if matches!(self.follower.settings.log, LogSource::Archive(_)) {
            return self.meet_archive(gap);
        }
        let size = self.server.size;
        let found = self.server.identity.timeline;
        if found < self.tail.timeline {
            return Err(FollowError::OldTimeline { found, have: self.tail.timeline });
        }
        if found == self.tail.timeline && self.server.identity.end < self.tail.end {
            let (timeline, have) = (found, self.tail.end);
            return Err(FollowError::ServerBehind { timeline, found: self.server.identity.end, have });
        }
        if let Some(hole) = gap {
            let to = match hole.damaged {
                Some(at) => size.segment_at(found, at).end(size),
                None => size.floor(slot.restart),
            };
            self.note_gap(to, hole.reason)?;
            return self.begin_tail(found, to);
        }
        if found > self.tail.timeline {
            let text = self.histories.iter().find(|h| h.timeline == found).map(|h| h.text.as_str()).unwrap_or_default();
            let history =
                History::parse(found, text).map_err(|error| PgError::Unexpected { problem: error.to_string() })?;
            let Some(branch) = history.branches.iter().position(|b| b.parent == self.tail.timeline) else {
                return Err(FollowError::OldTimeline { found, have: self.tail.timeline });
            };
            let until = history.branches[branch].until;
            if self.tail.end >= until {
                // All of it was received, or more: a branch that nobody follows any more. It stays restorable as it is.
                self.commit(true)?;
                let next = history.branches.get(branch + 1).map_or(found, |next| next.parent);
                self.begin_tail(next, size.floor(until))?;
            }
        }
        Ok(())
    }

    pub(super) fn note_gap(&mut self, to: Lsn, reason: String) -> Result<(), FollowError> {
        let from = self.tail.end;
        if from >= to {
            return Ok(());
        }
        let timeline = self.tail.timeline;
        // Until a segment after it is whole, the next life begins before it again.
        if self.facts.gaps.last().is_some_and(|gap| (gap.timeline, gap.from, gap.to) == (timeline, from, to)) {
            return Ok(());
        }
        tracing::error!(%from, %to, reason, "the log has a gap");
        self.facts.gaps.push(Gap { timeline, from, to, noticed_at: (self.follower.now)(), reason });
        self.commit(true)
    }

    pub(super) fn hole_free_since(&self) -> Lsn {
        let size = self.server.size;
        let mut since = self.tail.start;
        for facts in self.committed.iter().rev() {
            let segment = facts.segment();
            if facts.until.is_none() && segment.end(size) >= since && segment.start(size) < since {
                since = segment.start(size);
            }
        }
        since
    }

    fn live(mut self) -> Result<(), FollowError> {
        let settings = self.follower.settings;
        let sql = self.sql.take();
        let durable = AtomicU64::new(self.tail.durable.0);
        let acknowledged = Acknowledged { durable, turns: AtomicU64::new(0), stop: AtomicBool::new(false) };
        let (sender, channel) = sync_channel(CHANNEL);
        let pulse = Mutex::new(Pulse::default());
        let (timeline, from) = (self.tail.timeline, self.server.size.floor(self.tail.end));
        let system_id = self.server.identity.system_id.clone();
        let bringer = match &settings.log {
            LogSource::Archive(directory) => Bringer::Archive(self.collector(directory, &acknowledged, sender, &pulse)),
            LogSource::Slot => Bringer::Server(Receiver {
                connection: match self.server.replication.take() {
                    Some(connection) => connection,
                    None => Connection::open(&settings.server, &settings.credentials, Mode::Replication)?,
                },
                slot: &settings.slot,
                acknowledged: &acknowledged,
                sender,
                now: self.follower.now,
                size: self.server.size,
            }),
        };
        thread::scope(|scope| {
            let stream = scope.spawn(move || bringer.run(timeline, from));
            let heart = scope.spawn(|| beat(sql, settings, &system_id, &acknowledged.stop, &pulse));
            let is_over = || stream.is_finished() || heart.is_finished();
            let worked = self.work(scope, &channel, &acknowledged, &pulse, is_over);
            acknowledged.stop.store(true, Ordering::Release);
            drop(channel);
            let streamed = stream.join().unwrap_or_else(|_| Err(died().into()));
            let beaten = heart.join().unwrap_or_else(|_| Err(died().into()));
            worked?;
            streamed?;
            beaten
        })
    }

    fn work<'scope>(
        &mut self,
        scope: &'scope Scope<'scope, '_>,
        channel: &Channel<Incoming>,
        acknowledged: &Acknowledged,
        pulse: &Mutex<Pulse>,
        is_over: impl Fn() -> bool,
    ) -> Result<(), FollowError>
    where
        'a: 'scope,
    {
        let follower = self.follower;
        let mut commit: Option<ScopedJoinHandle<'scope, Result<Commit, FollowError>>> = None;
        let settings = self.follower.settings;
        let mut waiting: Option<Instant> = None;
        let mut sent_at: Option<Timestamp> = None;
        let mut watched: Option<Instant> = None;
        loop {
            let wait = waiting.map_or(settings.gather, |since| settings.gather.saturating_sub(since.elapsed()));
            match next_of(channel, wait, waiting.is_some()) {
                Ok(Incoming::Data { timeline, start, bytes, sent_at: at, server_end }) => {
                    if timeline != self.tail.timeline {
                        let problem = format!("bytes of timeline {timeline} came unannounced");
                        return Err(PgError::Unexpected { problem }.into());
                    }
                    self.server_end = self.server_end.max(server_end);
                    self.bytes += bytes.len() as u64;
                    let whole = self.tail.segments.len();
                    self.tail.take(start, &bytes)?;
                    self.segments += (self.tail.segments.len() - whole) as u64;
                    if self.tail.end > self.tail.durable {
                        waiting.get_or_insert_with(Instant::now);
                        sent_at.get_or_insert(at);
                    }
                }
                Ok(Incoming::Quiet { server_end }) => self.server_end = self.server_end.max(server_end),
                Ok(Incoming::Ends { timeline, at, next, history }) => {
                    tracing::info!(timeline, %at, next, "the server is on a new timeline");
                    self.tail.store(self.follower.store)?;
                    if let Some(running) = commit.take() {
                        self.take_up(running.join().unwrap_or_else(|_| Err(died().into()))?)?;
                    }
                    self.histories.push(NewHistory { timeline: next, text: history });
                    self.commit(true)?;
                    self.begin_tail(next, self.server.size.floor(at))?;
                    acknowledged.durable.store(at.0, Ordering::Release);
                    acknowledged.turns.fetch_add(1, Ordering::AcqRel);
                    waiting = None;
                }
                Ok(Incoming::GoesOn { timeline, to, reason, history }) => {
                    self.tail.store(self.follower.store)?;
                    if let Some(running) = commit.take() {
                        self.take_up(running.join().unwrap_or_else(|_| Err(died().into()))?)?;
                    }
                    self.go_on(timeline, to, reason, history)?;
                    acknowledged.durable.store(self.tail.durable.0, Ordering::Release);
                    acknowledged.turns.fetch_add(1, Ordering::AcqRel);
                    waiting = None;
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
            if self.follower.control.is_stopped() || is_over() {
                return Ok(());
            }
            let full = self.tail.end.0 - self.tail.durable.0 >= BATCH_BYTES;
            if full || waiting.is_some_and(|since| since.elapsed() >= settings.gather) {
                self.tail.store(self.follower.store)?;
                acknowledged.durable.fetch_max(self.tail.durable.0, Ordering::AcqRel);
                waiting = None;
                self.delay = sent_at.take().map_or(self.delay, |at| (self.follower.now)().duration_since(at));
                let newest = self.tail.segments.iter().filter_map(|facts| facts.last).max();
                self.last_commit = self.last_commit.max(newest);
                // Pieces that a running commit makes superfluous are left alone until it has ended.
                if commit.is_none() {
                    self.tail.merge(self.follower.store)?;
                }
            }
            // Beside the stream: what is acknowledged does not wait for packs and indexes.
            if commit.as_ref().is_some_and(ScopedJoinHandle::is_finished)
                && let Some(ended) = commit.take()
            {
                self.take_up(ended.join().unwrap_or_else(|_| Err(died().into()))?)?;
            }
            if commit.is_none() && self.is_commit_due() {
                let next = self.next_commit(false)?;
                commit = Some(scope.spawn(move || write_commit(follower, next)));
            }
            if watched.is_none_or(|at| at.elapsed() >= WATCH_EVERY) {
                watched = Some(Instant::now());
                self.tell(pulse);
            }
        }
    }

    fn is_commit_due(&self) -> bool {
        let settings = self.follower.settings;
        let bytes = self.tail.whole().len() as u64 * self.server.size.bytes();
        let old = self.tail.whole_since.is_some_and(|since| since.elapsed() >= settings.commit_after);
        bytes >= settings.commit_bytes || old
    }

    /// Takes whole segments up in the snapshot; with `all` also what there is of the last one, which never goes on.
    pub(super) fn commit(&mut self, all: bool) -> Result<(), FollowError> {
        let next = self.next_commit(all)?;
        let done = write_commit(self.follower, next)?;
        self.take_up(done)
    }

    fn next_commit(&mut self, all: bool) -> Result<Commit, FollowError> {
        self.tail.spool()?;
        let size = self.server.size;
        let taken = if all { self.tail.segments.clone() } else { self.tail.whole() };
        let new: Vec<NewSegment> =
            taken.into_iter().map(|facts| NewSegment { file: self.tail.path(facts.segment()), facts }).collect();
        let keep_from = (self.follower.keep_from)();
        let mut segments: Vec<SegmentFacts> = self
            .committed
            .iter()
            .filter(|facts| keep_from.is_none_or(|from| facts.segment().end(size) > from))
            .filter(|facts| new.iter().all(|new| new.facts.segment() != facts.segment()))
            .cloned()
            .chain(new.iter().map(|new| new.facts.clone()))
            .collect();
        segments.sort_by_key(|facts| (facts.timeline, facts.number));
        let mut facts = self.facts.clone();
        facts.timeline = self.tail.timeline.max(facts.timeline);
        if let Some(last) = new.last() {
            facts.end = last.facts.until.unwrap_or(last.facts.segment().end(size));
        }
        Ok(Commit { facts, before: self.committed.clone(), segments, new, histories: self.histories.clone() })
    }

    fn take_up(&mut self, done: Commit) -> Result<(), FollowError> {
        self.facts = done.facts;
        self.committed = done.segments;
        self.tail.committed(done.new.len(), self.follower.store)
    }

    fn tell(&self, pulse: &Mutex<Pulse>) {
        let Pulse { slot, no_heartbeat, end, archiver, staying } = pulse.lock().clone();
        // Before the first bytes nobody knows where the log begins, and how much of it is to come.
        let said = end.filter(|_| self.tail.end > Lsn(0)).unwrap_or(Lsn(0));
        let notices: Vec<String> = [archiver, staying].into_iter().flatten().collect();
        (self.follower.watch)(&FollowStatus {
            system_id: self.server.identity.system_id.clone(),
            timeline: self.tail.timeline,
            durable: self.tail.durable,
            server_end: self.server_end.max(self.tail.end).max(said),
            last_commit: self.last_commit,
            delay: self.delay,
            slot,
            segments: self.segments,
            bytes: self.bytes,
            since: self.since,
            no_heartbeat,
            notice: (!notices.is_empty()).then(|| notices.join("; ")),
        });
    }
}

/// The next message, or none within `wait`. While bytes are gathered anyway, messages are looked for only now and then: to
/// be woken up by each of them would take the processor from the server a thousand times in a second.
fn next_of(channel: &Channel<Incoming>, wait: Duration, gathers: bool) -> Result<Incoming, RecvTimeoutError> {
    if !gathers {
        return channel.recv_timeout(wait);
    }
    match channel.try_recv() {
        Err(TryRecvError::Empty) => {
            thread::sleep(wait.min(LOOK_EVERY));
            Err(RecvTimeoutError::Timeout)
        }
        Err(TryRecvError::Disconnected) => Err(RecvTimeoutError::Disconnected),
        Ok(incoming) => Ok(incoming),
    }
}

fn write_commit(follower: &Follower<'_>, commit: Commit) -> Result<Commit, FollowError> {
    let at = (follower.now)();
    let Commit { facts, before, segments, new, histories } = &commit;
    let content = ledger::NextContent { facts, before, segments, new, histories, at };
    let settings = follower.settings;
    let priority = if settings.server.is_here() { settings.beside_server.at_least_low() } else { Priority::Normal };
    follower
        .store
        .commit(&mut |writer, earlier| priority.run(|| ledger::next_content(writer, earlier.as_ref(), &content)))?;
    fail::fail_point!("follow::after_commit");
    Ok(commit)
}

/// Where a segment lies in the snapshot.
pub(crate) fn path_of(segment: Segment, size: SegmentSize) -> [String; 5] {
    [
        "data".to_owned(),
        "wal".to_owned(),
        format!("{:08X}", segment.timeline),
        format!("{:08X}", segment.log(size)),
        segment.name(size),
    ]
}

fn died() -> PgError {
    PgError::Unexpected { problem: "a thread of the follower died".to_owned() }
}
