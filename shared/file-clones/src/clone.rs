//! Making and removing clones.

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, IFlags, Mode, OFlags};
use rustix::io::Errno;

use crate::CloneError;

/// The directory of clones beside what they are of, where no other is configured.
pub const CLONES_DIRECTORY: &str = ".holdfast-clones";

/// The directory for clones of a file: the first of those configured that is on the same file system, else one beside it.
///
/// # Errors
/// When a configured directory cannot be looked at.
pub fn place(of: &File, path: &Path, configured: &[PathBuf]) -> Result<PathBuf, CloneError> {
    let device = of.metadata().map_err(|e| CloneError::io("look at", path, e))?.dev();
    for directory in configured {
        let metadata = std::fs::metadata(directory).map_err(|e| CloneError::io("look at", directory, e))?;
        if metadata.dev() == device {
            return Ok(directory.clone());
        }
    }
    // Beside the file itself, wherever links lead: what lies beside a link may be another file system.
    let real = path.canonicalize().map_err(|e| CloneError::io("resolve", path, e))?;
    Ok(real.parent().unwrap_or(&real).join(CLONES_DIRECTORY))
}

/// How much of the file system that a file is on is free, in percent of all of it.
///
/// # Errors
/// The operating system's.
pub fn free_percent(file: &File) -> std::io::Result<u64> {
    let found = rustix::fs::fstatvfs(file)?;
    Ok(u64::try_from(u128::from(found.f_bavail) * 100 / u128::from(found.f_blocks.max(1))).unwrap_or(100))
}

/// Makes a clone at a path that must not exist. The kernel holds off writers while it makes one, so that it is an instant
/// of the file, and brings to disk what was written before. It is durable and opened for reading when this returns. Its
/// directory is made if it is not there, and must be closed to everybody but this process's user.
///
/// # Errors
/// [`CloneError::Unsupported`] where the file system shares no extents; nothing is left then.
pub fn clone_file(source: &File, at: &Path) -> Result<File, CloneError> {
    let name = at.file_name().ok_or_else(|| CloneError::io("name", at, Errno::INVAL))?;
    let (directory, made) = private_directory(at.parent().unwrap_or(at))?;
    let result = clone_into(source, &directory, name, at);
    if result.is_err() {
        let _already_failed = rustix::fs::unlinkat(&directory, name, AtFlags::empty());
        if made {
            let _already_failed = std::fs::remove_dir(at.parent().unwrap_or(at));
        }
    }
    result
}

fn clone_into(source: &File, directory: &OwnedFd, name: &OsStr, at: &Path) -> Result<File, CloneError> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let failed = |action| move |error: Errno| CloneError::io(action, at, error);
    let clone = rustix::fs::openat(directory, name, flags, Mode::RUSR).map_err(failed("make the clone"))?;
    // Data without copy on write can be shared only with files of the same kind; it is copied while it is shared.
    let wanted = rustix::fs::ioctl_getflags(source).unwrap_or(IFlags::empty());
    if wanted.contains(IFlags::NOCOW) {
        let current = rustix::fs::ioctl_getflags(&clone).unwrap_or(IFlags::empty());
        rustix::fs::ioctl_setflags(&clone, current | IFlags::NOCOW).map_err(failed("set the flags of the clone"))?;
    }
    match rustix::fs::ioctl_ficlone(&clone, source) {
        Ok(()) => {}
        Err(Errno::OPNOTSUPP | Errno::NOTTY | Errno::NOSYS) => {
            return Err(CloneError::Unsupported { path: at.display().to_string() });
        }
        Err(error) => return Err(failed("share extents with the clone")(error)),
    }
    rustix::fs::fsync(&clone).map_err(failed("sync the clone"))?;
    rustix::fs::fsync(directory).map_err(failed("sync the directory of the clone"))?;
    let read_only = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let reopened = rustix::fs::openat(directory, name, read_only, Mode::empty()).map_err(failed("open the clone"))?;
    Ok(File::from(reopened))
}

/// Opens a directory that only this user may enter, and says whether it was made now.
pub(crate) fn private_directory(path: &Path) -> Result<(OwnedFd, bool), CloneError> {
    let made = match rustix::fs::mkdirat(CWD, path, Mode::RWXU) {
        Ok(()) => true,
        Err(Errno::EXIST) => false,
        Err(error) => return Err(CloneError::io("make the directory", path, error)),
    };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = match rustix::fs::openat(CWD, path, flags, Mode::empty()) {
        Ok(directory) => directory,
        Err(Errno::LOOP | Errno::NOTDIR) => {
            let problem = "it is no directory; remove it or configure another";
            return Err(CloneError::Directory { path: path.display().to_string(), problem });
        }
        Err(error) => return Err(CloneError::io("open the directory", path, error)),
    };
    let found = rustix::fs::fstat(&directory).map_err(|e| CloneError::io("look at", path, e))?;
    if found.st_uid != rustix::process::geteuid().as_raw() || found.st_mode & 0o077 != 0 {
        let problem = "it belongs to another user or is open to others; clones are as secret as what they are of: make it \
                       the worker's own with mode 0700";
        return Err(CloneError::Directory { path: path.display().to_string(), problem });
    }
    Ok((directory, made))
}

/// Makes a directory for several clones, and the one that holds it. Both must be closed to everybody but this process's
/// user.
///
/// # Errors
/// When they cannot be made or are others'.
pub fn make_directory(at: &Path) -> Result<(), CloneError> {
    let (holder, _) = private_directory(at.parent().unwrap_or(at))?;
    private_directory(at)?;
    rustix::fs::fsync(&holder).map_err(|error| CloneError::io("sync the directory above", at, error))
}

/// Removes a directory of clones with all in it, and the one that holds it when that is the default one and empty. What is
/// gone is success.
///
/// # Errors
/// When something is still there.
pub fn remove_directory(at: &Path) -> Result<(), CloneError> {
    match std::fs::read_dir(at) {
        Ok(entries) => {
            for entry in entries {
                let entry = entry.map_err(|error| CloneError::io("list the clones in", at, error))?;
                let path = entry.path();
                match rustix::fs::unlinkat(CWD, &path, AtFlags::empty()) {
                    Ok(()) | Err(Errno::NOENT) => {}
                    Err(error) => return Err(CloneError::io("remove the clone", &path, error)),
                }
            }
            match std::fs::remove_dir(at) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(CloneError::io("remove the directory", at, error));
                }
                _ => {}
            }
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(CloneError::io("list the clones in", at, error)),
    }
    leave_holder(at);
    Ok(())
}

/// Removes the default directory that held something, when that was the last.
pub(crate) fn leave_holder(at: &Path) {
    if let Some(parent) = at.parent().filter(|parent| parent.file_name() == Some(OsStr::new(CLONES_DIRECTORY))) {
        // Others may have theirs in it.
        let _not_empty = std::fs::remove_dir(parent);
    }
    if let Some(holder) = at.parent().and_then(|p| File::open(p).ok()) {
        let _best_effort = rustix::fs::fsync(holder.as_fd());
    }
}

/// Removes a clone, and its directory when that is the default one and empty. What is gone is success.
///
/// # Errors
/// When it is still there.
pub fn remove(at: &Path) -> Result<(), CloneError> {
    match rustix::fs::unlinkat(CWD, at, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT | Errno::NOTDIR) => {}
        Err(error) => return Err(CloneError::io("remove the clone", at, error)),
    }
    leave_holder(at);
    Ok(())
}
