//! PostgreSQL's own clients as children: everything they are told stands in their environment, the password in a file that
//! only this user can read.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use driver_api::{Control, DriverError};
use secrecy::ExposeSecret as _;

use crate::error::PgError;
use crate::io_error;
use crate::server::{Credentials, Host, ServerAddress, SslMode};
use crate::tool;

/// Part of the names of working directories: `holdfast-dump-<process>-<number>`.
const PREFIX: &str = "holdfast-dump-";

/// Authorities that Debian and Red Hat trust: libpq before 16 knows no way to ask for the system's.
const SYSTEM_AUTHORITIES: [&str; 2] = ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt"];

const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A directory for a dump on its way; removed with all in it.
pub(crate) struct WorkDirectory(PathBuf);

impl WorkDirectory {
    /// Makes one below `place`, and removes those of processes that were killed.
    pub(crate) fn make(place: &Path) -> Result<Self, DriverError> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);

        remove_leftovers(place);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = place.join(format!("{PREFIX}{}-{number}", std::process::id()));
        fs::DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .map_err(|e| io_error("make the directory", path.display().to_string(), e))?;
        Ok(Self(path))
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for WorkDirectory {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            tracing::warn!(%error, directory = %self.0.display(), "a working directory cannot be removed");
        }
    }
}

fn remove_leftovers(place: &Path) {
    for entry in fs::read_dir(place).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let pid = name.strip_prefix(PREFIX).and_then(|rest| rest.split_once('-')?.0.parse::<u32>().ok());
        let is_dead = pid.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists());
        if is_dead && let Err(error) = fs::remove_dir_all(entry.path()) {
            tracing::debug!(%error, name, "a leftover cannot be removed");
        }
    }
}

/// Runs clients against one server.
pub(crate) struct Clients<'a> {
    server: &'a ServerAddress,
    credentials: &'a Credentials,
    bin_dir: PathBuf,
    pass_file: PathBuf,
    log: PathBuf,
}

impl<'a> Clients<'a> {
    pub(crate) fn new(
        server: &'a ServerAddress,
        credentials: &'a Credentials,
        bin_dir: PathBuf,
        work: &WorkDirectory,
    ) -> Result<Self, DriverError> {
        let clients =
            Self { server, credentials, bin_dir, pass_file: work.path("pgpass"), log: work.path("client.log") };
        clients.write_pass_file().map_err(|e| io_error("write", clients.pass_file.display().to_string(), e))?;
        Ok(clients)
    }

    fn write_pass_file(&self) -> io::Result<()> {
        let mut file =
            fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&self.pass_file)?;
        if let Some(password) = &self.credentials.password {
            let escaped = password.expose_secret().replace('\\', "\\\\").replace(':', "\\:");
            writeln!(file, "*:*:*:*:{escaped}")?;
        }
        Ok(())
    }

    /// A client that begins in a database.
    pub(crate) fn command(&self, program: &str, database: &str) -> Command {
        let mut command = tool::command(&self.bin_dir.join(program), None);
        let host = match &self.server.host {
            Host::Name(name) => name.clone(),
            Host::Socket(directory) => directory.display().to_string(),
        };
        let mode = match self.credentials.ssl_mode {
            SslMode::Disable => "disable",
            SslMode::Require => "require",
            SslMode::VerifyCa => "verify-ca",
            SslMode::VerifyFull => "verify-full",
        };
        command.env("PGHOST", host).env("PGPORT", self.server.port.to_string()).env("PGUSER", &self.credentials.user);
        command.env("PGDATABASE", database).env("PGPASSFILE", &self.pass_file).env("PGAPPNAME", "holdfast");
        command.env("PGSSLMODE", mode).env("PGGSSENCMODE", "disable").env("PGCONNECT_TIMEOUT", "15");
        let authorities = self
            .credentials
            .root_certificate
            .clone()
            .or_else(|| SYSTEM_AUTHORITIES.iter().map(PathBuf::from).find(|path| path.is_file()));
        if let Some(authorities) = authorities {
            command.env("PGSSLROOTCERT", authorities);
        }
        command
    }

    /// Runs a client to its end; it is ended when the work is to stop.
    pub(crate) fn run(&self, mut command: Command, program: &str, control: &dyn Control) -> Result<(), DriverError> {
        let log = fs::File::create(&self.log).map_err(|e| io_error("write", self.log.display().to_string(), e))?;
        command.stdout(Stdio::null()).stderr(log);
        let failed = |problem: String| PgError::Tool { tool: program.to_owned(), problem };
        let mut child = command.spawn().map_err(|e| failed(format!("cannot be started: {e}")))?;
        loop {
            match child.try_wait().map_err(|e| failed(e.to_string()))? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => {
                    let words = tool::tail_of(&self.log);
                    return Err(failed(if words.is_empty() { format!("ended with {status}") } else { words }).into());
                }
                None if control.is_stopped() => {
                    let ended = child.kill().and_then(|()| child.wait());
                    tracing::debug!(?ended, program, "ended because the work is to stop");
                    return Err(DriverError::Stopped);
                }
                None => std::thread::sleep(LOOK_EVERY),
            }
        }
    }

    /// What a client prints.
    pub(crate) fn output(&self, command: Command, program: &str) -> Result<String, DriverError> {
        let output = tool::run(command, program)?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}
