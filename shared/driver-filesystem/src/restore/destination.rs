//! Where a restore writes: a directory of its own beside a target that does not exist, or the target.

use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use driver_api::{CheckRequest, DriverError, RestoreRequest};
use job_model::OverwritePolicy;
use rustix::fs::{CWD, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use super::target::Target;
use crate::{inode, io_error};

#[derive(Debug)]
pub(crate) struct Destination {
    pub(super) target: Target,
    /// The policy inside of it.
    pub(super) policy: OverwritePolicy,
    staged: Option<Staged>,
    /// Whether the target is marked as being restored, because it must be told from one that was there.
    marked: bool,
    path: PathBuf,
}

#[derive(Debug)]
struct Staged {
    /// Whether no earlier attempt has left it.
    is_new: bool,
    parent: OwnedFd,
    staging: Vec<u8>,
    name: Vec<u8>,
}

impl Destination {
    /// Finds out what is there; none when the target is already what would be restored. Makes nothing but an empty
    /// directory beside a target that does not exist.
    pub(super) fn open(
        request: &RestoreRequest<'_>,
        key: &str,
        window_bytes: usize,
    ) -> Result<Option<Self>, DriverError> {
        let path = request.target;
        let shown = path.display().to_string();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = match rustix::fs::openat(CWD, path, flags, Mode::empty()) {
            Ok(root) => root,
            Err(Errno::NOENT) if path.is_symlink() => return Err(DriverError::TargetExists { path: shown }),
            Err(Errno::NOENT) => return Self::stage(path, key).map(Some),
            Err(Errno::NOTDIR) => return Err(DriverError::TargetExists { path: shown }),
            Err(error) => return Err(io_error("open", shown, error)),
        };
        let names = inode::list(&opened).map_err(|e| io_error("list", &shown, e))?;
        let mark = mark(key);
        let (policy, marked) = match request.overwrite {
            OverwritePolicy::Refuse if names.is_empty() || names.contains(&mark) => (OverwritePolicy::IfChanged, true),
            OverwritePolicy::Refuse if is_restored(request, window_bytes)? => return Ok(None),
            OverwritePolicy::Refuse => return Err(DriverError::TargetExists { path: shown }),
            policy => (policy, false),
        };
        let path = path.to_owned();
        Ok(Some(Self { target: Target::new(opened), policy, staged: None, marked, path }))
    }

    fn stage(path: &Path, key: &str) -> Result<Self, DriverError> {
        let shown = path.display().to_string();
        let Some(name) = path.file_name().map(OsStr::as_bytes) else {
            let problem = "it has no name; write the path of a directory".to_owned();
            return Err(DriverError::BadLocation { location: shown, problem });
        };
        let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let parent = rustix::fs::openat(CWD, parent, flags, Mode::empty())
            .map_err(|e| io_error("open the parent directory of", &shown, e))?;
        let staging = mark(key);
        let is_new = match rustix::fs::mkdirat(&parent, &staging[..], Mode::RWXU) {
            Ok(()) => true,
            Err(Errno::EXIST) => false,
            Err(error) => return Err(io_error("make a directory beside", shown, error)),
        };
        let open = || {
            let fd = rustix::fs::openat(&parent, &staging[..], flags | OFlags::NOFOLLOW, Mode::empty())?;
            let stat = inode::Stat::of(&fd)?;
            Ok((fd, stat))
        };
        let (root, stat) = open().map_err(|e: Errno| io_error("open the directory beside", &shown, e))?;
        // One that somebody else made there in advance could be changed while it is written. Root may have given it to
        // the owner in the recovery point by now.
        let euid = rustix::process::geteuid();
        if stat.uid != euid.as_raw() && !euid.is_root() {
            return Err(DriverError::TargetExists { path: format!("{shown} ({})", crate::display(&staging)) });
        }
        let staged = Staged { is_new, parent, staging, name: name.to_vec() };
        let (target, path) = (Target::new(root), path.to_owned());
        Ok(Self { target, policy: OverwritePolicy::Exact, staged: Some(staged), marked: false, path })
    }

    /// Whether the target did not exist, so that its root is made by this restore.
    pub(super) const fn is_new(&self) -> bool {
        self.staged.is_some()
    }

    /// Whether moreover no earlier attempt has made anything.
    pub(super) const fn is_fresh(&self) -> bool {
        matches!(&self.staged, Some(Staged { is_new: true, .. }))
    }

    /// Whether what is made in the target has no extended attributes but those that the system gives to every new file: where
    /// all of the target is made by this attempt, and it has inherited none itself.
    pub(super) fn is_bare(&self) -> bool {
        if !self.is_fresh() {
            return false;
        }
        let inherited = inode::Place::Open(self.target.root().as_fd()).xattrs();
        inherited.is_ok_and(|found| found.iter().all(|attribute| attribute.name.starts_with("security.")))
    }

    /// Marks a target that was empty as being restored.
    pub(super) fn begin(&self, key: &str) -> Result<(), DriverError> {
        if !self.marked {
            return Ok(());
        }
        let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(self.target.root(), mark(key), flags, Mode::RUSR | Mode::WUSR)
            .and_then(rustix::fs::fsync)
            .and_then(|()| rustix::fs::fsync(self.target.root()))
            .map_err(|e| io_error("mark", self.path.display().to_string(), e))
    }

    /// Makes everything durable and gives the target its name.
    pub(super) fn complete(&self, key: &str) -> Result<(), DriverError> {
        let shown = || self.path.display().to_string();
        rustix::fs::syncfs(self.target.root()).map_err(|e| io_error("sync", shown(), e))?;
        if self.marked {
            // The mark's removal must not show in the directory's time of change.
            let before = inode::Stat::of(self.target.root()).map_err(|e| io_error("look at", shown(), e))?;
            super::target::remove(self.target.root(), &mark(key))
                .map_err(|e| io_error("remove the mark of", shown(), e))?;
            super::metadata::set_times(self.target.root().as_fd(), before.mtime)
                .and_then(|()| rustix::fs::fsync(self.target.root()))
                .map_err(|e| io_error("sync", shown(), e))?;
        }
        if let Some(Staged { parent, staging, name, .. }) = &self.staged {
            match rustix::fs::renameat_with(parent, &staging[..], parent, &name[..], RenameFlags::NOREPLACE) {
                Ok(()) => {}
                Err(Errno::EXIST) => return Err(DriverError::TargetExists { path: shown() }),
                Err(error) => return Err(io_error("rename to", shown(), error)),
            }
            rustix::fs::fsync(parent).map_err(|e| io_error("sync the parent directory of", shown(), e))?;
        }
        Ok(())
    }
}

/// Name of the directory a new target is built in, and of the mark of one that is being filled.
pub(super) fn mark(key: &str) -> Vec<u8> {
    format!(".holdfast-{key}").into_bytes()
}

/// Whether the target is what would be restored: then an earlier attempt got to its end, and only its answer was lost.
fn is_restored(request: &RestoreRequest<'_>, window_bytes: usize) -> Result<bool, DriverError> {
    let check = CheckRequest {
        reader: request.reader,
        description: request.description,
        restored: request.target,
        options: request.options,
        privileged: rustix::process::geteuid().is_root(),
        parallelism: request.parallelism,
        control: request.control,
        elapsed_ms: request.elapsed_ms,
    };
    crate::check::is_equal(&check, request.include, window_bytes)
}
