//! Captures of running servers, by both ways.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use driver_api::conformance::{MemorySnapshot, MemoryVault};
use driver_api::{Capture, CaptureRequest, Driver as _, DriverError, NoControl, ParentPoint, QuiesceOutcome};
use driver_postgres::settings::DamagePolicy;
use driver_postgres::{PostgresDriver, PostgresSettings};
use job_model::{Consistency, ExceptionKind, FailureCode};
use vault_format::{Node, NodeKind, Tree};

use super::cluster::{Cluster, settings, wait_for};

/// A recovery point in a vault in memory.
pub(crate) struct Point {
    pub(crate) capture: Capture,
    pub(crate) snapshot: MemorySnapshot,
    pub(crate) description: serde_json::Value,
}

pub(crate) fn capture_from(
    settings: PostgresSettings,
    vault: &MemoryVault,
    location: &str,
    parent: Option<&Point>,
) -> Result<Point, DriverError> {
    let capture = PostgresDriver::new(settings).capture(CaptureRequest {
        location,
        writer: vault,
        parent: parent.map(|p| ParentPoint { reader: &p.snapshot, description: &p.description }),
        quiesced: QuiesceOutcome::NotQuiesced,
        parallelism: 3,
        tracking: None,
        control: &NoControl,
        now: &|| jiff::Timestamp::UNIX_EPOCH,
    })?;
    Ok(commit(vault, capture))
}

/// What the service does with a capture.
pub(crate) fn commit(vault: &MemoryVault, capture: Capture) -> Point {
    use driver_api::CaptureWriter as _;
    let subtree = vault.write_tree(Tree { nodes: capture.sidecars.clone() }).unwrap();
    let holdfast = Node { name: b"holdfast".to_vec(), kind: NodeKind::Dir { subtree }, ..capture.data.clone() };
    let root = vault.write_tree(Tree { nodes: vec![capture.data.clone(), holdfast] }).unwrap();
    let description = serde_json::json!({ "driver": capture.facts });
    Point { snapshot: vault.snapshot(root), description, capture }
}

pub(crate) fn capture(vault: &MemoryVault, location: &str) -> Point {
    capture_from(settings(), vault, location, None).unwrap()
}

