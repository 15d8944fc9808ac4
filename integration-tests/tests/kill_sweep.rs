//! Every process may die at any instant: crashes planned at each boundary between two durable writes, the server killed,
//! everything killed at once, a worker frozen past its lease. After each, one cycle has every effect exactly once.
//!
//! `HOLDFAST_SWEEP_ROUNDS` (default 8) crashes are drawn from `HOLDFAST_SWEEP_SEED` (default 1); `just sweep` runs them all.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use integration_tests::cycle::{Cycle, Stage};
use integration_tests::installation::{Failure, Installation, Instance, Options, wait_until};
use job_events::subjects::Service;
use job_model::{Arn, JobState, ResourceType, VerdictStatus};
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rustix::process::Signal;

/// Boundaries inside the durable state and the outbox, which every service has.
const COMMON: &[&str] = &[
    "store::after_transaction_before_barrier",
    "store::after_barrier",
    "ledger::after_barrier_before_publish",
    "ledger::after_puback_before_mark",
];
/// Boundaries of an order, which those have that take orders.
const OF_ORDERS: &[&str] =
    &["runner::before_effect", "runner::after_effect_before_result", "runner::after_result_before_ack"];

/// What a worker says that was away for longer than its lease lasts.
const NOTICES: &[&str] = &["attempt broken off: lease or delivery is lost"];

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// The processes that a cycle from the first region to the second goes through.
fn involved() -> [Instance; 5] {
    [
        Instance::single(Service::Planner),
        Instance::worker(Service::SnapshotWorker, 0),
        Instance::worker(Service::CopyReplicator, 1),
        Instance::worker(Service::RestoreWorker, 1),
        Instance::single(Service::Verifier),
    ]
}

/// How often a boundary is passed before the crash. Each service handles one order of a cycle, the restore-worker two; what
/// is written down and published is more.
fn passes(instance: &Instance, point: &str, random: &mut StdRng) -> u32 {
    match instance.service {
        _ if COMMON.contains(&point) => random.random_range(0..3),
        Service::RestoreWorker => random.random_range(0..2),
        _ => 0,
    }
}

/// Whether every cycle passes the boundary that often, on a machine of whatever speed: each service writes down and publishes
/// two things at least, and has the orders that [`passes`] counts.
fn is_certain(point: &str, skipped: u32) -> bool {
    skipped < 2 || !COMMON.contains(&point)
}

fn every_crash() -> Vec<(Instance, &'static str)> {
    let mut all = Vec::new();
    for instance in involved() {
        let orders = if instance.service == Service::Planner { &[][..] } else { OF_ORDERS };
        all.extend(COMMON.iter().chain(orders).map(|point| (instance.clone(), *point)));
    }
    all
}

/// Runs a cycle while `meanwhile` disturbs it; `ended` says to it when there is no cycle any more.
async fn disturbed<F>(
    installation: &Installation,
    name: &str,
    stage: &Stage,
    ended: &AtomicBool,
    meanwhile: F,
) -> Result<(Arn, Cycle), Failure>
where
    F: Future<Output = Result<(), Failure>>,
{
    let resource = installation.make_resource(name).await?;
    let cycle = async {
        let cycle = installation.cycle(&resource, ResourceType::Files, stage).await;
        ended.store(true, Ordering::Release);
        cycle
    };
    let (cycle, ()) = tokio::try_join!(cycle, meanwhile)?;
    Ok((resource, cycle))
}

