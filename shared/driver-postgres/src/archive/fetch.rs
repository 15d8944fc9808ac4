//! The side of `restore_command`: asks the process that restores for a file of the log.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// Exit code for a file beyond the end of what was received.
pub const FETCH_MISSING: u8 = 1;
/// Exit code for everything that must stop the recovery.
pub const FETCH_FAILED: u8 = 255;
/// How long to wait for an answer; a segment may have to come from far away.
const PATIENCE: Duration = Duration::from_secs(600);

/// Where segments lie that were fetched ahead, below the server's directory of the log, which takes no notice of it.
pub(super) const AHEAD_DIRECTORY: &str = "holdfast-ahead";

/// First byte of an answer: the file follows.
pub(super) const FOUND: u8 = b'F';
/// The file lies in [`AHEAD_DIRECTORY`], beside the place it is wanted at.
pub(super) const BESIDE: u8 = b'B';
/// Beyond the end.
pub(super) const MISSING: u8 = b'M';
/// A sentence follows.
pub(super) const FAILED: u8 = b'E';

/// Asks for a file and writes it to its place. Returns the exit code; what went wrong is told with the message.
///
/// # Errors
/// The sentence for the server's log, with the code [`FETCH_FAILED`] meant.
pub fn fetch(socket: &Path, name: &str, target: &Path) -> Result<u8, String> {
    let failed = |error: io::Error| format!("the process that restores does not answer: {error}");
    let mut stream = UnixStream::connect(socket).map_err(failed)?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
    stream.write_all(format!("{name}\n").as_bytes()).map_err(failed)?;
    let mut kind = [0];
    stream.read_exact(&mut kind).map_err(failed)?;
    match kind[0] {
        MISSING => Ok(FETCH_MISSING),
        FOUND => {
            let mut length = [0; 8];
            stream.read_exact(&mut length).map_err(failed)?;
            let length = u64::from_le_bytes(length);
            let write = |error: io::Error| format!("write `{}`: {error}", target.display());
            let mut file = File::create(target).map_err(write)?;
            let copied = io::copy(&mut (&mut stream).take(length), &mut file).map_err(write)?;
            if copied != length {
                return Err(format!("only {copied} of {length} bytes of `{name}` came"));
            }
            Ok(0)
        }
        BESIDE => {
            let beside = target.parent().unwrap_or(Path::new("")).join(AHEAD_DIRECTORY).join(name);
            std::fs::rename(&beside, target)
                .map_err(|error| format!("move `{}` to `{}`: {error}", beside.display(), target.display()))?;
            Ok(0)
        }
        _ => {
            let mut sentence = String::new();
            stream.take(4096).read_to_string(&mut sentence).map_err(failed)?;
            Err(sentence)
        }
    }
}
