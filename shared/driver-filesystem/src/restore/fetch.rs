//! Content: what is there is compared, what is missing is fetched into files beside their places.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use driver_api::{BlobSpan, ContentRequest, ContentSink, DriverError, ReadError, Runs, Uncached, reserve};
use job_model::Progress;
use parking_lot::Mutex;
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

use super::Work;
use super::decide::Action;
use super::metadata::Subject;
use super::target::open_beneath;
use crate::content::Content;
use crate::extents::{Extent, within};
use crate::inode::Stat;
use crate::io_error;
use crate::plan::{Entry, Window};
use driver_api::queue;

/// Files or chunks that are fetched together: enough to read each pack once and to wait seldom for the last of them, few enough
/// to bound memory (about 200 bytes for each).
const TOGETHER_MAX: usize = 32 << 10;
/// Files of so many bytes are written past the page cache; of smaller ones the disk would take longer than the processor.
const UNCACHED_BYTES_MIN: usize = 64 << 10;
/// Longest chunk that is gathered; longer ones are written as they come.
const GATHERED_BYTES_MAX: usize = 64 << 10;
/// Bytes of small chunks that are written at once.
const RUN_BYTES: usize = 512 << 10;
/// Runs of small chunks that a thread gathers side by side.
const RUNS_MAX: usize = 8;
/// Files kept open while they are written.
const OPEN_FILES_MAX: usize = 128;
/// Directories kept open while files are made in them.
const OPEN_DIRECTORIES_MAX: usize = 64;

/// A part of a file that is fetched at once: mostly all of it.
struct Piece<'a> {
    entry: &'a Entry,
    /// Numbers of its chunks.
    chunks: Range<usize>,
}

impl Piece<'_> {
    /// Whether the file has others.
    fn is_part(&self) -> bool {
        self.chunks.len() < self.entry.chunks().len()
    }
}

/// Cuts the content of files into pieces, and those into batches: no two pieces of one file are in the same.
fn batches<'a>(files: &[&'a Entry]) -> Vec<Vec<Piece<'a>>> {
    let mut batches: Vec<Vec<Piece<'a>>> = Vec::new();
    let mut chunks = 0;
    for &entry in files {
        let count = entry.chunks().len();
        let mut start = 0;
        loop {
            let piece = Piece { entry, chunks: start..count.min(start + TOGETHER_MAX) };
            let length = piece.chunks.len();
            match batches.last_mut() {
                Some(batch) if start == 0 && batch.len() < TOGETHER_MAX && chunks + length <= TOGETHER_MAX => {
                    batch.push(piece);
                    chunks += length;
                }
                _ => {
                    batches.push(vec![piece]);
                    chunks = length;
                }
            }
            start += length;
            if start >= count {
                break;
            }
        }
    }
    batches
}

