//! A worker that is killed at random instants while it captures what it tracks the changes of: trees and volumes on XFS and
//! btrfs. Whatever the instant, the parent's clone or snapshot is there until the child is committed, the next run captures
//! by it and byte for byte right, and leaves nothing else behind.
//!
//! `HOLDFAST_TRACKED_KILLS` (default 6) rounds are drawn from `HOLDFAST_TRACKED_KILLS_SEED` (default 1); `just tracked-kills`
//! runs many. Needs root, mkfs.xfs and mkfs.btrfs.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod protected;
mod worker;

use std::time::{Duration, Instant};

use driver_api::NoControl;
use driver_api::conformance::Mount;
use job_model::{ChangeMethod, JobId, SourceReading, SourceView};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use vault_engine::{CheckOptions, Vault};
use worker_host::testing::Bench;

use protected::{Kind, Protected};
use worker::{Process, make_vault, open};

/// So many kills at least must have hit captures that had made something and had not committed.
const CLONES_ORPHANED_MIN: u32 = 3;

fn number(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).map_or(otherwise, |text| text.parse().unwrap())
}

/// Waits until all that was ordered is captured; gives how each was read.
async fn captured(all: &mut [Protected], bench: &Bench) -> Vec<SourceReading> {
    let mut readings: Vec<Option<SourceReading>> = vec![None; all.len()];
    loop {
        let jobs: Vec<JobId> = all.iter().filter_map(Protected::job).collect();
        if jobs.is_empty() {
            return readings.into_iter().map(Option::unwrap).collect();
        }
        let (job, fact) = bench.outcome_of_any(&jobs).await;
        let place = all.iter().position(|protected| protected.job() == Some(job)).unwrap();
        readings[place] = all[place].hear(fact);
    }
}

/// Names of what is kept for captures on all file systems.
fn kept(mounts: &[Mount]) -> Vec<String> {
    let paths = mounts.iter().flat_map(Mount::kept);
    paths.map(|path| path.file_name().unwrap().to_string_lossy().into_owned()).collect()
}

/// What a kill left: the parents of all that is not committed must be among it. Gives how many clones or snapshots belong to
/// captures that were not committed.
fn assert_parents_are_kept(all: &[Protected], mounts: &[Mount], vault: &Vault, story: &str) -> u32 {
    let left = kept(mounts);
    let mut orphaned = 0;
    for protected in all.iter().filter(|protected| !protected.is_committed(vault)) {
        let parent = protected.newest_id().to_string();
        let is_kept = left.iter().any(|name| name.starts_with(&parent));
        assert!(is_kept, "{story}: nothing is kept of the parent of {}: {left:?}", protected.name());
        let child = protected.wanted_id().to_string();
        orphaned += u32::from(left.iter().any(|name| name.starts_with(&child)));
    }
    orphaned
}

/// One clone or snapshot for each newest recovery point, and no subvolume that nobody knows of.
fn assert_nothing_else_is_left(all: &[Protected], mounts: &[Mount], story: &str) {
    let left = kept(mounts);
    assert_eq!(left.len(), all.len(), "{story}: {left:?}");
    for protected in all {
        let id = protected.newest_id().to_string();
        assert!(left.iter().any(|name| name.starts_with(&id)), "{story}: nothing is kept of {}", protected.name());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_killed_while_it_captures_keeps_the_parents_and_leaves_nothing_else() {
    let (seed, rounds) = (number("HOLDFAST_TRACKED_KILLS_SEED", 1), number("HOLDFAST_TRACKED_KILLS", 6));
    println!("HOLDFAST_TRACKED_KILLS_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let mounts = [Mount::xfs(), Mount::btrfs("defaults")];
    let mut bench = Bench::start().await;
    let mut worker = Process::start(&bench);
    let vault = make_vault(&bench).await;
    let mut all = Vec::new();
    for (mount, view) in mounts.iter().zip([SourceView::LargeFileClones, SourceView::SubvolumeSnapshot]) {
        all.push(Protected::new(mount, Kind::Tree, view, &mut random));
        all.push(Protected::new(mount, Kind::Volume, SourceView::ReflinkClone, &mut random));
    }
    // Twice without a kill: all of it, and what is usual after that.
    let mut usual = Duration::ZERO;
    for _ in 0..2 {
        all.iter().for_each(|protected| protected.change(&mut random));
        let begun = Instant::now();
        for protected in &mut all {
            protected.order(&bench, &vault).await;
        }
        captured(&mut all, &bench).await;
        usual = begun.elapsed();
    }
    let (mut round, mut orphaned) = (0, 0);
    // A machine on which kills come too early or too late gets more of them.
    while round < rounds || (orphaned < CLONES_ORPHANED_MIN && round < 5 * rounds) {
        round += 1;
        all.iter().for_each(|protected| protected.change(&mut random));
        for protected in &mut all {
            protected.order(&bench, &vault).await;
        }
        // Some rounds kill the next life too, which begins with sweeping what the last one left.
        for life in 1..=random.random_range(1..=3) {
            let lived = usual.mul_f64(random.random_range(0.0..1.2));
            let story = format!("seed {seed}, round {round}, life {life} of {lived:?}");
            // The instant itself is what is drawn; there is nothing to wait for.
            tokio::time::sleep(lived).await;
            worker.kill9();
            orphaned += assert_parents_are_kept(&all, &mounts, &open(&bench, &vault), &story);
            // Nobody waits for the leases of the dead.
            bench.lose_the_bus().await;
            worker = Process::start(&bench);
            for protected in &mut all {
                protected.order_again(&bench).await;
            }
        }
        let story = format!("seed {seed}, round {round}");
        let opened = open(&bench, &vault);
        let readings = captured(&mut all, &bench).await;
        for (protected, reading) in all.iter().zip(readings) {
            let how = (reading.method, reading.view, reading.fallback);
            let expected = (ChangeMethod::ExtentComparison, protected.view(), None);
            assert_eq!(how, expected, "{story}: {}", protected.name());
            assert_eq!(protected.difference(&opened), None, "{story}: {}", protected.name());
        }
        assert_nothing_else_is_left(&all, &mounts, &story);
    }
    println!("{round} rounds, {orphaned} clones or snapshots of captures that were killed");
    assert!(orphaned >= CLONES_ORPHANED_MIN, "the kills met nobody at work");
    let report = open(&bench, &vault).check(&CheckOptions { read_data: true, control: &NoControl }).unwrap();
    assert!(report.is_sound(), "seed {seed}: {:#?}", report.findings);
    worker.kill9();
}
