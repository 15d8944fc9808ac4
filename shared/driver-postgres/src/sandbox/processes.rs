//! Ends what is left of a server whose first process is gone.
//!
//! Its other processes notice that by themselves, some of them only when what they wait for is over, and write into the data
//! directory until then. In name spaces of their own the next server there does not see them: what tells a server that
//! another one is at work is a piece of shared memory, which each of them has for itself.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Looks before it is given up: a process that the system holds in a call ends later.
const LOOKS: u32 = 6000;

/// Kills every process whose output goes to this file, and waits until there is none. All processes of a server have its log
/// from the first, and so has whatever they start.
///
/// # Errors
/// When processes cannot be listed, or one does not end.
pub(super) fn end_all_that_write_to(log: &Path) -> io::Result<()> {
    let log = match log.metadata() {
        Ok(log) => log,
        // Nobody was started.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for _ in 0..LOOKS {
        if kill_all(&log)? == 0 {
            return Ok(());
        }
        std::thread::sleep(LOOK_EVERY);
    }
    Err(io::Error::new(io::ErrorKind::TimedOut, "a process that was killed is still there"))
}

/// How many there were.
fn kill_all(log: &fs::Metadata) -> io::Result<u32> {
    let mut found = 0;
    for entry in fs::read_dir("/proc")? {
        let entry = entry?;
        let number = entry.file_name().to_str().and_then(|name| name.parse().ok());
        let Some(pid) = number.and_then(Pid::from_raw) else { continue };
        // Taken hold of before it is looked at: its number may be somebody else's when it is killed.
        let Ok(process) = pidfd_open(pid, PidfdFlags::empty()) else { continue };
        // It has ended, or it is nobody's that was started here.
        let Ok(output) = fs::metadata(entry.path().join("fd/1")) else { continue };
        if (output.dev(), output.ino()) == (log.dev(), log.ino()) {
            found += 1;
            match pidfd_send_signal(&process, Signal::KILL) {
                Ok(()) | Err(rustix::io::Errno::SRCH) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn whoever_writes_to_the_file_is_ended_with_all_that_it_started_and_nobody_else_is() {
        let dir = tempfile::tempdir().unwrap();
        let (log, other) = (dir.path().join("log"), dir.path().join("other"));
        end_all_that_write_to(&log).unwrap();
        let start = |output: &Path| {
            let mut command = Command::new("/bin/sh");
            command.args(["-c", "sleep 600 & echo $!; wait"]);
            command.stdout(Stdio::from(File::create(output).unwrap())).spawn().unwrap()
        };
        let (mut server, mut stranger) = (start(&log), start(&other));
        let below = |output: &Path| loop {
            let text = fs::read_to_string(output).unwrap();
            if let Some(line) = text.strip_suffix('\n') {
                break format!("/proc/{line}/fd/1");
            }
            std::thread::sleep(LOOK_EVERY);
        };
        let (of_server, of_stranger) = (below(&log), below(&other));
        end_all_that_write_to(&log).unwrap();
        assert!(fs::metadata(of_server).is_err(), "what the server started has ended");
        assert!(!server.wait().unwrap().success());
        assert!(fs::metadata(of_stranger).is_ok() && stranger.try_wait().unwrap().is_none());
        end_all_that_write_to(&other).unwrap();
        stranger.wait().unwrap();
    }
}
