//! A PostgreSQL server that is reached by a private socket and stopped when the demo is over.

use std::path::{Path, PathBuf};

use driver_postgres::connection::{Connection, Mode};
use driver_postgres::error::PgError;
use driver_postgres::server::{Credentials, Host, ServerAddress, SslMode};
use driver_postgres::tool::{self, User};
use jiff::Timestamp;

/// The role that owns the demo's servers, and the credential profile that names it.
pub(super) const ROLE: &str = "holdfast";
/// Part of the socket's name and nothing else.
pub(super) const PORT: u16 = 5432;
/// Seconds a server may take to start or stop.
pub(super) const TIMEOUT_SECONDS: &str = "30";

/// A server, whether it runs already or not.
#[derive(Debug)]
pub(super) struct Server {
    /// PostgreSQL's programs.
    pub(super) bin: PathBuf,
    /// Whom it belongs to.
    pub(super) user: User,
    /// Its data directory.
    pub(super) data: PathBuf,
    /// The directory of its socket.
    pub(super) sockets: PathBuf,
}

impl Server {
    /// A connection to one of its databases.
    ///
    /// # Errors
    /// When it does not answer.
    pub(super) fn open(&self, database: &str) -> Result<Connection, PgError> {
        let server = ServerAddress { host: Host::Socket(self.sockets.clone()), port: PORT };
        let credentials =
            Credentials { user: ROLE.to_owned(), password: None, ssl_mode: SslMode::Disable, root_certificate: None };
        Connection::open(&server, &credentials, Mode::Database(database))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let data: &Path = &self.data;
        let mut stop = tool::command(&self.bin.join("pg_ctl"), Some(&self.user));
        stop.args(["stop", "--wait", "--silent", "-m", "immediate", "-t", TIMEOUT_SECONDS, "-D"]).arg(data);
        // A server that does not run needs no stop.
        let _ = tool::run(stop, "pg_ctl");
    }
}

/// The server's clock.
///
/// # Errors
/// When it does not answer.
pub(super) fn clock(connection: &mut Connection) -> Result<Timestamp, PgError> {
    let rows = connection.query("SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint")?;
    Timestamp::from_microsecond(rows.parse(0, 0)?)
        .map_err(|error| PgError::Unexpected { problem: format!("the clock of the server: {error}") })
}
