//! An inode's attributes: reading them all, the same way for capture, restore and check.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use jiff::Timestamp;
use rustix::fs::{AtFlags, FileType, IFlags, StatxAttributes, StatxFlags};
use rustix::io::Errno;
use vault_format::Xattr;

/// Flags that a user can set with `chattr` and that mean the same after a restore. From `FS_FL_USER_MODIFIABLE` of
/// Linux's `include/uapi/linux/fs.h`, without those that say how a file is stored (extents, inline data, verity, encryption,
/// case folding of a directory that is no longer empty).
pub(crate) const FLAGS_KEPT: u32 = 0x2083_C0FF;

/// Immutable or append-only: such an inode cannot be changed before the flag is cleared.
pub(crate) const FLAGS_LOCKING: u32 = 0x30;

/// What `statx` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stat {
    pub(crate) kind: FileType,
    /// Permission bits with set-user-id, set-group-id and sticky.
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) size: u64,
    pub(crate) inode: u64,
    pub(crate) device: u64,
    pub(crate) mount: u64,
    /// Number of a device node.
    pub(crate) rdev: u64,
    pub(crate) links: u64,
    pub(crate) mtime: Timestamp,
    pub(crate) ctime: Timestamp,
    /// Whether it is immutable or append-only.
    pub(crate) locked: bool,
    /// Whether a time lies outside of what a node can hold.
    pub(crate) time_clamped: bool,
}

impl Stat {
    /// Of an open file.
    pub(crate) fn of(fd: impl AsFd) -> rustix::io::Result<Self> {
        Self::query(fd.as_fd(), b"", AtFlags::EMPTY_PATH)
    }

    /// Of a directory's entry, without following a symbolic link.
    pub(crate) fn at(directory: impl AsFd, name: &[u8]) -> rustix::io::Result<Self> {
        Self::query(directory.as_fd(), name, AtFlags::SYMLINK_NOFOLLOW)
    }

    fn query(fd: BorrowedFd<'_>, name: &[u8], flags: AtFlags) -> rustix::io::Result<Self> {
        let wanted = StatxFlags::BASIC_STATS | StatxFlags::MNT_ID;
        let found = rustix::fs::statx(fd, name, flags | AtFlags::NO_AUTOMOUNT, wanted)?;
        let (mtime, mtime_clamped) = timestamp(found.stx_mtime.tv_sec, found.stx_mtime.tv_nsec);
        let (ctime, _) = timestamp(found.stx_ctime.tv_sec, found.stx_ctime.tv_nsec);
        Ok(Self {
            kind: FileType::from_raw_mode(u32::from(found.stx_mode)),
            mode: u32::from(found.stx_mode) & 0o7777,
            uid: found.stx_uid,
            gid: found.stx_gid,
            size: found.stx_size,
            inode: found.stx_ino,
            device: rustix::fs::makedev(found.stx_dev_major, found.stx_dev_minor),
            mount: found.stx_mnt_id,
            rdev: rustix::fs::makedev(found.stx_rdev_major, found.stx_rdev_minor),
            links: u64::from(found.stx_nlink),
            mtime,
            ctime,
            locked: found.stx_attributes.intersects(StatxAttributes::IMMUTABLE | StatxAttributes::APPEND),
            time_clamped: mtime_clamped,
        })
    }

    pub(crate) fn is_dir(&self) -> bool {
        self.kind == FileType::Directory
    }

    pub(crate) fn is_file(&self) -> bool {
        self.kind == FileType::RegularFile
    }

    /// Whether nothing about the content can have changed between two looks.
    pub(crate) fn same_state(&self, other: &Self) -> bool {
        (self.kind, self.device, self.inode, self.size, self.mtime, self.ctime)
            == (other.kind, other.device, other.inode, other.size, other.mtime, other.ctime)
    }
}

/// Seconds of 0000-01-01T00:00:00Z: the earliest that restic writes.
const SECONDS_MIN: i64 = -62_167_219_200;

/// The instant, moved into the range that a node can hold, and whether it had to be.
fn timestamp(seconds: i64, nanoseconds: u32) -> (Timestamp, bool) {
    let exact = i32::try_from(nanoseconds).ok().and_then(|n| Timestamp::new(seconds, n).ok());
    match exact {
        Some(time) if seconds >= SECONDS_MIN => (time, false),
        _ if seconds < 0 => (Timestamp::from_second(SECONDS_MIN).unwrap_or(Timestamp::MIN), true),
        _ => (Timestamp::MAX, true),
    }
}

