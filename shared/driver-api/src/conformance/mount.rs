//! File systems that share extents, each in a file of its own.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Size of each file system in bytes; only what is written takes room.
const SIZE_BYTES: u64 = 2 << 30;

/// A mounted file system in a file, until it is dropped. Needs root and the programs that make it.
#[derive(Debug)]
pub struct Mount {
    place: tempfile::TempDir,
    _backing: tempfile::NamedTempFile,
}

impl Mount {
    /// XFS with shared extents.
    ///
    /// # Panics
    /// When it cannot be made or mounted.
    #[must_use]
    pub fn xfs() -> Self {
        Self::new(&["mkfs.xfs", "-q", "-m", "reflink=1"], "defaults")
    }

    /// btrfs, with options of `mount`.
    ///
    /// # Panics
    /// When it cannot be made or mounted.
    #[must_use]
    pub fn btrfs(options: &str) -> Self {
        Self::new(&["mkfs.btrfs", "-q"], options)
    }

    #[expect(clippy::expect_used, reason = "a test without a place to work in has failed")]
    fn new(make: &[&str], options: &str) -> Self {
        let backing = tempfile::NamedTempFile::new().expect("make a file for a file system");
        backing.as_file().set_len(SIZE_BYTES).expect("give it its size");
        let place = tempfile::tempdir().expect("make a temporary directory");
        let file = backing.path().to_string_lossy();
        run(&[make, &[&file]].concat());
        run(&["mount", "-o", &format!("loop,{options}"), &file, &place.path().to_string_lossy()]);
        Self { place, _backing: backing }
    }

    /// Its root.
    #[must_use]
    pub fn root(&self) -> &Path {
        self.place.path()
    }

    /// A path in it.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    /// What captures left in the default directory for it.
    ///
    /// # Panics
    /// When the directory is there and cannot be listed.
    #[must_use]
    #[expect(clippy::expect_used, reason = "a test that cannot see what it judges has failed")]
    pub fn kept(&self) -> Vec<PathBuf> {
        let Ok(entries) = std::fs::read_dir(self.path(".holdfast-clones")) else { return Vec::new() };
        entries.map(|entry| entry.expect("list what is kept").path()).collect()
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Out of the tree at once, also where a process that was killed still holds a file of it.
        let _shown_by_mount = Command::new("umount").arg("-l").arg(self.place.path()).status();
    }
}

fn run(command: &[&str]) {
    let output = Command::new(command[0]).args(&command[1..]).env("LC_ALL", "C").output();
    let problem = match output {
        Ok(output) if output.status.success() => return,
        Ok(output) => String::from_utf8_lossy(&output.stderr).into_owned(),
        Err(error) => error.to_string(),
    };
    assert!(problem.is_empty(), "{command:?}: {problem}");
}
