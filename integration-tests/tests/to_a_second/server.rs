//! A server of PostgreSQL.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use driver_postgres::connection::{Connection, Mode};
use driver_postgres::error::PgError;
use driver_postgres::server::{Credentials, Host, ServerAddress, SslMode};
use driver_postgres::tool::{self, User};
use jiff::Timestamp;
use rustix::process::{Pid, Signal, kill_process};

pub(crate) const ROLE: &str = "holdfast";
pub(crate) const PORT: u16 = 5432;

/// A server of the test; stopped when dropped.
pub(crate) struct Server {
    pub(crate) bin: PathBuf,
    pub(crate) user: User,
    pub(crate) data: PathBuf,
    pub(crate) sockets: PathBuf,
    pub(crate) port: u16,
}

impl Server {
    pub(crate) fn open(&self) -> Result<Connection, PgError> {
        let server = ServerAddress { host: Host::Socket(self.sockets.clone()), port: self.port };
        let credentials =
            Credentials { user: ROLE.to_owned(), password: None, ssl_mode: SslMode::Disable, root_certificate: None };
        Connection::open(&server, &credentials, Mode::Database("postgres"))
    }

    pub(crate) fn value(&self, sql: &str) -> String {
        self.open().unwrap().query(sql).unwrap().single().unwrap().to_owned()
    }

    pub(crate) fn start(&self) {
        let mut start = tool::command(&self.bin.join("pg_ctl"), Some(&self.user));
        start.args(["start", "--wait", "--silent", "-D"]).arg(&self.data).arg("-l").arg(self.sockets.join("log"));
        tool::run(start, "pg_ctl").unwrap();
    }

    /// Kills the postmaster as a power cut would, and waits until every process of the server has noticed.
    pub(crate) fn kill9(&self) {
        let lock = fs::read_to_string(self.data.join("postmaster.pid")).unwrap();
        let number = lock.lines().next().unwrap();
        kill_process(Pid::from_raw(number.parse().unwrap()).unwrap(), Signal::KILL).unwrap();
        // Its number is free once it was reaped; all others of a server work in its data directory.
        let postmaster = Path::new("/proc").join(number);
        let works = |process: &Path| fs::read_link(process.join("cwd")).is_ok_and(|directory| directory == self.data);
        wait_for("the server to be gone", || {
            !postmaster.exists() && !fs::read_dir("/proc").unwrap().flatten().any(|entry| works(&entry.path()))
        });
    }

    /// One that a restore makes below a directory of this one's user.
    pub(crate) fn restored_to(&self, sockets: &Path, name: &str) -> Self {
        let (bin, user, sockets) = (self.bin.clone(), self.user.clone(), sockets.to_owned());
        Self { bin, user, data: sockets.join(name), sockets, port: free_port() }
    }

    /// The server's clock.
    pub(crate) fn clock(&self) -> Timestamp {
        let microseconds = self.value("SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint");
        Timestamp::from_microsecond(microseconds.parse().unwrap()).unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let mut stop = tool::command(&self.bin.join("pg_ctl"), Some(&self.user));
        stop.args(["stop", "--silent", "-m", "immediate", "-D"]).arg(&self.data);
        let _ended = stop.status();
    }
}

/// A place that the user who runs servers can get at, and the source server in it, with settings that may depend on the place;
/// none without PostgreSQL's programs.
pub(crate) fn source(settings: impl FnOnce(&Path) -> String) -> Option<(tempfile::TempDir, Server)> {
    let bin = [17, 16, 15].iter().find_map(|version| tool::bin_dir(None, *version).ok())?;
    let user = User::to_run_as("postgres").unwrap();
    let place = tempfile::Builder::new().prefix("holdfast-second-").tempdir_in("/tmp").unwrap();
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let own = |name: &str| {
        let path = place.path().join(name);
        fs::create_dir(&path).unwrap();
        if user.must_change() {
            chown(&path, Some(user.uid), Some(user.gid)).unwrap();
        }
        path
    };
    let (sockets, data) = (own("s"), place.path().join("s/data"));
    let mut initdb = tool::command(&bin.join("initdb"), Some(&user));
    initdb
        .args(["-k", "-A", "trust", "-U", ROLE, "--no-locale", "-E", "UTF8", "--wal-segsize=1", "-N", "-D"])
        .arg(&data);
    tool::run(initdb, "initdb").unwrap();
    own("archive");
    let settings = format!(
        "unix_socket_directories = '{}'\nport = {PORT}\nlisten_addresses = ''\nfsync = off\ntrack_commit_timestamp = on\n{}",
        sockets.display(),
        settings(place.path())
    );
    let configuration = data.join("postgresql.conf");
    fs::write(&configuration, fs::read_to_string(&configuration).unwrap() + &settings).unwrap();
    let source = Server { bin, user: user.clone(), data: data.canonicalize().unwrap(), sockets, port: PORT };
    source.start();
    own("restored");
    Some((place, source))
}

pub(crate) fn wait_for(what: &str, is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(120), "waited two minutes for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}
