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

impl Work<'_> {
    /// Whether an existing file may be changed where it lies.
    pub(super) fn is_patchable(&self, index: usize) -> bool {
        let entry = &self.plan.entries[index];
        self.in_place && self.last != Some(index) && entry.leader.is_none() && entry.attributes.data.is_none()
    }

    /// Bytes of the files to be changed that stay as they are.
    pub(super) fn bytes_left_in_place(&self) -> u64 {
        let length = |spans: &Vec<BlobSpan>| spans.iter().map(|span| u64::from(span.length)).sum::<u64>();
        self.patches.iter().map(|(index, spans)| self.plan.entries[*index].size().saturating_sub(length(spans))).sum()
    }

    /// The last file is written anew as soon as anything else is: it must not be there meanwhile.
    pub(super) fn write_last(&mut self) {
        let Some(last) = self.last else { return };
        let writes = |index: usize| matches!(self.actions[index], Action::Write { .. } | Action::Make { .. });
        if self.actions[last] == Action::Keep && self.plan.below_root().any(writes) {
            self.actions[last] = Action::Write { replaces: true };
        }
    }

    /// Moves the last file away and writes what differs into the files that are there.
    pub(super) fn patch(&self) -> Result<(), DriverError> {
        let Some(last) = self.last.filter(|last| self.written(*last)) else { return self.patch_all() };
        let entry = &self.plan.entries[last];
        let holder = self.holder(entry)?;
        if Stat::at(&holder, &entry.node.name).is_ok() {
            self.set_aside(last, &holder)?;
            rustix::fs::fsync(&holder).map_err(|e| io_error("sync the directory of", entry.display(), e))?;
        }
        self.patch_all()
    }

    fn patch_all(&self) -> Result<(), DriverError> {
        let mut patched: Vec<usize> = self.patches.keys().copied().collect();
        patched.sort_unstable();
        queue::for_each(self.request.parallelism, self.request.control, &patched, |&index| self.patch_file(index))
    }

    fn patch_file(&self, index: usize) -> Result<(), DriverError> {
        let entry = &self.plan.entries[index];
        let failed = |error: std::io::Error| io_error("change", entry.display(), error);
        let holder = self.holder(entry)?;
        let beside = self.beside(index, "");
        self.unlock_entry(entry, &holder)?;
        let open =
            |name: &[u8], flags| open_beneath(&holder, name, flags).map(File::from).map_err(|e| failed(e.into()));
        let (part, file) = (open(&beside, OFlags::RDONLY)?, open(&entry.node.name, OFlags::RDWR)?);
        file.set_len(entry.size()).map_err(failed)?;
        let mut buffer = Vec::new();
        for span in self.patches.get(&index).map_or(&[][..], Vec::as_slice) {
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
        let Some(last) = self.last.filter(|last| self.written(*last)) else { return Ok(()) };
        rustix::fs::syncfs(self.target.root()).map_err(|e| io_error("sync", "", e))?;
        self.place_file(last)
    }
}
