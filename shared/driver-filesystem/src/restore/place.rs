//! Puts entries in place: always made beside it under another name and renamed.

use std::collections::HashMap;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};

use driver_api::DriverError;
use job_model::FindingKind;
use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::Work;
use super::decide::Action;
use super::metadata::{Subject, depth, is_refusal};
use super::target::{open_beneath, remove};
use crate::inode::{self, Stat};
use crate::plan::{Entry, Kind, Window, name};
use crate::{display, io_error};
use driver_api::queue;

impl Work<'_> {
    /// Makes a window's directories: those of like depth side by side, since none of them is in another.
    pub(super) fn make_directories(&self, window: &Window) -> Result<(), DriverError> {
        let is_wanted = |entry: &&Entry| {
            matches!(self.actions[entry.number], Action::Update { locked: true } | Action::Make { .. })
        };
        let mut wanted: Vec<&Entry> = window.entries.iter().filter(is_wanted).collect();
        // Those of one directory go on following each other.
        wanted.sort_by_key(|entry| depth(entry));
        for level in wanted.chunk_by(|a, b| depth(a) == depth(b)) {
            let by_holder: Vec<&[&Entry]> = level.chunk_by(|a, b| a.holder == b.holder).collect();
            queue::for_each(self.request.parallelism, self.request.control, &by_holder, |together| {
                let mut holder = None;
                together.iter().try_for_each(|entry| self.make_directory(entry, &mut holder))
            })?;
        }
        Ok(())
    }

    /// The directory that holds it is opened for the first of those in it.
    fn make_directory(&self, entry: &Entry, holder: &mut Option<OwnedFd>) -> Result<(), DriverError> {
        self.stop_if_told()?;
        match self.actions[entry.number] {
            Action::Update { locked: true } => {
                let fd = self.target.directory(entry.path())?;
                inode::unlock(fd).map_err(|e| io_error("clear the flags of", entry.display(), e))
            }
            Action::Make { aside } => {
                let holder = match holder {
                    Some(holder) => holder,
                    None => holder.insert(self.holder(entry)?),
                };
                if aside {
                    self.set_aside(entry, holder)?;
                }
                rustix::fs::mkdirat(&*holder, entry.name(), Mode::RWXU)
                    .map_err(|e| io_error("make directory", entry.display(), e))
            }
            _ => Ok(()),
        }
    }

    /// The directory that holds an entry.
    pub(super) fn holder(&self, entry: &Entry) -> Result<OwnedFd, DriverError> {
        self.target.directory(entry.holder_path())
    }

    /// Moves what is at an entry's place out of the way; it is deleted when everything else is done.
    pub(super) fn set_aside(&self, entry: &Entry, holder: &OwnedFd) -> Result<(), DriverError> {
        let failed = |e: Errno| io_error("move aside", entry.display(), e);
        self.unlock_entry(entry.path(), holder)?;
        rustix::fs::renameat(holder, entry.name(), holder, &self.beside(entry, ".old")[..]).map_err(failed)
    }

    /// Clears what keeps the entry at this path from being changed or replaced.
    pub(super) fn unlock_entry(&self, path: &[u8], holder: &OwnedFd) -> Result<(), DriverError> {
        let name = name(path);
        if Stat::at(holder, name).is_ok_and(|stat| stat.locked) {
            open_beneath(holder, name, OFlags::RDONLY)
                .and_then(inode::unlock)
                .map_err(|e| io_error("clear the flags of", display(path), e))?;
        }
        Ok(())
    }

    /// Renames what was made beside an entry's place to its place.
    fn put_in_place(&self, entry: &Entry, holder: &OwnedFd) -> Result<(), DriverError> {
        let (beside, name) = (self.beside(entry, ""), entry.name());
        if self.actions[entry.number] == (Action::Write { replaces: true }) {
            match Stat::at(holder, name) {
                Ok(existing) if existing.is_dir() => self.set_aside(entry, holder)?,
                Ok(_) => self.unlock_entry(entry.path(), holder)?,
                Err(_) => {}
            }
        }
        rustix::fs::renameat(holder, &beside[..], holder, name)
            .map_err(|e| io_error("put in place", entry.display(), e))?;
        self.item_done();
        Ok(())
    }

    /// Puts a window's entries in place, all but directories and further names.
    pub(super) fn place(&self, window: &Window) -> Result<(), DriverError> {
        let is_beside = |entry: &Entry| {
            self.written(entry)
                && !self.is_direct(entry)
                && !self.patches.contains_key(&entry.number)
                && !self.is_last(entry)
        };
        let is_other = |entry: &Entry| {
            !entry.is_file()
                && matches!(self.actions[entry.number], Action::Write { .. })
                && self.base(entry) == entry.number
        };
        let placed: Vec<&Entry> =
            window.below_root().iter().filter(|entry| is_beside(entry) || is_other(entry)).collect();
        queue::for_each(self.request.parallelism, self.request.control, &placed, |entry| {
            if entry.is_file() { self.place_file(entry) } else { self.place_other(entry) }
        })
    }

    /// A file whose content is there.
    pub(super) fn place_file(&self, entry: &Entry) -> Result<(), DriverError> {
        let holder = self.holder(entry)?;
        let beside = self.beside(entry, "");
        let file = open_beneath(&holder, &beside, OFlags::RDWR)
            .map(File::from)
            .map_err(|e| io_error("open what was written for", entry.display(), e))?;
        self.set_metadata(entry, Subject::Open { fd: file.as_fd() })?;
        self.put_in_place(entry, &holder)
    }

    /// What is neither file nor directory.
    fn place_other(&self, entry: &Entry) -> Result<(), DriverError> {
        let holder = self.holder(entry)?;
        let direct = self.staged && self.actions[entry.number] == (Action::Write { replaces: false });
        let beside = if direct { entry.name().to_vec() } else { self.beside(entry, "") };
        let beside = &beside[..];
        if !direct {
            remove(&holder, beside).map_err(|e| io_error("clear the place of", entry.display(), e))?;
        }
        let mode = Mode::RUSR | Mode::WUSR;
        let make = |kind, device| rustix::fs::mknodat(&holder, beside, kind, mode, device);
        let made = match &entry.kind {
            Kind::Symlink { target } => rustix::fs::symlinkat(&**target, &holder, beside),
            Kind::BlockDevice { device } => make(FileType::BlockDevice, *device),
            Kind::CharDevice { device } => make(FileType::CharacterDevice, *device),
            Kind::Fifo => make(FileType::Fifo, 0),
            Kind::Socket => make(FileType::Socket, 0),
            Kind::File { .. } | Kind::Dir => return Ok(()),
        };
        match made {
            Ok(()) => {}
            Err(error) if is_refusal(error) => {
                let message = std::io::Error::from(error).to_string();
                self.findings.warn(FindingKind::EntryMissing, "make", entry.display(), message);
                self.item_done();
                return Ok(());
            }
            Err(error) => return Err(io_error("make", entry.display(), error)),
        }
        let subject = Subject::Entry { directory: holder.as_fd(), name: beside };
        self.set_metadata_of_new(entry, subject)?;
        if direct {
            self.item_done();
            return Ok(());
        }
        self.put_in_place(entry, &holder)
    }

    /// Further names of files.
    pub(super) fn place_links(&self) -> Result<(), DriverError> {
        if self.plan.links.is_empty() {
            return Ok(());
        }
        let touched = |number: usize| matches!(self.actions[number], Action::Keep | Action::Write { .. });
        // The name that others are linked to may come after them.
        let mut bases: HashMap<usize, Box<[u8]>> = HashMap::new();
        self.plan.windows(|window| {
            for entry in &window.entries {
                let Some(leader) = entry.leader.filter(|_| touched(entry.number)) else { continue };
                if self.base(entry) == entry.number && self.plan.links.names(leader).nth(1).is_some() {
                    bases.insert(entry.number, entry.path().into());
                }
            }
            Ok(())
        })?;
        self.plan.windows(|window| {
            for entry in &window.entries {
                if entry.leader.is_none() || !touched(entry.number) {
                    continue;
                }
                let base = self.base(entry);
                if let Some(path) = bases.get(&base).filter(|_| base != entry.number) {
                    self.stop_if_told()?;
                    self.place_link(path, entry)?;
                }
            }
            Ok(())
        })
    }

    fn place_link(&self, base: &[u8], entry: &Entry) -> Result<(), DriverError> {
        let (base_holder, base_name) = (self.target.directory(crate::plan::holder(base))?, name(base));
        let holder = self.holder(entry)?;
        let first = match Stat::at(&base_holder, base_name) {
            Ok(stat) => stat,
            // The first name could not be made, which is noted.
            Err(Errno::NOENT) => return Ok(()),
            Err(error) => return Err(io_error("look at", display(base), error)),
        };
        let existing = Stat::at(&holder, entry.name()).ok();
        if existing.is_some_and(|e| (e.device, e.inode) == (first.device, first.inode)) {
            self.item_done();
            return Ok(());
        }
        if first.locked {
            // A file that is immutable gets no further names.
            self.unlock_entry(base, &base_holder)?;
        }
        let beside = &self.beside(entry, "")[..];
        remove(&holder, beside).map_err(|e| io_error("clear the place of", entry.display(), e))?;
        rustix::fs::linkat(&base_holder, base_name, &holder, beside, AtFlags::empty())
            .map_err(|e| io_error("link", entry.display(), e))?;
        if let Some(existing) = existing {
            if existing.is_dir() {
                self.set_aside(entry, &holder)?;
            } else {
                self.unlock_entry(entry.path(), &holder)?;
            }
        }
        rustix::fs::renameat(&holder, beside, &holder, entry.name())
            .map_err(|e| io_error("put in place", entry.display(), e))?;
        self.item_done();
        Ok(())
    }
}
