//! A data directory whose server replays its log without waiting for the disk.
//!
//! A server that replays brings every segment and every page to the disk, most of them several times. When it has ended, one
//! sync of all of it does the same. Until then what a power cut leaves is worth nothing, so a note says in which life of the
//! machine the replay began: after a kill it goes on, after a power cut it begins anew.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::Path;

/// The note, in the data directory.
const NOTE: &str = "holdfast-unsynced";
/// Another one for each start of the system.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// Notes that the directory is not synced from now on. False, with nothing noted, where lives of the machine cannot be told
/// apart.
pub(super) fn begin(data: &Path) -> io::Result<bool> {
    let Ok(life) = fs::read(BOOT_ID) else { return Ok(false) };
    let path = data.join(NOTE);
    fs::write(&path, life)?;
    File::open(&path)?.sync_all()?;
    File::open(data)?.sync_all()?;
    Ok(true)
}

/// Brings everything to the disk, if that was put off. No server may run there.
pub(super) fn end(data: &Path) -> io::Result<()> {
    let path = data.join(NOTE);
    if !path.try_exists()? {
        return Ok(());
    }
    let directory = File::open(data)?;
    rustix::fs::syncfs(&directory)?;
    fs::remove_file(&path)?;
    directory.sync_all()
}

/// Whether the machine went down before everything was on the disk.
pub(super) fn is_lost(data: &Path) -> io::Result<bool> {
    match fs::read(data.join(NOTE)) {
        Ok(noted) => Ok(fs::read(BOOT_ID).is_ok_and(|life| life != noted)),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_replayed_is_lost_with_the_life_of_the_machine_and_not_before() {
        let directory = tempfile::tempdir().unwrap();
        let data = directory.path();
        assert!(!is_lost(data).unwrap());
        assert!(begin(data).unwrap());
        assert!(!is_lost(data).unwrap());
        fs::write(data.join(NOTE), "another life\n").unwrap();
        assert!(is_lost(data).unwrap());
        assert!(!is_lost(&data.join("none")).unwrap());
    }

    #[test]
    fn a_synced_directory_has_no_note() {
        let directory = tempfile::tempdir().unwrap();
        let data = directory.path();
        end(data).unwrap();
        begin(data).unwrap();
        end(data).unwrap();
        assert_eq!(fs::read_dir(data).unwrap().count(), 0);
    }
}
