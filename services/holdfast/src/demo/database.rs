//! The demo's PostgreSQL server, where its programs are installed: small, on a private socket, with a shop in it.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, chown};
use std::path::Path;

use driver_postgres::error::PgError;
use driver_postgres::server::{CredentialProfile, SslMode};
use driver_postgres::settings::PostgresSettings;
use driver_postgres::tool::{self, User};
use tempfile::TempDir;

use super::server::{PORT, ROLE, Server, TIMEOUT_SECONDS};
use crate::error::CliError;

/// Versions that are looked for, the newest first.
const VERSIONS: [u32; 4] = [18, 17, 16, 15];
/// The user it runs as where the demo is root.
const RUN_AS: &str = "postgres";
/// Its database.
pub(super) const SHOP: &str = "shop";
/// Rows of the first run.
const ORDERS: u32 = 20_000;
/// Rows of the table that is dropped.
const INVOICES: u32 = 5_000;
/// Rows the change adds, and rows it changes.
const CHANGED: u32 = 200;

/// A server and the place for the one that is restored; both are stopped and removed when this is dropped.
#[derive(Debug)]
pub(super) struct Database {
    // Before the directory: fields are dropped in this order.
    source: Server,
    restored: Server,
    _directory: TempDir,
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
        let own = |path: &Path| -> io::Result<()> {
            fs::set_permissions(path, fs::Permissions::from_mode(0o700))?;
            if user.must_change() {
                chown(path, Some(user.uid), Some(user.gid))?;
            }
            Ok(())
        };
        let place = |name: &str| -> Result<Server, CliError> {
            let sockets = directory.path().join(name);
            fs::DirBuilder::new()
                .mode(0o700)
                .create(&sockets)
                .and_then(|()| own(&sockets))
                .map_err(CliError::io(format!("make `{}` for `{}`", sockets.display(), user.name)))?;
            Ok(Server { bin: bin.clone(), user: user.clone(), data: sockets.join("data"), sockets })
        };
        let (source, restored) = (place("source")?, place("restored")?);
        own(directory.path()).map_err(CliError::io(format!(
            "give `{}` to `{}`",
            directory.path().display(),
            user.name
        )))?;
        let database = Self { source, restored, _directory: directory, version };
        database.make().map_err(failed)?;
        Ok(database)
    }

    fn make(&self) -> Result<(), PgError> {
        let Server { bin, user, data, sockets } = &self.source;
        let mut initdb = tool::command(&bin.join("initdb"), Some(user));
        initdb.args(["-k", "-A", "trust", "-U", ROLE, "--no-locale", "-E", "UTF8", "--wal-segsize=1", "-N", "-D"]);
        initdb.arg(data);
        tool::run(initdb, "initdb")?;
        let mut start = tool::command(&bin.join("pg_ctl"), Some(user));
        start.args(["start", "--wait", "--silent", "-t", TIMEOUT_SECONDS, "-D"]).arg(data);
        start.arg("-l").arg(sockets.join("log"));
        start.arg("-o").arg(format!("-k {} -p {PORT} -h '' -c shared_buffers=16MB -c fsync=off", sockets.display()));
        tool::run(start, "pg_ctl")?;
        self.source.open("postgres")?.query(&format!("CREATE DATABASE {SHOP}"))?;
        self.source.open(SHOP)?.query(&format!(
            "CREATE TABLE customers (id int PRIMARY KEY, name text NOT NULL); \
             CREATE TABLE orders (id serial PRIMARY KEY, customer int NOT NULL REFERENCES customers, \
             amount numeric NOT NULL, note text); \
             INSERT INTO customers SELECT n, 'customer ' || n FROM generate_series(1, 500) n; \
             INSERT INTO orders (customer, amount, note) \
             SELECT 1 + n % 500, n * 1.25, md5(n::text) FROM generate_series(1, {ORDERS}) n; \
             CREATE TABLE invoices (id serial PRIMARY KEY, for_order int NOT NULL REFERENCES orders, amount numeric NOT NULL); \
             INSERT INTO invoices (for_order, amount) SELECT n, n * 1.25 FROM generate_series(1, {INVOICES}) n"
        ))?;
        Ok(())
    }

    /// The server that is protected.
    pub(super) const fn source(&self) -> &Server {
        &self.source
    }

    /// Where another one is restored to: nothing is there yet.
    pub(super) const fn restored(&self) -> &Server {
        &self.restored
    }

    /// Its major version.
    pub(super) const fn version(&self) -> u32 {
        self.version
    }

    /// Where the workers find it.
    pub(super) fn location(&self) -> String {
        format!("postgresql:///?host={}&port={PORT}&profile={ROLE}", self.source.sockets.display())
    }

    /// What the workers are told about it.
    pub(super) fn settings() -> PostgresSettings {
        let profile =
            CredentialProfile { user: ROLE.to_owned(), ssl_mode: SslMode::Disable, ..CredentialProfile::default() };
        PostgresSettings { profiles: [(ROLE.to_owned(), profile)].into(), ..PostgresSettings::default() }
    }

    /// Adds some rows and changes as many; says how many of both.
    pub(super) fn change(&self) -> Result<u64, CliError> {
        let changed = self.source.open(SHOP).and_then(|mut connection| {
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

fn missing() -> PgError {
    PgError::Tool { tool: "postgres".to_owned(), problem: "PostgreSQL 15 or newer is not installed here".to_owned() }
}