/// Seconds and nanoseconds as system calls take them: nanoseconds count upwards also before 1970.
pub(crate) fn timespec(time: Timestamp) -> rustix::fs::Timespec {
    let nanoseconds = time.as_nanosecond();
    // A timestamp's seconds fit 64 bits by its range; the remainder is below a billion.
    #[expect(clippy::cast_possible_truncation, reason = "see above")]
    rustix::fs::Timespec {
        tv_sec: nanoseconds.div_euclid(1_000_000_000) as i64,
        tv_nsec: nanoseconds.rem_euclid(1_000_000_000) as _,
    }
}

/// Where to read and write extended attributes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Place<'a> {
    /// An open file or directory.
    Open(BorrowedFd<'a>),
    /// A directory's entry of any kind.
    Entry(BorrowedFd<'a>, &'a [u8]),
}

impl Place<'_> {
    /// The kernel has no attribute calls that take a directory and a name (before 6.13); the descriptor's entry in `/proc`
    /// is as good, and the `l` calls do not follow the last component.
    fn proc_path(directory: BorrowedFd<'_>, name: &[u8]) -> Vec<u8> {
        [format!("/proc/self/fd/{}/", directory.as_raw_fd()).as_bytes(), name].concat()
    }

    fn list(&self, buffer: Option<&mut [u8]>) -> rustix::io::Result<usize> {
        match (*self, buffer) {
            (Self::Open(fd), None) => rustix::fs::flistxattr_query(fd),
            (Self::Open(fd), Some(buffer)) => rustix::fs::flistxattr(fd, buffer),
            (Self::Entry(directory, name), None) => rustix::fs::llistxattr_query(Self::proc_path(directory, name)),
            (Self::Entry(directory, name), Some(buffer)) => {
                rustix::fs::llistxattr(Self::proc_path(directory, name), buffer)
            }
        }
    }

    fn get(&self, attribute: &[u8], buffer: Option<&mut [u8]>) -> rustix::io::Result<usize> {
        match (*self, buffer) {
            (Self::Open(fd), None) => rustix::fs::fgetxattr_query(fd, attribute),
            (Self::Open(fd), Some(buffer)) => rustix::fs::fgetxattr(fd, attribute, buffer),
            (Self::Entry(directory, name), None) => {
                rustix::fs::lgetxattr_query(Self::proc_path(directory, name), attribute)
            }
            (Self::Entry(directory, name), Some(buffer)) => {
                rustix::fs::lgetxattr(Self::proc_path(directory, name), attribute, buffer)
            }
        }
    }

    pub(crate) fn set(&self, attribute: &str, value: &[u8]) -> rustix::io::Result<()> {
        let flags = rustix::fs::XattrFlags::empty();
        match *self {
            Self::Open(fd) => rustix::fs::fsetxattr(fd, attribute, value, flags),
            Self::Entry(directory, name) => {
                rustix::fs::lsetxattr(Self::proc_path(directory, name), attribute, value, flags)
            }
        }
    }

    pub(crate) fn remove(&self, attribute: &str) -> rustix::io::Result<()> {
        match *self {
            Self::Open(fd) => rustix::fs::fremovexattr(fd, attribute),
            Self::Entry(directory, name) => rustix::fs::lremovexattr(Self::proc_path(directory, name), attribute),
        }
    }

    /// All extended attributes that can be seen, sorted by name.
    pub(crate) fn xattrs(&self) -> io::Result<Vec<Xattr>> {
        let names = match read_grown(|buffer| self.list(buffer)) {
            Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
            other => other?,
        };
        let mut found = Vec::new();
        for name in names.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
            let value = match read_grown(|buffer| self.get(name, buffer)) {
                // Removed since it was listed.
                Err(Errno::NODATA) => continue,
                other => other?,
            };
            let name = std::str::from_utf8(name).map_err(|_| {
                io::Error::other(format!("the attribute name `{}` is not UTF-8", String::from_utf8_lossy(name)))
            })?;
            found.push(Xattr { name: name.to_owned(), value });
        }
        found.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(found)
    }
}

