//! Answers `restore_command`: fetches segments ahead of the recovery, and tells a hole from the end.
//!
//! What is fetched lies in files beside the place that the server wants it at, so that it is given by a rename: the server
//! does not wait for a copy, and memory does not hold what waits for the server.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use driver_api::{Control, PieceSpan, ReadError, SnapshotReader, StreamSource};
use parking_lot::{Condvar, Mutex};

use super::fetch::{AHEAD_DIRECTORY, BESIDE, FAILED, FOUND, MISSING};
use crate::ledger::{self, LedgerError, Stored};
use crate::timeline::History;
use crate::wal::{Segment, SegmentSize};
use crate::window::Plan;

/// Threads that fetch. Each has a segment in memory.
const THREADS: usize = 3;
/// Bytes of segments that are fetched before they are asked for; one segment at least.
const AHEAD_BYTES: u64 = 128 << 20;
/// How often to look whether all is over.
const LOOK: Duration = Duration::from_millis(50);
/// Longest request.
const NAME_BYTES_MAX: usize = 256;

/// Why the log cannot be given.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArchiveError {
    /// The vault failed.
    #[error("read the log in the vault")]
    Vault(#[from] ReadError),
    /// What is in the vault makes no sense.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The socket.
    #[error("{action} `{path}`")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The answer.
        #[source]
        source: io::Error,
    },
}

/// What a recovery needs.
pub struct Recovery<'a> {
    /// The stream.
    pub source: &'a dyn StreamSource,
    /// What is durable of it.
    pub stored: &'a Stored,
    /// How the newest timeline came to be.
    pub history: &'a History,
    /// Bytes of a segment.
    pub size: SegmentSize,
    /// How the target is reached.
    pub plan: &'a Plan,
    /// The data directory that is recovered. What is fetched ahead lies in its directory of the log, for as long as this
    /// takes.
    pub data: &'a Path,
    /// A directory for the socket, made new, with a short path.
    pub directory: &'a Path,
    /// Who the server runs as; nobody else may ask. None: the same user.
    pub owner: Option<(u32, u32)>,
    /// Stops it.
    pub control: &'a dyn Control,
}

impl std::fmt::Debug for Recovery<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recovery").field("plan", &self.plan).field("directory", &self.directory).finish_non_exhaustive()
    }
}

/// Gives the log while `body` runs, which is given the socket.
///
/// # Errors
/// When the socket cannot be made or the stream cannot be read. What goes wrong later is told to the server, which stops,
/// and stands in the list that is given back beside what `body` gave.
pub fn serve<T: Send>(
    recovery: &Recovery<'_>,
    body: impl FnOnce(&Path) -> T + Send,
) -> Result<(T, Vec<String>), ArchiveError> {
    let directory = recovery.directory;
    let failed = |action, path: &Path| {
        let path = path.to_owned();
        move |source| ArchiveError::Io { action, path, source }
    };
    fs::create_dir_all(directory).map_err(failed("create", directory))?;
    fs::set_permissions(directory, fs::Permissions::from_mode(0o700)).map_err(failed("set the mode of", directory))?;
    let path = directory.join("wal.sock");
    let listener = UnixListener::bind(&path).map_err(failed("listen at", &path))?;
    listener.set_nonblocking(true).map_err(failed("listen at", &path))?;
    if let Some((user, group)) = recovery.owner {
        for owned in [directory, &path] {
            std::os::unix::fs::chown(owned, Some(user), Some(group)).map_err(failed("give away", owned))?;
        }
    }
    let spool = Spool::make(recovery)?;
    let mut body = Some(body);
    let mut result = None;
    recovery.source.look(&mut |state| {
        let Some(body) = body.take() else { return Ok(()) };
        let shelf = Shelf {
            recovery,
            spool: &spool,
            reader: state.as_ref().map(|state| state.reader),
            ahead: Mutex::new(Ahead::default()),
            moved: Condvar::new(),
            problems: Mutex::new(Vec::new()),
        };
        let value = thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| shelf.prefetch());
            }
            scope.spawn(|| shelf.answer(&listener));
            let value = body(&path);
            shelf.ahead.lock().over = true;
            shelf.moved.notify_all();
            value
        });
        result = Some((value, shelf.problems.into_inner()));
        Ok(())
    })?;
    result.ok_or_else(|| LedgerError::Damaged { problem: "the stream showed nothing".to_owned() }.into())
}

/// Where segments wait for the server.
struct Spool {
    directory: PathBuf,
    owner: Option<(u32, u32)>,
}

impl Spool {
    /// Empty, also where a process that was killed left something.
    fn make(recovery: &Recovery<'_>) -> Result<Self, ArchiveError> {
        let spool = Self { directory: recovery.data.join("pg_wal").join(AHEAD_DIRECTORY), owner: recovery.owner };
        let failed = |action, source| ArchiveError::Io { action, path: spool.directory.clone(), source };
        spool.remove().map_err(|error| failed("empty", error))?;
        fs::create_dir_all(&spool.directory).map_err(|error| failed("create", error))?;
        fs::set_permissions(&spool.directory, fs::Permissions::from_mode(0o700))
            .and_then(|()| spool.give(&spool.directory))
            .map_err(|error| failed("give away", error))?;
        Ok(spool)
    }

