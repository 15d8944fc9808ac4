//! What a capture leaves for the next one to compare with: a snapshot of the subvolume, or clones of large files.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use driver_api::{CaptureRequest, DriverError};
use file_clones::Identity;
use rustix::fs::{CWD, Mode, OFlags};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use vault_format::{Node, NodeKind};

use crate::inode::Stat;
use crate::{chain, io_error};

/// The list of clones, beside them.
const MANIFEST_NAME: &str = "manifest.json";
/// Longest list that is read: what a capture writes is far shorter.
const MANIFEST_BYTES_MAX: u64 = 4 << 20;

/// In the worker's state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub(crate) enum Remains {
    /// A read-only snapshot of the subvolume.
    Snapshot {
        /// Where it lies.
        path: PathBuf,
        /// Where the tree lies.
        of: PathBuf,
    },
    /// A directory of clones of large files.
    Clones {
        /// Where it lies.
        path: PathBuf,
        /// Where the tree lies.
        of: PathBuf,
        /// SHA-256 of the list of them in hexadecimal digits; absent while they are only intended.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        manifest: Option<String>,
    },
}

impl Remains {
    pub(super) fn to_json(&self) -> serde_json::Value {
        // Strings and maps of them always have a JSON form.
        serde_json::to_value(self).unwrap_or_default()
    }
}

/// A clone of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Kept {
    /// The file as the recovery point has it.
    pub(super) source: Identity,
    /// The clone as it was left.
    pub(super) clone: Identity,
}

/// Clones by the inode that they are of, which is also their name.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Manifest {
    pub(super) files: BTreeMap<u64, Kept>,
}

impl Manifest {
    /// Durably beside the clones; gives its digest.
    pub(super) fn write(&self, directory: &Path) -> std::io::Result<String> {
        let bytes = serde_json::to_vec(self)?;
        let path = directory.join(MANIFEST_NAME);
        let mut file = File::options().write(true).create_new(true).mode(0o400).open(path)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        File::open(directory)?.sync_all()?;
        Ok(hex::encode(Sha256::digest(&bytes)))
    }

    fn read(directory: &Path, digest: &str) -> Result<Self, String> {
        let path = directory.join(MANIFEST_NAME);
        let shown = path.display();
        let mut bytes = Vec::new();
        let read = open_nofollow(&path).and_then(|file| file.take(MANIFEST_BYTES_MAX).read_to_end(&mut bytes));
        match read {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(format!("the parent's clones in `{}` are gone", directory.display()));
            }
            Err(error) => return Err(format!("`{shown}` cannot be read: {error}")),
            Ok(_) => {}
        }
        if hex::encode(Sha256::digest(&bytes)) != digest {
            return Err(format!("`{shown}` is not as it was left; somebody changed it"));
        }
        serde_json::from_slice(&bytes).map_err(|error| format!("`{shown}`: {error}"))
    }
}

/// What the capture of the parent left.
pub(super) enum Base {
    Snapshot { root: OwnedFd, path: PathBuf },
    Clones { directory: PathBuf, manifest: Manifest },
}

impl Base {
    /// An error in words when there is none to trust.
    pub(super) fn open(request: &CaptureRequest<'_>) -> Result<Self, String> {
        let kept = request.tracking.and_then(|tracking| tracking.base());
        let kept = kept.ok_or("this worker keeps no clones of the parent recovery point")?;
        let remains = Remains::deserialize(kept).map_err(|error| format!("what is kept of the parent: {error}"))?;
        match remains {
            Remains::Snapshot { path, .. } => {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                match rustix::fs::openat(CWD, &path, flags, Mode::empty()) {
                    Ok(root) => Ok(Self::Snapshot { root, path }),
                    Err(rustix::io::Errno::NOENT) => Err(format!("the parent's snapshot `{}` is gone", path.display())),
                    Err(error) => Err(format!("the parent's snapshot `{}` cannot be opened: {error}", path.display())),
                }
            }
            Remains::Clones { path, manifest: Some(digest), .. } => {
                Ok(Self::Clones { manifest: Manifest::read(&path, &digest)?, directory: path })
            }
            Remains::Clones { .. } => Err("no clones of the parent were completed".to_owned()),
        }
    }

