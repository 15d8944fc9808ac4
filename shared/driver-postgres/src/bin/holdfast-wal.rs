//! Moves files of a PostgreSQL log at the request of a server.
//!
//! * `holdfast-wal fetch SOCKET %f %p`: as `restore_command`; the process that restores sets it up.
//! * `holdfast-wal push %p %f DIRECTORY`: as `archive_command`, for servers that cannot be streamed from.
#![expect(clippy::print_stderr, reason = "the server puts what is written here into its log")]

use std::path::Path;
use std::process::ExitCode;

use driver_postgres::archive::{FETCH_FAILED, fetch, push};

/// The server asks again later, and says so in its log, for every code from 1 to 125.
const PUSH_FAILED: u8 = 1;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let (code, failed) = match words.as_slice() {
        ["fetch", socket, name, target] => (fetch(Path::new(socket), name, Path::new(target)), FETCH_FAILED),
        ["push", source, name, directory] => {
            let pushed = push(Path::new(source), name, Path::new(directory));
            (pushed.map(|_| 0).map_err(|error| with_causes(&error)), PUSH_FAILED)
        }
        _ => {
            let usage = "use `holdfast-wal fetch SOCKET %f %p` or `holdfast-wal push %p %f DIRECTORY`";
            (Err(usage.to_owned()), FETCH_FAILED)
        }
    };
    match code {
        Ok(code) => ExitCode::from(code),
        Err(sentence) => {
            eprintln!("holdfast-wal: {sentence}");
            ExitCode::from(failed)
        }
    }
}

fn with_causes(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(cause) => format!("{error}: {}", with_causes(cause)),
        None => error.to_string(),
    }
}
