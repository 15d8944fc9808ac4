//! Takes the log out of an archive directory, in the place of [`super::receive`].
//!
//! A file goes only when the vault has its content, and only while nobody has succeeded this follower: what a successor
//! does not find in the vault, it finds here. A file that is there although the vault has its segment already (a crash came
//! between, or the server archived it once more) goes when it is the same, and stays and is told about when it is not.

use std::collections::{BTreeMap, VecDeque};
use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::mpsc::{SyncSender, TrySendError};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use jiff::Timestamp;
use parking_lot::Mutex;

use super::beat::Pulse;
use super::judge::Judge;
use super::receive::{Acknowledged, Incoming};
use super::shelf::{Shelf, Step, history_within, next_step};
use super::{FollowError, Follower};
use crate::archive::SegmentHeader;
use crate::ledger::{self, NewHistory};
use crate::timeline::History;
use crate::wal::{Lsn, Segment, SegmentSize, WalDamage};

/// How often to look into the directory when there was nothing to take.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Bytes handed over at once.
const PART_BYTES: u64 = 128 << 10;
/// So many files that stay are told about by name.
const NAMED_MAX: usize = 3;

pub(super) struct Collector<'a> {
    pub(super) follower: &'a Follower<'a>,
    pub(super) directory: PathBuf,
    pub(super) size: SegmentSize,
    pub(super) system_id: String,
    pub(super) acknowledged: &'a Acknowledged,
    pub(super) sender: SyncSender<Incoming>,
    pub(super) pulse: &'a Mutex<Pulse>,
    /// Histories that are in the vault.
    pub(super) histories: BTreeMap<u32, History>,
    /// The segment to take; none while nothing was ever taken.
    pub(super) wanted: Option<Segment>,
    /// What was read of the files so far.
    pub(super) judge: Judge,
    pub(super) found: Found,
}

/// What was found on the way.
#[derive(Default)]
pub(super) struct Found {
    /// Segments handed over, whose files are still there.
    sent: VecDeque<Segment>,
    /// Since when this segment is missing.
    missing: Option<(Segment, Instant)>,
    /// Files that stay, and why.
    staying: BTreeMap<String, &'static str>,
    /// How often the other side was told that the log goes on elsewhere.
    turns: u64,
}

/// What a step did.
enum Done {
    Something,
    Nothing,
    /// Time to go.
    Stop,
}

