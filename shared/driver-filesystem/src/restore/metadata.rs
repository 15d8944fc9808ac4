//! Metadata, in the only order that works: owner (clears set-user-id bits and capabilities), attributes, ACLs, mode, times;
//! directories after their entries; flags last, because an immutable inode takes nothing more.

use std::os::fd::{AsFd, BorrowedFd};

use driver_api::DriverError;
use jiff::Timestamp;
use job_model::FindingKind;
use rustix::fs::{AtFlags, CWD, Gid, Mode, OFlags, Timestamps, Uid};
use rustix::io::Errno;
use vault_format::{NodeKind, Xattr};

use super::Work;
use super::decide::Action;
use super::destination::Destination;
use super::target::open_beneath;
use crate::inode::{self, Place, Stat, timespec};
use crate::io_error;
use crate::plan::Entry;
use driver_api::queue;

/// What metadata is set on.
#[derive(Clone, Copy)]
pub(super) enum Subject<'a> {
    /// An open file or directory.
    Open { fd: BorrowedFd<'a> },
    /// A directory's entry that is neither.
    Entry { directory: BorrowedFd<'a>, name: &'a [u8] },
}

impl<'a> Subject<'a> {
    fn stat(&self) -> rustix::io::Result<Stat> {
        match *self {
            Self::Open { fd } => Stat::of(fd),
            Self::Entry { directory, name } => Stat::at(directory, name),
        }
    }

    fn place(&self) -> Place<'a> {
        match *self {
            Self::Open { fd } => Place::Open(fd),
            Self::Entry { directory, name } => Place::Entry(directory, name),
        }
    }

    fn set_owner(&self, uid: u32, gid: u32) -> rustix::io::Result<()> {
        let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
        match *self {
            Self::Open { fd } => rustix::fs::fchown(fd, uid, gid),
            Self::Entry { directory, name } => {
                rustix::fs::chownat(directory, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)
            }
        }
    }

    fn set_mode(&self, mode: u32) -> rustix::io::Result<()> {
        let mode = Mode::from_raw_mode(mode);
        match *self {
            Self::Open { fd } => rustix::fs::fchmod(fd, mode),
            Self::Entry { directory, name } => {
                // There is no chmod that does not follow links, but a descriptor that was opened without following them
                // names exactly one inode.
                let fd = open_beneath(directory, name, OFlags::PATH)?;
                let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&fd));
                rustix::fs::chmodat(CWD, path, mode, AtFlags::empty())
            }
        }
    }

    fn set_times(&self, time: Timestamp) -> rustix::io::Result<()> {
        match *self {
            Self::Open { fd } => set_times(fd, time),
            Self::Entry { directory, name } => {
                rustix::fs::utimensat(directory, name, &timestamps(time), AtFlags::SYMLINK_NOFOLLOW)
            }
        }
    }
}

fn timestamps(time: Timestamp) -> Timestamps {
    Timestamps { last_access: timespec(time), last_modification: timespec(time) }
}

pub(super) fn set_times(fd: BorrowedFd<'_>, time: Timestamp) -> rustix::io::Result<()> {
    rustix::fs::futimens(fd, &timestamps(time))
}

/// Whether the system says that it cannot or may not, rather than that something is broken.
pub(super) const fn is_refusal(error: Errno) -> bool {
    matches!(error, Errno::PERM | Errno::ACCESS | Errno::OPNOTSUPP | Errno::INVAL | Errno::NOTTY | Errno::NOSYS)
}

fn is_acl(attribute: &Xattr) -> bool {
    attribute.name.starts_with("system.posix_acl_")
}

