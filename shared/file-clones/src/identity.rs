//! Whether a file is the one it was.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;

use serde::{Deserialize, Serialize};

/// What tells a file from another one and from itself after a change. It says nothing of the device: its number may be
/// another after a restart of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Number of the inode.
    pub inode: u64,
    /// Which file has had that number: `FS_IOC_GETVERSION`, 0 where there is none.
    pub generation: u32,
    /// In bytes.
    pub size: u64,
    /// Time of the last change of the inode: seconds.
    pub ctime: i64,
    /// And nanoseconds.
    pub ctime_nsec: i64,
}

/// `FS_IOC_GETVERSION`: declared with a `long`, of which the kernel writes an `int`.
const GETVERSION: rustix::ioctl::Opcode = rustix::ioctl::opcode::read::<std::ffi::c_long>(b'v', 1);

impl Identity {
    /// Of an open file.
    ///
    /// # Errors
    /// The operating system's.
    pub fn of(file: &File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        Ok(Self {
            inode: metadata.ino(),
            generation: generation(file).unwrap_or(0),
            size: metadata.len(),
            ctime: metadata.ctime(),
            ctime_nsec: metadata.ctime_nsec(),
        })
    }

    /// Whether it is the same file, whatever has become of it.
    #[must_use]
    pub const fn is_same_file(&self, other: &Self) -> bool {
        self.inode == other.inode && self.generation == other.generation
    }
}

fn generation(file: &File) -> rustix::io::Result<u32> {
    // SAFETY: the call writes one `int`.
    unsafe { rustix::ioctl::ioctl(file.as_fd(), rustix::ioctl::Getter::<GETVERSION, u32>::new()) }
}