impl Work<'_> {
    /// Reads the files that are there and have the right size.
    pub(super) fn compare(&mut self, window: &Window) -> Result<(), DriverError> {
        let is_candidate = |entry: &&Entry| self.actions[entry.number] == Action::Compare;
        let candidates: Vec<&Entry> = window.below_root().iter().filter(is_candidate).collect();
        let kept = Mutex::new(Vec::new());
        let patches = Mutex::new(Vec::new());
        queue::for_each(self.request.parallelism, self.request.control, &candidates, |entry| {
            let holder = self.holder(entry)?;
            let file = match open_beneath(&holder, entry.name(), OFlags::RDONLY) {
                Ok(fd) => File::from(fd),
                // What cannot be read is replaced.
                Err(_) => return Ok(()),
            };
            let Ok(content) = Content::of(&file, &self.zeros) else { return Ok(()) };
            let mut buffer = Vec::new();
            let mut differing = Vec::new();
            for (span, at) in entry.spans().zip(0_u32..) {
                self.stop_if_told()?;
                if !content.has(&span, &mut buffer).unwrap_or(false) {
                    if !self.is_patchable(entry) {
                        return Ok(());
                    }
                    differing.push(at);
                }
            }
            if differing.is_empty() && content.size() == entry.size() {
                kept.lock().push(entry.number);
            } else if self.is_patchable(entry) {
                patches.lock().push((entry.number, differing.into_boxed_slice()));
            }
            Ok(())
        })?;
        self.patches.extend(patches.into_inner());
        for entry in candidates {
            self.actions[entry.number] = Action::Write { replaces: true };
        }
        for number in kept.into_inner() {
            self.actions[number] = Action::Keep;
        }
        Ok(())
    }

    /// Tells of a window's bytes that are dealt with without fetching them.
    pub(super) fn count_what_is_right(&self, window: &Window) {
        let first = |entry: &Entry| entry.leader.is_none_or(|leader| leader == entry.number);
        let right = |entry: &Entry| {
            let kept = if first(entry) && !self.written(entry) { entry.size() } else { 0 };
            kept + self.bytes_left_in_place(entry)
        };
        let bytes_done = window.entries.iter().map(right).sum();
        self.request.control.advance(Progress { bytes_done, ..Progress::default() });
    }

    /// Whether this entry's content is fetched (rather than kept, skipped, or linked from another name).
    pub(super) fn written(&self, entry: &Entry) -> bool {
        entry.is_file()
            && matches!(self.actions[entry.number], Action::Write { .. })
            && self.base(entry) == entry.number
    }

    /// The name that the others of its file are linked to: one whose content is right already, or the first to write.
    pub(super) fn base(&self, entry: &Entry) -> usize {
        let Some(leader) = entry.leader else { return entry.number };
        let mut names = self.plan.links.names(leader);
        let kept = names.clone().find(|name| self.actions[*name] == Action::Keep);
        let written = || names.find(|name| matches!(self.actions[*name], Action::Write { .. }));
        kept.or_else(written).unwrap_or(entry.number)
    }

    fn written_files<'w>(&self, window: &'w Window) -> Vec<&'w Entry> {
        window.below_root().iter().filter(|entry| self.written(entry)).collect()
    }

    /// Reads all that will be fetched and drops it, where a directory must take something's place before there is room
    /// to fetch into: damage in the vault is found while everything is still there.
    pub(super) fn read_through(&self) -> Result<(), DriverError> {
        let in_the_way =
            |action: &Action| matches!(action, Action::Make { aside: true } | Action::Update { locked: true });
        if !self.actions.iter().any(in_the_way) {
            return Ok(());
        }
        self.plan.windows(|window| {
            for batch in batches(&self.written_files(window)) {
                let request = |(file, piece): (usize, &Piece<'_>)| {
                    let Range { start, end } = piece.chunks;
                    ContentRequest { file, spans: piece.entry.spans().take(end).skip(start).collect() }
                };
                let requests = batch.iter().enumerate().map(request).filter(|request| !request.spans.is_empty());
                self.request.reader.fetch(&requests.collect::<Vec<_>>(), &Nowhere, self.request.control)?;
                self.stop_if_told()?;
            }
            Ok(())
        })
    }

    /// Fetches what is missing of a window, batch by batch: to its place where nobody sees it, or beside.
    pub(super) fn fetch(&self, window: &Window) -> Result<(), DriverError> {
        batches(&self.written_files(window)).iter().try_for_each(|batch| self.fetch_batch(batch))
    }

    /// Whether a file is made at its own place, in one go: where nobody sees the target before it is whole, and all of
    /// the content comes at once. What an attempt that was cut short made there is compared by the next one.
    pub(super) fn is_direct(&self, entry: &Entry) -> bool {
        self.staged
            && self.actions[entry.number] == (Action::Write { replaces: false })
            && entry.chunks().len() <= 1
            && entry.data().is_none()
    }

    /// Makes such a file.
    fn make_file(&self, entry: &Entry, holder: &OwnedFd, content: &[u8]) -> Result<(), DriverError> {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        // Nobody else gets into the directory yet. What runs with its owner's rights does so when it has its owner.
        let mode = Mode::from_raw_mode(entry.mode & 0o777);
        let file = rustix::fs::openat(holder, entry.name(), flags, mode)
            .map(File::from)
            .map_err(|e| io_error("make", entry.display(), e))?;
        let written = |e| io_error("write", entry.display(), e);
        if content.len() < UNCACHED_BYTES_MIN {
            file.write_all_at(content, 0).map_err(written)?;
            self.set_metadata_of_new(entry, Subject::Open { fd: file.as_fd() })?;
        } else {
            let file = Uncached::new(file);
            file.write_all_at(content, 0).map_err(written)?;
            self.set_metadata_of_new(entry, Subject::Open { fd: file.file().as_fd() })?;
        }
        self.item_done();
        Ok(())
    }

    fn fetch_batch(&self, batch: &[Piece<'_>]) -> Result<(), DriverError> {
        let requests = Mutex::new(Vec::new());
        let positions: Vec<usize> = (0..batch.len()).collect();
        queue::for_each(self.request.parallelism, self.request.control, &positions, |&file| {
            let piece = &batch[file];
            let entry = piece.entry;
            let spans = if !self.is_direct(entry) {
                self.prepare(piece)?
            } else if entry.chunks().is_empty() {
                self.make_file(entry, &self.holder(entry)?, &[])?;
                Vec::new()
            } else {
                entry.spans().collect()
            };
            if !spans.is_empty() {
                requests.lock().push(ContentRequest { file, spans });
            }
            Ok(())
        })?;
        let mut requests = requests.into_inner();
        requests.sort_by_key(|request| request.file);
        let files = batch.iter().map(|_| Mutex::new(None)).collect();
        let (open, runs) = (AtomicUsize::new(0), Runs::new(RUNS_MAX, RUN_BYTES));
        let sink = Sink { work: self, batch, files, open, holders: Mutex::default(), runs };
        if !requests.is_empty() {
            self.request.reader.fetch(&requests, &sink, self.request.control)?;
            sink.runs.finish().map_err(|error| DriverError::Read(ReadError::Sink(error)))?;
        }
        self.stop_if_told()
    }

    /// Makes the file beside its place, or takes up the one an earlier attempt left, and says what it lacks of this piece.
    fn prepare(&self, piece: &Piece<'_>) -> Result<Vec<BlobSpan>, DriverError> {
        let entry = piece.entry;
        let failed = |error: io::Error| io_error("make a file beside", entry.display(), error);
        let holder = self.holder(entry)?;
        let name = self.beside(entry, "");
        let (file, made) = match open_part(&holder, &name) {
            Ok(opened) => opened,
            Err(error) => return Err(failed(error.into())),
        };
        file.set_len(entry.size()).map_err(failed)?;
        let extents = entry.data();
        if extents.is_none() && made {
            // Parts that are written at the same time do not wait for each other, and lie in a row.
            reserve(&file, 0, entry.size()).map_err(failed)?;
        }
        let mut is_new = made;
        if piece.is_part() {
            let mut begun = self.begun.lock();
            is_new = if made { begun.insert(entry.number) } else { begun.contains(&entry.number) };
        }
        // Asked for only where something is there already: of a new file everything is hole.
        let left = if is_new { None } else { Some(Content::of(&file, &self.zeros).map_err(failed)?) };
        let mut missing = Vec::new();
        let mut buffer = Vec::new();
        for (at, span) in self.wanted(entry) {
            if !piece.chunks.contains(&at) {
                continue;
            }
            let is_hole = extents.is_some_and(|e| within(e, span.offset, u64::from(span.length)).next().is_none());
            let present = match &left {
                None => is_hole && self.zeros.is_zero(&span),
                Some(content) => {
                    self.stop_if_told()?;
                    content.has(&span, &mut buffer).map_err(failed)?
                }
            };
            if present {
                let bytes_done = u64::from(span.length);
                self.request.control.advance(Progress { bytes_done, ..Progress::default() });
            } else {
                missing.push(span);
            }
        }
        Ok(missing)
    }
}

