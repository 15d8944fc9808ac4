//! Servers for the tests: made once as a template, copied for each, reached over a socket of their own.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use driver_postgres::PostgresSettings;
use driver_postgres::connection::{Connection, Mode, Rows};
use driver_postgres::server::{CredentialProfile, Credentials, Host, ServerAddress, SslMode};

pub(crate) const BIN: &str = "/usr/lib/postgresql/15/bin";

/// A directory that user `postgres` can get at; removed with all in it.
pub(crate) struct Place(PathBuf);

impl Place {
    pub(crate) fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = PathBuf::from(format!("/tmp/pg-{}-{number}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Runs a program and expects that it succeeds.
pub(crate) fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

/// One of PostgreSQL's programs as its user.
pub(crate) fn program(name: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups", "--"]);
    command.arg(Path::new(BIN).join(name)).env("LC_ALL", "C").env("TZ", "UTC").current_dir("/");
    command
}

/// Waits for what comes by itself, at the machine's own speed.
pub(crate) fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < Duration::from_secs(180), "waited three minutes for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A place that the tests of all runs share, for what is made in this way: another way is another place, so that nothing of
/// an earlier day is taken for it.
pub(crate) fn shared_place(name: &str, made: &impl std::hash::Hash) -> PathBuf {
    use std::hash::{DefaultHasher, Hasher as _};
    let mut hasher = DefaultHasher::new();
    made.hash(&mut hasher);
    PathBuf::from(format!("/tmp/pg-holdfast-{name}-{:016x}", hasher.finish()))
}

/// How all clusters are made.
const INITDB: [&str; 10] =
    ["-k", "-A", "trust", "-U", "postgres", "--no-locale", "-E", "UTF8", "--wal-segsize=1", "-N"];

/// An empty cluster that was shut down; the same for all tests of a run.
fn template() -> PathBuf {
    let place = shared_place("template", &(BIN, INITDB));
    if place.join("PG_VERSION").exists() {
        return place;
    }
    let mine = PathBuf::from(format!("/tmp/pg-holdfast-template-{}", std::process::id()));
    let _ = fs::remove_dir_all(&mine);
    run(program("initdb").args(INITDB).arg("-D").arg(&mine));
    // Whoever comes second has done it for nothing.
    if fs::rename(&mine, &place).is_err() {
        fs::remove_dir_all(&mine).unwrap();
    }
    place
}

/// A port that nobody else takes while its server is not up: the system hands out none that low by itself, and tests beside
/// this one see that somebody listens there on another address of this machine.
struct ClaimedPort {
    number: u16,
    _claim: TcpListener,
}

impl ClaimedPort {
    fn new() -> Self {
        let first = 10_000 + (std::process::id() % 10_000) as u16;
        let claimed = (first..first + 10_000).find_map(|number| {
            let claim = TcpListener::bind(("127.0.0.77", number)).ok()?;
            // A program that knows nothing of this may be there.
            TcpListener::bind(("127.0.0.1", number)).ok()?;
            Some(Self { number, _claim: claim })
        });
        claimed.unwrap()
    }
}

/// Part of the name of a socket that lies in a directory of its own.
const PORT: u16 = 5432;

/// A cluster of its own.
pub(crate) struct Cluster {
    pub(crate) place: Place,
    pub(crate) data: PathBuf,
    /// For clusters that are reached over TCP too.
    tcp: Option<ClaimedPort>,
    running: bool,
}

impl Cluster {
    /// Makes one and does not start it. It is reached over its socket.
    pub(crate) fn make() -> Self {
        Self::make_with(None)
    }

    /// The same, reached over TCP too.
    pub(crate) fn make_on_tcp() -> Self {
        Self::make_with(Some(ClaimedPort::new()))
    }

    fn make_with(tcp: Option<ClaimedPort>) -> Self {
        let place = Place::new();
        let data = place.path("source");
        run(Command::new("cp").arg("-a").arg(template()).arg(&data));
        // Pages that a vacuum changes whenever it comes by would be among those that a test has changed.
        let conf = format!(
            "unix_socket_directories = '{}'\nport = {}\nlisten_addresses = '{}'\nfsync = off\nautovacuum = off\n\
             wal_level = replica\nmax_wal_senders = 8\nmax_replication_slots = 8\nshared_buffers = 32MB\n",
            place.path("").display(),
            tcp.as_ref().map_or(PORT, |port| port.number),
            if tcp.is_some() { "127.0.0.1" } else { "" },
        );
        let conf_file = data.join("postgresql.conf");
        fs::write(&conf_file, fs::read_to_string(&conf_file).unwrap() + &conf).unwrap();
        Self { place, data, tcp, running: false }
    }

    pub(crate) fn port(&self) -> u16 {
        self.tcp.as_ref().map_or(PORT, |port| port.number)
    }

    /// Makes one and starts it.
    pub(crate) fn start() -> Self {
        let mut cluster = Self::make();
        cluster.begin();
        cluster
    }

    /// As [`Self::start`], with a database `shop` that has some of everything.
    pub(crate) fn with_shop() -> Self {
        Self::start().and_shop()
    }

    /// As [`Self::with_shop`], reached over TCP too.
    pub(crate) fn with_shop_on_tcp() -> Self {
        let mut cluster = Self::make_on_tcp();
        cluster.begin();
        cluster.and_shop()
    }

    fn and_shop(self) -> Self {
        self.sql("postgres", "CREATE DATABASE shop");
        self.sql("shop", SHOP);
        self
    }

    pub(crate) fn begin(&mut self) {
        let mut start = program("pg_ctl");
        start.args(["start", "-w", "-s", "-D"]).arg(&self.data).arg("-l").arg(self.place.path("log"));
        run(&mut start);
        self.running = true;
    }

    pub(crate) fn stop(&mut self) {
        let mut stop = program("pg_ctl");
        run(stop.args(["stop", "-w", "-s", "-m", "fast", "-D"]).arg(&self.data));
        self.running = false;
    }

    pub(crate) fn configure(&self, lines: &str) {
        let path = self.data.join("postgresql.conf");
        fs::write(&path, fs::read_to_string(&path).unwrap() + lines + "\n").unwrap();
    }

    pub(crate) fn connect(&self, database: &str) -> Connection {
        connect(&self.place.path(""), self.port(), database)
    }

    pub(crate) fn sql(&self, database: &str, sql: &str) -> Rows {
        self.connect(database).query(sql).unwrap()
    }

    /// Its location over the socket.
    pub(crate) fn location(&self, method: &str) -> String {
        format!(
            "postgresql:///?host={}&port={}&profile=main&method={method}",
            self.place.path("").display(),
            self.port()
        )
    }

    /// Its location over TCP.
    pub(crate) fn tcp_location(&self, profile: &str) -> String {
        assert!(self.tcp.is_some(), "it was made without TCP");
        format!("postgresql://127.0.0.1:{}/?profile={profile}&method=stream", self.port())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if self.running {
            let mut stop = program("pg_ctl");
            let _ = stop.args(["stop", "-w", "-s", "-m", "immediate", "-D"]).arg(&self.data).output();
        }
    }
}

pub(crate) fn connect(socket: &Path, port: u16, database: &str) -> Connection {
    let server = ServerAddress { host: Host::Socket(socket.to_owned()), port };
    let credentials =
        Credentials { user: "postgres".to_owned(), password: None, ssl_mode: SslMode::Disable, root_certificate: None };
    Connection::open(&server, &credentials, Mode::Database(database)).unwrap()
}

/// Settings with the profile `main`.
pub(crate) fn settings() -> PostgresSettings {
    let mut settings = PostgresSettings::default();
    let main = CredentialProfile { user: "postgres".to_owned(), ssl_mode: SslMode::Disable, ..Default::default() };
    settings.profiles.insert("main".to_owned(), main);
    settings
}

pub(crate) const SHOP: &str = "
    CREATE TABLE customers (id int PRIMARY KEY, name text NOT NULL);
    CREATE TABLE orders (id serial PRIMARY KEY, customer int NOT NULL REFERENCES customers, amount numeric, at timestamptz DEFAULT now(), note text);
    CREATE INDEX ON orders (customer);
    CREATE TABLE writes (id serial PRIMARY KEY, at timestamptz DEFAULT clock_timestamp());
    CREATE UNLOGGED TABLE scratch AS SELECT generate_series(1, 1000) AS n;
    CREATE SCHEMA \"odd \"\"name\";
    CREATE TABLE \"odd \"\"name\".\"t T\" (holdfast_row_ text, t text);
    INSERT INTO \"odd \"\"name\".\"t T\" VALUES ('a', 'b');
    INSERT INTO customers SELECT n, 'customer ' || n FROM generate_series(1, 500) n;
    INSERT INTO orders (customer, amount, note) SELECT 1 + n % 500, n * 1.25, md5(n::text) FROM generate_series(1, 20000) n;
    INSERT INTO writes DEFAULT VALUES;
";
