//! The demo's own copy of the directory: the demo changes files, and the directory itself is never written to.

use std::collections::{BTreeSet, VecDeque};
use std::fs::{self, File, FileTimes, Metadata};
use std::io;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::error::CliError;

/// How much of a directory the demo takes: two runs and a restore have to end within three minutes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) bytes: u64,
    pub(super) files: u64,
}

/// Enough to show something, little enough for a laptop.
pub(super) const LIMITS: Limits = Limits { bytes: 256 << 20, files: 5_000 };

/// What was copied.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct CopySummary {
    /// The directory.
    pub(super) source: PathBuf,
    /// Regular files in the copy.
    pub(super) files: u64,
    /// Their bytes.
    pub(super) bytes: u64,
    /// Files that had to be written because they are new or changed since an earlier run.
    pub(super) files_written: u64,
    /// Whether the copy is all of the directory; else a limit was reached.
    pub(super) complete: bool,
    /// Entries left out: unreadable ones, sockets, devices, other file systems.
    pub(super) skipped: u64,
}

/// Makes `target` a copy of `source`, as far as the limits go, and leaves what is equal already (size and modification
/// time) alone. The walk is the same for the same directory: by name, files of a directory before its subdirectories.
pub(super) fn refresh(
    source: &Path,
    target: &Path,
    leave_out: &[PathBuf],
    limits: Limits,
) -> Result<CopySummary, CliError> {
    let failed = |path: &Path| CliError::io(format!("copy to `{}`", path.display()));
    let root = fs::metadata(source).map_err(|e| CliError::ReadFile { path: source.to_owned(), source: e })?;
    if !root.is_dir() {
        return Err(CliError::usage(format!("`{}` is no directory; `--path` names one", source.display())));
    }
    let mut summary = CopySummary { source: source.to_owned(), complete: true, ..CopySummary::default() };
    let mut wanted = BTreeSet::new();
    let mut queue = VecDeque::from([PathBuf::new()]);
    fs::create_dir_all(target).map_err(failed(target))?;
    while let Some(relative) = queue.pop_front() {
        let here = source.join(&relative);
        let Ok(entries) = sorted_entries(&here) else {
            summary.skipped += 1;
            continue;
        };
        for name in entries {
            let (from, path) = (here.join(&name), relative.join(&name));
            if leave_out.contains(&from) {
                continue;
            }
            let Ok(meta) = fs::symlink_metadata(&from) else {
                summary.skipped += 1;
                continue;
            };
            let to = target.join(&path);
            if meta.is_dir() && meta.dev() == root.dev() {
                make_dir(&to).map_err(failed(&to))?;
                queue.push_back(path.clone());
            } else if meta.is_symlink() {
                copy_link(&from, &to).map_err(failed(&to))?;
            } else if meta.is_file() {
                if summary.files >= limits.files || summary.bytes + meta.len() > limits.bytes {
                    summary.complete = false;
                    continue;
                }
                match copy_file(&from, &meta, &to) {
                    Ok(written) => summary.files_written += u64::from(written),
                    Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {
                        summary.skipped += 1;
                        continue;
                    }
                    Err(e) => return Err(failed(&to)(e)),
                }
                summary.files += 1;
                summary.bytes += meta.len();
            } else {
                summary.skipped += 1;
                continue;
            }
            wanted.insert(path);
        }
    }
    remove_unwanted(target, Path::new(""), &wanted).map_err(failed(target))?;
    Ok(summary)
}

fn sorted_entries(dir: &Path) -> io::Result<Vec<std::ffi::OsString>> {
    let mut names = fs::read_dir(dir)?.map(|entry| entry.map(|e| e.file_name())).collect::<io::Result<Vec<_>>>()?;
    names.sort();
    Ok(names)
}

fn make_dir(to: &Path) -> io::Result<()> {
    match fs::symlink_metadata(to) {
        Ok(meta) if meta.is_dir() => return Ok(()),
        Ok(_) => fs::remove_file(to)?,
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => return Err(e),
    }
    fs::create_dir(to)
}

fn copy_link(from: &Path, to: &Path) -> io::Result<()> {
    let link = fs::read_link(from)?;
    if fs::read_link(to).is_ok_and(|there| there == link) {
        return Ok(());
    }
    clear(to)?;
    symlink(link, to)
}

/// Copies a file unless the copy is equal already; says whether it wrote.
fn copy_file(from: &Path, meta: &Metadata, to: &Path) -> io::Result<bool> {
    let same = |there: &Metadata| {
        there.is_file()
            && there.len() == meta.len()
            && (there.mtime(), there.mtime_nsec()) == (meta.mtime(), meta.mtime_nsec())
    };
    if fs::symlink_metadata(to).is_ok_and(|there| same(&there)) {
        return Ok(false);
    }
    clear(to)?;
    // Mode bits come along. The owner does not: whoever runs the demo owns its copy.
    fs::copy(from, to)?;
    // A read-only file could not be changed or replaced later.
    let mut permissions = fs::metadata(to)?.permissions();
    if permissions.readonly() {
        use std::os::unix::fs::PermissionsExt;
        permissions.set_mode(permissions.mode() | 0o200);
        fs::set_permissions(to, permissions)?;
    }
    let times = FileTimes::new().set_modified(meta.modified()?);
    File::options().write(true).open(to)?.set_times(times)?;
    Ok(true)
}

/// Makes room for an entry of another kind.
fn clear(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(e),
    }
}

/// Removes what an earlier run left and this one does not have.
fn remove_unwanted(target: &Path, relative: &Path, wanted: &BTreeSet<PathBuf>) -> io::Result<()> {
    for name in sorted_entries(&target.join(relative))? {
        let path = relative.join(name);
        let full = target.join(&path);
        if !wanted.contains(&path) {
            clear(&full)?;
        } else if fs::symlink_metadata(&full)?.is_dir() {
            remove_unwanted(target, &path, wanted)?;
        }
    }
    Ok(())
}

/// The regular files of a directory, by path, with their sizes.
pub(super) fn regular_files(root: &Path) -> io::Result<Vec<(PathBuf, u64)>> {
    let mut files = Vec::new();
    let mut queue = VecDeque::from([root.to_owned()]);
    while let Some(dir) = queue.pop_front() {
        for name in sorted_entries(&dir)? {
            let path = dir.join(name);
            let meta = fs::symlink_metadata(&path)?;
            if meta.is_dir() {
                queue.push_back(path);
            } else if meta.is_file() {
                files.push((path, meta.len()));
            }
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests;