async fn assert_done_once(installation: &Installation, resource: &Arn, cycle: &Cycle, story: &str) {
    let faults = installation.faults_of(resource, cycle).await.unwrap();
    assert!(faults.is_empty(), "{story}:\n{}\nlogs are in {}", faults.join("\n"), installation.dir.display());
    installation.sandboxes_empty().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_at_any_boundary_leaves_every_effect_done_once() {
    let (seed, rounds) = (number("HOLDFAST_SWEEP_SEED", 1), number("HOLDFAST_SWEEP_ROUNDS", 8));
    println!("seed {seed}, rounds {rounds}");
    let mut random = StdRng::seed_from_u64(seed);
    let mut crashes = every_crash();
    crashes.shuffle(&mut random);
    let dir = tempfile::tempdir().unwrap();
    let installation = Installation::start(dir.path(), Options::default()).await.unwrap();
    let stage = installation.make_vaults().await.unwrap();
    let mut happened = 0;
    for round in 0..rounds {
        let (instance, point) = &crashes[usize::try_from(round).unwrap() % crashes.len()];
        let skipped = passes(instance, point, &mut random);
        let story = format!("seed {seed}, round {round}: {instance:?} crashes at {point} after {skipped} passes");
        println!("{story}");
        let (mut crashed, ended) = (false, AtomicBool::new(false));
        let watch = async {
            installation.kill9(instance);
            installation.spawn(instance, Some(&format!("{point}={skipped}*off->1*return")))?;
            // A cycle that ends without passing the boundary often enough ends the watch too.
            let crash = wait_until(&story, || async {
                let given_up = !is_certain(point, skipped) && ended.load(Ordering::Acquire);
                Ok(installation.ended(instance).map(Some).or(given_up.then_some(None)))
            });
            if let Some(status) = crash.await? {
                assert_eq!(status.signal(), Some(Signal::ABORT.as_raw()), "{story}: {status}");
                crashed = true;
            }
            installation.kill9(instance);
            installation.spawn(instance, None)
        };
        let name = format!("round-{round}");
        let (resource, cycle) = disturbed(&installation, &name, &stage, &ended, watch).await.expect(&story);
        println!("round {round}: it {}", if crashed { "happened" } else { "did not happen" });
        assert_done_once(&installation, &resource, &cycle, &story).await;
        happened += u64::from(crashed);
    }
    println!("{happened} of {rounds} planned crashes happened");
    assert!(happened > 0, "the sweep sweeps nothing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_killed_in_the_middle_of_a_cycle_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut installation = Installation::start(dir.path(), Options::default()).await.unwrap();
    let stage = installation.make_vaults().await.unwrap();
    let resource = installation.make_resource("server-killed").await.unwrap();
    let job = installation.start_backup(&resource, &stage).await.unwrap();
    installation.nats().kill9();
    tokio::time::sleep(Duration::from_secs(2)).await;
    installation.nats().restart().unwrap();
    let backup = installation.job_ended(job).await.unwrap();
    let copy = installation.copy_after(job).await.unwrap();
    let test = installation.prove(&resource, ResourceType::Files, &stage.copy).await.unwrap();
    let cycle = Cycle { backup, copy, test };
    assert_done_once(&installation, &resource, &cycle, "the server was killed after the backup was asked for").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_killed_at_once_goes_on_where_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let mut installation = Installation::start(dir.path(), Options::default()).await.unwrap();
    let stage = installation.make_vaults().await.unwrap();
    let resource = installation.make_resource("all-killed").await.unwrap();
    let job = installation.start_backup(&resource, &stage).await.unwrap();
    for instance in installation.instances() {
        installation.kill9(&instance);
    }
    installation.nats().kill9();
    installation.nats().restart().unwrap();
    for instance in installation.instances() {
        installation.spawn(&instance, None).unwrap();
    }
    let backup = installation.job_ended(job).await.unwrap();
    let copy = installation.copy_after(job).await.unwrap();
    let test = installation.prove(&resource, ResourceType::Files, &stage.copy).await.unwrap();
    let cycle = Cycle { backup, copy, test };
    assert_done_once(&installation, &resource, &cycle, "everything was killed after the backup was asked for").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_frozen_past_its_lease_does_nothing_twice() {
    let dir = tempfile::tempdir().unwrap();
    let installation = Installation::start(dir.path(), Options::default()).await.unwrap();
    let stage = installation.make_vaults().await.unwrap();
    let resource = installation.make_resource("frozen").await.unwrap();
    let first = Instance::worker(Service::SnapshotWorker, 0);
    // It stops in the middle of the order: after the lease was taken, before the effect. It sleeps for long enough to be
    // frozen meanwhile on a slow machine, too, and for less than the lease lasts, after which it is woken.
    installation.kill9(&first);
    installation.spawn(&first, Some("runner::before_effect=sleep(20000)")).unwrap();
    let job = installation.start_backup(&resource, &stage).await.unwrap();
    wait_until("the backup to run", || async {
        Ok((installation.job(job).await?.state == JobState::Running).then_some(()))
    })
    .await
    .unwrap();
    installation.pause(&first);
    let snapshots = || fs::read_dir(installation.vault_dir("primary").join("snapshots")).unwrap().count();
    assert_eq!(snapshots(), 0, "it was frozen before the effect");
    installation.spawn(&Instance { number: 2, ..first.clone() }, None).unwrap();
    let backup = installation.job_ended(job).await.unwrap();
    assert_eq!(backup.state, JobState::Completed, "{backup:?}");
    installation.resume(&first);
    wait_until("the first worker to notice", || async {
        let log = fs::read_to_string(installation.log_file(&first))?;
        Ok(NOTICES.iter().any(|notice| log.contains(notice)).then_some(()))
    })
    .await
    .unwrap();
    let copy = installation.copy_after(job).await.unwrap();
    let test = installation.prove(&resource, ResourceType::Files, &stage.copy).await.unwrap();
    assert_eq!(test.entries[0].verdict.as_ref().unwrap().status, VerdictStatus::Successful);
    let cycle = Cycle { backup, copy, test };
    assert_done_once(&installation, &resource, &cycle, "the first worker was frozen past its lease").await;
    assert_eq!(snapshots(), 1, "the frozen worker made a second snapshot");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_verifier_that_was_away_reads_what_it_missed_before_it_picks() {
    let dir = tempfile::tempdir().unwrap();
    let installation = Installation::start(dir.path(), Options::default()).await.unwrap();
    let stage = installation.make_vaults().await.unwrap();
    let resource = installation.make_resource("unheard-of").await.unwrap();
    let verifier = installation.instances().into_iter().find(|instance| instance.service == Service::Verifier).unwrap();
    installation.kill9(&verifier);
    let job = installation.start_backup(&resource, &stage).await.unwrap();
    assert_eq!(installation.job_ended(job).await.unwrap().state, JobState::Completed);
    assert_eq!(installation.copy_after(job).await.unwrap().state, JobState::Completed);
    // It reads its facts slowly, so that the request comes long before the last of them.
    installation.spawn(&verifier, Some("bus::before_ack=sleep(100)")).unwrap();
    let test = installation.prove(&resource, ResourceType::Files, &stage.copy).await.unwrap();
    assert_eq!(test.entries[0].verdict.as_ref().unwrap().status, VerdictStatus::Successful, "{test:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restore_test_right_after_a_copy_picks_it_however_late_the_planner_tells_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let installation = Installation::start(dir.path(), Options::default()).await.unwrap();
    let stage = installation.make_vaults().await.unwrap();
    let resource = installation.make_resource("told-late").await.unwrap();
    let planner = Instance::single(Service::Planner);
    installation.kill9(&planner);
    installation.spawn(&planner, Some("ledger::after_barrier_before_publish=sleep(1000)")).unwrap();
    let cycle = installation.cycle(&resource, ResourceType::Files, &stage).await.unwrap();
    assert_done_once(&installation, &resource, &cycle, "what the planner knows was told a second later").await;
}
