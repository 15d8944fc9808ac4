//! The directory that is written into. Nothing here can leave it: every name is resolved beneath its descriptor by the
//! kernel, without following links.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use driver_api::DriverError;
use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::{display, inode, io_error};

/// Longest path given to one system call; the kernel's limit is 4096 with the NUL byte.
const PATH_BYTES_MAX: usize = 4000;

#[derive(Debug)]
pub(crate) struct Target {
    root: OwnedFd,
}

impl Target {
    pub(crate) const fn new(root: OwnedFd) -> Self {
        Self { root }
    }

    pub(crate) const fn root(&self) -> &OwnedFd {
        &self.root
    }

    /// Opens a directory.
    pub(crate) fn directory(&self, path: &[u8]) -> Result<OwnedFd, DriverError> {
        let open =
            |directory: BorrowedFd<'_>, part: &[u8]| open_beneath(directory, part, OFlags::DIRECTORY | OFlags::RDONLY);
        let (part, mut rest) = cut(path);
        let mut fd = open(self.root.as_fd(), if part.is_empty() { b"." } else { part });
        while !rest.is_empty() {
            let (part, after) = cut(rest);
            fd = fd.and_then(|fd| open(fd.as_fd(), part));
            rest = after;
        }
        fd.map_err(|error| match error {
            Errno::XDEV | Errno::LOOP => DriverError::Escape {
                path: display(path),
                problem: "a symbolic link stands where a directory was; remove it or choose another target".to_owned(),
            },
            _ => io_error("open", display(path), error),
        })
    }
}

/// What one system call takes of a path, and what is left.
fn cut(path: &[u8]) -> (&[u8], &[u8]) {
    if path.len() <= PATH_BYTES_MAX {
        return (path, b"");
    }
    let at = path[..PATH_BYTES_MAX].iter().rposition(|byte| *byte == b'/').unwrap_or(path.len());
    (&path[..at], path[at..].strip_prefix(b"/").unwrap_or_default())
}

/// Opens below a directory, never through a link.
pub(crate) fn open_beneath(directory: impl AsFd, path: &[u8], flags: OFlags) -> rustix::io::Result<OwnedFd> {
    let directory = directory.as_fd();
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    // What is only named is not opened, and `openat2` refuses flags that would have no effect.
    let flags = if flags.contains(OFlags::PATH) { flags } else { flags | OFlags::NONBLOCK | OFlags::NOCTTY };
    loop {
        match rustix::fs::openat2(directory, path, flags, Mode::empty(), resolve) {
            // A rename somewhere kept the kernel from being sure.
            Err(Errno::AGAIN) => {}
            other => return other,
        }
    }
}

/// Removes an entry with all that is below it, on this file system only.
pub(crate) fn remove(directory: impl AsFd, name: &[u8]) -> rustix::io::Result<()> {
    use rustix::fs::AtFlags;

    let directory = directory.as_fd();
    let stat = match inode::Stat::at(directory, name) {
        Err(Errno::NOENT) => return Ok(()),
        other => other?,
    };
    if stat.locked {
        inode::unlock(open_beneath(directory, name, OFlags::RDONLY)?)?;
    }
    if !stat.is_dir() {
        return rustix::fs::unlinkat(directory, name, AtFlags::empty());
    }
    let opened = open_beneath(directory, name, OFlags::RDONLY | OFlags::DIRECTORY)?;
    if inode::Stat::of(&opened)?.mount != inode::Stat::of(directory)?.mount {
        return Err(Errno::BUSY);
    }
    for child in inode::list(&opened)? {
        remove(&opened, &child)?;
    }
    rustix::fs::unlinkat(directory, name, AtFlags::REMOVEDIR)
}
