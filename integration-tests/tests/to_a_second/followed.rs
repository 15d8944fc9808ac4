//! A server whose worker is killed and which is killed itself.

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use integration_tests::installation::{Installation, Instance, Options, wait_until};
use jiff::Timestamp;
use job_events::subjects::Service;
use job_model::{JobDetail, JobState, RecoveryPointKind, ResourceType, VerdictStatus};
use rand::Rng as _;
use rand::SeedableRng as _;
use rand::rngs::StdRng;

use crate::protection::{protect, restore, window_beyond};
use crate::server::{ROLE, Server, source, wait_for};

/// A load that goes on whatever happens to the server.
#[derive(Default)]
struct Load {
    rows: AtomicU64,
    stop: AtomicBool,
}

/// Ends the load, also when the test fails meanwhile.
struct Stop<'a>(&'a Load);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.stop.store(true, Ordering::Release);
    }
}

impl Load {
    /// Inserts a row every 50 ms.
    fn run(&self, source: &Server) {
        let mut connection = None;
        while !self.stop.load(Ordering::Acquire) {
            let open = connection.take().map_or_else(|| source.open(), Ok);
            connection = open.ok().and_then(|mut open| {
                open.query("INSERT INTO ticks (at) VALUES (clock_timestamp())").ok()?;
                self.rows.fetch_add(1, Ordering::AcqRel);
                Some(open)
            });
            // The pace of the load.
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits until so many more rows are committed.
    fn wait_for_rows(&self, more: u64) {
        let wanted = self.rows.load(Ordering::Acquire) + more;
        wait_for("rows", || self.rows.load(Ordering::Acquire) >= wanted);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_table_comes_back_to_the_second_before_though_the_worker_was_killed() {
    let Some((place, source)) = source(|_| String::new()) else { return };
    let seed = std::env::var("HOLDFAST_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or_else(rand::random);
    println!("HOLDFAST_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    source.open().unwrap().query("CREATE TABLE ticks (id bigserial PRIMARY KEY, at timestamptz NOT NULL)").unwrap();
    let dir = tempfile::tempdir().unwrap();
    let options = Options { postgres_role: Some(ROLE.to_owned()), ..Options::default() };
    let installation = Installation::start(dir.path(), options).await.unwrap();
    let stage = installation.make_vaults().await.unwrap();
    let resource = protect(&installation, &stage, &source, "").await;
    let first = window_beyond(&installation, &resource, Timestamp::UNIX_EPOCH).await;

    let worker = Instance::worker(Service::SnapshotWorker, 0);
    let load = Load::default();
    let (before_worker, before_server) = (random.random_range(5..40), random.random_range(5..40));
    std::thread::scope(|scope| {
        let _stop = Stop(&load);
        scope.spawn(|| load.run(&source));
        load.wait_for_rows(before_worker);
        installation.kill9(&worker);
        // The server goes on without its follower.
        load.wait_for_rows(10);
        installation.spawn(&worker, None).unwrap();
        load.wait_for_rows(before_server);
        source.kill9();
        source.start();
        load.wait_for_rows(30);
    });
    let (from, to) = (
        source.value("SELECT extract(epoch FROM min(pg_xact_commit_timestamp(xmin)))::bigint + 1 FROM ticks"),
        source.value("SELECT extract(epoch FROM max(pg_xact_commit_timestamp(xmin)))::bigint FROM ticks"),
    );
    let second: i64 = random.random_range(from.parse().unwrap()..to.parse().unwrap());
    let at = Timestamp::from_second(second).unwrap();
    let ledger = format!("FROM ticks WHERE pg_xact_commit_timestamp(xmin) <= '{at}'");
    let known = source.value(&format!("SELECT count(*) || ' ' || max(id) || ' ' || sum(id) {ledger}"));
    // On a slow machine more copies follow every minute: what was copied by now was copied before the drop.
    let copy = wait_until("the copy", || async {
        let points = installation.recovery_points(&resource).await?;
        Ok(points.into_iter().find(|copy| copy.vault == stage.copy))
    });
    let copy = copy.await.unwrap();
    source.open().unwrap().query("DROP TABLE ticks").unwrap();
    let dropped = source.clock();
    let point = window_beyond(&installation, &resource, dropped).await;
    assert_eq!(point.arn, first.arn, "one recovery point for all of it");
    let continuous = point.continuous.as_ref().unwrap();
    assert_eq!((continuous.window.len(), continuous.gap_count), (1, 0), "{continuous:?}");

    let begun = Instant::now();
    let restored = source.restored_to(&place.path().join("restored"), "data");
    let sockets = restored.sockets.display().to_string();
    let metadata =
        [("RestoreTime", at.to_string()), ("Port", restored.port.to_string()), ("SocketDirectory", sockets.clone())];
    let job = restore(&installation, &point.arn, &restored.data, &metadata).await;
    let job = installation.completed(job).await.unwrap();
    println!("restored to {at} in {:?}: {:?}", begun.elapsed(), job.phases);
    assert_eq!(restored.value("SELECT count(*) || ' ' || max(id) || ' ' || sum(id) FROM ticks"), known, "at {at}");
    // By the restored server's own ledger, too: it holds nothing that was committed later.
    assert_eq!(
        restored.value(&format!("SELECT count(*) || ' ' || max(id) || ' ' || sum(id) {ledger}")),
        known,
        "at {at}"
    );
    assert_eq!(restored.value("SELECT pg_is_in_recovery()"), "f");

    let before = [("RestoreTime", "2020-01-01T00:00:00Z".to_owned())];
    let refused = restore(&installation, &point.arn, &place.path().join("restored/never"), &before).await;
    let refused = installation.job_ended(refused).await.unwrap();
    let message = refused.status_message.unwrap_or_default();
    assert_eq!(refused.state, JobState::Failed, "{message}");
    assert!(message.contains("restorable is") && message.contains("before the end of the first"), "{message}");

    let run = installation.prove(&resource, ResourceType::Rds, &stage.primary).await.unwrap();
    let verdict = run.entries[0].verdict.clone().unwrap();
    assert_eq!(verdict.status, VerdictStatus::Successful, "{run:?}");
    let JobDetail::Restore { metadata, .. } = installation.restore_job(&run).await.unwrap().detail else { panic!() };
    println!("proven at {:?} in {} ms", metadata.get("RestoreTime"), verdict.rto_ms);
    assert!(metadata.contains_key("RestoreTime"), "a second of the window was drawn: {metadata:?}");

    assert_eq!((copy.kind, copy.copied_from.as_ref()), (RecoveryPointKind::Snapshot, Some(&point.arn)));
    // In one go: whoever follows the server still writes into it.
    fs::rename(installation.vault_dir("primary"), place.path().join("lost")).unwrap();
    let far = source.restored_to(&restored.sockets, "far");
    let metadata = [("StartServer", "true".to_owned()), ("Port", far.port.to_string()), ("SocketDirectory", sockets)];
    let job = restore(&installation, &copy.arn, &far.data, &metadata).await;
    installation.completed(job).await.unwrap();
    assert_eq!(far.value("SELECT count(*) FROM pg_tables WHERE tablename = 'ticks'"), "1", "copied before the drop");
}
