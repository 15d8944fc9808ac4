//! Comparing the metadata of one entry.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use job_model::{FindingKind, Severity};
use rustix::fs::{FileType, OFlags};
use vault_format::Xattr;

use super::Comparison;
use crate::extents::{data_extents, within};
use crate::inode::{self, Place, Stat};
use crate::plan::{Entry, Kind};
use crate::restore::open_beneath;

/// Flags that only root can set: locking ones and data journaling.
const FLAGS_OF_ROOT: u32 = inode::FLAGS_LOCKING | 0x4000;

/// Set-user-id and set-group-id: dropped where the owner could not be set.
const MODE_SET_ID: u32 = 0o6000;

pub(super) fn same_type(kind: &Kind, stat: &Stat) -> bool {
    let expected = match kind {
        Kind::File { .. } => FileType::RegularFile,
        Kind::Dir => FileType::Directory,
        Kind::Symlink { .. } => FileType::Symlink,
        Kind::BlockDevice { .. } => FileType::BlockDevice,
        Kind::CharDevice { .. } => FileType::CharacterDevice,
        Kind::Fifo => FileType::Fifo,
        Kind::Socket => FileType::Socket,
    };
    stat.kind == expected
}

/// Everything about the entry that is not as it was captured, with how bad it is.
pub(super) fn differences(
    comparison: &Comparison<'_>,
    entry: &Entry,
    stat: &Stat,
    holder: BorrowedFd<'_>,
    name: Option<&[u8]>,
) -> Vec<(Severity, String)> {
    let privileged = comparison.request.privileged;
    let mut found = Vec::new();
    let mut differs = |what: &str, is: String, was: String| {
        found.push((Severity::Failure, format!("{what} is {is} instead of {was}")));
    };
    let mode_mask = if privileged { 0o7777 } else { 0o7777 & !MODE_SET_ID };
    // The mode of a link says nothing.
    if stat.kind != FileType::Symlink && stat.mode & mode_mask != entry.mode & mode_mask {
        differs("mode", format!("{:04o}", stat.mode), format!("{:04o}", entry.mode));
    }
    if privileged && (stat.uid, stat.gid) != (entry.uid, entry.gid) {
        differs("owner", format!("{}:{}", stat.uid, stat.gid), format!("{}:{}", entry.uid, entry.gid));
    }
    if stat.mtime != entry.mtime {
        differs("time of change", stat.mtime.to_string(), entry.mtime.to_string());
    }
    if !entry.is_dir() && stat.links != comparison.plan.names(entry) {
        differs("number of names", stat.links.to_string(), comparison.plan.names(entry).to_string());
    }
    match &entry.kind {
        Kind::Symlink { target } => {
            let is = rustix::fs::readlinkat(holder, name.unwrap_or_default(), Vec::new()).unwrap_or_default();
            if is.as_bytes() != &**target {
                differs("link target", is.to_string_lossy().into_owned(), crate::display(target));
            }
        }
        Kind::BlockDevice { device } | Kind::CharDevice { device } if stat.rdev != *device => {
            differs("device number", stat.rdev.to_string(), device.to_string());
        }
        _ => {}
    }
    let place = name.map_or(Place::Open(holder), |name| Place::Entry(holder, name));
    match place.xattrs() {
        Ok(xattrs) => attributes(privileged, &xattrs, &entry.xattrs, &mut found),
        Err(error) => found.push((Severity::Failure, format!("extended attributes cannot be read: {error}"))),
    }
    if entry.is_file() || entry.is_dir() {
        let opened = match name {
            Some(name) => open_beneath(holder, name, OFlags::RDONLY).ok(),
            None => holder.try_clone_to_owned().ok(),
        };
        if let Some(fd) = opened {
            flags(privileged, entry, &fd, &mut found);
        }
    }
    found
}

fn attributes(privileged: bool, is: &[Xattr], was: &[Xattr], found: &mut Vec<(Severity, String)>) {
    let counts = |x: &&Xattr| privileged || x.name.starts_with("user.") || x.name.starts_with("system.");
    for wanted in was.iter().filter(counts) {
        match is.iter().find(|x| x.name == wanted.name) {
            None => found.push((Severity::Failure, format!("attribute `{}` is missing", wanted.name))),
            Some(x) if x.value != wanted.value => {
                found.push((Severity::Failure, format!("attribute `{}` has another value", wanted.name)));
            }
            Some(_) => {}
        }
    }
    for extra in is.iter().filter(counts).filter(|x| was.iter().all(|w| w.name != x.name)) {
        // Labels are given by the system, not by the restore.
        let severity = if extra.name == "security.selinux" { Severity::Note } else { Severity::Failure };
        found.push((severity, format!("attribute `{}` was not captured", extra.name)));
    }
}

fn flags(privileged: bool, entry: &Entry, fd: &OwnedFd, found: &mut Vec<(Severity, String)>) {
    let mask = if privileged { inode::FLAGS_KEPT } else { inode::FLAGS_KEPT & !FLAGS_OF_ROOT };
    let wanted = entry.flags() & mask;
    match inode::flags(fd).map(|flags| flags & mask) {
        None if wanted != 0 => {
            found.push((Severity::Warning, format!("flags {wanted:#x} are missing: its file system has none")));
        }
        Some(is) if is != wanted => {
            found.push((Severity::Failure, format!("flags are {is:#x} instead of {wanted:#x}")));
        }
        _ => {}
    }
    let project = inode::project(fd);
    if privileged && project != entry.project() {
        // File systems without projects show 0 for all.
        let severity = if project == 0 { Severity::Warning } else { Severity::Failure };
        found.push((severity, format!("project is {project} instead of {}", entry.project())));
    }
}

/// Finds data where a sparse file had holes, as far as the file system's blocks allow.
pub(super) fn holes(comparison: &Comparison<'_>, entry: &Entry, file: &File) {
    let Some(wanted) = entry.data() else { return };
    let block = rustix::fs::fstatvfs(file.as_fd()).map_or(4096, |v| v.f_frsize.max(1));
    let size = entry.size();
    let Ok(actual) = data_extents(file, size) else { return };
    let actual = actual.unwrap_or_else(|| vec![(0, size)]);
    let filled: u64 = actual
        .iter()
        .map(|&(start, length)| {
            let covered: u64 = within(&rounded(wanted, block), start, length).map(|(_, part)| part).sum();
            length - covered.min(length)
        })
        .sum();
    if filled > 0 {
        let message = format!("{filled} bytes of its holes take space now");
        comparison.find(FindingKind::MetadataDiffers, Severity::Warning, entry.display(), message);
    }
}

/// Extents grown to whole blocks, joined where they meet.
fn rounded(extents: &[(u64, u64)], block: u64) -> Vec<(u64, u64)> {
    let mut grown: Vec<(u64, u64)> = Vec::new();
    for &(start, length) in extents {
        let from = start / block * block;
        let to = (start + length).div_ceil(block) * block;
        match grown.last_mut() {
            Some((last, len)) if *last + *len >= from => *len = to - *last,
            _ => grown.push((from, to - from)),
        }
    }
    grown
}