    /// The parent's instant of a file that the parent has as `node`; an error in words when it cannot be trusted. `now` is
    /// the file today, `reading` what will be read of it.
    pub(super) fn file(&self, path: &[u8], node: &Node, now: &Identity, reading: &File) -> Result<File, String> {
        let NodeKind::File { size, .. } = node.kind else { return Err("the parent has something else".to_owned()) };
        match self {
            Self::Snapshot { root, path: at } => {
                let gone = || format!("it is not in the parent's snapshot `{}`", at.display());
                let failed = |error: std::io::Error| format!("the parent's snapshot `{}`: {error}", at.display());
                let base = file_clones::open_below(root, path).map_err(failed)?.ok_or_else(gone)?;
                let stat = Stat::of(&base).map_err(|error| failed(error.into()))?;
                let identity = Identity::of(&base).map_err(failed)?;
                let as_captured =
                    (stat.inode, stat.ctime, stat.mtime, stat.size) == (node.inode, node.ctime, node.mtime, size);
                if !stat.is_file() || !as_captured {
                    return Err(format!("it is not as it was left in the parent's snapshot `{}`", at.display()));
                }
                if identity.is_same_file(now) { Ok(base) } else { Err(another_file()) }
            }
            Self::Clones { directory, manifest } => {
                let kept = manifest.files.get(&node.inode).ok_or("no clone of it was kept")?;
                let recorded = jiff::Timestamp::new(kept.source.ctime, kept.source.ctime_nsec.try_into().unwrap_or(0));
                if recorded.ok() != Some(node.ctime) || kept.source.size != size {
                    return Err("the clone that was kept is not of the parent recovery point".to_owned());
                }
                if !kept.source.is_same_file(now) {
                    return Err(another_file());
                }
                let at = directory.join(node.inode.to_string());
                let shown = at.display();
                let base = open_nofollow(&at).map_err(|error| match error.kind() {
                    std::io::ErrorKind::NotFound => format!("the parent's clone `{shown}` is gone"),
                    _ => format!("the parent's clone `{shown}` cannot be opened: {error}"),
                })?;
                if Identity::of(&base).ok() != Some(kept.clone) {
                    return Err(format!("the parent's clone `{shown}` is not as it was left; somebody changed it"));
                }
                let device = |file: &File| file.metadata().map(|metadata| metadata.dev()).ok();
                if device(&base) != device(reading) {
                    return Err(format!("the parent's clone `{shown}` is on another file system"));
                }
                Ok(base)
            }
        }
    }
}

fn another_file() -> String {
    "it is another file than the one the parent was captured from".to_owned()
}

pub(super) fn open_nofollow(path: &Path) -> std::io::Result<File> {
    let nofollow = i32::try_from(OFlags::NOFOLLOW.bits()).unwrap_or(0);
    File::options().read(true).custom_flags(nofollow).open(path)
}

/// Removes what a capture left.
pub(crate) fn discard(remains: &serde_json::Value) -> Result<(), DriverError> {
    let read = Remains::deserialize(remains)
        .map_err(|error| DriverError::NotOurs { problem: format!("what is kept for it: {error}") })?;
    let (Remains::Snapshot { path, of } | Remains::Clones { path, of, .. }) = &read;
    let shown = path.display().to_string();
    // A file system that is not mounted has none of it, until it is mounted again.
    if !path.parent().is_some_and(Path::exists) && !of.exists() {
        let gone = std::io::Error::from(std::io::ErrorKind::NotFound);
        return Err(io_error("find the directory of clones above", shown, gone));
    }
    let removed = match &read {
        Remains::Snapshot { path, .. } => file_clones::remove_snapshot(path),
        Remains::Clones { path, .. } => file_clones::remove_directory(path),
    };
    removed.map_err(|error| io_error("remove what was kept in", shown, std::io::Error::other(chain(&error))))
}
