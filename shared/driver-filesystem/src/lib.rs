//! Captures and restores file trees with all their metadata.
//!
//! # What is kept
//!
//! Types, modes, numeric owners with their names, times of change in nanoseconds, extended attributes with ACLs and
//! capabilities, hard links, devices, pipes, sockets, names that are no UTF-8: in nodes that restic understands. What such
//! a node cannot hold (inode flags, project id, which parts of a sparse file have data) is kept in a sidecar, see
//! [`SIDECAR_NAME`]. As in restic, the time of the last access is not kept; nor are the times of birth and of the last
//! change of metadata, which no system call can set. Space that was reserved but never written comes back as a hole.
//!
//! A capture stays on the file system (and mount) of the resource's root. Directories on which something else is mounted
//! are kept as empty directories, files on which something is mounted are left out; both are listed in the facts.
//! Directories `.holdfast-clones` with mode 0700 are left out: they hold clones of volumes that are captured for themselves.
//!
//! # How a change is noticed
//!
//! A file is taken over from the parent without reading it when path, device, inode, `ctime`, `mtime` and size are the
//! parent's, its `ctime` is older than the parent's capture (else it may have changed again in the same tick of the
//! clock), and the vault still has its content.
//!
//! # Instants, and what changed in large files
//!
//! Of a btrfs subvolume, a read-only snapshot is taken and read in place of the tree: an instant of all of it but for
//! subvolumes below. On XFS, and for other directories of btrfs, each file of 64 MiB and more is cloned while the tree is
//! walked and everything smaller read; what is large is read from its clone afterwards. Hooks that brought an application to
//! rest are ended as soon as the snapshot is there or the walk is done, so that what they hold is one instant of the whole.
//! (They must not freeze this file system: nothing can be cloned on it then.)
//!
//! Snapshot or clones stay until the next recovery point is committed. Of a large file whose metadata changed, the extents
//! are compared with the parent's, and only those of the parent's chunks are read again in which something may have changed.
//! A file whose instant is missing, was touched, or is of another file is read whole, and the recovery point says why.
//! Elsewhere nothing is cloned; files are read as they are.
//!
//! # Restores
//!
//! A new target is built beside its place and renamed when it is whole. In an existing target, each file is written
//! beside the one it replaces; all are renamed when the last one was read from the vault without error, which needs room
//! for both. A repeated restore keeps what is already right, judged by its content. Holes are compared without reading
//! them.
//!
//! # Memory
//!
//! Restores and checks go through the recovery point in windows: directories, one after the other, until their entries take
//! 24 MiB (an entry takes about 250 bytes and 36 for each chunk; most trees are one window). Where that is not enough they take
//! 8 MiB each, and while one is worked on the next is read; each step over all entries reads the trees again, and none of
//! them keeps more than two bytes for each entry. Whatever the tree, there are held beside the windows:
//!
//! * about 150 bytes and a path for each file that has several names, and 32 bytes for each of its names;
//! * about 100 bytes for each entry of which the sidecar says something (flags, project ids), and 16 for each extent;
//! * with [`FilesystemDriver::restore_in_place`], 4 bytes for each chunk that is changed where it lies.
//!
//! Small chunks are gathered before they are written, up to 4 MiB for each thread that fetches. A directory is never divided:
//! the entries of the largest one, and the chunks of the largest file, are in memory at once.

mod capture;
mod check;
mod content;
mod extents;
mod inode;
mod owners;
mod plan;
mod restore;
mod sidecar;

use std::path::PathBuf;

use driver_api::{
    Capture, CaptureRequest, Check, CheckRequest, Driver, DriverError, Probe, RestoreRequest, Restored, file_path,
};
use job_model::ResourceType;
use rustix::fs::{CWD, Mode, OFlags};

pub use sidecar::SIDECAR_NAME;

/// The driver for file trees.
#[derive(Clone, Copy, Debug, Default)]
pub struct FilesystemDriver;

impl FilesystemDriver {
    /// The driver; it has no settings.
    #[must_use]
    pub const fn new() -> Self {
        Self
    }