    /// Puts a segment there, whole or not at all. It need not survive a power cut: it is in the vault.
    fn put(&self, name: &str, bytes: &[u8]) -> Result<(), String> {
        let (unfinished, place) = (self.directory.join(format!("{name}.part")), self.directory.join(name));
        fs::write(&unfinished, bytes)
            .and_then(|()| fs::set_permissions(&unfinished, fs::Permissions::from_mode(0o600)))
            .and_then(|()| self.give(&unfinished))
            .and_then(|()| fs::rename(&unfinished, &place))
            .map_err(|error| format!("write `{}`: {error}", place.display()))
    }

    fn give(&self, path: &Path) -> io::Result<()> {
        match self.owner {
            Some((user, group)) => std::os::unix::fs::chown(path, Some(user), Some(group)),
            None => Ok(()),
        }
    }

    fn remove(&self) -> io::Result<()> {
        match fs::remove_dir_all(&self.directory) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        if let Err(error) = self.remove() {
            tracing::warn!(%error, directory = %self.directory.display(), "log that was fetched ahead cannot be removed");
        }
    }
}

/// That a segment lies in the spool, or why it cannot be had.
type Fetched = Result<(), String>;

/// How many segments are fetched ahead.
fn ahead_of(size: SegmentSize) -> u64 {
    (AHEAD_BYTES / size.bytes()).max(1)
}

/// Segments that were fetched.
#[derive(Default)]
struct Ahead {
    /// What the server asked for last; fetching goes on from here.
    asked: Option<u64>,
    /// The next one that nobody fetches yet.
    next: Option<u64>,
    ready: BTreeMap<u64, Fetched>,
    fetching: Vec<u64>,
    over: bool,
}

struct Shelf<'a> {
    recovery: &'a Recovery<'a>,
    spool: &'a Spool,
    reader: Option<&'a dyn SnapshotReader>,
    ahead: Mutex<Ahead>,
    moved: Condvar,
    problems: Mutex<Vec<String>>,
}

enum Answer {
    Found(Vec<u8>),
    /// It lies in the spool under the name that was asked for.
    Beside,
    Missing,
    Failed(String),
}

