//! What to do about each entry, from what is in the recovery point and what is at the target. Looks, but touches nothing.

use std::os::fd::OwnedFd;

use driver_api::DriverError;
use job_model::OverwritePolicy;
use rustix::fs::FileType;
use rustix::io::Errno;

use super::Work;
use super::target::open_beneath;
use crate::inode::Stat;
use crate::plan::{Entry, Kind, Window};
use crate::{inode, io_error};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Leave it, and all below it.
    Skip,
    /// Leave the directory as it is, but look at its entries.
    Enter,
    /// Make the directory, after moving aside what is in its place.
    Make { aside: bool },
    /// The directory is there; it gets the recovery point's metadata.
    Update { locked: bool },
    /// A file is there that may be right; its content must be read to know more.
    Compare,
    /// Its content is right; its metadata may not be.
    Keep,
    /// Make it new, in place of something else or not.
    Write { replaces: bool },
}

impl Work<'_> {
    /// Decides about a window's entries; about the directories that hold them was decided before.
    pub(super) fn decide(&mut self, window: &Window) -> Result<(), DriverError> {
        if window.entry(0).is_some() {
            let root = &self.plan.root;
            let stat = Stat::of(self.target.root()).map_err(|e| io_error("look at", root.display(), e))?;
            let existing = directory(self.policy, root, &stat);
            self.actions[0] = if self.staged { Action::Update { locked: false } } else { existing };
        }
        if let Some(path) = self.last_path.filter(|_| self.last.is_none()) {
            self.last = window.entries.iter().find(|entry| entry.path() == path).cloned();
        }
        for directory in &window.directories {
            match self.actions[directory.number] {
                Action::Make { .. } => {
                    for child in window.children(directory) {
                        self.actions[child.number] = missing(child);
                    }
                }
                Action::Enter | Action::Update { .. } if !directory.children.is_empty() => {
                    let fd = self.target.directory(&directory.path)?;
                    for child in window.children(directory) {
                        self.actions[child.number] = self.decide_one(child, &fd)?;
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The same where nothing is there.
    pub(super) fn decide_all_missing(&mut self, window: &Window) {
        for entry in &window.entries {
            self.actions[entry.number] =
                if entry.number == 0 { Action::Update { locked: false } } else { missing(entry) };
        }
    }

    fn decide_one(&self, entry: &Entry, holder: &OwnedFd) -> Result<Action, DriverError> {
        let (policy, in_place) = (self.policy, self.in_place);
        let existing = match Stat::at(holder, entry.name()) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok(missing(entry)),
            Err(error) => return Err(io_error("look at", entry.display(), error)),
        };
        if entry.is_dir() && existing.is_dir() {
            return Ok(directory(policy, entry, &existing));
        }
        match policy {
            OverwritePolicy::Never => return Ok(Action::Skip),
            OverwritePolicy::IfNewer if entry.mtime <= existing.mtime => return Ok(Action::Skip),
            _ => {}
        }
        if entry.is_dir() {
            return Ok(Action::Make { aside: true });
        }
        if existing.is_dir() {
            let names = open_beneath(holder, entry.name(), rustix::fs::OFlags::RDONLY)
                .and_then(inode::list)
                .map_err(|e| io_error("list", entry.display(), e))?;
            // Only `exact` deletes what the recovery point does not have.
            if policy != OverwritePolicy::Exact && !names.is_empty() {
                return Err(DriverError::TargetExists { path: entry.display() });
            }
            return Ok(Action::Write { replaces: true });
        }
        // A file with further names elsewhere must not be changed in place.
        let shared = existing.links > self.plan.names(entry);
        if !shared && in_place && entry.is_file() && existing.is_file() && policy != OverwritePolicy::IfNewer {
            return Ok(Action::Compare);
        }
        if shared || policy == OverwritePolicy::IfNewer || !same_kind(entry, &existing, holder) {
            return Ok(Action::Write { replaces: true });
        }
        Ok(if entry.is_file() { Action::Compare } else { Action::Keep })
    }
}

fn missing(entry: &Entry) -> Action {
    if entry.is_dir() { Action::Make { aside: false } } else { Action::Write { replaces: false } }
}

/// For an existing directory in place of a directory.
fn directory(policy: OverwritePolicy, entry: &Entry, existing: &Stat) -> Action {
    let update = match policy {
        OverwritePolicy::Never => false,
        OverwritePolicy::IfNewer => entry.mtime > existing.mtime,
        OverwritePolicy::Refuse | OverwritePolicy::IfChanged | OverwritePolicy::Exact => true,
    };
    if update && entry.whole { Action::Update { locked: existing.locked } } else { Action::Enter }
}

/// Whether an existing entry has the type, and all that can be told of its content without reading it.
fn same_kind(entry: &Entry, existing: &Stat, holder: &OwnedFd) -> bool {
    match &entry.kind {
        Kind::File { size, .. } => existing.is_file() && existing.size == *size,
        Kind::Dir => existing.is_dir(),
        Kind::Symlink { target } => {
            existing.kind == FileType::Symlink
                && rustix::fs::readlinkat(holder, entry.name(), Vec::new()).is_ok_and(|t| t.as_bytes() == &**target)
        }
        Kind::BlockDevice { device } => existing.kind == FileType::BlockDevice && existing.rdev == *device,
        Kind::CharDevice { device } => existing.kind == FileType::CharacterDevice && existing.rdev == *device,
        Kind::Fifo => existing.kind == FileType::Fifo,
        Kind::Socket => existing.kind == FileType::Socket,
    }
}
