//! Orders on a real bus, restores from real vaults into real directories, and the facts they lead to.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use driver_api::{CaptureRequest, Driver, NoControl, QuiesceOutcome};
use driver_filesystem::FilesystemDriver;
use driver_volume::VolumeDriver;
use job_events::{AttemptFailed, Disposition, Fact, RecoveryPointRestored, RemoveSandbox, RestoreRecoveryPoint};
use job_model::{Arn, OverwritePolicy, ResourceType, RestoreTarget, VaultAccess};
use restore_worker::{Config, RestoreWorker};
use vault_engine::{
    Committed, DESCRIPTION_SCHEMA, KeyProfile, Profiles, RecoveryPointDescription, SnapshotInput, Surroundings, Vault,
    VaultError, snapshot_root,
};
use worker_host::testing::{Bench, location, until};

fn resource() -> Arn {
    "arn:aws:files:ap-northeast-1:000000000000:tree/home".parse().unwrap()
}

fn profiles(bench: &Bench) -> Profiles {
    let key = KeyProfile { password_file: Some(bench.password_file()), ..KeyProfile::default() };
    Profiles { keys: BTreeMap::from([("main".to_owned(), key)]), ..Profiles::default() }
}

fn config(bench: &Bench) -> Config {
    std::fs::create_dir_all(bench.path("targets")).unwrap();
    Config {
        common: bench.common("1"),
        region: Some(bench.region()),
        nats: bench.nats(),
        target_roots: vec![bench.path("targets")],
        sandbox_root: bench.path("sandboxes"),
        keys: profiles(bench).keys,
        ..Config::default()
    }
}

/// A vault with one recovery point of one small tree.
struct Point {
    vault: VaultAccess,
    recovery_point: Arn,
    committed: Committed,
}

fn point(bench: &Bench) -> Point {
    let source = bench.path("source");
    std::fs::create_dir_all(source.join("deep")).unwrap();
    std::fs::write(source.join("a"), "alpha").unwrap();
    std::fs::write(source.join("deep/b"), noise(300_000)).unwrap();
    point_of(bench, &FilesystemDriver, &source)
}

fn point_of(bench: &Bench, driver: &dyn Driver, source: &Path) -> Point {
    let at = "2026-01-01T00:00:00Z".parse().unwrap();
    let surroundings = Surroundings::new(move || at);
    let mut access = bench.vault("vault");
    let vault = match Vault::create(&access, &profiles(bench), &surroundings) {
        Err(VaultError::LocationTaken { .. }) => Vault::open(&access, &profiles(bench), &surroundings).unwrap(),
        made => made.unwrap(),
    };
    access.repository_id = Some(vault.repository_id().to_owned());
    let writer = vault.writer(&NoControl).unwrap();
    let capture = driver
        .capture(CaptureRequest {
            location: &location(source),
            writer: &writer,
            parent: None,
            quiesced: QuiesceOutcome::NotQuiesced,
            tracking: None,
            parallelism: 2,
            control: &NoControl,
            now: &|| at,
        })
        .unwrap();
    let recovery_point = bench.recovery_point().1;
    let description = RecoveryPointDescription {
        schema: DESCRIPTION_SCHEMA,
        recovery_point: recovery_point.clone(),
        resource: resource(),
        resource_type: driver.resource_type(),
        consistency: capture.consistency,
        capture_started_at: at,
        capture_ended_at: at,
        change_detection: capture.change_detection,
        reading: None,
        size_bytes: capture.size_bytes,
        items: capture.items,
        exceptions: capture.exceptions,
        driver: capture.facts,
    };
    let root = snapshot_root(&writer, capture.data, &description, capture.sidecars, at).unwrap();
    let input = SnapshotInput {
        root,
        time: at,
        hostname: String::new(),
        paths: vec![location(source)],
        tags: Vec::new(),
        parent: None,
    };
    Point { vault: access, recovery_point, committed: writer.commit(input).unwrap() }
}

fn order(bench: &Bench, point: &Point, target: RestoreTarget) -> RestoreRecoveryPoint {
    RestoreRecoveryPoint {
        order: bench.header(&resource()),
        resource_type: ResourceType::Files,
        vault: point.vault.clone(),
        recovery_point: point.recovery_point.clone(),
        snapshot_id: point.committed.snapshot_id.to_hex(),
        tree_id: point.committed.tree_id.to_hex(),
        target,
        overwrite: OverwritePolicy::Refuse,
        include: Vec::new(),
        test_run: None,
        bases: Vec::new(),
        metadata: std::collections::BTreeMap::default(),
    }
}

fn to(path: &Path) -> RestoreTarget {
    RestoreTarget::Location { url: location(path) }
}

async fn restored(bench: &Bench, order: RestoreRecoveryPoint) -> RecoveryPointRestored {
    let job = bench.order(order).await;
    match bench.outcome(job).await {
        Fact::RecoveryPointRestored(restored) => restored,
        other => panic!("{other:?}"),
    }
}

