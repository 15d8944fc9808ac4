//! The side of `archive_command`, for servers that cannot be streamed from: puts a finished file into a directory, durably
//! and never over another one.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::SegmentHeader;

/// Says in a directory which cluster archives to it.
const SYSTEM: &str = ".holdfast-system";

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
    /// Another cluster archives there.
    #[error(
        "cluster `{found}` archives to a directory of its own: `{mark}` says that this one is of `{expected}`. If that cluster is \
         no more, and all of its log was taken, remove the mark"
    )]
    OtherCluster {
        /// Whose directory it is.
        expected: String,
        /// Who pushes.
        found: String,
        /// Where that is said.
        mark: PathBuf,
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
    belongs(source, directory)?;
    let target = directory.join(name);
    let unfinished = directory.join(format!(".{name}.{}", std::process::id()));
    let copy = || -> Result<Pushed, PushError> {
        remove_unfinished(name, directory).map_err(failed("clear", directory))?;
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

/// Removes what an earlier try for the same file left when it was cut off. A try that runs beside this one fails then, and
/// the server asks again.
fn remove_unfinished(name: &str, directory: &Path) -> io::Result<()> {
    let prefix = format!(".{name}.");
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(&prefix) {
            match fs::remove_file(entry.path()) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
    }
    Ok(())
}

/// Refuses a segment of another cluster than the one whose first segment came here: their names would be mixed up.
fn belongs(source: &Path, directory: &Path) -> Result<(), PushError> {
    let failed = |action, path: &Path| {
        let path = path.to_owned();
        move |source| PushError::Io { action, path, source }
    };
    let file = File::open(source).map_err(failed("open", source))?;
    // Histories and marks of backups have no header; a segment without one is refused by whoever takes it up.
    let Some(header) = SegmentHeader::read(&file).map_err(failed("read", source))? else { return Ok(()) };
    let found = header.system_id.to_string();
    let mark = directory.join(SYSTEM);
    match fs::read_to_string(&mark) {
        Ok(text) if text.trim() == found => return Ok(()),
        Ok(text) => return Err(PushError::OtherCluster { expected: text.trim().to_owned(), found, mark }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed("read", &mark)(error)),
    }
    let unfinished = directory.join(format!("{SYSTEM}.{}", std::process::id()));
    let write = || {
        fs::write(&unfinished, format!("{found}\n"))?;
        File::open(&unfinished)?.sync_all()?;
        fs::hard_link(&unfinished, &mark)
    };
    let linked = write();
    let removed = fs::remove_file(&unfinished);
    match linked {
        Ok(()) => removed.map_err(failed("remove", &unfinished)),
        // Another push was first; see whose.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => belongs(source, directory),
        Err(error) => Err(failed("write", &mark)(error)),
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
        // Left by a try that was cut off.
        fs::write(archive.join(format!(".{name}.1")), b"o").unwrap();
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

    /// The first page of a segment, as far as it is looked at.
    fn segment_of(system_id: u64) -> Vec<u8> {
        let mut bytes = vec![0; 8192];
        bytes[..4].copy_from_slice(&[0x10, 0xD1, 0x02, 0]);
        bytes[24..32].copy_from_slice(&system_id.to_le_bytes());
        bytes
    }

    #[test]
    fn two_clusters_do_not_share_a_directory() {
        let directory = tempfile::tempdir().unwrap();
        let archive = directory.path().join("archive");
        fs::create_dir(&archive).unwrap();
        let source = directory.path().join("segment");
        fs::write(&source, segment_of(7)).unwrap();
        assert_eq!(push(&source, "000000010000000000000001", &archive).unwrap(), Pushed::New);
        assert_eq!(push(&source, "000000010000000000000002", &archive).unwrap(), Pushed::New);
        fs::write(&source, segment_of(8)).unwrap();
        let refused = push(&source, "000000010000000000000003", &archive).unwrap_err().to_string();
        for word in ["`8`", "`7`", ".holdfast-system"] {
            assert!(refused.contains(word), "{refused}");
        }
        assert!(!archive.join("000000010000000000000003").exists());
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