    /// As [`Driver::restore`], but of a file that is there already only the chunks that differ are written, into the file
    /// itself. For trees that are nothing until they are whole, as a database's: a restore that is cut short leaves files
    /// that are partly old. So that nobody takes them for the old tree or the new one, the file `last` is moved away
    /// before the first of them is changed, and is the last to be put in place. What is damaged in the vault is found
    /// before that.
    ///
    /// # Errors
    /// As [`Driver::restore`].
    pub fn restore_in_place(&self, request: &RestoreRequest<'_>, last: &str) -> Result<Restored, DriverError> {
        restore::run(request, Some(last), plan::WINDOW_BYTES)
    }

    /// As [`Driver::restore`], or as [`Self::restore_in_place`] where there is a `last`, with windows of about so many
    /// bytes instead of those that suit any tree. The outcome is the same: this is for tests, and for machines with little
    /// memory.
    ///
    /// # Errors
    /// As [`Driver::restore`].
    pub fn restore_in_windows(
        &self,
        request: &RestoreRequest<'_>,
        last: Option<&str>,
        window_bytes: usize,
    ) -> Result<Restored, DriverError> {
        restore::run(request, last, window_bytes)
    }

    /// As [`Driver::check`], with windows as in [`Self::restore_in_windows`].
    ///
    /// # Errors
    /// As [`Driver::check`].
    pub fn check_in_windows(&self, request: &CheckRequest<'_>, window_bytes: usize) -> Result<Check, DriverError> {
        check::run(request, window_bytes)
    }
}

impl Driver for FilesystemDriver {
    fn resource_type(&self) -> ResourceType {
        ResourceType::Files
    }

    fn probe(&self, location: &str) -> Result<Probe, DriverError> {
        let root = open_root(location)?;
        let mut warnings = Vec::new();
        if !rustix::process::geteuid().is_root() {
            warnings.push(
                "without root, files of other users may be unreadable and attributes in `trusted.` are not seen; run the \
                 worker as root or give it CAP_DAC_READ_SEARCH and CAP_SYS_ADMIN"
                    .to_owned(),
            );
        }
        inode::Stat::of(&root).map_err(|e| io_error("read the attributes of", location, e))?;
        Ok(Probe { size_bytes: None, warnings })
    }

    fn capture(&self, request: CaptureRequest<'_>) -> Result<Capture, DriverError> {
        capture::run(&request)
    }

    fn discard(&self, remains: &serde_json::Value) -> Result<(), DriverError> {
        capture::discard(remains)
    }

    fn restore(&self, request: RestoreRequest<'_>) -> Result<Restored, DriverError> {
        restore::run(&request, None, plan::WINDOW_BYTES)
    }

    fn staging(&self, request: &RestoreRequest<'_>) -> PathBuf {
        restore::staging(request)
    }

    fn check(&self, request: CheckRequest<'_>) -> Result<Check, DriverError> {
        check::run(&request, plan::WINDOW_BYTES)
    }
}

/// Opens the root directory of a resource. The location may lead through symbolic links: the operator chose it.
fn open_root(location: &str) -> Result<std::os::fd::OwnedFd, DriverError> {
    use rustix::io::Errno;

    let path = file_path(location)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    match rustix::fs::openat(CWD, path.as_path(), flags, Mode::empty()) {
        Ok(root) => Ok(root),
        Err(Errno::NOENT) => Err(DriverError::NotFound { location: location.to_owned() }),
        Err(Errno::NOTDIR) => Err(DriverError::BadLocation {
            location: location.to_owned(),
            problem: "it is not a directory; register a single file's directory instead".to_owned(),
        }),
        Err(error) => Err(io_error("open", location, error)),
    }
}

fn io_error(action: &'static str, path: impl Into<String>, source: impl Into<std::io::Error>) -> DriverError {
    DriverError::Io { action, path: path.into(), source: source.into() }
}

/// An error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}

/// A path for people: bytes that are no UTF-8 are replaced.
fn display(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}

/// A child's path below the resource.
fn join(parent: &[u8], name: &[u8]) -> Vec<u8> {
    if parent.is_empty() { name.to_vec() } else { [parent, b"/", name].concat() }
}