impl Collector<'_> {
    pub(super) fn run(mut self) -> Result<(), FollowError> {
        while !self.is_over() {
            self.remove_sent()?;
            match self.step()? {
                Done::Something => {}
                Done::Nothing => thread::sleep(LOOK_EVERY),
                Done::Stop => return Ok(()),
            }
        }
        Ok(())
    }

    fn is_over(&self) -> bool {
        self.acknowledged.stop.load(Ordering::Acquire)
    }

    fn step(&mut self) -> Result<Done, FollowError> {
        let shelf = list(&self.directory, self.size)?;
        let known = self.known_histories(&shelf)?;
        self.clear_behind(&shelf)?;
        self.note_staying(&shelf, &known);
        let step = next_step(self.wanted, &shelf, &known, self.size);
        if !matches!(step, Step::Missing { .. }) {
            self.found.missing = None;
        }
        let server_end = shelf.end(self.size);
        match step {
            Step::Wait => {
                let is_there = self.wanted.is_none() || self.give(Incoming::Quiet { server_end })?;
                Ok(if is_there { Done::Nothing } else { Done::Stop })
            }
            Step::Begin(first) => {
                let history = self.history_of(first.timeline, &known)?;
                self.turn(first, None, history)
            }
            Step::Take(segment) => self.take(segment, server_end),
            Step::Switch { at, next, of } => self.switch(&shelf, at, next, &known[&of], server_end),
            Step::Missing { wanted, to } => self.miss(wanted, to),
        }
    }

    /// The histories in the vault and those in the directory.
    fn known_histories(&self, shelf: &Shelf) -> Result<BTreeMap<u32, History>, FollowError> {
        let mut known = self.histories.clone();
        for timeline in &shelf.histories {
            if !known.contains_key(timeline) {
                known.insert(*timeline, self.read_history(*timeline)?.1);
            }
        }
        Ok(known)
    }

    fn read_history(&self, timeline: u32) -> Result<(String, History), FollowError> {
        let path = self.directory.join(History::file_name(timeline));
        let text = fs::read_to_string(&path).map_err(FollowError::spool("read", &path))?;
        let history = History::parse(timeline, &text).map_err(|error| refused(&path, error.to_string()))?;
        Ok((text, history))
    }

    /// The history of a timeline that is about to be followed, for the vault.
    fn history_of(&self, timeline: u32, known: &BTreeMap<u32, History>) -> Result<Option<NewHistory>, FollowError> {
        if self.histories.contains_key(&timeline) || !known.contains_key(&timeline) {
            return Ok(None);
        }
        Ok(Some(NewHistory { timeline, text: self.read_history(timeline)?.0 }))
    }

    /// Hands a whole segment over.
    fn take(&mut self, segment: Segment, server_end: Lsn) -> Result<Done, FollowError> {
        let name = segment.name(self.size);
        if !self.send_file(segment, &name, segment.end(self.size), server_end)? {
            return Ok(Done::Stop);
        }
        self.found.sent.push_back(segment);
        self.wanted = Some(Segment { number: segment.number + 1, ..segment });
        Ok(Done::Something)
    }

    /// Hands over what a file has of a segment. False: time to go.
    fn send_file(&mut self, segment: Segment, name: &str, until: Lsn, server_end: Lsn) -> Result<bool, FollowError> {
        let path = self.directory.join(name);
        let file = self.open(segment, &path)?;
        self.judge(segment, &path, &file, until)?;
        let archived =
            file.metadata().and_then(|metadata| metadata.modified()).map_err(FollowError::spool("look at", &path))?;
        let sent_at = Timestamp::try_from(archived).unwrap_or(Timestamp::UNIX_EPOCH);
        let start = segment.start(self.size);
        let mut at = start;
        while at < until {
            let mut bytes = vec![0; (until.0 - at.0).min(PART_BYTES) as usize];
            file.read_exact_at(&mut bytes, at.0 - start.0).map_err(FollowError::spool("read", &path))?;
            let end = Lsn(at.0 + bytes.len() as u64);
            let data = Incoming::Data {
                timeline: segment.timeline,
                start: at,
                bytes: Bytes::from(bytes),
                sent_at,
                server_end,
            };
            if !self.give(data)? {
                return Ok(false);
            }
            at = end;
        }
        Ok(true)
    }

    /// Refuses a file with a record that is not what its checksum says.
    fn judge(&mut self, segment: Segment, path: &Path, file: &File, until: Lsn) -> Result<(), FollowError> {
        let scanner = self.judge.scanner(segment, self.size, self.follower.store)?;
        let judged = self.judge.judge(scanner, file, until).map_err(FollowError::spool("read", path))?;
        judged.map_err(|WalDamage { at, problem }| {
            let begins = if at < segment.start(self.size) { ", in a record that begins in the segment before" } else { "" };
            let problem = format!(
                "it is damaged at {at}{begins}: {problem}. Nothing of it was taken; bring the segment again, for example from \
                 the server's `pg_wal` or a standby's, or remove it, which is a gap"
            );
            refused(path, problem)
        })
    }

    /// Opens a segment's file, if it is one of this cluster and this place.
    fn open(&self, segment: Segment, path: &Path) -> Result<File, FollowError> {
        let file = File::open(path).map_err(FollowError::spool("open", path))?;
        let bytes = file.metadata().map_err(FollowError::spool("look at", path))?.len();
        if bytes != self.size.bytes() {
            let problem = format!(
                "it has {bytes} bytes, and a segment of this cluster has {}; let `archive_command` be `holdfast-wal push`, which \
                 shows no file before it is whole, and bring the segment again or remove it, which is a gap",
                self.size.bytes()
            );
            return Err(refused(path, problem));
        }
        let header = SegmentHeader::read(&file).map_err(FollowError::spool("read", path))?;
        let Some(header) = header else {
            return Err(refused(
                path,
                "it does not begin as a segment of a log does; remove it, which is a gap".to_owned(),
            ));
        };
        if header.system_id.to_string() != self.system_id {
            let problem = format!(
                "it is of cluster `{}`, and the log of `{}` is followed; let that server archive to a directory of its own, and \
                 move the file there",
                header.system_id, self.system_id
            );
            return Err(refused(path, problem));
        }
        let start = segment.start(self.size);
        if header.page != start {
            let problem =
                format!("it begins at {} instead of {start}: it is another segment under this name", header.page);
            return Err(refused(path, problem));
        }
        Ok(file)
    }

    /// Goes over to the timeline that another one ends in.
    fn switch(
        &mut self,
        shelf: &Shelf,
        at: Lsn,
        next: u32,
        descendant: &History,
        server_end: Lsn,
    ) -> Result<Done, FollowError> {
        let Some(wanted) = self.wanted else { return Ok(Done::Nothing) };
        let last = self.size.segment_at(wanted.timeline, at);
        let begins = Segment { timeline: next, number: last.number };
        let name = last.name(self.size);
        let partial = shelf.partials.contains(&last).then(|| format!("{name}.partial"));
        if wanted == last {
            // A whole one has what came after the branch, too; up to there it is the same.
            let content = partial.or_else(|| shelf.segments.contains(&last).then_some(name));
            if let Some(name) = content
                && !self.send_file(last, &name, at, server_end)?
            {
                return Ok(Done::Stop);
            }
        }
        let history = match shelf.histories.contains(&next) {
            true => self.read_history(next)?.0,
            false => history_within(next, descendant),
        };
        let parsed = History::parse(next, &history)
            .map_err(|error| refused(&self.directory.join(History::file_name(next)), error.to_string()))?;
        let ends = Incoming::Ends { timeline: wanted.timeline, at, next, history };
        if !self.give(ends)? || !self.wait_for_turn() {
            return Ok(Done::Stop);
        }
        self.histories.insert(next, parsed);
        self.wanted = Some(begins);
        Ok(Done::Something)
    }

    fn miss(&mut self, wanted: Segment, to: Lsn) -> Result<Done, FollowError> {
        let since = match self.found.missing {
            Some((segment, since)) if segment == wanted => since,
            _ => self.found.missing.insert((wanted, Instant::now())).1,
        };
        if since.elapsed() < self.follower.settings.missing_after {
            return Ok(Done::Nothing);
        }
        let reason = format!(
            "segment `{}` is not in the archive `{}`, and the log goes on there at {to}",
            wanted.name(self.size),
            self.directory.display()
        );
        self.turn(self.size.segment_at(wanted.timeline, to), Some(reason), None)
    }

    /// Says that the log goes on with this segment.
    fn turn(
        &mut self,
        segment: Segment,
        reason: Option<String>,
        history: Option<NewHistory>,
    ) -> Result<Done, FollowError> {
        let known = history.as_ref().and_then(|new| History::parse(new.timeline, &new.text).ok());
        let to = segment.start(self.size);
        if !self.give(Incoming::GoesOn { timeline: segment.timeline, to, reason, history })? || !self.wait_for_turn() {
            return Ok(Done::Stop);
        }
        self.histories.extend(known.map(|history| (history.timeline, history)));
        self.wanted = Some(segment);
        Ok(Done::Something)
    }

    /// Waits until the other side has taken up all that came before. False: time to go.
    fn wait_for_turn(&mut self) -> bool {
        self.found.turns += 1;
        while self.acknowledged.turns.load(Ordering::Acquire) < self.found.turns {
            if self.is_over() {
                return false;
            }
            thread::sleep(Duration::from_millis(5));
        }
        // Positions of what was durable before count no more.
        self.found.sent.clear();
        true
    }

    /// Hands over. False: time to go.
    fn give(&self, incoming: Incoming) -> Result<bool, FollowError> {
        let mut waiting = incoming;
        loop {
            match self.sender.try_send(waiting) {
                Ok(()) => return Ok(true),
                Err(TrySendError::Disconnected(_)) => return Ok(false),
                Err(TrySendError::Full(back)) => {
                    if self.is_over() {
                        return Ok(false);
                    }
                    waiting = back;
                    thread::sleep(Duration::from_millis(5));
                }
            }
        }
    }

    /// Removes files whose content is durable.
    fn remove_sent(&mut self) -> Result<(), FollowError> {
        let durable = Lsn(self.acknowledged.durable.load(Ordering::Acquire));
        let mut names = Vec::new();
        while let Some(segment) = self.found.sent.front().filter(|segment| segment.end(self.size) <= durable) {
            names.push(segment.name(self.size));
            self.found.sent.pop_front();
        }
        self.remove(&names)
    }

    fn remove(&self, names: &[String]) -> Result<(), FollowError> {
        if names.is_empty() {
            return Ok(());
        }
        fail::fail_point!("follow::before_archive_removal");
        // Refused when a later follower has the stream: what it did not see in the vault it must find here.
        self.follower.store.remove(&[])?;
        for name in names {
            let path = self.directory.join(name);
            match fs::remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(FollowError::spool("remove", &path)(error));
                }
                _ => fail::fail_point!("follow::after_archive_removal"),
            }
        }
        Ok(())
    }

    /// Removes what lies before the segment that is wanted and is in the vault as it is here.
    fn clear_behind(&mut self, shelf: &Shelf) -> Result<(), FollowError> {
        let Some(wanted) = self.wanted else { return Ok(()) };
        let first = self.found.sent.front().copied().unwrap_or(wanted);
        let is_behind = |segment: &Segment| segment.timeline <= first.timeline && *segment < first;
        let mut names: Vec<String> =
            shelf.marks.iter().filter(|(segment, _)| is_behind(segment)).map(|(_, name)| name.clone()).collect();
        let whole = shelf.segments.iter().map(|segment| (*segment, segment.name(self.size)));
        let partial = shelf.partials.iter().map(|segment| (*segment, format!("{}.partial", segment.name(self.size))));
        for (segment, name) in whole.chain(partial).filter(|(segment, _)| is_behind(segment)) {
            if self.found.staying.contains_key(&name) {
                continue;
            }
            match self.compare(segment, &name)? {
                None => names.push(name),
                Some(why) => drop(self.found.staying.insert(name, why)),
            }
        }
        for timeline in shelf.histories.iter().filter(|timeline| **timeline <= first.timeline) {
            if self.histories.get(timeline) == Some(&self.read_history(*timeline)?.1) {
                names.push(History::file_name(*timeline));
            }
        }
        self.remove(&names)
    }

    /// Whether the vault has what a file has; otherwise why it stays.
    fn compare(&self, segment: Segment, name: &str) -> Result<Option<&'static str>, FollowError> {
        let path = self.directory.join(name);
        let mut here = Vec::new();
        File::open(&path)
            .and_then(|mut file| file.read_to_end(&mut here))
            .map_err(FollowError::spool("read", &path))?;
        let there = ledger::read_now(self.follower.store, segment, self.size)?;
        let is_partial = name.len() > segment.name(self.size).len();
        Ok(if there.is_empty() {
            Some("came after the log had gone on without it, or is of a branch that is not followed")
        } else if !here.starts_with(&there) {
            Some("differs from what the vault has of it: the server was set back without a new timeline")
        } else if there.len() < here.len() && !is_partial {
            Some("has more than the vault has of it: it is damaged, or of a branch that is not followed")
        } else {
            None
        })
    }

    /// Tells about files that stay.
    fn note_staying(&mut self, shelf: &Shelf, known: &BTreeMap<u32, History>) {
        let size = self.size;
        self.found.staying.retain(|name, _| self.directory.join(name).exists());
        let mut staying: Vec<(String, &str)> =
            self.found.staying.iter().map(|(name, why)| (name.clone(), *why)).collect();
        staying.extend(shelf.strangers.iter().map(|name| (name.clone(), "is no file of this cluster's log")));
        if let Some(stray) = self.wanted.and_then(|wanted| shelf.unrelated(wanted.timeline, known)) {
            let why = "is of a timeline that does not come from the one that is followed, or its history is missing";
            staying.push((stray.name(size), why));
        }
        let more = staying.len().saturating_sub(NAMED_MAX);
        let mut said: Vec<String> =
            staying.iter().take(NAMED_MAX).map(|(name, why)| format!("`{name}` {why}")).collect();
        if more > 0 {
            said.push(format!("{more} more files stay"));
        }
        let directory = self.directory.display();
        let said = (!said.is_empty()).then(|| {
            format!(
                "in the archive `{directory}`, {}; keep what you need elsewhere and remove it there",
                said.join("; ")
            )
        });
        self.pulse.lock().staying = said;
    }
}

/// What lies in the directory.
pub(super) fn list(directory: &Path, size: SegmentSize) -> Result<Shelf, FollowError> {
    let entries = fs::read_dir(directory).map_err(FollowError::spool("list", directory))?;
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(FollowError::spool("list", directory))?;
        names.push(entry.file_name().to_string_lossy().into_owned());
    }
    Ok(Shelf::of(names.into_iter(), size))
}

pub(super) fn refused(path: &Path, problem: String) -> FollowError {
    FollowError::Archive { path: path.display().to_string(), problem }
}
