//! The demo's PostgreSQL server, where its programs are installed: small, on a private socket, with a shop in it.

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

use driver_postgres::connection::{Connection, Mode};
use driver_postgres::error::PgError;
use driver_postgres::server::{CredentialProfile, Credentials, Host, ServerAddress, SslMode};
use driver_postgres::settings::PostgresSettings;
use driver_postgres::tool::{self, User};
use tempfile::TempDir;

use crate::error::CliError;

/// Versions that are looked for, the newest first.
const VERSIONS: [u32; 4] = [18, 17, 16, 15];
/// The user it runs as where the demo is root.
const RUN_AS: &str = "postgres";
/// The role that owns it, and the credential profile that names it.
const ROLE: &str = "holdfast";
/// Part of the socket's name and nothing else.
const PORT: u16 = 5432;
/// Rows of the first run.
const ORDERS: u32 = 20_000;
/// Rows the change adds, and rows it changes.
const CHANGED: u32 = 200;
/// Seconds the server may take to start or stop.
const TIMEOUT_SECONDS: &str = "30";

/// A server that is stopped and removed when this is dropped.
#[derive(Debug)]
pub(super) struct Database {
    directory: TempDir,
    bin: PathBuf,
    user: User,
    version: u32,
}

impl Database {
    /// Makes one, or says why there is none.
    pub(super) fn start() -> Result<Self, CliError> {
        let failed = |error: PgError| CliError::Start { step: "PostgreSQL".to_owned(), source: Box::new(error) };
        let found = VERSIONS.iter().find_map(|version| Some((*version, tool::bin_dir(None, *version).ok()?)));
        let (version, bin) = match found {
            Some(found) => found,
            None => return Err(failed(missing())),
        };
        let user = User::to_run_as(RUN_AS).map_err(failed)?;
        // Not in the demo's own directory: the server's user may not get there.
        let directory = tempfile::Builder::new()
            .prefix("holdfast-demo-pg-")
            .tempdir_in("/tmp")
            .map_err(CliError::io("make a directory for PostgreSQL in `/tmp`"))?;
        let given = || -> io::Result<()> {
            fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o700))?;
            if user.must_change() {
                chown(directory.path(), Some(user.uid), Some(user.gid))?;
            }
            Ok(())
        };
        given().map_err(CliError::io(format!("give `{}` to `{}`", directory.path().display(), user.name)))?;
        let database = Self { directory, bin, user, version };
        database.make().map_err(failed)?;
        Ok(database)
    }

    fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    fn make(&self) -> Result<(), PgError> {
        let data = self.data();
        let mut initdb = tool::command(&self.bin.join("initdb"), Some(&self.user));
        initdb.args(["-k", "-A", "trust", "-U", ROLE, "--no-locale", "-E", "UTF8", "--wal-segsize=1", "-N", "-D"]);
        initdb.arg(&data);
        tool::run(initdb, "initdb")?;
        let mut start = tool::command(&self.bin.join("pg_ctl"), Some(&self.user));
        start.args(["start", "--wait", "--silent", "-t", TIMEOUT_SECONDS, "-D"]).arg(&data);
        start.arg("-l").arg(self.directory.path().join("log"));
        let options =
            format!("-k {} -p {PORT} -h '' -c shared_buffers=16MB -c fsync=off", self.directory.path().display());
        start.arg("-o").arg(options);
        tool::run(start, "pg_ctl")?;
        let mut connection = self.open("postgres")?;
        connection.query("CREATE DATABASE shop")?;
        self.open("shop")?.query(&format!(
            "CREATE TABLE customers (id int PRIMARY KEY, name text NOT NULL); \
             CREATE TABLE orders (id serial PRIMARY KEY, customer int NOT NULL REFERENCES customers, \
             amount numeric NOT NULL, note text); \
             INSERT INTO customers SELECT n, 'customer ' || n FROM generate_series(1, 500) n; \
             INSERT INTO orders (customer, amount, note) \
             SELECT 1 + n % 500, n * 1.25, md5(n::text) FROM generate_series(1, {ORDERS}) n"
        ))?;
        Ok(())
    }

    fn open(&self, database: &str) -> Result<Connection, PgError> {
        let server = ServerAddress { host: Host::Socket(self.directory.path().to_owned()), port: PORT };
        let credentials =
            Credentials { user: ROLE.to_owned(), password: None, ssl_mode: SslMode::Disable, root_certificate: None };
        Connection::open(&server, &credentials, Mode::Database(database))
    }

    /// Its major version.
    pub(super) const fn version(&self) -> u32 {
        self.version
    }

    /// Where the workers find it.
    pub(super) fn location(&self) -> String {
        format!("postgresql:///?host={}&port={PORT}&profile={ROLE}", self.directory.path().display())
    }

    /// What the workers are told about it.
    pub(super) fn settings() -> PostgresSettings {
        let profile =
            CredentialProfile { user: ROLE.to_owned(), ssl_mode: SslMode::Disable, ..CredentialProfile::default() };
        PostgresSettings { profiles: [(ROLE.to_owned(), profile)].into(), ..PostgresSettings::default() }
    }

    /// Adds some rows and changes as many; says how many of both.
    pub(super) fn change(&self) -> Result<u64, CliError> {
        let changed = self.open("shop").and_then(|mut connection| {
            connection.query(&format!(
                "INSERT INTO orders (customer, amount, note) SELECT 1 + n % 500, n, 'new' FROM generate_series(1, {CHANGED}) n; \
                 UPDATE orders SET note = 'changed' WHERE id <= {CHANGED}"
            ))
        });
        changed
            .map(|_| u64::from(2 * CHANGED))
            .map_err(|e| CliError::Start { step: "change the database".to_owned(), source: Box::new(e) })
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let data: &Path = &self.data();
        let mut stop = tool::command(&self.bin.join("pg_ctl"), Some(&self.user));
        stop.args(["stop", "--wait", "--silent", "-m", "immediate", "-t", TIMEOUT_SECONDS, "-D"]).arg(data);
        // A server that does not run needs no stop.
        let _ = tool::run(stop, "pg_ctl");
    }
}

fn missing() -> PgError {
    PgError::Tool { tool: "postgres".to_owned(), problem: "PostgreSQL 15 or newer is not installed here".to_owned() }
}
