//! PostgreSQL 17, which sends only the blocks that changed: each recovery point is whole all the same.
//!
//! The server runs in a root of its own, which `./run` unpacks.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use driver_api::conformance::MemoryVault;
use driver_api::{CaptureRequest, Control, Driver as _, NoControl, ParentPoint, QuiesceOutcome, SnapshotReader as _};
use driver_postgres::PostgresDriver;
use job_model::{ChangeMethod, OverwritePolicy, Progress};
use vault_format::{Id, NodeKind};

use super::captures::{Point, commit};
use super::cluster::{connect, run, settings, wait_for};
use super::restored::{options, restore_with};

const PORT: u16 = 5417;
const PROGRAMS: &str = "/usr/lib/postgresql/17/bin";

/// The root that has PostgreSQL 17; none where the tests are left out.
#[expect(clippy::print_stderr, reason = "a test that is left out says so")]
fn root() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.holdfast/postgresql-17");
    match root.canonicalize() {
        Ok(root) if rustix::process::geteuid().is_root() => Some(root),
        _ => {
            assert!(std::env::var_os("CI").is_none(), "CI has PostgreSQL 17 and root");
            eprintln!("SKIPPED: needs root, and PostgreSQL 17 in {}; `./run test` unpacks it", root.display());
            None
        }
    }
}

fn id_of(flag: &str) -> String {
    let output = run(Command::new("id").args([flag, "postgres"]));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// A server of PostgreSQL 17.
struct Server {
    root: PathBuf,
    /// Within the root.
    place: String,
    data: String,
    runs: bool,
}

impl Server {
    /// Makes one that summarizes its log, with a database `shop`.
    fn create(root: PathBuf) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let place = format!("/tmp/pg17-{}-{number}", std::process::id());
        let mut server = Self { root, data: format!("{place}/data"), place, runs: false };
        let outside = server.outside("");
        run(Command::new("install").args(["-d", "-o", "postgres", "-g", "postgres", "-m", "755"]).arg(&outside));
        let initdb =
            ["-k", "-A", "trust", "-U", "postgres", "--no-locale", "-E", "UTF8", "--wal-segsize=1", "-N", "-D"];
        run(server.program("initdb").args(initdb).arg(&server.data));
        server
            .configure("fsync = off\nwal_level = replica\nsummarize_wal = on\nautovacuum = off\nfull_page_writes = on");
        server.start();
        server.sql("postgres", "CREATE DATABASE shop");
        server.sql("shop", TABLES);
        // Or the first who reads a page changes it.
        server.sql("shop", "VACUUM FREEZE filler");
        server.sql("shop", "VACUUM FREEZE cut");
        server
    }

    /// A data directory that was restored into this server's root.
    fn restored(&self, name: &str) -> Self {
        let data = format!("{}/{name}", self.place);
        Self { root: self.root.clone(), place: self.place.clone(), data, runs: false }
    }

    fn outside(&self, name: &str) -> PathBuf {
        self.root.join(self.place.trim_start_matches('/')).join(name)
    }

    fn program(&self, name: &str) -> Command {
        let mut command = Command::new("chroot");
        command.arg(format!("--userspec={}:{}", id_of("-u"), id_of("-g"))).arg(&self.root);
        command.arg(format!("{PROGRAMS}/{name}")).env("LC_ALL", "C").env("TZ", "UTC");
        command
    }

    fn configure(&self, lines: &str) {
        let path = self.outside("data/postgresql.conf");
        fs::write(&path, fs::read_to_string(&path).unwrap() + lines + "\n").unwrap();
    }

    fn start(&mut self) {
        let options = format!("-c unix_socket_directories={} -c port={PORT} -c listen_addresses=", self.place);
        let mut start = self.program("pg_ctl");
        start.args(["start", "-w", "-s", "-D", &self.data, "-l", &format!("{}/log", self.place), "-o", &options]);
        run(&mut start);
        self.runs = true;
    }

    fn stop(&mut self) {
        run(self.program("pg_ctl").args(["stop", "-w", "-s", "-m", "fast", "-D", &self.data]));
        self.runs = false;
    }

    fn sql(&self, database: &str, sql: &str) -> String {
        let rows = connect(&self.outside(""), PORT, database).query(sql).unwrap();
        rows.value(0, 0).unwrap_or_default().to_owned()
    }

    /// The order of rows does not matter.
    fn digest(&self) -> String {
        self.sql(
            "shop",
            "SELECT concat((SELECT count(*) FROM filler), ' ', \
             (SELECT sum(('x' || substr(md5(f::text), 1, 15))::bit(60)::bigint) FROM filler f), ' ', \
             (SELECT sum(('x' || substr(md5(l::text), 1, 15))::bit(60)::bigint) FROM later l))",
        )
    }

    fn location(&self) -> String {
        format!("postgresql:///?host={}&port={PORT}&profile=main&method=stream", self.outside("").display())
    }

    fn capture(&self, vault: &MemoryVault, parent: Option<&Point>) -> (Point, u64) {
        let read = BytesRead::default();
        let settings = driver_postgres::PostgresSettings { count_rows: false, ..settings() };
        let capture = PostgresDriver::new(settings)
            .capture(CaptureRequest {
                location: &self.location(),
                writer: vault,
                parent: parent.map(|p| ParentPoint { reader: &p.snapshot, description: &p.description }),
                quiesced: QuiesceOutcome::NotQuiesced,
                parallelism: 3,
                tracking: None,
                control: &read,
                now: &|| jiff::Timestamp::UNIX_EPOCH,
            })
            .unwrap();
        assert_eq!(capture.exceptions, []);
        (commit(vault, capture), read.0.into_inner())
    }

    /// Restores, lets PostgreSQL's own programs judge the files, and compares the rows.
    fn restored_and_equal(&mut self, point: &Point, digest: &str) {
        let target = self.outside("restored");
        restore(point, &target);
        let mut restored = self.restored("restored");
        run(restored.program("pg_verifybackup").arg("--no-parse-wal").arg(&restored.data));
        self.stop();
        restored.start();
        assert_eq!(restored.digest(), digest);
        restored.sql("shop", "CREATE EXTENSION amcheck");
        restored.sql(
            "shop",
            "SELECT bt_index_check(c.oid, true) FROM pg_class c WHERE relkind = 'i' AND relpersistence = 'p'",
        );
        restored.stop();
        run(restored.program("pg_checksums").args(["--check", "-D", &restored.data]));
        fs::remove_dir_all(&target).unwrap();
        self.start();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.runs {
            let _ = self.program("pg_ctl").args(["stop", "-w", "-s", "-m", "immediate", "-D", &self.data]).output();
        }
        if self.data.ends_with("/data") {
            let _ = fs::remove_dir_all(self.outside(""));
        }
    }
}

