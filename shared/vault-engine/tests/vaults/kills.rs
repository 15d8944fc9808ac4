//! Processes that work on the same two vaults and are killed at random instants.

mod journal;
mod worker;

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::process::Child;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use driver_api::NoControl;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};
use vault_engine::{CheckOptions, PruneOptions, Vault};

use self::journal::{Journal, Side};
use self::worker::{Role, content_of, number_of, start};
use crate::support::{Workshop, capture, read_files, surroundings};

/// Processes at the same time.
const PROCESSES: usize = 4;
/// So many of them at least must have been killed while they worked.
const WORKING_MIN: usize = 5;
/// So many captures at least must have been acknowledged.
const CAPTURED_MIN: usize = 3;
/// How long one lives at most, once all have opened their vaults.
const LIFE_MAX: Duration = Duration::from_millis(2000);
/// How long that may take, on a machine that has other work.
const OPEN_WITHIN: Duration = Duration::from_secs(120);
/// Between two looks at it.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

fn number(variable: &str, otherwise: u64) -> u64 {
    env::var(variable).map_or(otherwise, |text| text.parse().unwrap())
}

/// Kills its processes, however the test ends.
struct Processes(Vec<(Duration, Role, Child)>);

impl Drop for Processes {
    fn drop(&mut self) {
        for (_, _, child) in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Processes {
    /// One round: some processes begin at once, and each is killed at its own instant.
    fn run(workshop: &Workshop, roles: Vec<(Role, u64, Duration)>) {
        let started = roles.iter().map(|(role, first, life)| (*life, *role, start(workshop, *role, *first)));
        let mut processes = Self(started.collect());
        processes.0.sort_by_key(|(life, ..)| *life);
        let journal = Journal::new(workshop.dir.path());
        let begun = Instant::now();
        while !roles.iter().all(|(_, first, _)| journal.is_at_work(*first)) {
            assert!(begun.elapsed() < OPEN_WITHIN, "the processes do not open their vaults");
            thread::sleep(LOOK_AGAIN);
        }
        let begun = Instant::now();
        for (life, role, child) in &mut processes.0 {
            // The instant itself is what is drawn; there is nothing to wait for.
            thread::sleep(life.saturating_sub(begun.elapsed()));
            let ended = child.try_wait().unwrap();
            let failures = journal.read().failures;
            assert!(ended.is_none(), "{role:?} ended by itself: {failures:#?}");
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}

/// Everything that was acknowledged restores byte for byte, nothing else is there but what was begun, and a check that
/// reads everything finds nothing.
fn judge(workshop: &Workshop, side: Side, context: &str) -> Vault {
    let vault = workshop.open(side.name());
    let deeds = Journal::new(workshop.dir.path()).read();
    assert!(deeds.failures.is_empty(), "{context}: {:#?}", deeds.failures);
    let listing = vault.snapshots().unwrap();
    assert!(listing.damaged.is_empty(), "{context}: {:#?}", listing.damaged);
    let mut seen = BTreeSet::new();
    for snapshot in &listing.readable {
        let number = number_of(snapshot);
        assert!(!deeds.known(side, number).forgotten, "{context}: recovery point {number} was forgotten and is back");
        let restored = read_files(&vault, snapshot.id)
            .unwrap_or_else(|error| panic!("{context}: recovery point {number} does not restore: {error:?}"));
        assert!(restored == content_of(number), "{context}: recovery point {number} restores to something else");
        seen.insert(number);
    }
    let lost: Vec<u64> = deeds.certain(side).into_iter().filter(|number| !seen.contains(number)).collect();
    assert!(lost.is_empty(), "{context}: recovery points {lost:?} were acknowledged and are not there");
    let report = vault.check(&CheckOptions { read_data: true, control: &NoControl }).unwrap();
    assert!(report.is_sound(), "{context}: {:#?}", report.findings);
    vault
}

/// Later prunes leave nothing that no snapshot needs, and nothing that a dead process held or had half written.
fn assert_nothing_is_left_over(workshop: &Workshop, side: Side, vault: &Vault, context: &str) {
    let options = PruneOptions { grace: Duration::ZERO, max_unused_percent: 0, ..PruneOptions::new(&NoControl) };
    for _ in 0..3 {
        vault.prune(&options).unwrap_or_else(|error| panic!("{context}: a later prune ends with {error:?}"));
    }
    let report = vault.check(&CheckOptions { read_data: false, control: &NoControl }).unwrap();
    assert_eq!(report.packs_unreferenced, 0, "{context}: packs are left over");
    let plan = vault.prune_plan(&options).unwrap();
    let idle =
        plan.unreferenced.is_empty() && plan.repack.is_empty() && plan.remove.is_empty() && plan.waiting.is_empty();
    assert!(idle, "{context}: {plan:#?}");
    let two_days_ago = SystemTime::from(surroundings().now()) - Duration::from_secs(48 * 3600);
    for path in workshop.files(side.name(), "tmp") {
        fs::File::options().write(true).open(path).unwrap().set_modified(two_days_ago).unwrap();
    }
    let probe = capture(vault, &content_of(1));
    assert_eq!(read_files(vault, probe.snapshot_id).unwrap(), content_of(1));
    for directory in ["tmp", "locks"] {
        let left = workshop.files(side.name(), directory);
        assert!(left.is_empty(), "{context}: {left:?} are left over");
    }
}

#[test]
fn processes_that_are_killed_at_any_instant_lose_nothing_that_was_acknowledged() {
    let seed = number("HOLDFAST_KILLS_SEED", 1);
    let time = Duration::from_secs(number("HOLDFAST_KILLS_SECONDS", 12));
    println!("HOLDFAST_KILLS_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let workshop = Workshop::new();
    for side in [Side::Here, Side::There] {
        workshop.create(side.name());
    }
    let captured = || Journal::new(workshop.dir.path()).read().acknowledged(Side::Here);
    let begun = Instant::now();
    let (mut rounds, mut left_at_work) = (0_u64, 0);
    // A machine that has little time for it gets more of it.
    while begun.elapsed() < time
        || ((left_at_work < WORKING_MIN || captured() < CAPTURED_MIN) && begun.elapsed() < 15 * time)
    {
        rounds += 1;
        let mut roles = vec![Role::Capture];
        while roles.len() < PROCESSES {
            let role = *Role::ALL.choose(&mut random).unwrap();
            // Two copies of one recovery point would be two snapshots, which is right and hard to judge.
            if role == Role::Capture || !roles.contains(&role) {
                roles.push(role);
            }
        }
        let drawn = roles.into_iter().zip(0_u64..);
        let drawn = drawn.map(|(role, place)| {
            (role, rounds * 1_000_000 + place * 10_000, random.random_range(Duration::ZERO..LIFE_MAX))
        });
        Processes::run(&workshop, drawn.collect());
        let context = format!("seed {seed}, round {rounds}");
        for side in [Side::Here, Side::There] {
            left_at_work += workshop.files(side.name(), "locks").len();
            judge(&workshop, side, &context);
        }
    }
    let context = format!("seed {seed}, after {rounds} rounds");
    for side in [Side::Here, Side::There] {
        let vault = judge(&workshop, side, &context);
        assert_nothing_is_left_over(&workshop, side, &vault, &context);
        workshop.restic_agrees(side.name());
        workshop.rustic_agrees(side.name());
    }
    let deeds = Journal::new(workshop.dir.path()).read();
    let (captured, copied) = (deeds.acknowledged(Side::Here), deeds.acknowledged(Side::There));
    let forgotten = deeds.points.iter().filter(|((at, _), known)| *at == Side::Here && known.forgotten).count();
    println!(
        "{rounds} rounds: {captured} captured, {copied} copied, {forgotten} forgotten, {left_at_work} killed at work"
    );
    assert!(captured >= CAPTURED_MIN && left_at_work >= WORKING_MIN, "the kills met nobody at work");
}
