//! One `holdfast up` per directory. The kernel gives the lock back however the process ends.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::FlockOperation;
use rustix::io::Errno;

use crate::error::CliError;

/// Held for as long as it lives.
#[derive(Debug)]
pub(super) struct InstanceLock {
    _file: File,
}

impl InstanceLock {
    /// Takes the lock, or says who has it.
    pub(super) fn take(path: &Path, state: &Path) -> Result<Self, CliError> {
        let failed = |source| CliError::Io { step: format!("lock `{}`", path.display()), source };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
            .map_err(failed)?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                let mut pid = String::new();
                let known = file.read_to_string(&mut pid).is_ok() && !pid.trim().is_empty();
                let pid = if known { pid.trim().to_owned() } else { "unknown".to_owned() };
                return Err(CliError::AlreadyRunning { state: state.to_owned(), pid });
            }
            Err(errno) => return Err(failed(errno.into())),
        }
        file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id())).map_err(failed)?;
        Ok(Self { _file: file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_instance_is_told_who_is_the_first_and_gets_the_lock_once_that_ended() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("up.lock");
        let first = InstanceLock::take(&path, dir.path()).unwrap();
        let error = InstanceLock::take(&path, dir.path()).unwrap_err().to_string();
        assert!(error.contains(&format!("process {}", std::process::id())), "{error}");
        drop(first);
        InstanceLock::take(&path, dir.path()).unwrap();
    }
}
