//! The server that is backed up, and others that were restored.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use driver_postgres::connection::{Connection, Mode};
use driver_postgres::server::{Credentials, Host, ServerAddress, SslMode};

use super::tools::put_away;
use super::{as_postgres, program};
use crate::error::BenchError;
use crate::measure::measure;

/// Longest time to wait for something that must come.
const PATIENCE: Duration = Duration::from_secs(600);
const LOOK_EVERY: Duration = Duration::from_millis(50);
const PORT: u16 = 5432;

/// What is set besides the defaults of `initdb`.
const SETTINGS: &str = "\
listen_addresses = ''
wal_level = replica
max_wal_senders = 10
max_replication_slots = 10
max_wal_size = 4GB
checkpoint_timeout = 30min
shared_buffers = 256MB
track_commit_timestamp = on
autovacuum = off
archive_mode = on
";

/// A running server.
pub(super) struct Source {
    pub(super) data: PathBuf,
    pub(super) sockets: PathBuf,
    log: PathBuf,
    /// Pages of `pgbench_accounts`.
    pages: u64,
    rows: u64,
}

impl Source {
    /// Makes a cluster of its own with the tables of pgbench.
    pub(super) fn create(dir: &Path, scale: u32, archive_command: &str) -> Result<Self, BenchError> {
        let sockets = dir.join("source");
        let data = sockets.join("data");
        let mut source = Self { log: sockets.join("log"), data, sockets, pages: 0, rows: 0 };
        if source.data.join("postmaster.pid").exists() {
            source.stop();
        }
        put_away(dir, &source.sockets)?;
        own(&source.sockets)?;
        let mut initdb = as_postgres(&program("initdb"));
        initdb.args(["-k", "-A", "trust", "-U", "postgres", "--no-locale", "-E", "UTF8", "-D"]).arg(&source.data);
        source.quietly(&mut initdb)?;
        let path = source.data.join("postgresql.conf");
        let text = fs::read_to_string(&path).map_err(BenchError::io("read", &path))?;
        let sockets = source.sockets.display();
        let text =
            format!("{text}\n{SETTINGS}unix_socket_directories = '{sockets}'\narchive_command = '{archive_command}'\n");
        fs::write(&path, text).map_err(BenchError::io("write", &path))?;
        let mut start = as_postgres(&program("pg_ctl"));
        start.args(["start", "-w", "-s", "-D"]).arg(&source.data).arg("-l").arg(&source.log);
        source.quietly(&mut start)?;
        // Room in each page, so that an update stays in it.
        let fill = |steps: &str| {
            let mut pgbench = source.client("pgbench");
            pgbench.args(["-i", "-q", "-F", "90", "-s", &scale.to_string(), "-I", steps, "postgres"]);
            source.quietly(&mut pgbench)
        };
        fill("dtg")?;
        // The rows of pgbench are blanks, which compress as nothing else does.
        source.execute(
            "CREATE TEMPORARY TABLE rows AS SELECT aid, bid FROM pgbench_accounts; TRUNCATE pgbench_accounts; \
             INSERT INTO pgbench_accounts SELECT aid, bid, 0, md5(aid::text) || md5((-aid)::text) FROM rows",
        )?;
        fill("vp")?;
        source.execute("VACUUM FREEZE; CHECKPOINT")?;
        source.pages = source.number("SELECT pg_relation_size('pgbench_accounts') / 8192")?;
        source.rows = u64::from(scale) * 100_000;
        Ok(source)
    }

    /// One of the programs of PostgreSQL that log in.
    pub(super) fn client(&self, name: &str) -> Command {
        let mut command = as_postgres(&program(name));
        command.env("PGHOST", &self.sockets).env("PGUSER", "postgres");
        command
    }

    fn quietly(&self, command: &mut Command) -> Result<(), BenchError> {
        measure(command, &self.sockets.with_extension("log")).map(drop)
    }

    fn connect(&self) -> Result<Connection, BenchError> {
        let server = ServerAddress { host: Host::Socket(self.sockets.clone()), port: PORT };
        Ok(Connection::open(&server, &credentials(), Mode::Database("postgres"))?)
    }

    pub(super) fn execute(&self, sql: &str) -> Result<(), BenchError> {
        let mut connection = self.connect()?;
        // Some statements must not share a transaction.
        sql.split(';').try_for_each(|statement| connection.query(statement).map(drop))?;
        Ok(())
    }

    pub(super) fn value(&self, sql: &str) -> Result<String, BenchError> {
        let rows = self.connect()?.query(sql)?;
        rows.value(0, 0).map(str::to_owned).ok_or_else(|| BenchError::Wrong(format!("`{sql}` gave nothing")))
    }

    fn number(&self, sql: &str) -> Result<u64, BenchError> {
        self.value(sql)?.parse().map_err(|error| BenchError::Wrong(format!("`{sql}`: {error}")))
    }

