//! Puts entries in place: always made beside it under another name and renamed.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};

use driver_api::DriverError;
use job_model::FindingKind;
use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;
use vault_format::NodeKind;

use super::Work;
use super::decide::Action;
use super::metadata::{Subject, is_refusal};
use super::target::{open_beneath, remove};
use crate::inode::{self, Stat};
use crate::io_error;
use crate::plan::Entry;
use driver_api::queue;

impl Work<'_> {
    pub(super) fn make_directories(&self) -> Result<(), DriverError> {
        // Entries of one directory follow each other.
        let mut last: Option<(usize, OwnedFd)> = None;
        for (index, entry) in self.plan.entries.iter().enumerate() {
            self.stop_if_told()?;
            match self.actions[index] {
                Action::Update { locked: true } => {
                    let fd = self.target.directory(&entry.path)?;
                    inode::unlock(fd).map_err(|e| io_error("clear the flags of", entry.display(), e))?;
                }
                Action::Make { aside } => {
                    let holder = match last.take() {
                        Some((number, holder)) if number == entry.holder => holder,
                        _ => self.holder(entry)?,
                    };
                    let (_, holder) = last.insert((entry.holder, holder));
                    if aside {
                        self.set_aside(index, holder)?;
                    }
                    rustix::fs::mkdirat(&*holder, &entry.node.name[..], Mode::RWXU)
                        .map_err(|e| io_error("make directory", entry.display(), e))?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The directory that holds an entry.
    pub(super) fn holder(&self, entry: &Entry) -> Result<OwnedFd, DriverError> {
        self.target.directory(&self.plan.entries[entry.holder].path)
    }

    /// Moves what is at an entry's place out of the way; it is deleted when everything else is done.
    pub(super) fn set_aside(&self, index: usize, holder: &OwnedFd) -> Result<(), DriverError> {
        let entry = &self.plan.entries[index];
        let failed = |e: Errno| io_error("move aside", entry.display(), e);
        self.unlock_entry(entry, holder)?;
        rustix::fs::renameat(holder, &entry.node.name[..], holder, &self.beside(index, ".old")[..]).map_err(failed)
    }

    pub(super) fn unlock_entry(&self, entry: &Entry, holder: &OwnedFd) -> Result<(), DriverError> {
        let name = &entry.node.name[..];
        if Stat::at(holder, name).is_ok_and(|stat| stat.locked) {
            open_beneath(holder, name, OFlags::RDONLY)
                .and_then(inode::unlock)
                .map_err(|e| io_error("clear the flags of", entry.display(), e))?;
        }
        Ok(())
    }

    /// Renames what was made beside an entry's place to its place.
    fn put_in_place(&self, index: usize, holder: &OwnedFd) -> Result<(), DriverError> {
        let entry = &self.plan.entries[index];
        let (beside, name) = (self.beside(index, ""), &entry.node.name[..]);
        if self.actions[index] == (Action::Write { replaces: true }) {
            match Stat::at(holder, name) {
                Ok(existing) if existing.is_dir() => self.set_aside(index, holder)?,
                Ok(_) => self.unlock_entry(entry, holder)?,
                Err(_) => {}
            }
        }
        rustix::fs::renameat(holder, &beside[..], holder, name)
            .map_err(|e| io_error("put in place", entry.display(), e))?;
        self.item_done();
        Ok(())
    }

    /// A file whose content is there.
    pub(super) fn place_file(&self, index: usize) -> Result<(), DriverError> {
        let entry = &self.plan.entries[index];
        let holder = self.holder(entry)?;
        let beside = self.beside(index, "");
        let file = open_beneath(&holder, &beside, OFlags::RDWR)
            .map(File::from)
            .map_err(|e| io_error("open what was written for", entry.display(), e))?;
        self.set_metadata(entry, Subject::Open { fd: file.as_fd() })?;
        self.put_in_place(index, &holder)
    }

    /// Everything that is neither file nor directory.
    pub(super) fn place_others(&self) -> Result<(), DriverError> {
        let others: Vec<usize> = self
            .plan
            .below_root()
            .filter(|i| matches!(self.actions[*i], Action::Write { .. }) && !self.plan.entries[*i].is_file())
            .filter(|i| self.base(*i) == *i)
            .collect();
        queue::for_each(self.request.parallelism, self.request.control, &others, |&index| self.place_other(index))
    }

    fn place_other(&self, index: usize) -> Result<(), DriverError> {
        let entry = &self.plan.entries[index];
        let holder = self.holder(entry)?;
        let direct = self.staged && self.actions[index] == (Action::Write { replaces: false });
        let beside = if direct { entry.node.name.clone() } else { self.beside(index, "") };
        let beside = &beside[..];
        if !direct {
            remove(&holder, beside).map_err(|e| io_error("clear the place of", entry.display(), e))?;
        }
        let mode = Mode::RUSR | Mode::WUSR;
        let make = |kind, device| rustix::fs::mknodat(&holder, beside, kind, mode, device);
        let made = match &entry.node.kind {
            NodeKind::Symlink { target } => rustix::fs::symlinkat(&target[..], &holder, beside),
            NodeKind::BlockDevice { device } => make(FileType::BlockDevice, *device),
            NodeKind::CharDevice { device } => make(FileType::CharacterDevice, *device),
            NodeKind::Fifo => make(FileType::Fifo, 0),
            NodeKind::Socket => make(FileType::Socket, 0),
            NodeKind::File { .. } | NodeKind::Dir { .. } => return Ok(()),
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
        self.put_in_place(index, &holder)
    }

    /// Further names of files.
    pub(super) fn place_links(&self) -> Result<(), DriverError> {
        for group in self.plan.groups.values() {
            let base = self.base(group[0]);
            if !matches!(self.actions[base], Action::Keep | Action::Write { .. }) {
                continue;
            }
            let base_entry = &self.plan.entries[base];
            let base_holder = self.holder(base_entry)?;
            for &index in group {
                let touched = matches!(self.actions[index], Action::Keep | Action::Write { .. });
                if index != base && touched {
                    self.stop_if_told()?;
                    self.place_link(base_entry, &base_holder, index)?;
                }
            }
        }
        Ok(())
    }

    fn place_link(&self, base: &Entry, base_holder: &OwnedFd, index: usize) -> Result<(), DriverError> {
        let entry = &self.plan.entries[index];
        let holder = self.holder(entry)?;
        let first = match Stat::at(base_holder, &base.node.name) {
            Ok(stat) => stat,
            // The first name could not be made, which is noted.
            Err(Errno::NOENT) => return Ok(()),
            Err(error) => return Err(io_error("look at", base.display(), error)),
        };
        let existing = Stat::at(&holder, &entry.node.name).ok();
        if existing.is_some_and(|e| (e.device, e.inode) == (first.device, first.inode)) {
            self.item_done();
            return Ok(());
        }
        if first.locked {
            // A file that is immutable gets no further names.
            self.unlock_entry(base, base_holder)?;
        }
        let beside = &self.beside(index, "")[..];
        remove(&holder, beside).map_err(|e| io_error("clear the place of", entry.display(), e))?;
        rustix::fs::linkat(base_holder, &base.node.name[..], &holder, beside, AtFlags::empty())
            .map_err(|e| io_error("link", entry.display(), e))?;
        if let Some(existing) = existing {
            if existing.is_dir() {
                self.set_aside(index, &holder)?;
            } else {
                self.unlock_entry(entry, &holder)?;
            }
        }
        rustix::fs::renameat(&holder, beside, &holder, &entry.node.name[..])
            .map_err(|e| io_error("put in place", entry.display(), e))?;
        self.item_done();
        Ok(())
    }
}
