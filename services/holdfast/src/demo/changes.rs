//! What the demo changes between its two runs: some files, and some blocks of the volume.

use std::fs::{self, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::image;
use super::working_copy::regular_files;
use crate::error::CliError;

/// How many files get an end.
const APPENDED: usize = 3;
/// How many bytes each gets.
const APPENDED_BYTES: usize = 256;
/// Size of the file that is new in the directory.
const ADDED_BYTES: usize = 4 << 10;
/// Size of the file that is written into the volume.
const VOLUME_BYTES: usize = 32 << 10;
/// Files of this size are good to append to: large enough to be worth deduplicating, small enough to be quick.
const GOOD_SIZE: std::ops::Range<u64> = 1..(8 << 20);

/// What was changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Changes {
    /// Files that got an end.
    pub(super) files_changed: u64,
    /// Files that are new.
    pub(super) files_added: u64,
    /// Files that are gone.
    pub(super) files_deleted: u64,
    /// Size of all files that are new or changed: what a backup has to look at again.
    pub(super) touched_bytes: u64,
    /// Bytes that were written into the directory.
    pub(super) written_bytes: u64,
    /// Bytes of the file that was written into the volume's file system.
    pub(super) volume_written_bytes: u64,
    /// Rows that were added or changed in the database; zero without one.
    pub(super) rows_changed: u64,
}

/// Changes files of the directory; `seed` makes the new content differ from all earlier ones.
pub(super) fn change_files(root: &Path, seed: u64) -> Result<Changes, CliError> {
    let failed = |path: &Path| CliError::io(format!("change `{}`", path.display()));
    let files = regular_files(root).map_err(failed(root))?;
    let mut changes = Changes::default();
    for (path, bytes) in pick(&files) {
        append(path, &noise(seed ^ bytes, APPENDED_BYTES)).map_err(failed(path))?;
        changes.files_changed += 1;
        changes.touched_bytes += bytes + APPENDED_BYTES as u64;
        changes.written_bytes += APPENDED_BYTES as u64;
    }
    let added = root.join("holdfast-demo-new-file");
    fs::write(&added, noise(seed, ADDED_BYTES)).map_err(failed(&added))?;
    changes.files_added = 1;
    changes.touched_bytes += ADDED_BYTES as u64;
    changes.written_bytes += ADDED_BYTES as u64;
    // The smallest that was not appended to, unless the directory is nearly empty.
    let touched: Vec<&PathBuf> = pick(&files).map(|(path, _)| path).collect();
    let goner = files.iter().filter(|(path, _)| !touched.contains(&path)).min_by_key(|(_, bytes)| *bytes);
    if let Some((path, _)) = goner {
        fs::remove_file(path).map_err(failed(path))?;
        changes.files_deleted = 1;
    }
    Ok(changes)
}

/// Writes a file into the volume's file system.
pub(super) fn change_volume(volume: &Path, scratch: &Path, seed: u64, changes: &mut Changes) -> Result<(), CliError> {
    let content = scratch.join("volume-addition");
    fs::write(&content, noise(!seed, VOLUME_BYTES)).map_err(CliError::io(format!("write `{}`", content.display())))?;
    // A name of its own: an earlier run may have written into the same volume.
    image::write_file(volume, &format!("holdfast-demo-{seed:016x}"), &content)?;
    changes.volume_written_bytes = VOLUME_BYTES as u64;
    fs::remove_file(&content).map_err(CliError::io(format!("remove `{}`", content.display())))
}

/// Files spread over the whole list.
fn pick(files: &[(PathBuf, u64)]) -> impl Iterator<Item = (&PathBuf, u64)> {
    let good: Vec<(&PathBuf, u64)> =
        files.iter().filter(|(_, bytes)| GOOD_SIZE.contains(bytes)).map(|(path, bytes)| (path, *bytes)).collect();
    let step = good.len().div_ceil(APPENDED).max(1);
    good.into_iter().step_by(step)
}

fn append(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).open(path)?;
    file.seek(SeekFrom::End(0))?;
    file.write_all(bytes)
}

/// Bytes that do not compress and do not repeat: SplitMix64 of the seed.
fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = state;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    };
    let mut content: Vec<u8> =
        std::iter::repeat_with(|| next().to_le_bytes()).take(bytes.div_ceil(8)).flatten().collect();
    content.truncate(bytes);
    content
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_to_be_changed_is_what_changed() {
        let dir = tempfile::tempdir().unwrap();
        for index in 0..30_usize {
            fs::write(dir.path().join(format!("f{index:02}")), vec![7; 1000 + index]).unwrap();
        }
        let before = regular_files(dir.path()).unwrap();
        let changes = change_files(dir.path(), 42).unwrap();
        let after = regular_files(dir.path()).unwrap();
        let changed = after.iter().filter(|(p, b)| before.iter().any(|(q, c)| p == q && b != c)).count();
        let added = after.iter().filter(|(p, _)| before.iter().all(|(q, _)| p != q)).count();
        let deleted = before.iter().filter(|(p, _)| after.iter().all(|(q, _)| p != q)).count();
        assert_eq!((changed, added, deleted), (3, 1, 1));
        assert_eq!((changes.files_changed, changes.files_added, changes.files_deleted), (3, 1, 1));
        assert_eq!(changes.written_bytes, 3 * 256 + 4096);
    }

    #[test]
    fn an_empty_directory_gets_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let changes = change_files(dir.path(), 1).unwrap();
        assert_eq!((changes.files_changed, changes.files_added, changes.files_deleted), (0, 1, 0));
    }
}
