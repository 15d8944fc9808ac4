//! Snapshots of btrfs subvolumes: instants of whole trees.

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;

use crate::CloneError;
use crate::clone::{CLONES_DIRECTORY, leave_holder, private_directory};

/// `BTRFS_SUPER_MAGIC` of Linux's `include/uapi/linux/magic.h`.
const BTRFS: u64 = 0x9123_683E;
/// `XFS_SUPER_MAGIC` of the same file.
const XFS: u64 = 0x5846_5342;
/// The inode of every subvolume's root: `BTRFS_FIRST_FREE_OBJECTID`.
const ROOT_INODE: u64 = 256;
/// `BTRFS_SUBVOL_RDONLY` of Linux's `include/uapi/linux/btrfs.h`.
const READ_ONLY: u64 = 1 << 1;
/// The inode that stands in a snapshot for a subvolume that was below the source: `BTRFS_EMPTY_SUBVOL_DIR_OBJECTID`.
pub const ABSENT_SUBVOLUME_INODE: u64 = 2;

/// `struct btrfs_ioctl_vol_args_v2`.
#[repr(C)]
struct Create {
    fd: i64,
    transaction: u64,
    flags: u64,
    unused: [u64; 4],
    name: [u8; 4040],
}

/// `struct btrfs_ioctl_vol_args`.
#[repr(C)]
struct Destroy {
    fd: i64,
    name: [u8; 4088],
}

const SNAP_CREATE_V2: rustix::ioctl::Opcode = rustix::ioctl::opcode::write::<Create>(0x94, 23);
const SNAP_DESTROY: rustix::ioctl::Opcode = rustix::ioctl::opcode::write::<Destroy>(0x94, 15);

/// Whether a directory is the root of a btrfs subvolume, of which there can be a snapshot.
///
/// # Errors
/// The operating system's.
pub fn is_subvolume(directory: impl AsFd) -> std::io::Result<bool> {
    Ok(magic(directory.as_fd())? == BTRFS && rustix::fs::fstat(directory)?.st_ino == ROOT_INODE)
}

/// Whether files of this file system may be able to share extents: it is XFS or btrfs.
///
/// # Errors
/// The operating system's.
pub fn may_share_extents(file: impl AsFd) -> std::io::Result<bool> {
    Ok(matches!(magic(file.as_fd())?, BTRFS | XFS))
}

/// Whether a file is on XFS.
pub(crate) fn is_xfs(file: impl AsFd) -> std::io::Result<bool> {
    Ok(magic(file.as_fd())? == XFS)
}

fn magic(file: BorrowedFd<'_>) -> std::io::Result<u64> {
    // The type is signed and of another width on some machines; the magic number is neither.
    #[expect(clippy::cast_sign_loss, reason = "see above")]
    let magic = rustix::fs::fstatfs(file)?.f_type as u64 & 0xFFFF_FFFF;
    Ok(magic)
}

/// Makes a read-only snapshot of a subvolume at a path that must not exist, on the same file system. It is an instant of the
/// whole tree but for subvolumes below it, durable when this returns, and opened. Its directory is made if it is not there,
/// and must be closed to everybody but this process's user.
///
/// # Errors
/// [`CloneError::Unsupported`] where the place is on another file system; nothing is left then.
pub fn snapshot(source: impl AsFd, at: &Path) -> Result<OwnedFd, CloneError> {
    let holder = at.parent().unwrap_or(at);
    let (directory, made) = private_directory(holder)?;
    let result = create(&directory, source, at);
    if result.is_err() && made {
        let _already_failed = std::fs::remove_dir(holder);
    }
    result
}