#[derive(Default)]
struct BytesRead(AtomicU64);

impl Control for BytesRead {
    fn is_stopped(&self) -> bool {
        NoControl.is_stopped()
    }

    fn advance(&self, difference: Progress) {
        self.0.fetch_add(difference.bytes_read, Ordering::Relaxed);
    }
}

fn restore(point: &Point, target: &Path) {
    restore_with(settings(), point, target, OverwritePolicy::Refuse, &options(&[])).unwrap();
}

/// The chunks of a file of a recovery point.
pub(crate) fn content_of(point: &Point, path: &str) -> Vec<Id> {
    let mut kind = NodeKind::Dir { subtree: point.snapshot.root() };
    for name in std::iter::once("data").chain(path.split('/')) {
        let NodeKind::Dir { subtree } = kind else { panic!("{path}") };
        let nodes = point.snapshot.tree(&subtree).unwrap().nodes;
        kind = nodes.into_iter().find(|node| node.name == name.as_bytes()).unwrap().kind;
    }
    let NodeKind::File { content, .. } = kind else { panic!("{path}") };
    content
}

/// 60 000 rows of which each page has a few.
const TABLES: &str = "
    CREATE TABLE filler (id int PRIMARY KEY, text text) WITH (fillfactor = 90);
    INSERT INTO filler SELECT n, repeat(md5(n::text), 20) FROM generate_series(1, 60000) n;
    CREATE TABLE later (id int PRIMARY KEY, text text);
    CREATE TABLE cut (id int PRIMARY KEY, text text);
    INSERT INTO cut SELECT n, repeat(md5(n::text), 20) FROM generate_series(1, 20000) n;
";

/// One of a hundred pages of `filler`, files that grow over the size where chunks become larger, one that is cut, one that
/// is new and one that goes.
fn change(server: &Server, day: u32) {
    server.sql("shop", &format!("UPDATE filler SET text = md5('{day}') WHERE id % 600 = {day}"));
    server.sql("shop", &format!("CREATE TABLE new_{day} AS SELECT generate_series(1, 100) AS n"));
    match day {
        1 => {
            server.sql("shop", "INSERT INTO later SELECT n, repeat(md5(n::text), 20) FROM generate_series(1, 30000) n")
        }
        2 => server.sql("shop", "DELETE FROM cut WHERE id > 10000"),
        _ => server.sql("shop", "DROP TABLE new_1"),
    };
    server.sql("shop", if day == 1 { "VACUUM FREEZE later" } else { "VACUUM cut" });
}