impl Work<'_> {
    /// Notes a refusal, passes an error on.
    fn set(&self, action: &'static str, entry: &Entry, result: rustix::io::Result<()>) -> Result<bool, DriverError> {
        match result {
            Ok(()) => Ok(true),
            Err(error) if is_refusal(error) => {
                let message = std::io::Error::from(error).to_string();
                self.findings.warn(FindingKind::MetadataDiffers, action, entry.display(), message);
                Ok(false)
            }
            Err(error) => Err(io_error(action, entry.display(), error)),
        }
    }

    /// Makes everything but flags what the node says; touches nothing that is right already.
    pub(super) fn set_metadata(&self, entry: &Entry, subject: Subject<'_>) -> Result<(), DriverError> {
        self.set_all_but_flags(entry, subject, false)
    }

    /// The same for what was made a moment ago.
    pub(super) fn set_metadata_of_new(&self, entry: &Entry, subject: Subject<'_>) -> Result<(), DriverError> {
        self.set_all_but_flags(entry, subject, self.bare)
    }

    fn set_all_but_flags(&self, entry: &Entry, subject: Subject<'_>, is_bare: bool) -> Result<(), DriverError> {
        let node = &entry.node;
        let current = subject.stat().map_err(|e| io_error("look at", entry.display(), e))?;
        let mut mode = node.mode;
        let mut changed = false;
        if (current.uid, current.gid) != (node.uid, node.gid) {
            changed = true;
            if !self.set("set the owner of", entry, subject.set_owner(node.uid, node.gid))? {
                // Nobody must get a program that runs with the rights of somebody else than its owner was.
                mode &= !0o6000;
            }
        }
        if !(is_bare && node.xattrs.is_empty()) {
            changed |= self.set_attributes(entry, subject)?;
        }
        if !matches!(node.kind, NodeKind::Symlink { .. }) && (changed || current.mode != mode) {
            self.set("set the mode of", entry, subject.set_mode(mode))?;
        }
        self.set("set the time of", entry, subject.set_times(node.mtime))?;
        Ok(())
    }

    /// Makes the extended attributes those of the node; ACLs after all others.
    fn set_attributes(&self, entry: &Entry, subject: Subject<'_>) -> Result<bool, DriverError> {
        let place = subject.place();
        let current = match place.xattrs() {
            Ok(current) => current,
            Err(_) if entry.node.xattrs.is_empty() => return Ok(false),
            Err(_) => Vec::new(),
        };
        let mut changed = false;
        for attribute in &current {
            let wanted = entry.node.xattrs.iter().any(|x| x.name == attribute.name);
            // A label that the system gives to every new file is not ours to remove.
            if !wanted && !attribute.name.starts_with("security.") {
                changed = true;
                self.set("remove an attribute of", entry, place.remove(&attribute.name))?;
            }
        }
        let (acls, others): (Vec<_>, Vec<_>) = entry.node.xattrs.iter().partition(|attribute| is_acl(attribute));
        for attribute in others.into_iter().chain(acls) {
            if !current.contains(attribute) {
                changed = true;
                let action = if is_acl(attribute) { "set the ACL of" } else { "set an attribute of" };
                self.set(action, entry, place.set(&attribute.name, &attribute.value))?;
            }
        }
        Ok(changed)
    }

    /// Entries whose content was right already.
    pub(super) fn finish_kept(&self) -> Result<(), DriverError> {
        let kept: Vec<usize> = self.plan.below_root().filter(|i| self.actions[*i] == Action::Keep).collect();
        queue::for_each(self.request.parallelism, self.request.control, &kept, |&index| {
            let entry = &self.plan.entries[index];
            let holder = self.holder(entry)?;
            let name = &entry.node.name[..];
            let stat = Stat::at(&holder, name).map_err(|e| io_error("look at", entry.display(), e))?;
            if entry.is_file() {
                let fd =
                    open_beneath(&holder, name, OFlags::RDONLY).map_err(|e| io_error("open", entry.display(), e))?;
                if stat.locked {
                    inode::unlock(&fd).map_err(|e| io_error("clear the flags of", entry.display(), e))?;
                }
                self.set_metadata(entry, Subject::Open { fd: fd.as_fd() })?;
            } else {
                self.set_metadata(entry, Subject::Entry { directory: holder.as_fd(), name })?;
            }
            self.item_done();
            Ok(())
        })
    }

    /// Directories, each after all that is below it.
    pub(super) fn finish_directories(&self) -> Result<(), DriverError> {
        let depth = |index: &usize| self.plan.entries[*index].path.iter().filter(|byte| **byte == b'/').count();
        let touched = |action: Action| matches!(action, Action::Make { .. } | Action::Update { .. });
        let below: Vec<usize> = self.plan.below_root().filter(|index| touched(self.actions[*index])).collect();
        // Entries of one depth follow each other.
        let levels: Vec<&[usize]> = below.chunk_by(|a, b| depth(a) == depth(b)).collect();
        for level in levels.into_iter().rev() {
            queue::for_each(self.request.parallelism, self.request.control, level, |&index| {
                self.finish_directory(index)?;
                self.item_done();
                Ok(())
            })?;
        }
        if touched(self.actions[0]) { self.finish_directory(0) } else { Ok(()) }
    }

    fn finish_directory(&self, index: usize) -> Result<(), DriverError> {
        let entry = &self.plan.entries[index];
        let fd = self.target.directory(&entry.path)?;
        let subject = Subject::Open { fd: fd.as_fd() };
        match self.actions[index] {
            Action::Make { .. } => self.set_metadata_of_new(entry, subject),
            _ => self.set_metadata(entry, subject),
        }
    }

    /// Flags and project ids of all but the root.
    pub(super) fn finish_flags(&self) -> Result<(), DriverError> {
        // Flags and project ids are inherited from the directory something is made in.
        let root = self.target.root();
        let inherited = inode::flags(root).unwrap_or(0) & inode::FLAGS_KEPT != 0 || inode::project(root) != 0;
        let existed = self.actions.iter().skip(1).any(|a| matches!(a, Action::Enter | Action::Update { .. }));
        let all = inherited || existed;
        let touched: Vec<usize> = self
            .plan
            .below_root()
            .filter(|i| {
                let entry = &self.plan.entries[*i];
                let made = matches!(self.actions[*i], Action::Make { .. } | Action::Write { .. });
                let kept = matches!(self.actions[*i], Action::Keep | Action::Update { .. });
                let wanted = entry.attributes.flags != 0 || entry.attributes.project != 0;
                (entry.is_file() || entry.is_dir()) && ((made && (all || wanted)) || kept)
            })
            .collect();
        queue::for_each(self.request.parallelism, self.request.control, &touched, |&index| {
            let entry = &self.plan.entries[index];
            let holder = self.holder(entry)?;
            let wanted = entry.attributes.flags != 0 || entry.attributes.project != 0;
            match open_beneath(&holder, &entry.node.name, OFlags::RDONLY) {
                Ok(fd) => self.set_flags(entry, fd.as_fd(), u32::MAX),
                // Without root, a file may be closed to its own owner.
                Err(_) if !wanted => Ok(()),
                Err(error) => self.set("set the flags of", entry, Err(error)).map(|_| ()),
            }
        })?;
        self.set_root_flags(!inode::FLAGS_LOCKING)
    }

    /// The root's, after it has its name: an immutable directory cannot be renamed.
    pub(super) fn finish_root_flags(&self, destination: &Destination) -> Result<(), DriverError> {
        self.set_root_flags(u32::MAX)?;
        rustix::fs::syncfs(destination.target.root()).map_err(|e| io_error("sync", "", e))
    }

    fn set_root_flags(&self, mask: u32) -> Result<(), DriverError> {
        match self.actions[0] {
            Action::Update { .. } => self.set_flags(&self.plan.entries[0], self.target.root().as_fd(), mask),
            _ => Ok(()),
        }
    }

    fn set_flags(&self, entry: &Entry, fd: BorrowedFd<'_>, mask: u32) -> Result<(), DriverError> {
        let wanted = &entry.attributes;
        if wanted.project != 0 || inode::project(fd) != 0 {
            self.set("set the project of", entry, inode::set_project(fd, wanted.project))?;
        }
        match inode::flags(fd) {
            None if wanted.flags == 0 => Ok(()),
            _ => self.set("set the flags of", entry, inode::set_flags(fd, wanted.flags & mask)).map(|_| ()),
        }
    }
}
