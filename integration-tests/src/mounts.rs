//! Small file systems in memory, to be full or read-only.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::installation::Failure;

/// A mounted tmpfs; dropping it unmounts it.
#[derive(Debug)]
pub struct Tmpfs {
    dir: PathBuf,
}

impl Tmpfs {
    /// Whether this process may mount.
    #[must_use]
    pub fn is_allowed() -> bool {
        rustix::process::geteuid().is_root()
    }

    /// Mounts one of so many MiB at a new directory.
    ///
    /// # Errors
    /// When the directory cannot be made or `mount` refuses.
    pub fn mount(dir: &Path, mebibytes: u32) -> Result<Self, Failure> {
        std::fs::create_dir_all(dir)?;
        mount(&["-t", "tmpfs", "-o", &format!("size={mebibytes}m"), "tmpfs"], dir)?;
        Ok(Self { dir: dir.to_owned() })
    }

    /// Gives it another size.
    ///
    /// # Errors
    /// When `mount` refuses.
    pub fn resize(&self, mebibytes: u32) -> Result<(), Failure> {
        mount(&["-o", &format!("remount,size={mebibytes}m")], &self.dir)
    }

    /// Allows or forbids writing.
    ///
    /// # Errors
    /// When `mount` refuses.
    pub fn set_writable(&self, writable: bool) -> Result<(), Failure> {
        mount(&["-o", if writable { "remount,rw" } else { "remount,ro" }], &self.dir)
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        // Lazily: whoever still has something open in it keeps it alive, but it is out of the tree. A failure shows when
        // the directory is removed.
        drop(Command::new("umount").arg("-l").arg(&self.dir).status());
    }
}

fn mount(arguments: &[&str], dir: &Path) -> Result<(), Failure> {
    let output = Command::new("mount").args(arguments).arg(dir).output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("mount {arguments:?} {}: {}", dir.display(), String::from_utf8_lossy(&output.stderr)).into())
}
