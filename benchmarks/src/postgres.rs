//! PostgreSQL: base backups, restores and what they cost the server, of ours beside pgBackRest and `pg_basebackup`.

mod rounds;
mod source;
pub(crate) mod step;
mod throughput;
mod tools;

use std::path::Path;
use std::process::Command;

pub(crate) use rounds::run;

/// Where Debian keeps the programs of the version that is measured.
const PROGRAMS: &str = "/usr/lib/postgresql/15/bin";

/// A program of PostgreSQL.
fn program(name: &str) -> String {
    format!("{PROGRAMS}/{name}")
}

/// A command as the user `postgres`, which servers must run as.
fn as_postgres(program: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups", program]);
    command.current_dir("/").env("LC_ALL", "C").env("TZ", "UTC");
    command
}

/// The same for a line of the shell, which ends with the first command that fails.
fn shell_as_postgres(line: &str) -> Command {
    let mut command = as_postgres("bash");
    command.args(["-euo", "pipefail", "-c", line]);
    command
}

/// A path as a word of the shell. None of ours has quotes.
fn word(path: &Path) -> String {
    format!("'{}'", path.display())
}