/// Opens the file beside an entry's place, and says whether it is new.
fn open_part(holder: &OwnedFd, name: &[u8]) -> rustix::io::Result<(File, bool)> {
    let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let create = || {
        rustix::fs::openat(holder, name, flags | OFlags::CREATE | OFlags::EXCL, Mode::RUSR | Mode::WUSR)
            .map(|fd| (File::from(fd), true))
    };
    match create() {
        Err(Errno::EXIST) => {}
        other => return other,
    }
    let usable = open_beneath(holder, name, OFlags::RDWR)
        .and_then(|fd| Ok((Stat::of(&fd)?, fd)))
        .ok()
        .filter(|(stat, _)| stat.is_file() && stat.links == 1);
    match usable {
        Some((_, fd)) => Ok((File::from(fd), false)),
        None => {
            rustix::fs::unlinkat(holder, name, AtFlags::empty())?;
            create()
        }
    }
}

/// Writes what the vault gives into the files of a batch.
struct Sink<'a, 'w> {
    work: &'a Work<'w>,
    batch: &'a [Piece<'a>],
    files: Vec<Mutex<Option<Arc<Uncached>>>>,
    open: AtomicUsize,
    /// Directories that files were made in last: packs hold the files of a directory together.
    holders: Mutex<HashMap<usize, Arc<OwnedFd>>>,
    /// Small chunks on their way.
    runs: Runs,
}

