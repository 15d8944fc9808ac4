//! Captures that leave the server alone: a checkpoint that takes its time, files that are read slowly, and processors that
//! others want.

use std::process::{Child, Command};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use driver_api::conformance::MemoryVault;
use driver_api::{Capture, CaptureRequest, Control, Driver as _, DriverError, QuiesceOutcome};
use driver_postgres::priority::Priority;
use driver_postgres::settings::Checkpoint;
use driver_postgres::{PostgresDriver, PostgresSettings};
use job_model::{Progress, WaitsFor};

use super::captures::commit;
use super::cluster::{Cluster, settings, wait_for};

/// Hears what a capture waits for and what it reads, and stops it.
#[derive(Default)]
struct Listener {
    waits: AtomicBool,
    waited: AtomicBool,
    read: AtomicU64,
    stop: AtomicBool,
    /// It took a break for the sake of others.
    gave_way: AtomicBool,
}

impl Control for Listener {
    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    fn advance(&self, difference: Progress) {
        let waits = difference.waits_for == Some(WaitsFor::Checkpoint);
        self.waits.store(waits, Ordering::Release);
        self.waited.fetch_or(waits, Ordering::AcqRel);
        self.read.fetch_add(difference.bytes_read, Ordering::AcqRel);
        self.gave_way.fetch_or(difference.waits_for == Some(WaitsFor::Processors), Ordering::AcqRel);
    }
}

fn capture(
    settings: PostgresSettings,
    vault: &MemoryVault,
    location: &str,
    control: &Listener,
) -> Result<Capture, DriverError> {
    PostgresDriver::new(settings).capture(CaptureRequest {
        location,
        writer: vault,
        parent: None,
        quiesced: QuiesceOutcome::NotQuiesced,
        parallelism: 3,
        tracking: None,
        control,
        now: &|| jiff::Timestamp::UNIX_EPOCH,
    })
}

/// With the rights of others: what is looked at is not how long it stands in line for a processor.
fn spread() -> PostgresSettings {
    PostgresSettings { checkpoint: Checkpoint::Spread, beside_server: Priority::Normal, ..settings() }
}

#[test]
fn a_capture_that_waits_for_a_spread_checkpoint_says_so_and_can_be_stopped() {
    let cluster = Cluster::with_shop();
    // Some thousand pages for a checkpoint that has four and a half minutes for them.
    cluster.sql("shop", "CREATE TABLE much AS SELECT n, repeat('x', 1000) AS text FROM generate_series(1, 20000) n");
    let number = |sql: &str| cluster.sql("postgres", sql).single().unwrap().parse::<u32>().unwrap();
    let sessions = |more: &str| {
        number(&format!(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'holdfast' AND pid <> pg_backend_pid(){more}"
        ))
    };
    for method in ["files", "stream"] {
        let control = Listener::default();
        let vault = MemoryVault::new();
        std::thread::scope(|scope| {
            let captured = scope.spawn(|| capture(spread(), &vault, &cluster.location(method), &control));
            wait_for("a session that waits for the checkpoint", || {
                assert!(!captured.is_finished(), "{method}: nothing was waited for");
                sessions(" AND wait_event LIKE 'Checkpoint%'") == 1
            });
            // The server may be at it before whoever asked has said so.
            wait_for("somebody to be told", || control.waits.load(Ordering::Acquire));
            control.stop.store(true, Ordering::Release);
            let ended = captured.join().unwrap();
            assert!(matches!(ended, Err(DriverError::Stopped)), "{method}: {ended:?}");
        });
        assert_eq!(control.read.load(Ordering::Acquire), 0, "{method}");
        // Long before the checkpoint is through.
        wait_for("the server to hear of it", || sessions("") == 0);
        assert_eq!(number("SELECT count(*) FROM pg_replication_slots"), 0, "{method}");
    }
}

#[test]
fn a_capture_after_a_spread_checkpoint_is_one_like_any_other() {
    let cluster = Cluster::with_shop();
    for method in ["files", "stream"] {
        // There is next to nothing left to spread.
        cluster.sql("postgres", "CHECKPOINT");
        let (control, vault) = (Listener::default(), MemoryVault::new());
        let captured = capture(spread(), &vault, &cluster.location(method), &control).unwrap();
        assert!(control.waited.load(Ordering::Acquire) && !control.waits.load(Ordering::Acquire), "{method}");
        super::restores::restored_and_proven(&cluster, &commit(&vault, captured));
    }
}

#[test]
fn no_more_is_read_in_a_second_than_allowed() {
    let cluster = Cluster::with_shop();
    for method in ["files", "stream"] {
        let per_second = 16 << 20;
        let slow = PostgresSettings { read_bytes_per_second_max: Some(per_second), count_rows: false, ..settings() };
        let (control, vault) = (Listener::default(), MemoryVault::new());
        let began = Instant::now();
        let captured = capture(slow, &vault, &cluster.location(method), &control).unwrap();
        let seconds = began.elapsed().as_secs_f64();
        // What each of three threads holds at the end is read and not waited for.
        let least = (captured.size_bytes as f64 - f64::from(4 << 20)) / per_second as f64;
        assert!(least > 1.0 && seconds > least, "{method}: {} bytes in {seconds} s", captured.size_bytes);
    }
}

/// Programs that use all processors up, in sessions of their own, as another service would be. Ended when dropped.
struct Greedy(Vec<Child>);

impl Greedy {
    fn start() -> Self {
        let processors = std::thread::available_parallelism().unwrap().get();
        let one = |_| Command::new("setsid").args(["sh", "-c", "while :; do :; done"]).spawn().unwrap();
        Self((0..processors * 2).map(one).collect())
    }
}

impl Drop for Greedy {
    fn drop(&mut self) {
        for child in &mut self.0 {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}

#[test]
fn a_capture_leaves_processors_to_those_who_use_them_up_and_says_so() {
    let cluster = Cluster::with_shop();
    // Some tenths of a second of a processor.
    cluster.sql(
        "shop",
        "CREATE TABLE much AS SELECT n, md5(n::text) || repeat(md5((-n)::text), 9) FROM generate_series(1, 300000) n",
    );
    let settings = |beside_server| PostgresSettings { beside_server, ..settings() };
    for method in ["files", "stream"] {
        let greedy = Greedy::start();
        let (control, vault) = (Listener::default(), MemoryVault::new());
        std::thread::scope(|scope| {
            let capture =
                scope.spawn(|| capture(settings(Priority::Idle), &vault, &cluster.location(method), &control).unwrap());
            wait_for("the capture to give way", || {
                assert!(!capture.is_finished(), "{method}: it took what it wanted");
                control.gave_way.load(Ordering::Acquire)
            });
            // Where the system itself keeps it from the processors it would take minutes.
            drop(greedy);
            super::restores::restored_and_proven(&cluster, &commit(&vault, capture.join().unwrap()));
        });
    }
    let _greedy = Greedy::start();
    let (control, vault) = (Listener::default(), MemoryVault::new());
    capture(settings(Priority::Normal), &vault, &cluster.location("files"), &control).unwrap();
    assert!(!control.gave_way.load(Ordering::Acquire), "it has the same rights as others");
}
