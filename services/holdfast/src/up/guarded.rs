//! A child process that is not restarted: the `holdfast up` of the demo.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::Duration;

use rustix::process::Signal;

use super::child;
use super::supervise::LOOK_EVERY;
use crate::error::CliError;

/// Ends with this process, however that ends.
#[derive(Debug)]
pub(crate) struct Guarded {
    name: &'static str,
    log: PathBuf,
    child: Child,
}

impl Guarded {
    /// Starts it, with its output in the log. Must be called on the main thread; see [`child::spawn`].
    pub(crate) fn start(name: &'static str, program: &[OsString], log: &Path) -> Result<Self, CliError> {
        let child = child::spawn(program, log).map_err(CliError::io(format!("start {name}")))?;
        Ok(Self { name, log: log.to_owned(), child })
    }

    /// How it ended, if it did.
    pub(crate) fn ended(&mut self) -> Option<String> {
        match self.child.try_wait() {
            Ok(None) => None,
            Ok(Some(status)) => Some(status.to_string()),
            Err(error) => Some(error.to_string()),
        }
    }

    /// What to tell when it did not do what it is for.
    pub(crate) fn failure(&self, problem: &str) -> CliError {
        CliError::Start {
            step: format!(
                "`{}` failed; the end of its log `{}`:\n  {}\n",
                self.name,
                self.log.display(),
                child::last_lines(&self.log, 8)
            ),
            source: problem.to_owned().into(),
        }
    }

    /// Asks it to end and waits; kills it when it does not.
    pub(crate) async fn stop(mut self, patience: Duration) {
        child::signal(&self.child, Signal::TERM);
        let gone = async {
            while self.ended().is_none() {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        // When the patience ends, the drop kills it.
        let _ = tokio::time::timeout(patience, gone).await;
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        if self.ended().is_none() {
            child::signal(&self.child, Signal::TERM);
            // Fails only when it ended meanwhile. Its own children end with it: they are guarded too.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
