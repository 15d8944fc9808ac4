//! Deletes what this restore left beside entries and, with the policy `exact`, what the recovery point does not have.

use std::collections::HashSet;

use driver_api::DriverError;
use job_model::{FindingKind, OverwritePolicy};

use super::Work;
use super::decide::Action;
use super::metadata::is_refusal;
use super::target::remove;
use crate::plan::{Directory, Entry, Window};
use crate::{inode, io_error, join};
use driver_api::queue;

impl Work<'_> {
    pub(super) fn clean(&self, window: &Window) -> Result<(), DriverError> {
        // A directory that was made just now can only have something of ours if it replaced something, and that lies in
        // the directory that holds it.
        let existed =
            |directory: &&Directory| matches!(self.actions[directory.number], Action::Enter | Action::Update { .. });
        let looked_into: Vec<&Directory> = window.directories.iter().filter(existed).collect();
        queue::for_each(self.request.parallelism, self.request.control, &looked_into, |directory| {
            let failed = |e| io_error("list", crate::display(&directory.path), e);
            let holder = self.target.directory(&directory.path)?;
            let names = inode::list(&holder).map_err(failed)?;
            let unplaced = self.last.as_ref().filter(|last| last.holder == directory.number && self.written(last));
            let unplaced = unplaced.map(|last| self.beside(last, ""));
            let ours = format!(".holdfast-{}-", self.key).into_bytes();
            let exact = self.policy == OverwritePolicy::Exact && directory.whole;
            let known: HashSet<&[u8]> = window.children(directory).iter().map(Entry::name).collect();
            for name in names {
                let extra = exact && !known.contains(&name[..]);
                if (!name.starts_with(&ours) && !extra) || unplaced.as_ref() == Some(&name) {
                    continue;
                }
                match remove(&holder, &name) {
                    Ok(()) => {}
                    Err(error) if is_refusal(error) || error == rustix::io::Errno::BUSY => {
                        let subject = crate::display(&join(&directory.path, &name));
                        let message = std::io::Error::from(error).to_string();
                        self.findings.warn(FindingKind::EntryUnexpected, "delete", subject, message);
                    }
                    Err(error) => return Err(io_error("delete", crate::display(&join(&directory.path, &name)), error)),
                }
            }
            Ok(())
        })
    }
}
