//! Servers for the tests.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use driver_postgres::connection::{Connection, Mode};
use driver_postgres::server::{Credentials, Host, ServerAddress, SslMode};
use driver_postgres::wal::Lsn;
use driver_postgres::window::Base;
use jiff::Timestamp;
use tempfile::TempDir;

pub(crate) const BIN: &str = "/usr/lib/postgresql/15/bin";
const PORT: u16 = 5432;

/// Whether the servers can be run here; says why not.
pub(crate) fn is_possible() -> bool {
    let possible = Path::new(BIN).join("postgres").exists() && rustix::process::geteuid().is_root();
    if !possible {
        eprintln!("SKIPPED: needs root, and postgresql-15 in {BIN}; `./run setup_tests` installs it");
    }
    possible
}

/// A directory that the user `postgres` may walk through.
pub(crate) fn directory() -> TempDir {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = tempfile::Builder::new().prefix("pgc-").tempdir_in("/tmp").unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    directory
}

/// A command as the user `postgres`.
pub(crate) fn as_postgres(program: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups", program]).current_dir("/");
    command.env("LC_ALL", "C").env("TZ", "UTC").stdin(Stdio::null());
    command
}

pub(crate) fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

pub(crate) fn wait_for(what: &str, seconds: u64, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(seconds), "waited {seconds} s for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A server in a directory; killed when dropped.
pub(crate) struct Server {
    pub(crate) data: PathBuf,
    pub(crate) sockets: PathBuf,
    pub(crate) log: PathBuf,
    child: Option<Child>,
}

impl Server {
    /// Makes a cluster and starts it.
    pub(crate) fn create(directory: &Path, settings: &str) -> Self {
        Self::create_with(directory, settings, 16)
    }

    /// The same with segments of so many MiB.
    pub(crate) fn create_with(directory: &Path, settings: &str, segment_mib: u64) -> Self {
        run(Command::new("install").args(["-d", "-o", "postgres", "-g", "postgres", "-m", "700"]).arg(directory));
        let data = directory.join("data");
        run(as_postgres(&format!("{BIN}/initdb"))
            .args(["-k", "-A", "trust", "-U", "postgres", "--no-locale", "-E", "UTF8", "--no-sync"])
            .arg(format!("--wal-segsize={segment_mib}"))
            .arg("-D")
            .arg(&data));
        let configuration = data.join("postgresql.conf");
        let mut text = fs::read_to_string(&configuration).unwrap();
        // Nothing here cuts the power, and what a killed process wrote is there without a sync.
        text.push_str("\nlisten_addresses = ''\nfsync = off\nwal_level = replica\narchive_mode = off\n");
        text.push_str("track_commit_timestamp = on\nautovacuum = off\nmax_wal_size = 4GB\n");
        text.push_str(settings);
        fs::write(&configuration, text).unwrap();
        let mut server = Self::at(&data);
        server.start(&[]);
        server.wait_until_ready();
        server
    }

    /// A data directory that is there already.
    pub(crate) fn at(data: &Path) -> Self {
        let sockets = data.parent().unwrap().to_owned();
        Self { data: data.to_owned(), log: sockets.join("log"), sockets, child: None }
    }

    pub(crate) fn start(&mut self, settings: &[(String, String)]) {
        let log = fs::File::create(&self.log).unwrap();
        let mut command = as_postgres(&format!("{BIN}/postgres"));
        command.arg("-D").arg(&self.data).args(["-c", &format!("unix_socket_directories={}", self.sockets.display())]);
        for (name, value) in settings {
            command.arg("-c").arg(format!("{name}={value}"));
        }
        command.stdout(log.try_clone().unwrap()).stderr(log);
        self.child = Some(command.spawn().unwrap());
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.as_mut().is_none_or(|child| child.try_wait().unwrap().is_some())
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    pub(crate) fn wait_until_ready(&mut self) {
        wait_for("the server", 60, || {
            assert!(!self.has_ended(), "the server has ended: {}", self.log());
            self.connect().is_ok()
        });
    }

    /// As a power cut, but for the disk.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
            // The backends notice that the postmaster is gone and end; a new one starts only when all have.
            let data = fs::canonicalize(&self.data).unwrap();
            wait_for("the backends of a killed server to end", 60, || !is_working_directory(&data));
            let _ = fs::remove_file(self.sockets.join(format!(".s.PGSQL.{PORT}.lock")));
        }
    }

    /// In good order.
    pub(crate) fn stop(&mut self) {
        run(as_postgres(&format!("{BIN}/pg_ctl")).args(["stop", "-m", "fast", "-w", "-D"]).arg(&self.data));
        self.child.take().unwrap().wait().unwrap();
    }

    pub(crate) fn address(&self) -> ServerAddress {
        ServerAddress { host: Host::Socket(self.sockets.clone()), port: PORT }
    }

    pub(crate) fn connect(&self) -> Result<Connection, driver_postgres::error::PgError> {
        Connection::open(&self.address(), &credentials(), Mode::Database("postgres"))
    }

    pub(crate) fn value(&self, sql: &str) -> String {
        self.connect().unwrap().query(sql).unwrap().single().unwrap().to_owned()
    }

    pub(crate) fn execute(&self, sql: &str) {
        self.connect().unwrap().query(sql).unwrap();
    }

    /// The server's clock.
    pub(crate) fn clock(&self) -> Timestamp {
        let microseconds = self.value("SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint");
        Timestamp::from_microsecond(microseconds.parse().unwrap()).unwrap()
    }

    /// Waits until the server's clock is past an instant: it is time itself that is needed.
    pub(crate) fn wait_for_clock(&self, at: Timestamp) {
        let seconds = u64::try_from(at.duration_since(self.clock()).as_secs()).unwrap_or(0);
        wait_for("the clock", seconds + 10, || self.clock() > at);
    }

    /// The end of the second that the server's clock is in. It is over when this returns: what was committed before is older,
    /// and what comes is newer.
    pub(crate) fn end_of_second(&self) -> Timestamp {
        let end = Timestamp::from_second(self.clock().as_second() + 1).unwrap();
        self.wait_for_clock(end);
        end
    }

    /// A base backup in a directory, and what a window needs to know of it.
    pub(crate) fn base(&self, directory: &Path, id: &str) -> Base {
        run(as_postgres(&format!("{BIN}/pg_basebackup"))
            .args([
                "-h",
                &self.sockets.display().to_string(),
                "-U",
                "postgres",
                "-c",
                "fast",
                "-X",
                "none",
                "--no-sync",
            ])
            .arg("-D")
            .arg(directory));
        let stopped_at = self.clock();
        let manifest: serde_json::Value =
            serde_json::from_slice(&fs::read(directory.join("backup_manifest")).unwrap()).unwrap();
        let range = &manifest["WAL-Ranges"][0];
        let lsn = |name: &str| -> Lsn { range[name].as_str().unwrap().parse().unwrap() };
        Base {
            id: id.to_owned(),
            timeline: u32::try_from(range["Timeline"].as_u64().unwrap()).unwrap(),
            start: lsn("Start-LSN"),
            stop: lsn("End-LSN"),
            stopped_at,
        }
    }
}

/// Whether a process works in the directory, as all of a server's do in its data directory.
fn is_working_directory(directory: &Path) -> bool {
    let processes = fs::read_dir("/proc").unwrap();
    processes.flatten().any(|process| fs::read_link(process.path().join("cwd")).is_ok_and(|cwd| cwd == directory))
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

pub(crate) fn credentials() -> Credentials {
    Credentials { user: "postgres".to_owned(), password: None, ssl_mode: SslMode::Disable, root_certificate: None }
}
