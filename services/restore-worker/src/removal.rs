//! Removes a directory tree, immutable files included, and nothing beside it.

use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{IFlags, Mode, OFlags};

/// Why a tree could not be removed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum RemovalError {
    /// Something is mounted in it; removing would reach into another file system.
    #[error("`{}` is a mount point inside the tree; unmount it first", path.display())]
    MountPoint {
        /// Where.
        path: PathBuf,
    },
    /// The operating system refused or failed.
    #[error("{action} `{}`", path.display())]
    Io {
        /// What was tried, as a verb phrase.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The operating system's answer.
        #[source]
        source: io::Error,
    },
}

/// Removes the tree; false when there was none. Links are removed, never followed; what is mounted inside is not entered.
pub(crate) fn remove_tree(root: &Path) -> Result<bool, RemovalError> {
    let failed = |action, source| RemovalError::Io { action, path: root.to_owned(), source };
    let device = match root.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(failed("look at", error)),
        Ok(found) if !found.is_dir() => {
            std::fs::remove_file(root).map_err(|e| failed("remove", e))?;
            return Ok(true);
        }
        Ok(found) => found.dev(),
    };
    walk(root, device, &mut |_, _| Ok(()))?;
    match std::fs::remove_dir_all(root) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            // Immutable or append-only entries, or directories that their owner may not write.
            walk(root, device, &mut unlock)?;
            std::fs::remove_dir_all(root).map_err(|e| failed("remove", e))?;
            Ok(true)
        }
        Err(error) => Err(failed("remove", error)),
    }
}

/// Visits the tree, directories before what they hold, and refuses other file systems.
fn walk(
    path: &Path,
    device: u64,
    visit: &mut dyn FnMut(&Path, &std::fs::Metadata) -> Result<(), RemovalError>,
) -> Result<(), RemovalError> {
    let failed = |action, source| RemovalError::Io { action, path: path.to_owned(), source };
    let found = path.symlink_metadata().map_err(|e| failed("look at", e))?;
    if found.dev() != device {
        return Err(RemovalError::MountPoint { path: path.to_owned() });
    }
    visit(path, &found)?;
    if !found.is_dir() {
        return Ok(());
    }
    let entries = match std::fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            unlock(path, &found)?;
            std::fs::read_dir(path).map_err(|e| failed("list", e))?
        }
        Err(error) => return Err(failed("list", error)),
    };
    for entry in entries {
        let entry = entry.map_err(|e| failed("list", e))?;
        let is_dir = entry.file_type().map_err(|e| failed("list", e))?.is_dir();
        let child = entry.path();
        if is_dir {
            walk(&child, device, visit)?;
        } else {
            let metadata = child.symlink_metadata().map_err(|e| failed("look at", e))?;
            visit(&child, &metadata)?;
        }
    }
    Ok(())
}

/// Takes the flags that forbid removal from a file or directory, and makes a directory writable to its owner. Other kinds
/// of entries have no flags, and opening a device could do something.
fn unlock(path: &Path, found: &std::fs::Metadata) -> Result<(), RemovalError> {
    if !found.is_dir() && !found.is_file() {
        return Ok(());
    }
    let failed = |action, source| RemovalError::Io { action, path: path.to_owned(), source };
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    if let Ok(file) = rustix::fs::open(path, flags, Mode::empty()) {
        // A file system without such flags cannot have set them.
        if let Ok(set) = rustix::fs::ioctl_getflags(&file) {
            let forbidding = IFlags::IMMUTABLE | IFlags::APPEND;
            if set.intersects(forbidding) {
                rustix::fs::ioctl_setflags(&file, set.difference(forbidding))
                    .map_err(|e| failed("clear the immutable flag of", e.into()))?;
            }
        }
    }
    if found.is_dir() && found.mode() & 0o700 != 0o700 {
        let mode = std::fs::Permissions::from_mode(found.mode() | 0o700);
        std::fs::set_permissions(path, mode).map_err(|e| failed("make writable", e))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_tree_that_is_not_there_is_no_error() {
        let dir = tempfile::tempdir().unwrap();
        assert!(!remove_tree(&dir.path().join("x")).unwrap());
    }

    #[test]
    fn links_are_removed_and_what_they_lead_to_stays() {
        let dir = tempfile::tempdir().unwrap();
        let (outside, tree) = (dir.path().join("outside"), dir.path().join("tree"));
        std::fs::create_dir_all(&outside).unwrap();
        std::fs::write(outside.join("kept"), "x").unwrap();
        std::fs::create_dir_all(tree.join("deep/er")).unwrap();
        symlink(&outside, tree.join("deep/link")).unwrap();
        assert!(remove_tree(&tree).unwrap());
        assert!(!tree.exists());
        assert!(outside.join("kept").exists());

        let link = dir.path().join("link");
        symlink(&outside, &link).unwrap();
        assert!(remove_tree(&link).unwrap());
        assert!(outside.join("kept").exists() && link.symlink_metadata().is_err());
    }

    #[test]
    fn directories_that_forbid_writing_are_removed() {
        let dir = tempfile::tempdir().unwrap();
        let tree = dir.path().join("tree");
        std::fs::create_dir_all(tree.join("locked")).unwrap();
        std::fs::write(tree.join("locked/file"), "x").unwrap();
        std::fs::set_permissions(tree.join("locked"), std::fs::Permissions::from_mode(0o000)).unwrap();
        assert!(remove_tree(&tree).unwrap());
        assert!(!tree.exists());
    }

    /// Needs the right to set the flag and a file system that has it; where either is missing nothing can be shown.
    #[test]
    fn immutable_files_are_removed_where_they_can_be_made() {
        let dir = tempfile::tempdir().unwrap();
        let tree = dir.path().join("tree");
        std::fs::create_dir(&tree).unwrap();
        let path = tree.join("file");
        std::fs::write(&path, "x").unwrap();
        let file = std::fs::File::open(&path).unwrap();
        let set =
            rustix::fs::ioctl_getflags(&file).and_then(|f| rustix::fs::ioctl_setflags(&file, f | IFlags::IMMUTABLE));
        if let Err(error) = set {
            eprintln!("not shown here: an immutable file cannot be made: {error}");
            return;
        }
        assert!(std::fs::remove_file(&path).is_err());
        assert!(remove_tree(&tree).unwrap());
        assert!(!tree.exists());
    }
}