    /// What a backup of it reads, but for a few files.
    pub(super) fn bytes(&self) -> Result<u64, BenchError> {
        self.number("SELECT sum(pg_tablespace_size(oid))::bigint FROM pg_tablespace")
    }

    /// Changes a row in one of a hundred pages of the largest table, each at a random place.
    pub(super) fn change_pages(&self) -> Result<(), BenchError> {
        let (rows, count) = (self.rows, self.pages / 100);
        self.execute(&format!(
            "UPDATE pgbench_accounts SET abalance = abalance + 1 WHERE aid IN \
             (SELECT 1 + floor(random() * {rows})::int FROM generate_series(1, {count})); CHECKPOINT"
        ))
    }

    /// Writes log until there are so many MiB more of it.
    pub(super) fn write_log(&self, mebibytes: u64) -> Result<(), BenchError> {
        let start = self.value("SELECT pg_current_wal_lsn()")?;
        let mut part = 0;
        while self.number(&format!("SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '{start}')::bigint"))?
            < mebibytes << 20
        {
            self.execute(&format!(
                "UPDATE pgbench_accounts SET abalance = abalance + 1 WHERE aid % 50 = {}",
                part % 50
            ))?;
            part += 1;
        }
        Ok(())
    }

    /// A whole second of the server's clock, after everything so far and before a commit.
    pub(super) fn instant(&self) -> Result<String, BenchError> {
        let sql = "SELECT to_char(date_trunc('second', clock_timestamp() + interval '1 second') AT TIME ZONE 'UTC', \
                   'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')";
        let instant = self.value(sql)?;
        wait_for("the instant", || Ok(self.value(&format!("SELECT clock_timestamp() > '{instant}'"))? == "t"))?;
        self.execute("UPDATE pgbench_branches SET bbalance = bbalance + 1 WHERE bid = 1")?;
        Ok(instant)
    }

    /// Waits until all of the log so far is with everybody who receives or archives it.
    pub(super) fn wait_until_received(&self, archives: bool, receivers: usize) -> Result<(), BenchError> {
        let end = self.value("SELECT pg_current_wal_lsn()")?;
        let segment = self.value("SELECT pg_walfile_name(pg_switch_wal())")?;
        wait_for("those who receive the log", || {
            let sql = format!("SELECT count(*) FROM pg_stat_replication WHERE flush_lsn >= '{end}'");
            Ok(self.number(&sql)? >= receivers as u64)
        })?;
        if archives {
            wait_for("the archive", || {
                Ok(self.value(&format!("SELECT last_archived_wal >= '{segment}' FROM pg_stat_archiver"))? == "t")
            })?;
        }
        Ok(())
    }

    /// Transactions each second of pgbench with four clients.
    pub(super) fn throughput(&self, seconds: u64) -> Result<f64, BenchError> {
        let mut pgbench = self.client("pgbench");
        pgbench.args(["-n", "-c4", "-j2", "-T", &seconds.to_string(), "postgres"]).stdin(Stdio::null());
        let output = pgbench.output().map_err(BenchError::io("run", "pgbench"))?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        said.lines()
            .find_map(|line| line.strip_prefix("tps = ")?.split(' ').next()?.parse().ok())
            .ok_or_else(|| BenchError::Wrong(format!("pgbench said: {said}")))
    }

    fn stop(&self) {
        stop(&self.data);
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Ends a server, if one runs.
pub(super) fn stop(data: &Path) {
    let mut stop = as_postgres(&program("pg_ctl"));
    stop.args(["stop", "-w", "-s", "-m", "immediate", "-D"]).arg(data).stderr(Stdio::null());
    // Where none runs there is nothing to end.
    let _ = stop.status();
}

/// A directory that belongs to the user `postgres`.
pub(super) fn own(directory: &Path) -> Result<(), BenchError> {
    let mut install = Command::new("install");
    install.args(["-d", "-o", "postgres", "-g", "postgres", "-m", "755"]).arg(directory);
    measure(&mut install, &directory.with_extension("log")).map(drop)
}

/// Who logs in.
pub(super) fn credentials() -> Credentials {
    Credentials { user: "postgres".to_owned(), password: None, ssl_mode: SslMode::Disable, root_certificate: None }
}

/// Waits until it is so.
pub(super) fn wait_for(what: &str, mut is_so: impl FnMut() -> Result<bool, BenchError>) -> Result<(), BenchError> {
    let began = Instant::now();
    while !is_so()? {
        if began.elapsed() > PATIENCE {
            return Err(BenchError::Wrong(format!("waited {} s for {what}", PATIENCE.as_secs())));
        }
        std::thread::sleep(LOOK_EVERY);
    }
    Ok(())
}
