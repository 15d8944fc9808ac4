//! Files that are changed where they lie: of each only the chunks that differ are written.
//!
//! All of them are in the files beside before the first is changed, so that damage in the vault costs nothing that exists.

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt as _;

use driver_api::{BlobSpan, DriverError, queue};
use rustix::fs::{AtFlags, OFlags};

use super::Work;
use super::decide::Action;
use super::metadata::Subject;
use super::target::open_beneath;
use crate::inode::Stat;
use crate::io_error;
use crate::plan::{Entry, Window};

impl Work<'_> {
    /// Whether an existing file may be changed where it lies.
    pub(super) fn is_patchable(&self, entry: &Entry) -> bool {
        self.in_place && !self.is_last(entry) && entry.leader.is_none() && entry.data().is_none()
    }

    /// Whether it is put in place when all else is.
    pub(super) fn is_last(&self, entry: &Entry) -> bool {
        self.last.as_ref().is_some_and(|last| last.number == entry.number)
    }

    /// The chunks of a file to be written that are not at its place already, with their numbers.
    pub(super) fn wanted<'e>(&'e self, entry: &'e Entry) -> impl Iterator<Item = (usize, BlobSpan)> + 'e {
        let patch = self.patches.get(&entry.number);
        let differs = move |at: usize| {
            patch.is_none_or(|patch| u32::try_from(at).is_ok_and(|at| patch.binary_search(&at).is_ok()))
        };
        entry.spans().enumerate().filter(move |(at, _)| differs(*at))
    }

    /// Bytes of a file to be changed that stay as they are.
    pub(super) fn bytes_left_in_place(&self, entry: &Entry) -> u64 {
        if !self.patches.contains_key(&entry.number) {
            return 0;
        }
        let differing: u64 = self.wanted(entry).map(|(_, span)| u64::from(span.length)).sum();
        entry.size().saturating_sub(differing)
    }

    /// The last file is written anew as soon as anything else is: it must not be there meanwhile.
    pub(super) fn write_last(&mut self) {
        let Some(last) = &self.last else { return };
        let writes = |action: &Action| matches!(action, Action::Write { .. } | Action::Make { .. });
        if self.actions[last.number] == Action::Keep && self.actions.iter().skip(1).any(writes) {
            self.actions[last.number] = Action::Write { replaces: true };
        }
    }

    /// Moves the last file away, before the first that is there is changed.
    pub(super) fn move_last_aside(&self) -> Result<(), DriverError> {
        let Some(last) = self.last.as_ref().filter(|last| self.written(last)) else { return Ok(()) };
        let holder = self.holder(last)?;
        if Stat::at(&holder, last.name()).is_ok() {
            self.set_aside(last, &holder)?;
            rustix::fs::fsync(&holder).map_err(|e| io_error("sync the directory of", last.display(), e))?;
        }
        Ok(())
    }

    /// Writes what differs into the files that are there.
    pub(super) fn patch(&self, window: &Window) -> Result<(), DriverError> {
        let patched = |entry: &&Entry| self.patches.contains_key(&entry.number);
        let patched: Vec<&Entry> = window.entries.iter().filter(patched).collect();
        queue::for_each(self.request.parallelism, self.request.control, &patched, |entry| self.patch_file(entry))
    }

    fn patch_file(&self, entry: &Entry) -> Result<(), DriverError> {
        let failed = |error: std::io::Error| io_error("change", entry.display(), error);
        let holder = self.holder(entry)?;
        let beside = self.beside(entry, "");
        self.unlock_entry(entry.path(), &holder)?;
        let open =
            |name: &[u8], flags| open_beneath(&holder, name, flags).map(File::from).map_err(|e| failed(e.into()));
        let (part, file) = (open(&beside, OFlags::RDONLY)?, open(entry.name(), OFlags::RDWR)?);
        file.set_len(entry.size()).map_err(failed)?;
        let mut buffer = Vec::new();
        for (_, span) in self.wanted(entry) {
            self.stop_if_told()?;
            buffer.resize(span.length as usize, 0);
            part.read_exact_at(&mut buffer, span.offset).map_err(failed)?;
            file.write_all_at(&buffer, span.offset).map_err(failed)?;
        }
        self.set_metadata(entry, Subject::Open { fd: file.as_fd() })?;
        rustix::fs::unlinkat(&holder, &beside[..], AtFlags::empty()).map_err(|e| failed(e.into()))?;
        self.item_done();
        Ok(())
    }

    /// Puts the last file in place, once all else is on the disk.
    pub(super) fn place_last(&self) -> Result<(), DriverError> {
        let Some(last) = self.last.as_ref().filter(|last| self.written(last)) else { return Ok(()) };
        rustix::fs::syncfs(self.target.root()).map_err(|e| io_error("sync", "", e))?;
        self.place_file(last)
    }
}