/// Runs while somebody writes: rows come, change and go. Orders from 5000 to 19500 stay as they are, however many
/// transactions the machine manages in that time.
pub(crate) fn under_load<T>(cluster: &Cluster, work: impl FnOnce() -> T) -> T {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for writer in 0..2 {
            let (cluster, stop) = (&cluster, &stop);
            scope.spawn(move || {
                let mut connection = cluster.connect("shop");
                let mut number = writer;
                while !stop.load(Ordering::Relaxed) {
                    number += 2;
                    connection
                        .query(&format!(
                            "BEGIN; INSERT INTO writes DEFAULT VALUES; \
                             UPDATE orders SET amount = amount + 1 WHERE id = {number} % 5000; \
                             DELETE FROM orders WHERE id = 20000 - {number} % 500; COMMIT"
                        ))
                        .unwrap();
                }
            });
        }
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        stop.store(true, Ordering::Relaxed);
        result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

#[test]
fn both_ways_give_recovery_points_of_the_whole_server() {
    let cluster = Cluster::with_shop();
    let space = cluster.place.path("space");
    fs::create_dir(&space).unwrap();
    std::os::unix::fs::chown(&space, Some(meta_uid(&cluster)), None).unwrap();
    cluster.sql("shop", &format!("CREATE TABLESPACE fast LOCATION '{}'", space.display()));
    cluster.sql("shop", "CREATE TABLE spaced (id int PRIMARY KEY) TABLESPACE fast; INSERT INTO spaced VALUES (1)");
    for method in ["stream", "files"] {
        let vault = MemoryVault::new();
        let point = under_load(&cluster, || capture(&vault, &cluster.location(method)));
        assert_eq!(point.capture.consistency, Consistency::Database);
        assert_eq!(point.capture.exceptions, [], "{method}");
        let facts = &point.capture.facts;
        assert_eq!(facts["source"], method);
        assert_eq!(facts["major_version"], 15);
        assert_eq!(facts["tablespaces"][0]["location"], space.display().to_string());
        assert_eq!(facts["census"], "postgres-census.json", "{method}");
        let start: driver_postgres::wal::Lsn = facts["start_lsn"].as_str().unwrap().parse().unwrap();
        let stop: driver_postgres::wal::Lsn = facts["stop_lsn"].as_str().unwrap().parse().unwrap();
        assert!(start < stop);
        super::restores::restored_and_proven(&cluster, &point);
    }
}

fn meta_uid(cluster: &Cluster) -> u32 {
    std::os::unix::fs::MetadataExt::uid(&fs::metadata(&cluster.data).unwrap())
}

#[test]
fn the_next_capture_stores_the_pages_that_changed() {
    let cluster = Cluster::with_shop();
    for method in ["stream", "files"] {
        let vault = MemoryVault::new();
        let first = capture(&vault, &cluster.location(method));
        let before = vault.stored_bytes();
        cluster.sql("shop", "UPDATE customers SET name = 'other' WHERE id = 7");
        let second = capture_from(settings(), &vault, &cluster.location(method), Some(&first)).unwrap();
        let new = vault.stored_bytes() - before;
        // Some pages, the manifest, the control file and two or three segments of one megabyte.
        assert!(new < 5 << 20, "{method}: {new} bytes are new of {}", second.capture.size_bytes);
        assert!(second.capture.size_bytes > 20 << 20);
    }
}

#[test]
fn a_damaged_page_is_reported_with_file_and_block_and_the_policy_decides() {
    let mut cluster = Cluster::with_shop();
    let path = cluster.sql("shop", "SELECT pg_relation_filepath('orders')").single().unwrap().to_owned();
    cluster.stop();
    let file = fs::File::options().write(true).open(cluster.data.join(&path)).unwrap();
    file.write_all_at(b"damaged", 3 * 8192 + 6000).unwrap();
    cluster.begin();
    for method in ["stream", "files"] {
        let vault = MemoryVault::new();
        let point = capture(&vault, &cluster.location(method));
        let [exception] = &point.capture.exceptions[..] else { panic!("{:?}", point.capture.exceptions) };
        assert_eq!((exception.path.as_str(), exception.kind), (path.as_str(), ExceptionKind::Damaged));
        assert!(exception.message.contains("block 3 "), "{}", exception.message);
        assert_eq!(point.capture.facts["damaged_pages"], 1);

        let strict = PostgresSettings { on_damaged_page: DamagePolicy::Fail, ..settings() };
        let error = capture_from(strict, &vault, &cluster.location(method), None).err().unwrap();
        assert!(error.to_string().contains(&path) && error.to_string().contains("block 3 "), "{error}");
        assert_eq!(error.failure_code(driver_api::Side::Source), FailureCode::SourceReadFailed);
    }
}

#[test]
fn the_right_way_is_found_and_a_probe_says_what_is_missing() {
    let cluster = Cluster::start();
    let driver = PostgresDriver::new(settings());
    let probe = driver.probe(&cluster.location("auto")).unwrap();
    assert!(probe.size_bytes.unwrap() > 20 << 20);
    assert_eq!(probe.warnings, Vec::<String>::new());
    let vault = MemoryVault::new();
    assert_eq!(capture(&vault, &cluster.location("auto")).capture.facts["source"], "files");
    let running = driver_api::file_location(&cluster.data).unwrap();
    let error = driver.probe(&running).unwrap_err();
    assert_eq!(error.failure_code(driver_api::Side::Source), FailureCode::ServerNotReady);
}

#[test]
fn a_server_that_archives_is_captured_without_replication() {
    let mut cluster = Cluster::with_shop();
    cluster.stop();
    let archive = cluster.place.path("archive");
    fs::create_dir(&archive).unwrap();
    // Nothing is put there: the capture does not wait for it.
    cluster.configure("max_wal_senders = 0\nmax_replication_slots = 0\narchive_mode = on\narchive_command = 'false'");
    cluster.begin();
    cluster.sql(
        "postgres",
        "CREATE ROLE backup LOGIN; GRANT pg_read_all_data, pg_read_all_settings TO backup; \
         GRANT EXECUTE ON FUNCTION pg_backup_start(text, boolean), pg_backup_stop(boolean) TO backup",
    );
    let mut settings = settings();
    let profile = settings.profiles.get_mut("main").unwrap();
    (profile.user, profile.archive_dir) = ("backup".to_owned(), Some(archive));
    let vault = MemoryVault::new();
    let streamed = capture_from(settings.clone(), &vault, &cluster.location("files"), None).err().unwrap();
    assert!(streamed.to_string().contains("REPLICATION"), "{streamed}");
    let location = format!("{}&log=archive", cluster.location("files"));
    let point = capture_from(settings, &vault, &location, None).unwrap();
    let target = cluster.place.path("restored");
    super::deltas::restore_over(&point, &target, &NoControl).unwrap();
    super::deltas::is_the_recovery_point(&point, &target);
}

#[test]
fn no_secret_and_no_slot_stays_behind() {
    let cluster = Cluster::with_shop();
    let vault = MemoryVault::new();
    capture(&vault, &cluster.location("files"));
    // The server ends a session, and drops its slot, some time after the client has gone.
    let is_none = |sql: &str| cluster.sql("postgres", sql).single().unwrap() == "0";
    wait_for("the session of the capture to end", || {
        is_none("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'holdfast' AND pid <> pg_backend_pid()")
    });
    assert!(is_none("SELECT count(*) FROM pg_replication_slots"), "a slot was left");
}

/// The referee reads the manifest that was written here.
pub(crate) fn verify_backup(data: &std::path::Path) {
    let mut verify = Command::new(format!("{}/pg_verifybackup", super::cluster::BIN));
    super::cluster::run(verify.arg("--no-parse-wal").arg(data).env("LC_ALL", "C"));
}