/// Calls without a buffer to learn the size, then with one of that size, until it fits.
fn read_grown(call: impl Fn(Option<&mut [u8]>) -> rustix::io::Result<usize>) -> rustix::io::Result<Vec<u8>> {
    loop {
        let length = call(None)?;
        if length == 0 {
            return Ok(Vec::new());
        }
        let mut buffer = vec![0; length];
        match call(Some(&mut buffer)) {
            Ok(length) => {
                buffer.truncate(length);
                return Ok(buffer);
            }
            Err(Errno::RANGE) => {}
            Err(error) => return Err(error),
        }
    }
}

/// The flags of an open file or directory; none where the file system has no flags.
pub(crate) fn flags(fd: impl AsFd) -> Option<u32> {
    rustix::fs::ioctl_getflags(fd).ok().map(|flags| flags.bits())
}

/// Makes the kept flags these; all others stay.
pub(crate) fn set_flags(fd: impl AsFd, wanted: u32) -> rustix::io::Result<()> {
    let fd = fd.as_fd();
    let current = rustix::fs::ioctl_getflags(fd)?.bits();
    let new = (current & !FLAGS_KEPT) | (wanted & FLAGS_KEPT);
    if new == current { Ok(()) } else { rustix::fs::ioctl_setflags(fd, IFlags::from_bits_retain(new)) }
}

/// Clears what keeps an inode from being changed.
pub(crate) fn unlock(fd: impl AsFd) -> rustix::io::Result<()> {
    let fd = fd.as_fd();
    let current = rustix::fs::ioctl_getflags(fd)?.bits();
    rustix::fs::ioctl_setflags(fd, IFlags::from_bits_retain(current & !FLAGS_LOCKING))
}

/// `struct fsxattr` of Linux's `include/uapi/linux/fs.h`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct FsXattr {
    xflags: u32,
    extent_size: u32,
    extents: u32,
    project: u32,
    cow_extent_size: u32,
    padding: [u8; 8],
}

/// `FS_IOC_FSGETXATTR` and `FS_IOC_FSSETXATTR`.
const FSGETXATTR: rustix::ioctl::Opcode = rustix::ioctl::opcode::read::<FsXattr>(b'X', 31);
const FSSETXATTR: rustix::ioctl::Opcode = rustix::ioctl::opcode::write::<FsXattr>(b'X', 32);

fn fs_xattr(fd: BorrowedFd<'_>) -> rustix::io::Result<FsXattr> {
    // SAFETY: the call writes one `struct fsxattr`, which is what `FsXattr` is.
    unsafe { rustix::ioctl::ioctl(fd, rustix::ioctl::Getter::<FSGETXATTR, FsXattr>::new()) }
}

/// The project id of an open file or directory; 0 where there are none.
pub(crate) fn project(fd: impl AsFd) -> u32 {
    fs_xattr(fd.as_fd()).map(|found| found.project).unwrap_or(0)
}

/// Sets the project id.
pub(crate) fn set_project(fd: impl AsFd, project: u32) -> rustix::io::Result<()> {
    let fd = fd.as_fd();
    let current = fs_xattr(fd)?;
    if current.project == project {
        return Ok(());
    }
    let wanted = FsXattr { project, ..current };
    // SAFETY: the call reads one `struct fsxattr`, which is what `FsXattr` is.
    unsafe { rustix::ioctl::ioctl(fd, rustix::ioctl::Setter::<FSSETXATTR, FsXattr>::new(wanted)) }
}

/// The names in an open directory, sorted.
pub(crate) fn list(directory: impl AsFd) -> rustix::io::Result<Vec<Vec<u8>>> {
    let mut buffer = Vec::with_capacity(32 << 10);
    let fd = directory.as_fd();
    rustix::fs::seek(fd, rustix::fs::SeekFrom::Start(0))?;
    let mut entries = rustix::fs::RawDir::new(fd, buffer.spare_capacity_mut());
    let mut names = Vec::new();
    while let Some(entry) = entries.next() {
        let name = entry?.file_name().to_bytes().to_vec();
        if name != b"." && name != b".." {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_before_1970_keep_their_nanoseconds() {
        for (seconds, nanoseconds) in [(0, 0), (-1, 1), (-86_400, 999_999_999), (4_102_444_800, 5), (SECONDS_MIN, 0)] {
            let (time, clamped) = timestamp(seconds, nanoseconds);
            let spec = timespec(time);
            assert_eq!((spec.tv_sec, spec.tv_nsec as u32, clamped), (seconds, nanoseconds, false));
        }
        assert!(timestamp(i64::MAX, 0).1);
        assert!(timestamp(i64::MIN, 0).1);
    }
}