#[test]
fn only_blocks_that_changed_are_read_and_every_recovery_point_is_whole() {
    let Some(root) = root() else { return };
    let mut server = Server::create(root);
    let vault = MemoryVault::new();
    let (mut point, first_read) = server.capture(&vault, None);
    assert_eq!(point.capture.reading.method, ChangeMethod::FullRead);
    assert_eq!(point.capture.reading.fallback, None);
    assert!(first_read > 60 << 20, "{first_read}");
    let mut points = Vec::new();
    for day in 1..=3 {
        change(&server, day);
        let (next, read) = server.capture(&vault, Some(&point));
        assert_eq!(next.capture.reading.method, ChangeMethod::LogSummary, "{:?}", next.capture.reading.fallback);
        // The new rows of the first day are most of it.
        let most = if day == 1 { first_read * 6 / 10 } else { first_read / 5 };
        assert!(read < most, "day {day}: {read} bytes were read, and {first_read} of everything");
        println!("day {day}: {read} bytes were read of {}", next.capture.size_bytes);
        points.push((next, server.digest()));
        point = commit(&vault, points.last().unwrap().0.capture.clone());
    }
    for (point, digest) in &points {
        server.restored_and_equal(point, digest);
    }
    // What is not read is the same as what is: all content of a full capture is there already, but for small files.
    let before = vault.stored_bytes();
    let (full, _) = server.capture(&vault, None);
    assert_eq!(full.capture.reading.method, ChangeMethod::FullRead);
    let new = vault.stored_bytes() - before;
    assert!(new < 12 << 20, "{new} bytes of a full capture were not in the vault");
}

#[test]
fn without_summaries_or_on_another_cluster_everything_is_read_and_said() {
    let Some(root) = root() else { return };
    let mut server = Server::create(root.clone());
    let vault = MemoryVault::new();
    let (point, first_read) = server.capture(&vault, None);
    change(&server, 1);

    // Another cluster in its place.
    let other = Server::create(root);
    let (stranger, read) = other.capture(&vault, Some(&point));
    let why = stranger.capture.reading.fallback.clone().unwrap();
    assert!(why.contains("cluster") && read > first_read / 2, "{why}");
    drop(other);

    // The summaries are gone, and so is the log that they could be made anew from.
    server.stop();
    let summaries = server.outside("data/pg_wal/summaries");
    run(Command::new("sh").arg("-c").arg(format!("rm -f {}/*.summary", summaries.display())));
    server.configure("summarize_wal = off");
    server.start();
    for _ in 0..2 {
        server.sql("postgres", "SELECT pg_switch_wal()");
        server.sql("postgres", "CHECKPOINT");
    }
    server.configure("summarize_wal = on");
    server.sql("postgres", "SELECT pg_reload_conf()");
    let (next, read) = server.capture(&vault, Some(&point));
    let why = next.capture.reading.fallback.clone().unwrap();
    assert_eq!(next.capture.reading.method, ChangeMethod::FullRead);
    assert!(why.contains("summar") && read > first_read, "{why}");
    let digest = server.digest();
    server.restored_and_equal(&next, &digest);

    // The vault has lost what would be taken over.
    let relation = server.sql("shop", "SELECT pg_relation_filepath('filler')");
    vault.damage(&content_of(&next, &relation)[3]);
    let (mended, read) = server.capture(&vault, Some(&next));
    let why = mended.capture.reading.fallback.clone().unwrap();
    assert!(why.contains("vault") && read > first_read, "{why}");

    // Nobody asked for it.
    server.configure("summarize_wal = off");
    server.sql("postgres", "SELECT pg_reload_conf()");
    let probe = PostgresDriver::new(settings()).probe(&server.location()).unwrap();
    assert!(probe.warnings.iter().any(|warning| warning.contains("summarize_wal")), "{:?}", probe.warnings);
}

#[test]
fn a_server_on_a_timeline_of_its_own_is_captured_in_full_once() {
    let Some(root) = root() else { return };
    let mut server = Server::create(root);
    let vault = MemoryVault::new();
    let (point, _) = server.capture(&vault, None);
    server.sql("shop", "INSERT INTO later VALUES (1, 'not in the other history')");
    let (ahead, _) = server.capture(&vault, Some(&point));
    // The first recovery point becomes a server with a history in which the second never was.
    let target = server.outside("restored");
    restore(&point, &target);
    fs::write(target.join("recovery.signal"), "").unwrap();
    fs::write(
        target.join("postgresql.auto.conf"),
        "restore_command = 'false'\nrecovery_target = 'immediate'\nrecovery_target_action = 'promote'\n",
    )
    .unwrap();
    run(Command::new("chown").args(["-R", "postgres:postgres"]).arg(&target));
    server.stop();
    let mut restored = server.restored("restored");
    restored.start();
    // It may answer, and does so while it recovers, before it has a timeline of its own.
    wait_for("the promotion", || restored.sql("postgres", "SELECT pg_is_in_recovery()") == "f");
    let (other, _) = restored.capture(&vault, Some(&ahead));
    let why = other.capture.reading.fallback.clone().unwrap();
    assert_eq!(other.capture.reading.method, ChangeMethod::FullRead, "{why}");
    // From there on blocks can be told again.
    restored.sql("shop", "INSERT INTO later VALUES (2, 'x')");
    let (next, _) = restored.capture(&vault, Some(&other));
    assert_eq!(next.capture.reading.method, ChangeMethod::LogSummary, "{:?}", next.capture.reading.fallback);
    restored.stop();
}