async fn failed(bench: &Bench, order: RestoreRecoveryPoint) -> AttemptFailed {
    let job = bench.order(order).await;
    match bench.outcome(job).await {
        Fact::AttemptFailed(failed) => failed,
        other => panic!("{other:?}"),
    }
}

fn path_of(restored: &RecoveryPointRestored) -> PathBuf {
    driver_api::file_path(&restored.location).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restore_into_a_sandbox_is_whole_and_the_removal_leaves_nothing() {
    let bench = Bench::start().await;
    let point = point(&bench);
    let worker = bench.run::<RestoreWorker>(config(&bench));

    let order = order(&bench, &point, RestoreTarget::Sandbox);
    let job = order.order.job_id;
    let restored = restored(&bench, order).await;
    let path = path_of(&restored);
    assert!(path.starts_with(bench.path("sandboxes").join(job.to_string())), "{}", path.display());
    assert_eq!(std::fs::read(path.join("a")).unwrap(), b"alpha");
    assert_eq!(std::fs::read(path.join("deep/b")).unwrap(), noise(300_000));
    assert_eq!(restored.phases.first().map(|p| p.phase.as_str()), Some("open"));

    for _ in 0..2 {
        let remove = RemoveSandbox { order: bench.header(&resource()), restore_job_id: job };
        let removal = bench.order(remove).await;
        assert!(matches!(bench.outcome(removal).await, Fact::SandboxRemoved(_)));
        assert!(!bench.path("sandboxes").join(job.to_string()).exists());
    }
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restore_to_a_location_stays_below_the_allowed_directories() {
    let bench = Bench::start().await;
    let point = point(&bench);
    let worker = bench.run::<RestoreWorker>(config(&bench));

    let inside = bench.path("targets/home");
    let restored = restored(&bench, order(&bench, &point, to(&inside))).await;
    assert_eq!(path_of(&restored), inside.canonicalize().unwrap());
    assert_eq!(std::fs::read(inside.join("a")).unwrap(), b"alpha");

    let outside = bench.path("elsewhere");
    std::os::unix::fs::symlink(bench.path(""), bench.path("targets/link")).unwrap();
    for target in [outside.clone(), bench.path("targets/link/elsewhere"), bench.path("targets/../elsewhere")] {
        let refused = failed(&bench, order(&bench, &point, to(&target))).await;
        assert_eq!(refused.code, "TARGET_INVALID", "{}", target.display());
    }
    assert!(!outside.exists());

    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_restored_already_is_done_and_what_differs_is_never_touched() {
    let bench = Bench::start().await;
    let point = point(&bench);
    let worker = bench.run::<RestoreWorker>(config(&bench));
    let target = bench.path("targets/home");
    restored(&bench, order(&bench, &point, to(&target))).await;

    // An attempt whose answer was lost: its successor finds the work done.
    let again = restored(&bench, order(&bench, &point, to(&target))).await;
    assert_eq!(path_of(&again), target.canonicalize().unwrap());
    assert_eq!(again.findings, []);

    std::fs::write(target.join("a"), "theirs").unwrap();
    let refused = failed(&bench, order(&bench, &point, to(&target))).await;
    assert_eq!((refused.code.as_str(), refused.disposition), ("TARGET_EXISTS", Disposition::Fail), "{refused:?}");
    assert_eq!(std::fs::read(target.join("a")).unwrap(), b"theirs");
    worker.stop().await;
}

/// Names in a directory.
fn names(dir: &Path) -> Vec<String> {
    std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// The packs of a vault in a directory.
fn packs(vault: &Path) -> Vec<PathBuf> {
    let groups = std::fs::read_dir(vault.join("data")).unwrap().map(|group| group.unwrap().path());
    groups.flat_map(|group| std::fs::read_dir(group).unwrap().map(|pack| pack.unwrap().path())).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restore_that_fails_for_good_leaves_nothing_beside_its_target() {
    let bench = Bench::start().await;
    let point = point(&bench);
    let worker = bench.run::<RestoreWorker>(config(&bench));
    let order = order(&bench, &point, to(&bench.path("targets/home")));
    let data = data_pack(&bench);
    let mut bytes = std::fs::read(&data).unwrap();
    // In the content of the larger file, so that the description can be read.
    bytes[150_000..151_000].fill(0);
    std::fs::remove_file(&data).unwrap();
    std::fs::write(&data, bytes).unwrap();

    let damaged = failed(&bench, order).await;
    assert_eq!((damaged.code.as_str(), damaged.disposition), ("VAULT_DAMAGED", Disposition::Fail), "{damaged:?}");
    assert_eq!(names(&bench.path("targets")), [""; 0]);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_beside_a_target_for_another_attempt_is_swept_after_its_life() {
    let bench = Bench::start().await;
    point(&bench);
    // The second has its description in a pack of its own.
    let point = point(&bench);
    let worker = bench.run::<RestoreWorker>(config(&bench));
    let ordered = order(&bench, &point, to(&bench.path("targets/home")));
    // A store that answers, but not with this pack.
    let data = data_pack(&bench);
    std::fs::remove_file(&data).unwrap();
    std::fs::create_dir(&data).unwrap();

    let unreachable = failed(&bench, ordered).await;
    assert_eq!(unreachable.disposition, Disposition::Retry, "{unreachable:?}");
    worker.stop().await;
    let left = names(&bench.path("targets"));
    assert!(left.len() == 1 && left[0].starts_with(".holdfast-"), "{left:?}");

    std::fs::write(bench.path("targets/theirs"), "x").unwrap();
    let late = bench.run_later::<RestoreWorker>(config(&bench), Duration::from_secs(8 * 24 * 3600));
    until("only what is not ours is left", || names(&bench.path("targets")) == ["theirs"]).await;
    late.stop().await;
}

/// The pack with the content of the files.
fn data_pack(bench: &Bench) -> PathBuf {
    packs(&bench.path("vault")).into_iter().max_by_key(|pack| pack.metadata().unwrap().len()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_volume_comes_back_byte_by_byte_with_its_holes() {
    let bench = Bench::start().await;
    let (source, target) = (bench.path("disk.img"), bench.path("targets/disk.img"));
    let file = std::fs::File::create(&source).unwrap();
    // Three extents: data, a hole, and data that ends in the middle of a chunk.
    file.set_len(VOLUME_BYTES).unwrap();
    file.write_all_at(&noise(3 << 20), 0).unwrap();
    file.write_all_at(&noise(12_345), VOLUME_BYTES - 12_345).unwrap();
    let point = point_of(&bench, &VolumeDriver, &source);
    let worker = bench.run::<RestoreWorker>(config(&bench));
    let order_of_volume = |target: RestoreTarget| RestoreRecoveryPoint {
        resource_type: ResourceType::Volume,
        ..order(&bench, &point, target)
    };

    let as_files = failed(&bench, order(&bench, &point, to(&target))).await;
    assert_eq!((as_files.code.as_str(), as_files.disposition), ("ORDER_INVALID", Disposition::Fail), "{as_files:?}");
    assert!(!target.exists());

    let located = restored(&bench, order_of_volume(to(&target))).await;
    assert_eq!(path_of(&located), target.canonicalize().unwrap());
    let sandboxed = restored(&bench, order_of_volume(RestoreTarget::Sandbox)).await;
    for image in [target, path_of(&sandboxed)] {
        assert!(std::fs::read(&image).unwrap() == std::fs::read(&source).unwrap(), "{}", image.display());
        assert!(image.metadata().unwrap().blocks() * 512 < VOLUME_BYTES / 2, "holes stay holes");
    }
    worker.stop().await;
}

/// More than two extents of a volume and a piece.
const VOLUME_BYTES: u64 = 2 * driver_volume::EXTENT_BYTES + 70_000;

/// Bytes without a pattern that could hide an exchange of chunks.
fn noise(length: usize) -> Vec<u8> {
    let next = |state: &mut u64| {
        *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        Some((*state >> 56) as u8)
    };
    std::iter::repeat_n((), length).scan(1, |state, ()| next(state)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_that_is_not_the_captured_one_is_refused_before_a_byte_is_written() {
    let bench = Bench::start().await;
    let point = point(&bench);
    let worker = bench.run::<RestoreWorker>(config(&bench));
    let target = bench.path("targets/home");

    let forged = RestoreRecoveryPoint { tree_id: "0".repeat(64), ..order(&bench, &point, to(&target)) };
    assert_eq!(failed(&bench, forged).await.code, "SNAPSHOT_DIFFERS");
    let missing = RestoreRecoveryPoint { snapshot_id: "0".repeat(64), ..order(&bench, &point, to(&target)) };
    assert_eq!(failed(&bench, missing).await.code, "SNAPSHOT_MISSING");
    assert!(!target.exists());
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sandbox_that_nobody_removes_is_swept_after_its_life() {
    let bench = Bench::start().await;
    let point = point(&bench);
    let worker = bench.run::<RestoreWorker>(config(&bench));
    let order = order(&bench, &point, RestoreTarget::Sandbox);
    let sandbox = bench.path("sandboxes").join(order.order.job_id.to_string());
    restored(&bench, order).await;
    worker.stop().await;
    assert!(sandbox.exists());

    // The next process finds it in its own state, sees that its life is over, and sweeps.
    let late = bench.run_later::<RestoreWorker>(config(&bench), Duration::from_secs(8 * 24 * 3600));
    until("the sandbox is gone", || !sandbox.exists()).await;
    late.stop().await;
}
