//! What to do about each entry, from what is in the recovery point and what is at the target. Looks, but touches nothing.

use std::os::fd::OwnedFd;

use driver_api::DriverError;
use job_model::OverwritePolicy;
use rustix::fs::FileType;
use rustix::io::Errno;
use vault_format::{Node, NodeKind};

use super::target::{Target, open_beneath};
use crate::inode::Stat;
use crate::plan::{Entry, Plan};
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

/// `in_place` is for files that are changed where they lie: one of another size is worth reading then.
pub(super) fn decide(
    plan: &Plan,
    target: &Target,
    policy: OverwritePolicy,
    in_place: bool,
) -> Result<Vec<Action>, DriverError> {
    let mut actions = vec![Action::Skip; plan.entries.len()];
    let root = &plan.entries[0];
    let stat = Stat::of(target.root()).map_err(|e| io_error("look at", root.display(), e))?;
    actions[0] = directory(policy, root, &stat);
    for index in 0..plan.entries.len() {
        let entry = &plan.entries[index];
        match actions[index] {
            Action::Make { .. } => {
                for child in entry.children.clone() {
                    actions[child] = missing(&plan.entries[child]);
                }
            }
            Action::Enter | Action::Update { .. } if !entry.children.is_empty() => {
                let fd = target.directory(&entry.path)?;
                for child in entry.children.clone() {
                    actions[child] = one(plan, child, &fd, policy, in_place)?;
                }
            }
            _ => {}
        }
    }
    Ok(actions)
}

fn missing(entry: &Entry) -> Action {
    if entry.is_dir() { Action::Make { aside: false } } else { Action::Write { replaces: false } }
}

/// For an existing directory in place of a directory.
fn directory(policy: OverwritePolicy, entry: &Entry, existing: &Stat) -> Action {
    let update = match policy {
        OverwritePolicy::Never => false,
        OverwritePolicy::IfNewer => entry.node.mtime > existing.mtime,
        OverwritePolicy::Refuse | OverwritePolicy::IfChanged | OverwritePolicy::Exact => true,
    };
    if update && entry.whole { Action::Update { locked: existing.locked } } else { Action::Enter }
}

fn one(
    plan: &Plan,
    index: usize,
    holder: &OwnedFd,
    policy: OverwritePolicy,
    in_place: bool,
) -> Result<Action, DriverError> {
    let entry = &plan.entries[index];
    let existing = match Stat::at(holder, &entry.node.name) {
        Ok(stat) => stat,
        Err(Errno::NOENT) => return Ok(missing(entry)),
        Err(error) => return Err(io_error("look at", entry.display(), error)),
    };
    if entry.is_dir() && existing.is_dir() {
        return Ok(directory(policy, entry, &existing));
    }
    match policy {
        OverwritePolicy::Never => return Ok(Action::Skip),
        OverwritePolicy::IfNewer if entry.node.mtime <= existing.mtime => return Ok(Action::Skip),
        _ => {}
    }
    if entry.is_dir() {
        return Ok(Action::Make { aside: true });
    }
    if existing.is_dir() {
        let names = open_beneath(holder, &entry.node.name, rustix::fs::OFlags::RDONLY)
            .and_then(inode::list)
            .map_err(|e| io_error("list", entry.display(), e))?;
        // Only `exact` deletes what the recovery point does not have.
        if policy != OverwritePolicy::Exact && !names.is_empty() {
            return Err(DriverError::TargetExists { path: entry.display() });
        }
        return Ok(Action::Write { replaces: true });
    }
    // A file with further names elsewhere must not be changed in place.
    let shared = existing.links > plan.names(index);
    if !shared && in_place && entry.is_file() && existing.is_file() && policy != OverwritePolicy::IfNewer {
        return Ok(Action::Compare);
    }
    if shared || policy == OverwritePolicy::IfNewer || !same_kind(&entry.node, &existing, holder) {
        return Ok(Action::Write { replaces: true });
    }
    Ok(if entry.is_file() { Action::Compare } else { Action::Keep })
}

/// Whether an existing entry has the node's type, and all that can be told of its content without reading it.
fn same_kind(node: &Node, existing: &Stat, holder: &OwnedFd) -> bool {
    match &node.kind {
        NodeKind::File { size, .. } => existing.is_file() && existing.size == *size,
        NodeKind::Dir { .. } => existing.is_dir(),
        NodeKind::Symlink { target } => {
            existing.kind == FileType::Symlink
                && rustix::fs::readlinkat(holder, &node.name[..], Vec::new()).is_ok_and(|t| t.as_bytes() == target)
        }
        NodeKind::BlockDevice { device } => existing.kind == FileType::BlockDevice && existing.rdev == *device,
        NodeKind::CharDevice { device } => existing.kind == FileType::CharacterDevice && existing.rdev == *device,
        NodeKind::Fifo => existing.kind == FileType::Fifo,
        NodeKind::Socket => existing.kind == FileType::Socket,
    }
}