fn create(directory: &OwnedFd, source: impl AsFd, at: &Path) -> Result<OwnedFd, CloneError> {
    let failed = |action| move |error: Errno| CloneError::io(action, at, error);
    let mut request = Box::new(Create {
        fd: i64::from(source.as_fd().as_raw_fd()),
        transaction: 0,
        flags: READ_ONLY,
        unused: [0; 4],
        name: [0; 4040],
    });
    put_name(&mut request.name, at).map_err(failed("name the snapshot"))?;
    // SAFETY: the call reads a `struct btrfs_ioctl_vol_args_v2`, which `Create` is laid out like.
    let made = unsafe {
        rustix::ioctl::ioctl(directory, rustix::ioctl::Updater::<SNAP_CREATE_V2, Create>::new(&mut *request))
    };
    match made {
        Ok(()) => {}
        Err(Errno::XDEV | Errno::NOTTY) => return Err(CloneError::Unsupported { path: at.display().to_string() }),
        Err(error) => return Err(failed("make the snapshot")(error)),
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(CWD, at, flags, Mode::empty()).map_err(failed("open the snapshot"))
}

/// Removes a snapshot, and its directory when that is the default one and empty. What is gone is success.
///
/// # Errors
/// When it is still there, or something else is.
pub fn remove_snapshot(at: &Path) -> Result<(), CloneError> {
    let failed = |error: Errno| CloneError::io("remove the snapshot", at, error);
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let (holder, found) = match at.parent().map(|holder| rustix::fs::openat(CWD, holder, flags, Mode::empty())) {
        Some(Ok(directory)) => {
            let found = rustix::fs::openat(&directory, at.file_name().unwrap_or_default(), flags, Mode::empty());
            (directory, found)
        }
        Some(Err(Errno::NOENT | Errno::NOTDIR)) => return Ok(()),
        Some(Err(error)) => return Err(failed(error)),
        None => return Err(failed(Errno::INVAL)),
    };
    match found {
        Ok(root) if is_subvolume(&root).map_err(|error| CloneError::io("look at", at, error))? => {
            let mut request = Box::new(Destroy { fd: 0, name: [0; 4088] });
            put_name(&mut request.name, at).map_err(failed)?;
            // SAFETY: the call reads a `struct btrfs_ioctl_vol_args`, which `Destroy` is laid out like.
            unsafe {
                rustix::ioctl::ioctl(&holder, rustix::ioctl::Updater::<SNAP_DESTROY, Destroy>::new(&mut *request))
            }
            .map_err(failed)?;
        }
        Ok(_) => {
            let problem = "it is no subvolume; somebody replaced the snapshot";
            return Err(CloneError::Directory { path: at.display().to_string(), problem });
        }
        Err(Errno::NOENT) => {}
        Err(error) => return Err(failed(error)),
    }
    leave_holder(at);
    Ok(())
}

/// The last component of a path, ended by a zero.
fn put_name(room: &mut [u8], at: &Path) -> Result<(), Errno> {
    let name = at.file_name().ok_or(Errno::INVAL)?.as_bytes();
    if name.len() >= room.len() {
        return Err(Errno::NAMETOOLONG);
    }
    room[..name.len()].copy_from_slice(name);
    Ok(())
}

/// Directories that may hold clones or snapshots of what lies below `root`, the best first: those configured, one beside the
/// tree, one in it. Which of them are on its file system shows when something is made there.
///
/// # Errors
/// When links in the path cannot be followed.
pub fn places(root: &Path, configured: &[std::path::PathBuf]) -> Result<Vec<std::path::PathBuf>, CloneError> {
    let real = root.canonicalize().map_err(|error| CloneError::io("resolve", root, error))?;
    let beside = real.parent().map(|parent| parent.join(CLONES_DIRECTORY));
    Ok(configured.iter().cloned().chain(beside).chain([real.join(CLONES_DIRECTORY)]).collect())
}

/// Opens a file below a directory for reading, without following links or leaving it. None where there is none.
///
/// # Errors
/// The operating system's.
pub fn open_below(directory: impl AsFd, path: &[u8]) -> std::io::Result<Option<File>> {
    use rustix::fs::ResolveFlags;

    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    match rustix::fs::openat2(directory, OsStr::from_bytes(path), flags, Mode::empty(), resolve) {
        Ok(found) => Ok(Some(File::from(found))),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