impl Shelf<'_> {
    fn is_over(&self) -> bool {
        self.ahead.lock().over || self.recovery.control.is_stopped()
    }

    /// The first segment that is not needed, whole or not.
    fn end(&self) -> u64 {
        self.recovery.plan.until.0.div_ceil(self.recovery.size.bytes())
    }

    fn prefetch(&self) {
        let first = self.recovery.plan.from.0 / self.recovery.size.bytes();
        loop {
            let mut ahead = self.ahead.lock();
            let number = loop {
                if ahead.over || self.recovery.control.is_stopped() {
                    return;
                }
                let asked = ahead.asked.unwrap_or(first);
                let next = ahead.next.unwrap_or(first).max(asked);
                if next < self.end() && next <= asked + ahead_of(self.recovery.size) {
                    break next;
                }
                self.moved.wait_for(&mut ahead, LOOK);
            };
            ahead.next = Some(number + 1);
            if ahead.ready.contains_key(&number) || ahead.fetching.contains(&number) {
                continue;
            }
            ahead.fetching.push(number);
            drop(ahead);
            let fetched = self.wanted(number);
            let mut ahead = self.ahead.lock();
            ahead.fetching.retain(|other| *other != number);
            ahead.ready.insert(number, fetched);
            self.moved.notify_all();
        }
    }

    /// A segment on the way to the target; it must be there.
    fn wanted(&self, number: u64) -> Fetched {
        let timeline = self.recovery.history.timeline_of_segment(number, self.recovery.size);
        let segment = Segment { timeline, number };
        match self.read(segment) {
            Ok(Some(bytes)) => self.spool.put(&segment.name(self.recovery.size), &bytes),
            Ok(None) => Err(format!(
                "segment `{}` is missing in the vault although the log goes on to {}; this is a gap, not the end",
                segment.name(self.recovery.size),
                self.recovery.plan.until
            )),
            Err(error) => Err(format!("segment `{}`: {}", segment.name(self.recovery.size), chain(&error))),
        }
    }

    /// A segment from the snapshot and the pieces, as they were when the recovery began; or as they are now, when the
    /// follower has taken up pieces meanwhile.
    fn read(&self, segment: Segment) -> Result<Option<Vec<u8>>, ReadError> {
        let mut read = self.read_from(segment, self.reader, &self.recovery.stored.pieces);
        for _ in 0..ledger::TRIES {
            let Err(ReadError::Damaged { .. }) = read else { break };
            let Ok(now) = ledger::load(self.recovery.source) else { break };
            self.recovery.source.look(&mut |state| {
                read = self.read_from(segment, state.as_ref().map(|state| state.reader), &now.pieces);
                Ok(())
            })?;
        }
        read
    }

    fn read_from(
        &self,
        segment: Segment,
        reader: Option<&dyn SnapshotReader>,
        pieces: &[PieceSpan],
    ) -> Result<Option<Vec<u8>>, ReadError> {
        let size = self.recovery.size;
        let end = segment.end(size).0;
        let mut bytes = ledger::read_from(self.recovery.source, reader, pieces, segment, size)?;
        if bytes.is_empty() {
            return Ok(None);
        }
        let until = segment.start(size).0 + bytes.len() as u64;
        let needed = self.recovery.plan.until.0.min(end);
        let on_the_way = self.recovery.history.timeline_of_segment(segment.number, size) == segment.timeline;
        if on_the_way && until < needed {
            return Ok(None);
        }
        // What was never received is nothing to recovery.
        bytes.resize(size.bytes() as usize, 0);
        Ok(Some(bytes))
    }

    fn answer(&self, listener: &UnixListener) {
        while !self.is_over() {
            match listener.accept() {
                Ok((stream, _)) => {
                    if let Err(error) = self.talk(stream) {
                        tracing::warn!(%error, "a request of the recovering server was cut short");
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::sleep(Duration::from_millis(2)),
                Err(error) => {
                    self.problems.lock().push(format!("the socket of the recovery: {error}"));
                    return;
                }
            }
        }
    }

    fn talk(&self, mut stream: UnixStream) -> io::Result<()> {
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        let mut name = String::new();
        BufReader::new(io::Read::take(&stream, NAME_BYTES_MAX as u64)).read_line(&mut name)?;
        match self.find(name.trim_end()) {
            Answer::Found(bytes) => {
                stream.write_all(&[FOUND])?;
                stream.write_all(&(bytes.len() as u64).to_le_bytes())?;
                stream.write_all(&bytes)
            }
            Answer::Beside => stream.write_all(&[BESIDE]),
            Answer::Missing => stream.write_all(&[MISSING]),
            Answer::Failed(sentence) => {
                tracing::error!(name = name.trim_end(), sentence, "the recovery is stopped");
                stream.write_all(&[FAILED])?;
                stream.write_all(sentence.as_bytes())?;
                self.problems.lock().push(sentence);
                Ok(())
            }
        }
    }

    fn find(&self, name: &str) -> Answer {
        if let Some(timeline) = History::parse_file_name(name) {
            return self.find_history(timeline, name);
        }
        // Marks of backups and partial segments are of no use to a recovery.
        let Ok(segment) = Segment::parse(name, self.recovery.size) else { return Answer::Missing };
        if segment.number >= self.end() {
            return Answer::Missing;
        }
        if segment.timeline != self.recovery.history.timeline_of_segment(segment.number, self.recovery.size) {
            return match self.read(segment) {
                Ok(Some(bytes)) => Answer::Found(bytes),
                // Recovery looks on the older timelines too.
                Ok(None) => Answer::Missing,
                Err(error) => Answer::Failed(format!("segment `{name}`: {}", chain(&error))),
            };
        }
        let mut ahead = self.ahead.lock();
        ahead.asked = Some(segment.number);
        if ahead.next.is_none_or(|next| next > segment.number + ahead_of(self.recovery.size) + 1) {
            ahead.next = Some(segment.number);
        }
        self.moved.notify_all();
        let fetched = loop {
            // The server takes it away; when it asks again, as it does for the last one at the end, it is fetched again.
            if let Some(fetched) = ahead.ready.remove(&segment.number) {
                break fetched;
            }
            if ahead.over || self.recovery.control.is_stopped() {
                return Answer::Failed("the restore was stopped".to_owned());
            }
            if !ahead.fetching.contains(&segment.number) {
                // Asked for again after it went, or before anybody came to it.
                ahead.fetching.push(segment.number);
                drop(ahead);
                let fetched = self.wanted(segment.number);
                ahead = self.ahead.lock();
                ahead.fetching.retain(|other| *other != segment.number);
                ahead.ready.insert(segment.number, fetched);
                self.moved.notify_all();
                continue;
            }
            self.moved.wait_for(&mut ahead, LOOK);
        };
        drop(ahead);
        match fetched {
            Ok(()) => Answer::Beside,
            Err(sentence) => Answer::Failed(sentence),
        }
    }

    fn find_history(&self, timeline: u32, name: &str) -> Answer {
        if timeline > self.recovery.plan.timeline || timeline < 2 {
            return Answer::Missing;
        }
        let Some(reader) = self.reader else { return Answer::Missing };
        match ledger::read_file(reader, &["data", "wal", "history", name]) {
            Ok(Some(bytes)) => Answer::Found(bytes),
            Ok(None) => Answer::Missing,
            Err(error) => Answer::Failed(format!("history `{name}`: {}", chain(&error))),
        }
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_fetched_ahead_is_bounded_by_its_bytes() {
        for (mebibytes, segments) in [(1, 128), (16, 8), (128, 1), (1024, 1)] {
            assert_eq!(ahead_of(SegmentSize::try_from(mebibytes << 20).unwrap()), segments, "{mebibytes} MiB");
        }
    }
}
