//! Metadata, in the only order that works: owner (clears set-user-id bits and capabilities), attributes, ACLs, mode, times;
//! directories after their entries; flags last, because an immutable inode takes nothing more.

use std::cmp::Reverse;
use std::os::fd::{AsFd, BorrowedFd};

use driver_api::DriverError;
use jiff::Timestamp;
use job_model::FindingKind;
use rustix::fs::{AtFlags, CWD, Gid, Mode, OFlags, Timestamps, Uid};
use rustix::io::Errno;
use vault_format::Xattr;

use super::Work;
use super::decide::Action;
use super::destination::Destination;
use super::left::Left;
use super::target::open_beneath;
use crate::inode::{self, Place, Stat, timespec};
use crate::io_error;
use crate::plan::{Entry, Kind, Window};
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

    /// Makes everything but flags what the entry says; touches nothing that is right already.
    pub(super) fn set_metadata(&self, entry: &Entry, subject: Subject<'_>) -> Result<(), DriverError> {
        self.set_all_but_flags(entry, subject, false)
    }

    /// The same for what was made a moment ago.
    pub(super) fn set_metadata_of_new(&self, entry: &Entry, subject: Subject<'_>) -> Result<(), DriverError> {
        self.set_all_but_flags(entry, subject, self.bare)
    }

    fn set_all_but_flags(&self, entry: &Entry, subject: Subject<'_>, is_bare: bool) -> Result<(), DriverError> {
        let current = subject.stat().map_err(|e| io_error("look at", entry.display(), e))?;
        let mut mode = entry.mode;
        let mut changed = false;
        if (current.uid, current.gid) != (entry.uid, entry.gid) {
            changed = true;
            if !self.set("set the owner of", entry, subject.set_owner(entry.uid, entry.gid))? {
                // Nobody must get a program that runs with the rights of somebody else than its owner was.
                mode &= !0o6000;
            }
        }
        if !(is_bare && entry.xattrs.is_empty()) {
            changed |= self.set_attributes(entry, subject)?;
        }
        if !matches!(entry.kind, Kind::Symlink { .. }) && (changed || current.mode != mode) {
            self.set("set the mode of", entry, subject.set_mode(mode))?;
        }
        self.set("set the time of", entry, subject.set_times(entry.mtime))?;
        Ok(())
    }

    /// Makes the extended attributes those of the entry; ACLs after all others.
    fn set_attributes(&self, entry: &Entry, subject: Subject<'_>) -> Result<bool, DriverError> {
        let place = subject.place();
        let current = match place.xattrs() {
            Ok(current) => current,
            Err(_) if entry.xattrs.is_empty() => return Ok(false),
            Err(_) => Vec::new(),
        };
        let mut changed = false;
        for attribute in &current {
            let wanted = entry.xattrs.iter().any(|x| x.name == attribute.name);
            // A label that the system gives to every new file is not ours to remove.
            if !wanted && !attribute.name.starts_with("security.") {
                changed = true;
                self.set("remove an attribute of", entry, place.remove(&attribute.name))?;
            }
        }
        let (acls, others): (Vec<_>, Vec<_>) = entry.xattrs.iter().partition(|attribute| is_acl(attribute));
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
    pub(super) fn finish_kept(&self, window: &Window) -> Result<(), DriverError> {
        let is_kept = |entry: &&Entry| self.actions[entry.number] == Action::Keep;
        let kept: Vec<&Entry> = window.below_root().iter().filter(is_kept).collect();
        queue::for_each(self.request.parallelism, self.request.control, &kept, |entry| {
            let holder = self.holder(entry)?;
            let name = entry.name();
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
        if let Some(met) = self.met.all() {
            return self.finish_each(met.iter().collect());
        }
        let mut left = Left::default();
        self.plan.windows(|window| self.finish_each(left.after(window).iter().collect()))
    }

    fn finish_each(&self, mut directories: Vec<&Entry>) -> Result<(), DriverError> {
        directories.retain(|entry| matches!(self.actions[entry.number], Action::Make { .. } | Action::Update { .. }));
        directories.sort_by_key(|entry| Reverse(depth(entry)));
        for level in directories.chunk_by(|a, b| depth(a) == depth(b)) {
            queue::for_each(self.request.parallelism, self.request.control, level, |entry| {
                self.finish_directory(entry)?;
                if entry.number > 0 {
                    self.item_done();
                }
                Ok(())
            })?;
        }
        Ok(())
    }

    fn finish_directory(&self, entry: &Entry) -> Result<(), DriverError> {
        let fd = self.target.directory(entry.path())?;
        let subject = Subject::Open { fd: fd.as_fd() };
        match self.actions[entry.number] {
            Action::Make { .. } => self.set_metadata_of_new(entry, subject),
            _ => self.set_metadata(entry, subject),
        }
    }

    /// Flags and project ids of all but the root.
    pub(super) fn finish_flags(&self) -> Result<(), DriverError> {
        // Flags and project ids are inherited from the directory something is made in.
        let root = self.target.root();
        let inherited = inode::flags(root).unwrap_or(0) & inode::FLAGS_KEPT != 0 || inode::project(root) != 0;
        let of_any = |which: fn(&Action) -> bool| self.actions.iter().skip(1).any(which);
        let all = inherited || of_any(|action| matches!(action, Action::Enter | Action::Update { .. }));
        let is_kept = |action: &Action| matches!(action, Action::Keep | Action::Update { .. });
        if all || self.plan.has_attributes() || of_any(is_kept) {
            self.plan.windows(|window| {
                let wanted = |entry: &Entry| {
                    let action = &self.actions[entry.number];
                    let made = matches!(action, Action::Make { .. } | Action::Write { .. });
                    (entry.is_file() || entry.is_dir()) && ((made && (all || has_flags(entry))) || is_kept(action))
                };
                let touched: Vec<&Entry> = window.below_root().iter().filter(|entry| wanted(entry)).collect();
                queue::for_each(self.request.parallelism, self.request.control, &touched, |entry| {
                    self.finish_flags_of(entry)
                })
            })?;
        }
        self.set_root_flags(!inode::FLAGS_LOCKING)
    }

    fn finish_flags_of(&self, entry: &Entry) -> Result<(), DriverError> {
        let holder = self.holder(entry)?;
        match open_beneath(&holder, entry.name(), OFlags::RDONLY) {
            Ok(fd) => self.set_flags(entry, fd.as_fd(), u32::MAX),
            // Without root, a file may be closed to its own owner.
            Err(_) if !has_flags(entry) => Ok(()),
            Err(error) => self.set("set the flags of", entry, Err(error)).map(|_| ()),
        }
    }

    /// The root's, after it has its name: an immutable directory cannot be renamed.
    pub(super) fn finish_root_flags(&self, destination: &Destination) -> Result<(), DriverError> {
        self.set_root_flags(u32::MAX)?;
        rustix::fs::syncfs(destination.target.root()).map_err(|e| io_error("sync", "", e))
    }

    fn set_root_flags(&self, mask: u32) -> Result<(), DriverError> {
        match self.actions[0] {
            Action::Update { .. } => self.set_flags(&self.plan.root, self.target.root().as_fd(), mask),
            _ => Ok(()),
        }
    }

    fn set_flags(&self, entry: &Entry, fd: BorrowedFd<'_>, mask: u32) -> Result<(), DriverError> {
        let (project, flags) = (entry.project(), entry.flags());
        if project != 0 || inode::project(fd) != 0 {
            self.set("set the project of", entry, inode::set_project(fd, project))?;
        }
        match inode::flags(fd) {
            None if flags == 0 => Ok(()),
            _ => self.set("set the flags of", entry, inode::set_flags(fd, flags & mask)).map(|_| ()),
        }
    }
}

fn has_flags(entry: &Entry) -> bool {
    entry.flags() != 0 || entry.project() != 0
}

/// How many directories lead to an entry.
pub(super) fn depth(entry: &Entry) -> usize {
    if entry.path().is_empty() { 0 } else { 1 + entry.path().iter().filter(|byte| **byte == b'/').count() }
}
