//! The side of `archive_command`, for servers that cannot be streamed from: puts a finished file into a directory, durably
//! and never over another one.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// What a push did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// The file is there now.
    New,
    /// The same file was there already: the server asked again after a crash.
    Same,
}

/// Why a file was not taken. The server keeps it and asks again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PushError {
    /// Not a file of the log.
    #[error("`{name}` is no file of a PostgreSQL log; use `%f`")]
    Name {
        /// The name.
        name: String,
    },
    /// Another content is there under the name.
    #[error(
        "`{path}` is there with other content; another server archives to the same place, or this one was set back. Nothing was overwritten"
    )]
    Differs {
        /// Where.
        path: PathBuf,
    },
    /// The operating system refused or failed.
    #[error("{action} `{path}`")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The answer.
        #[source]
        source: io::Error,
    },
}

/// Puts a file there. It survives a power cut when this returns.
///
/// # Errors
/// [`PushError`]; the server must keep the file then.
pub fn push(source: &Path, name: &str, directory: &Path) -> Result<Pushed, PushError> {
    if !is_log_file(name) {
        return Err(PushError::Name { name: name.to_owned() });
    }
    let failed = |action, path: &Path| {
        let path = path.to_owned();
        move |source| PushError::Io { action, path, source }
    };
    let target = directory.join(name);
    let unfinished = directory.join(format!(".{name}.{}", std::process::id()));
    let copy = || -> Result<Pushed, PushError> {
        fs::copy(source, &unfinished).map_err(failed("copy to", &unfinished))?;
        let file = File::open(&unfinished).map_err(failed("open", &unfinished))?;
        file.sync_all().map_err(failed("sync", &unfinished))?;
        // A link refuses where a rename would replace.
        let pushed = match fs::hard_link(&unfinished, &target) {
            Ok(()) => Pushed::New,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                if !same(source, &target).map_err(failed("compare with", &target))? {
                    return Err(PushError::Differs { path: target.clone() });
                }
                Pushed::Same
            }
            Err(error) => return Err(failed("link", &target)(error)),
        };
        // What an earlier try left may not have been durable.
        File::open(directory).and_then(|d| d.sync_all()).map_err(failed("sync", directory))?;
        Ok(pushed)
    };
    let result = copy();
    match fs::remove_file(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound && result.is_ok() => {
            Err(failed("remove", &unfinished)(error))
        }
        _ => result,
    }
}

/// Segments, partial ones, histories and marks of backups.
fn is_log_file(name: &str) -> bool {
    let hex = |text: &str| text.bytes().all(|b| b.is_ascii_digit() || (b'A'..=b'F').contains(&b));
    match name.split_once('.') {
        None => name.len() == 24 && hex(name),
        Some((stem, "partial")) => stem.len() == 24 && hex(stem),
        Some((stem, "history")) => stem.len() == 8 && hex(stem),
        Some((stem, rest)) => {
            let offset = rest.strip_suffix(".backup").unwrap_or_default();
            stem.len() == 24 && hex(stem) && offset.len() == 8 && hex(offset)
        }
    }
}

fn same(a: &Path, b: &Path) -> io::Result<bool> {
    let (mut a, mut b) = (File::open(a)?, File::open(b)?);
    if a.metadata()?.len() != b.metadata()?.len() {
        return Ok(false);
    }
    let (mut left, mut right) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    loop {
        let read = a.read(&mut left)?;
        if read == 0 {
            return Ok(true);
        }
        b.read_exact(&mut right[..read])?;
        if left[..read] != right[..read] {
            return Ok(false);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_taken_once_and_never_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let archive = directory.path().join("archive");
        fs::create_dir(&archive).unwrap();
        let source = directory.path().join("segment");
        let name = "000000010000000000000001";
        fs::write(&source, b"one").unwrap();
        assert_eq!(push(&source, name, &archive).unwrap(), Pushed::New);
        assert_eq!(push(&source, name, &archive).unwrap(), Pushed::Same);
        for other in [&b"two"[..], b"longer"] {
            fs::write(&source, other).unwrap();
            assert!(matches!(push(&source, name, &archive), Err(PushError::Differs { .. })));
        }
        assert_eq!(fs::read(archive.join(name)).unwrap(), b"one");
        let names: Vec<_> = fs::read_dir(&archive).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, [name]);
    }

    #[test]
    fn only_files_of_a_log_are_taken() {
        let directory = tempfile::tempdir().unwrap();
        let source = directory.path().join("s");
        fs::write(&source, b"x").unwrap();
        for name in ["00000002.history", "000000010000000000000001.partial", "000000010000000000000001.00000028.backup"]
        {
            assert_eq!(push(&source, name, directory.path()).unwrap(), Pushed::New, "{name}");
        }
        for name in ["../000000010000000000000001", "", "postgresql.conf", "00000001000000000000000g", "x.history"] {
            assert!(matches!(push(&source, name, directory.path()), Err(PushError::Name { .. })), "{name}");
        }
        let missing = push(&directory.path().join("none"), "00000003.history", directory.path());
        assert!(matches!(missing, Err(PushError::Io { .. })));
    }
}
