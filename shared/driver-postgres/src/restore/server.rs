//! A server on a restored data directory that goes on running when the worker does not.

use std::fmt::Write as _;
use std::io;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, TryRecvError};
use std::time::Duration;

use driver_api::{DriverError, RestoreRequest};
use job_model::FailureCode;

use crate::facts::PhysicalFacts;
use crate::io_error;
use crate::options::Options;
use crate::settings::PostgresSettings;
use crate::tool::{self, User};

/// How often the server is looked at: `pg_ctl` looks ten times a second, which is most of the time of a short start.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Its log, in the data directory.
const LOG: &str = "holdfast-start.log";

/// Starts it, and waits until it is promoted and answers.
pub(super) fn start(
    settings: &PostgresSettings,
    request: &RestoreRequest<'_>,
    facts: &PhysicalFacts,
    options: &Options,
    bin_dir: &Path,
    user: &User,
) -> Result<(), DriverError> {
    let data = request.target;
    let failed = |what: &str, source| DriverError::Service {
        code: FailureCode::TargetInvalid,
        problem: format!("the restored server {what}; its log ends: {}", tool::tail_of(&data.join(LOG))),
        source,
    };
    // None when nobody starts it any more.
    let mut starting = None;
    if !crate::capture::is_served(data) {
        configure(data, facts, options, user)?;
        let mut command = tool::command(&bin_dir.join("pg_ctl"), Some(user));
        command.args(["start", "--wait", "--silent", "-t"]).arg(settings.start_timeout_seconds.to_string());
        command.arg("-D").arg(data).arg("-l").arg(data.join(LOG));
        let (end, ended) = mpsc::channel();
        // Nobody is told when the server was ready before.
        std::thread::spawn(move || end.send(tool::run(command, "pg_ctl")));
        starting = Some(ended);
    }
    let began = (request.elapsed_ms)();
    loop {
        if is_ready(data) {
            return Ok(());
        }
        match starting.as_ref().map(mpsc::Receiver::try_recv) {
            Some(Ok(Err(error))) => return Err(failed("did not start", Some(Box::new(error)))),
            Some(Err(TryRecvError::Empty)) => {}
            Some(Ok(Ok(_)) | Err(TryRecvError::Disconnected)) => starting = None,
            None => {
                let waited = (request.elapsed_ms)().saturating_sub(began);
                if !crate::capture::is_served(data) || waited > settings.start_timeout_seconds * 1000 {
                    return Err(failed("was not promoted", None));
                }
            }
        }
        if request.control.is_stopped() {
            return Err(DriverError::Stopped);
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

/// Whether the server takes connections and is no longer in recovery: it writes so into its lock, as its eighth line, when its
/// startup process has ended. A lock that outlived its server says so, too.
fn is_ready(data: &Path) -> bool {
    let lock = std::fs::read_to_string(data.join("postmaster.pid")).unwrap_or_default();
    lock.lines().nth(7).is_some_and(|status| status.trim() == "ready") && crate::capture::is_served(data)
}

/// Makes the file the user's, where this process is root.
pub(super) fn give(path: &Path, user: &User) -> io::Result<()> {
    if user.must_change() {
        std::os::unix::fs::chown(path, Some(user.uid), Some(user.gid))?;
    }
    Ok(())
}

/// Settings of its own, and the files it needs where the source kept them elsewhere (as Debian does).
fn configure(data: &Path, facts: &PhysicalFacts, options: &Options, user: &User) -> Result<(), DriverError> {
    let hba =
        "# Written by holdfast: the source kept its own file outside of the data directory.\nlocal all all peer\n";
    for (name, text) in [("postgresql.conf", ""), ("pg_hba.conf", hba), ("pg_ident.conf", "")] {
        let path = data.join(name);
        let failed = |error| io_error("write", path.display().to_string(), error);
        match std::fs::OpenOptions::new().write(true).create_new(true).open(&path) {
            Ok(mut file) => {
                io::Write::write_all(&mut file, text.as_bytes()).map_err(failed)?;
                give(&path, user).map_err(failed)?;
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(failed(error)),
        }
    }
    let port = match options.port {
        Some(port) => port,
        None => free_port().map_err(|e| io_error("find a free port for", data.display().to_string(), e))?,
    };
    let mut text = "\n# Written by holdfast when it restored this directory.\n".to_owned();
    let socket = options.socket_directory.clone().map_or_else(|| data.to_owned(), PathBuf::from);
    // A restored server must never write into the archive of the one it was captured from.
    for (key, value) in [
        ("archive_mode", "off"),
        ("port", &port.to_string()),
        ("listen_addresses", options.listen_addresses.as_deref().unwrap_or_default()),
        ("unix_socket_directories", &socket.to_string_lossy()),
    ] {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{key} = '{}'", value.replace('\'', "''"));
    }
    if !facts.tablespaces.is_empty() {
        // They are directories where the source had links.
        text.push_str("allow_in_place_tablespaces = on\n");
    }
    for key in [
        "max_connections",
        "max_worker_processes",
        "max_wal_senders",
        "max_prepared_transactions",
        "max_locks_per_transaction",
    ] {
        if let Some(value) = facts.settings.get(key).filter(|value| value.bytes().all(|b| b.is_ascii_digit())) {
            let _ = writeln!(text, "{key} = {value}");
        }
    }
    let path = data.join("postgresql.auto.conf");
    let failed = |error| io_error("write", path.display().to_string(), error);
    let before = match std::fs::read_to_string(&path) {
        Ok(before) => before,
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(failed(error)),
    };
    std::fs::write(&path, before + &text).map_err(failed)?;
    give(&path, user).map_err(failed)
}

/// A port nobody listens at now.
fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_lock_that_outlived_its_server_is_no_server_that_is_ready() {
        let directory = tempfile::tempdir().unwrap();
        // After a restart of the machine another program has the server's number.
        let mut other = Command::new("sleep").arg("600").spawn().unwrap();
        let lock = format!("{}\n{}\n1\n5432\n\n\n0 0\nready   \n", other.id(), directory.path().display());
        std::fs::write(directory.path().join("postmaster.pid"), lock).unwrap();
        let (exists, ready) = (crate::capture::is_running(directory.path()), is_ready(directory.path()));
        other.kill().unwrap();
        other.wait().unwrap();
        assert!(exists && !ready);
    }
}
