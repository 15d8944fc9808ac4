//! Which directories a message may make a worker read or write.
//!
//! An order names a place; the worker's own configuration says below which directories that place must lie. Links are
//! resolved before the comparison, so that a link below an allowed directory leads nowhere else.

use std::ffi::OsString;
use std::io;
use std::path::{Component, Path, PathBuf};

use service_host::ConfigProblem;

/// Why a place is not one the worker may touch.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OutsideRoots {
    /// It lies somewhere else.
    #[error("`{}` is not below a directory of `{key}` in this worker's configuration; choose another or add it", path.display())]
    Outside {
        /// The place with its links resolved.
        path: PathBuf,
        /// The key with the allowed directories.
        key: &'static str,
    },
    /// It is no absolute path without `..`.
    #[error("`{}` is not an absolute path without `..`; write it in full", path.display())]
    NotPlain {
        /// The place.
        path: PathBuf,
    },
    /// It could not be looked at.
    #[error("resolve `{}`", path.display())]
    Unreadable {
        /// The place or the part of it that failed.
        path: PathBuf,
        /// The operating system's answer.
        #[source]
        source: io::Error,
    },
}

/// The place with its links resolved, if it lies in or below one of the directories. What does not exist yet is taken as
/// it is, below what does. `key` is the configuration key of the directories.
///
/// # Errors
/// When it lies elsewhere or cannot be looked at.
pub fn within(roots: &[PathBuf], path: &Path, key: &'static str) -> Result<PathBuf, OutsideRoots> {
    let plain = |part: Component<'_>| matches!(part, Component::RootDir | Component::Normal(_));
    if !path.is_absolute() || !path.components().all(plain) {
        return Err(OutsideRoots::NotPlain { path: path.to_owned() });
    }
    let resolved = resolve(path)?;
    for root in roots {
        if resolved.starts_with(resolve(root)?) {
            return Ok(resolved);
        }
    }
    Err(OutsideRoots::Outside { path: resolved, key })
}

/// Resolves the part that exists and appends the rest. A dangling link is an error: what it will lead to is not known.
fn resolve(path: &Path) -> Result<PathBuf, OutsideRoots> {
    let mut missing: Vec<OsString> = Vec::new();
    let mut existing = path;
    loop {
        match existing.canonicalize() {
            Ok(mut resolved) => {
                resolved.extend(missing.iter().rev());
                return Ok(resolved);
            }
            Err(source) if source.kind() == io::ErrorKind::NotFound && existing.symlink_metadata().is_err() => {
                let (Some(name), Some(parent)) = (existing.file_name(), existing.parent()) else {
                    return Err(OutsideRoots::Unreadable { path: existing.to_owned(), source });
                };
                missing.push(name.to_owned());
                existing = parent;
            }
            Err(source) => return Err(OutsideRoots::Unreadable { path: existing.to_owned(), source }),
        }
    }
}

/// Checks the allowed directories themselves.
///
/// # Errors
/// When there are none, or one is not absolute.
pub fn check_roots(roots: &[PathBuf], key: &'static str) -> Result<(), ConfigProblem> {
    if roots.is_empty() {
        return Err(ConfigProblem::new(key, "[]", "name at least one directory, or leave the key out"));
    }
    for root in roots {
        if !root.is_absolute() {
            return Err(ConfigProblem::new(key, root.display(), "write absolute paths"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn places_below_a_root_are_allowed_whether_they_exist_or_not() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let roots = [root.clone()];
        assert_eq!(within(&roots, &root, "k").unwrap(), root);
        assert_eq!(within(&roots, &root.join("not/yet"), "k").unwrap(), root.join("not/yet"));
    }

    #[test]
    fn places_elsewhere_are_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let roots = [dir.path().join("a")];
        std::fs::create_dir(&roots[0]).unwrap();
        for elsewhere in ["b", "ab", "b/a"] {
            let error = within(&roots, &dir.path().join(elsewhere), "source_roots").unwrap_err();
            assert!(error.to_string().contains("`source_roots`"), "{error}");
        }
    }

    #[test]
    fn a_link_leads_nowhere_else() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        std::fs::create_dir(&root).unwrap();
        symlink("/etc", root.join("out")).unwrap();
        symlink("/nowhere/at/all", root.join("dangling")).unwrap();
        let roots = [root.clone()];
        assert!(matches!(within(&roots, &root.join("out/passwd"), "k"), Err(OutsideRoots::Outside { .. })));
        assert!(matches!(within(&roots, &root.join("out/new"), "k"), Err(OutsideRoots::Outside { .. })));
        assert!(matches!(within(&roots, &root.join("dangling"), "k"), Err(OutsideRoots::Unreadable { .. })));
    }

    #[test]
    fn a_way_upwards_is_refused() {
        let roots = [PathBuf::from("/srv")];
        assert!(matches!(within(&roots, Path::new("/srv/../etc"), "k"), Err(OutsideRoots::NotPlain { .. })));
        assert!(matches!(within(&roots, Path::new("srv"), "k"), Err(OutsideRoots::NotPlain { .. })));
    }

    #[test]
    fn the_root_directory_allows_everything() {
        assert!(within(&[PathBuf::from("/")], Path::new("/etc"), "k").is_ok());
    }
}
