//! PostgreSQL's own programs: where they are, and how they are run: as an unprivileged user, with an empty environment.

use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::error::PgError;

/// How much of a program's last words is kept.
const TAIL_BYTES: usize = 2048;

/// A user that programs run as: PostgreSQL refuses to run as root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// The name, for messages.
    pub name: String,
    /// Its number.
    pub uid: u32,
    /// Its group's number.
    pub gid: u32,
}

impl User {
    /// The user a server is to run as: the named one where this process is root, else the one this process runs as.
    ///
    /// # Errors
    /// When there is no such user, or it is root.
    pub fn to_run_as(name: &str) -> Result<Self, PgError> {
        let euid = rustix::process::geteuid();
        if !euid.is_root() {
            let gid = rustix::process::getegid().as_raw();
            return Ok(Self { name: euid.as_raw().to_string(), uid: euid.as_raw(), gid });
        }
        let failed = |problem: String| PgError::Tool { tool: "passwd".to_owned(), problem };
        let passwd = std::fs::read_to_string("/etc/passwd").map_err(|e| failed(format!("read `/etc/passwd`: {e}")))?;
        let line = passwd.lines().find_map(|line| {
            let fields: Vec<&str> = line.split(':').collect();
            (fields.first() == Some(&name)).then(|| Some((fields.get(2)?.parse().ok()?, fields.get(3)?.parse().ok()?)))
        });
        match line.flatten() {
            Some((0, _)) => Err(failed(format!("`{name}` is root, and PostgreSQL does not run as root; set `run_as`"))),
            Some((uid, gid)) => Ok(Self { name: name.to_owned(), uid, gid }),
            None => Err(failed(format!("there is no user `{name}`; make it, or set `run_as` to another"))),
        }
    }

    /// Whether this process must become the user.
    #[must_use]
    pub fn must_change(&self) -> bool {
        rustix::process::geteuid().is_root()
    }
}

/// Where the programs of a major version are: Debian's place, that of the configuration, or the path of searches.
///
/// # Errors
/// [`PgError::Tool`] that says which version is to be installed.
pub fn bin_dir(configured: Option<&Path>, major_version: u32) -> Result<PathBuf, PgError> {
    let version = major_version.to_string();
    let mut candidates = Vec::new();
    if let Some(configured) = configured {
        candidates.push(PathBuf::from(configured.to_string_lossy().replace("{major}", &version)));
    } else {
        candidates.push(PathBuf::from(format!("/usr/lib/postgresql/{version}/bin")));
        candidates.push(PathBuf::from(format!("/usr/pgsql-{version}/bin")));
        candidates.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
    }
    for candidate in candidates {
        let postgres = candidate.join("postgres");
        if postgres.metadata().is_ok_and(|m| m.is_file() && m.mode() & 0o111 != 0)
            && version_of(&candidate) == Some(major_version)
        {
            return Ok(candidate);
        }
    }
    Err(PgError::Tool {
        tool: "postgres".to_owned(),
        problem: format!("PostgreSQL {version} is not installed here; install it, or set `bin_dir` to its programs"),
    })
}

/// `pg_controldata (PostgreSQL) 15.14 (Debian …)` is 15. The server itself says so, too, but loads forty libraries before.
fn version_of(bin_dir: &Path) -> Option<u32> {
    let program = bin_dir.join("pg_controldata");
    let output = Command::new(program).arg("--version").env_clear().env("LC_ALL", "C").output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let version = text.split("(PostgreSQL) ").nth(1)?;
    version.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// A program with nothing of this process's environment. `setpriv` makes it the user's where this process is root.
#[must_use]
pub fn command(program: &Path, user: Option<&User>) -> Command {
    let mut command = match user.filter(|user| user.must_change()) {
        Some(user) => {
            let mut command = Command::new("setpriv");
            command.arg(format!("--reuid={}", user.uid)).arg(format!("--regid={}", user.gid));
            command.arg("--clear-groups").arg("--no-new-privs").arg("--").arg(program);
            command
        }
        None => Command::new(program),
    };
    command.env_clear().env("LC_ALL", "C").env("TZ", "UTC").env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    command.current_dir("/").stdin(Stdio::null());
    command
}

/// Runs a program to its end.
///
/// # Errors
/// [`PgError::Tool`] with its last words when it cannot be started or fails.
pub fn run(mut command: Command, tool: &str) -> Result<Output, PgError> {
    let failed = |problem: String| PgError::Tool { tool: tool.to_owned(), problem };
    let output = command.output().map_err(|e| failed(format!("cannot be started: {e}")))?;
    if output.status.success() {
        return Ok(output);
    }
    let words = tail(&output.stderr);
    Err(failed(if words.is_empty() { format!("ended with {}", output.status) } else { words }))
}

/// The last words of a program.
#[must_use]
pub fn tail(bytes: &[u8]) -> String {
    let from = bytes.len().saturating_sub(TAIL_BYTES);
    String::from_utf8_lossy(&bytes[from..]).trim().to_owned()
}

/// The last words in a log file; empty when there is none.
#[must_use]
pub fn tail_of(path: &Path) -> String {
    let mut bytes = Vec::new();
    if let Ok(mut file) = std::fs::File::open(path)
        && let Err(error) = file.read_to_end(&mut bytes)
    {
        tracing::debug!(%error, path = %path.display(), "a log cannot be read");
    }
    tail(&bytes)
}
