//! Content: what is there is compared, what is missing is fetched into files beside their places.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use driver_api::{BlobSpan, ContentRequest, ContentSink, DriverError, Uncached, reserve};
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
use crate::plan::Entry;
use driver_api::queue;

/// Files fetched together: enough to read each pack once, few enough to bound memory.
const BATCH_FILES_MAX: usize = 4096;
/// Files of so many bytes are written past the page cache; of smaller ones the disk would take longer than the processor.
const UNCACHED_BYTES_MIN: usize = 64 << 10;
/// Files kept open while they are written.
const OPEN_FILES_MAX: usize = 128;
/// Directories kept open while files are made in them.
const OPEN_DIRECTORIES_MAX: usize = 64;

impl Work<'_> {
    /// Reads the files that are there and have the right size.
    pub(super) fn compare(&mut self) -> Result<(), DriverError> {
        let candidates: Vec<usize> =
            self.plan.below_root().filter(|index| self.actions[*index] == Action::Compare).collect();
        let kept = Mutex::new(Vec::new());
        let patches = Mutex::new(HashMap::new());
        queue::for_each(self.request.parallelism, self.request.control, &candidates, |&index| {
            let entry = &self.plan.entries[index];
            let holder = self.target.directory(&self.plan.entries[entry.holder].path)?;
            let file = match open_beneath(&holder, &entry.node.name, OFlags::RDONLY) {
                Ok(fd) => File::from(fd),
                // What cannot be read is replaced.
                Err(_) => return Ok(()),
            };
            let Ok(content) = Content::of(&file, &self.zeros) else { return Ok(()) };
            let mut buffer = Vec::new();
            let mut differing = Vec::new();
            for span in &entry.spans {
                self.stop_if_told()?;
                if !content.has(span, &mut buffer).unwrap_or(false) {
                    if !self.is_patchable(index) {
                        return Ok(());
                    }
                    differing.push(*span);
                }
            }
            if differing.is_empty() && content.size() == entry.size() {
                kept.lock().push(index);
            } else if self.is_patchable(index) {
                patches.lock().insert(index, differing);
            }
            Ok(())
        })?;
        self.patches = patches.into_inner();
        for index in candidates {
            self.actions[index] = Action::Write { replaces: true };
        }
        for index in kept.into_inner() {
            self.actions[index] = Action::Keep;
        }
        self.write_last();
        let kept_bytes: u64 =
            self.plan.below_root().filter(|i| self.counts(*i)).map(|i| self.plan.entries[i].size()).sum();
        let kept_bytes = kept_bytes + self.bytes_left_in_place();
        self.request.control.advance(Progress { bytes_done: kept_bytes, ..Progress::default() });
        Ok(())
    }

    /// Whether a file's bytes are dealt with without fetching them.
    fn counts(&self, index: usize) -> bool {
        let first = self.plan.entries[index].leader.is_none_or(|leader| leader == index);
        first && !self.written(index)
    }

    /// Whether this entry's content is fetched (rather than kept, skipped, or linked from another name).
    pub(super) fn written(&self, index: usize) -> bool {
        self.plan.entries[index].is_file()
            && matches!(self.actions[index], Action::Write { .. })
            && self.base(index) == index
    }

    /// The name that the others of its file are linked to: one whose content is right already, or the first to write.
    pub(super) fn base(&self, index: usize) -> usize {
        let Some(group) = self.plan.entries[index].leader.and_then(|leader| self.plan.groups.get(&leader)) else {
            return index;
        };
        let kept = group.iter().find(|i| self.actions[**i] == Action::Keep);
        let written = || group.iter().find(|i| matches!(self.actions[**i], Action::Write { .. }));
        kept.or_else(written).copied().unwrap_or(index)
    }

    /// Reads all that will be fetched and drops it, where a directory must take something's place before there is room
    /// to fetch into: damage in the vault is found while everything is still there.
    pub(super) fn read_through(&self) -> Result<(), DriverError> {
        let in_the_way =
            |action: &Action| matches!(action, Action::Make { aside: true } | Action::Update { locked: true });
        if !self.actions.iter().any(in_the_way) {
            return Ok(());
        }
        let files: Vec<usize> = self.plan.below_root().filter(|index| self.written(*index)).collect();
        for batch in files.chunks(BATCH_FILES_MAX) {
            let request =
                |index: &usize| ContentRequest { file: *index, spans: self.plan.entries[*index].spans.clone() };
            let requests: Vec<_> = batch.iter().map(request).filter(|request| !request.spans.is_empty()).collect();
            self.request.reader.fetch(&requests, &Nowhere, self.request.control)?;
            self.stop_if_told()?;
        }
        Ok(())
    }

    /// Fetches what is missing, batch by batch; when all of it is there, puts it in place. Until then nothing that exists
    /// is touched, whatever the vault turns out to have lost.
    pub(super) fn fetch(&self) -> Result<(), DriverError> {
        let files: Vec<usize> = self.plan.below_root().filter(|index| self.written(*index)).collect();
        for batch in files.chunks(BATCH_FILES_MAX) {
            self.fetch_batch(batch)?;
        }
        if files.iter().any(|index| self.actions[*index] == (Action::Write { replaces: true })) {
            // What replaces something must be on disk before it does.
            rustix::fs::syncfs(self.target.root()).map_err(|e| io_error("sync", "", e))?;
        }
        self.patch()?;
        let beside =
            |index: &usize| !self.is_direct(*index) && !self.patches.contains_key(index) && self.last != Some(*index);
        let beside: Vec<usize> = files.into_iter().filter(beside).collect();
        queue::for_each(self.request.parallelism, self.request.control, &beside, |&index| self.place_file(index))
    }

    /// Whether a file is made at its own place, in one go: where nobody sees the target before it is whole, and all of
    /// the content comes at once. What an attempt that was cut short made there is compared by the next one.
    fn is_direct(&self, index: usize) -> bool {
        let entry = &self.plan.entries[index];
        self.staged
            && self.actions[index] == (Action::Write { replaces: false })
            && entry.spans.len() <= 1
            && entry.attributes.data.is_none()
    }

    /// Makes such a file.
    fn make_file(&self, index: usize, holder: &OwnedFd, content: &[u8]) -> Result<(), DriverError> {
        let entry = &self.plan.entries[index];
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        // Nobody else gets into the directory yet. What runs with its owner's rights does so when it has its owner.
        let mode = Mode::from_raw_mode(entry.node.mode & 0o777);
        let file = rustix::fs::openat(holder, &entry.node.name[..], flags, mode)
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

    fn fetch_batch(&self, batch: &[usize]) -> Result<(), DriverError> {
        let requests = Mutex::new(Vec::new());
        let positions: Vec<usize> = (0..batch.len()).collect();
        queue::for_each(self.request.parallelism, self.request.control, &positions, |&position| {
            let index = batch[position];
            let spans = match &self.plan.entries[index].spans[..] {
                [] if self.is_direct(index) => {
                    self.make_file(index, &self.holder(&self.plan.entries[index])?, &[])?;
                    Vec::new()
                }
                [span] if self.is_direct(index) => vec![*span],
                _ => self.prepare(index)?,
            };
            if !spans.is_empty() {
                requests.lock().push(ContentRequest { file: position, spans });
            }
            Ok(())
        })?;
        let mut requests = requests.into_inner();
        requests.sort_by_key(|request| request.file);
        let files = batch.iter().map(|_| Mutex::new(None)).collect();
        let sink = Sink { work: self, batch, files, open: AtomicUsize::new(0), holders: Mutex::default() };
        if !requests.is_empty() {
            self.request.reader.fetch(&requests, &sink, self.request.control)?;
        }
        self.stop_if_told()
    }

    /// Makes the file beside its place, or takes up the one an earlier attempt left, and says what it lacks.
    fn prepare(&self, index: usize) -> Result<Vec<BlobSpan>, DriverError> {
        let entry = &self.plan.entries[index];
        let failed = |error: io::Error| io_error("make a file beside", entry.display(), error);
        let holder = self.target.directory(&self.plan.entries[entry.holder].path)?;
        let name = self.beside(index, "");
        let (file, is_new) = match open_part(&holder, &name) {
            Ok(opened) => opened,
            Err(error) => return Err(failed(error.into())),
        };
        file.set_len(entry.size()).map_err(failed)?;
        let extents = entry.attributes.data.as_deref();
        if extents.is_none() && is_new {
            // Parts that are written at the same time do not wait for each other, and lie in a row.
            reserve(&file, 0, entry.size()).map_err(failed)?;
        }
        // Asked for only where something is there already: of a new file everything is hole.
        let left = if is_new { None } else { Some(Content::of(&file, &self.zeros).map_err(failed)?) };
        let mut missing = Vec::new();
        let mut buffer = Vec::new();
        for span in self.patches.get(&index).unwrap_or(&entry.spans) {
            let is_hole = extents.is_some_and(|e| within(e, span.offset, u64::from(span.length)).next().is_none());
            let present = match &left {
                None => is_hole && self.zeros.is_zero(span),
                Some(content) => {
                    self.stop_if_told()?;
                    content.has(span, &mut buffer).map_err(failed)?
                }
            };
            if present {
                let bytes_done = u64::from(span.length);
                self.request.control.advance(Progress { bytes_done, ..Progress::default() });
            } else {
                missing.push(*span);
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
    batch: &'a [usize],
    files: Vec<Mutex<Option<Arc<Uncached>>>>,
    open: AtomicUsize,
    /// Directories that files were made in last: packs hold the files of a directory together.
    holders: Mutex<HashMap<usize, Arc<OwnedFd>>>,
}

impl Sink<'_, '_> {
    fn file(&self, position: usize) -> io::Result<Arc<Uncached>> {
        let mut slot = self.files[position].lock();
        if let Some(file) = &*slot {
            return Ok(file.clone());
        }
        let index = self.batch[position];
        let entry = &self.work.plan.entries[index];
        let holder =
            self.work.target.directory(&self.work.plan.entries[entry.holder].path).map_err(io::Error::other)?;
        let file = File::from(open_beneath(&holder, &self.work.beside(index, ""), OFlags::RDWR)?);
        let file = Arc::new(Uncached::new(file));
        // A file that is whole with its first piece needs no keeping.
        if entry.spans.len() > 1 && self.open.fetch_add(1, Ordering::Relaxed) < OPEN_FILES_MAX {
            *slot = Some(file.clone());
        }
        Ok(file)
    }
}

impl Sink<'_, '_> {
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

    fn make_file(&self, index: usize, bytes: &[u8]) -> Result<(), DriverError> {
        let holder = self.holder(&self.work.plan.entries[index])?;
        self.work.make_file(index, &holder, bytes)
    }
}

impl ContentSink for Sink<'_, '_> {
    fn write_at(&self, file: usize, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let index = self.batch[file];
        if self.work.is_direct(index) {
            self.make_file(index, bytes).map_err(|error| match &error {
                // What the system said decides what kind of failure it is.
                DriverError::Io { source, .. } => io::Error::new(source.kind(), error),
                _ => io::Error::other(error),
            })?;
            self.work.request.control.advance(Progress { bytes_done: bytes.len() as u64, ..Progress::default() });
            return Ok(());
        }
        let opened = self.file(file)?;
        let entry = &self.work.plan.entries[self.batch[file]];
        write_sparse(&opened, offset, bytes, entry.attributes.data.as_deref())?;
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