impl Sink<'_, '_> {
    fn file(&self, position: usize) -> io::Result<Arc<Uncached>> {
        let mut slot = self.files[position].lock();
        if let Some(file) = &*slot {
            return Ok(file.clone());
        }
        let entry = self.batch[position].entry;
        let holder = self.work.holder(entry).map_err(io::Error::other)?;
        let file = File::from(open_beneath(&holder, &self.work.beside(entry, ""), OFlags::RDWR)?);
        let file = Arc::new(Uncached::new(file));
        // A file that is whole with its first piece needs no keeping.
        if entry.chunks().len() > 1 && self.open.fetch_add(1, Ordering::Relaxed) < OPEN_FILES_MAX {
            *slot = Some(file.clone());
        }
        Ok(file)
    }

    fn holder(&self, entry: &Entry) -> Result<Arc<OwnedFd>, DriverError> {
        if let Some(holder) = self.holders.lock().get(&entry.holder) {
            return Ok(Arc::clone(holder));
        }
        let holder = Arc::new(self.work.holder(entry)?);
        let mut holders = self.holders.lock();
        if holders.len() >= OPEN_DIRECTORIES_MAX {
            holders.clear();
        }
        holders.insert(entry.holder, Arc::clone(&holder));
        Ok(holder)
    }

    fn make_file(&self, entry: &Entry, bytes: &[u8]) -> Result<(), DriverError> {
        let holder = self.holder(entry)?;
        self.work.make_file(entry, &holder, bytes)
    }
}

impl ContentSink for Sink<'_, '_> {
    fn write_at(&self, file: usize, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let entry = self.batch[file].entry;
        if self.work.is_direct(entry) {
            self.make_file(entry, bytes).map_err(|error| match &error {
                // What the system said decides what kind of failure it is.
                DriverError::Io { source, .. } => io::Error::new(source.kind(), error),
                _ => io::Error::other(error),
            })?;
        } else if bytes.len() <= GATHERED_BYTES_MAX && entry.data().is_none() {
            self.runs.write_at(file, || self.file(file), offset, bytes)?;
        } else {
            let file = self.file(file)?;
            write_sparse(&file, offset, bytes, entry.data())?;
        }
        self.work.request.control.advance(Progress { bytes_done: bytes.len() as u64, ..Progress::default() });
        Ok(())
    }
}

/// Only to have it read and verified.
struct Nowhere;

impl ContentSink for Nowhere {
    fn write_at(&self, _file: usize, _offset: u64, _bytes: &[u8]) -> io::Result<()> {
        Ok(())
    }
}

/// Writes all but zeros in what was a hole. What the vault holds counts, not what the sidecar says.
fn write_sparse(file: &Uncached, offset: u64, bytes: &[u8], extents: Option<&[Extent]>) -> io::Result<()> {
    let Some(extents) = extents else { return file.write_all_at(bytes, offset) };
    let file = file.file();
    let part = |from: u64, to: u64| &bytes[(from - offset) as usize..(to - offset) as usize];
    let end = offset + bytes.len() as u64;
    let mut position = offset;
    for (from, length) in within(extents, offset, bytes.len() as u64).chain([(end, 0)]) {
        let hole = part(position, from);
        if hole.iter().any(|byte| *byte != 0) {
            file.write_all_at(hole, position)?;
        }
        file.write_all_at(part(from, from + length), from)?;
        position = from + length;
    }
    Ok(())
}
