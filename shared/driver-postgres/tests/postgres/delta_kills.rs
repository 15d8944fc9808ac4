//! Restores over an old data directory whose process is killed with -9 wherever it is.
//!
//! The process that is killed has a vault of its own in memory, with the same recovery point: both capture the same data
//! directory at rest. It kills itself at a random time after it has looked so and so often whether it should stop, which
//! it does all through the work, while its other threads are wherever they are.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use driver_api::conformance::MemoryVault;
use driver_api::{Control, NoControl};
use job_model::Progress;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use super::captures::{Point, capture, verify_backup};
use super::cluster::{Cluster, program, run};
use super::deltas::{digest, is_the_recovery_point, restore_over, written_bytes};

/// So many old directories are restored over; and one more, if none of them was left half way.
const ROUNDS: u64 = 3;
/// What is compared and counted as one.
const BLOCK: usize = 1 << 20;

/// A data directory at rest, and the same cluster later.
struct Scene {
    cluster: Cluster,
    origin: PathBuf,
}

fn scene() -> Scene {
    let mut cluster = Cluster::with_shop();
    cluster.sql("shop", super::deltas::FILLER);
    cluster.sql("shop", "VACUUM FREEZE filler");
    cluster.stop();
    let origin = cluster.place.path("origin");
    copy(&cluster.data, &origin);
    cluster.begin();
    cluster.sql("shop", "UPDATE filler SET text = 'other' WHERE id % 600 = 1");
    cluster.sql("shop", "INSERT INTO customers SELECT n, 'new' FROM generate_series(1000, 20000) n");
    cluster.sql("shop", "DROP TABLE writes; CREATE TABLE later (id int); DELETE FROM filler WHERE id > 59000");
    cluster.stop();
    Scene { cluster, origin }
}

fn copy(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    run(Command::new("cp").args(["-a", "--reflink=auto"]).arg(from).arg(to));
}

fn point_of(vault: &MemoryVault, origin: &Path) -> Point {
    capture(vault, &format!("file://{}", origin.display()))
}

/// Kills this process some time after so many looks, or after the first look that finds the target no cluster any more.
/// Without either it only counts the looks.
struct Fate {
    looks: AtomicU64,
    at: Option<u64>,
    half_way: Option<PathBuf>,
    is_due: AtomicBool,
    after: Duration,
}

impl Fate {
    fn new(at: Option<u64>, half_way: Option<PathBuf>, after: Duration) -> Self {
        Self { looks: AtomicU64::new(0), at, half_way, is_due: AtomicBool::new(false), after }
    }
}

impl Control for Fate {
    fn is_stopped(&self) -> bool {
        let is_half_way = || self.half_way.as_ref().is_some_and(|target| !target.join("global/pg_control").exists());
        let is_due = Some(self.looks.fetch_add(1, Ordering::Relaxed) + 1) == self.at || is_half_way();
        if is_due && !self.is_due.swap(true, Ordering::Relaxed) {
            let end = || {
                rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL).unwrap();
            };
            if self.after.is_zero() {
                // Here and now, and not when another thread's turn comes.
                end();
            }
            let after = self.after;
            std::thread::spawn(move || {
                std::thread::sleep(after);
                end();
            });
        }
        false
    }

    fn advance(&self, _difference: Progress) {}
}

#[test]
#[ignore = "the body of a child process of the other test"]
fn the_restore_of_a_test() {
    let Some(origin) = std::env::var_os("RESTORE_ORIGIN").map(PathBuf::from) else { return };
    let target = PathBuf::from(std::env::var_os("RESTORE_TARGET").unwrap());
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let vault = MemoryVault::new();
    let point = point_of(&vault, &origin);
    let after = Duration::from_micros(number("RESTORE_MICROS").unwrap_or(0));
    let at = number("RESTORE_LOOKS");
    let half_way = (at.is_none() && number("RESTORE_MICROS").is_some()).then(|| target.clone());
    let fate = Fate::new(at, half_way, after);
    restore_over(&point, &target, &fate).unwrap();
    fs::write(std::env::var_os("RESTORE_COUNTED").unwrap(), fate.looks.into_inner().to_string()).unwrap();
}

/// Restores in a process of its own. Whether it came to its end; otherwise it was killed.
fn restore_in_a_process(scene: &Scene, target: &Path, fate: Option<(Option<u64>, u64)>) -> bool {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "delta_kills::the_restore_of_a_test", "--ignored", "--nocapture"])
        .env("RESTORE_ORIGIN", &scene.origin)
        .env("RESTORE_TARGET", target)
        .env("RESTORE_COUNTED", scene.cluster.place.path("counted"))
        .stdout(Stdio::null());
    if let Some((looks, micros)) = fate {
        command.env("RESTORE_MICROS", micros.to_string());
        if let Some(looks) = looks {
            command.env("RESTORE_LOOKS", looks.to_string());
        }
    }
    let status = command.status().unwrap();
    let is_killed = status.signal() == Some(9);
    assert!(is_killed || status.success(), "{status}");
    !is_killed
}

/// Paths of all files below a directory, but what a restore leaves beside.
fn files(directory: &Path) -> Vec<String> {
    let listed = run(Command::new("find")
        .args([".", "-type", "f", "-not", "-path", "*/.holdfast-*", "-not", "-name", ".holdfast-*"])
        .current_dir(directory));
    String::from_utf8(listed.stdout).unwrap().lines().map(str::to_owned).collect()
}

/// Bytes of the blocks that are other than they shall be.
fn differing_bytes(target: &Path, whole: &Path) -> u64 {
    let mut differing = 0;
    let (mut wanted, mut found) = (vec![0; BLOCK], vec![0; BLOCK]);
    for path in files(whole) {
        let wanted_file = File::open(whole.join(&path)).unwrap();
        let found_file = File::open(target.join(&path)).ok();
        let length = wanted_file.metadata().unwrap().len();
        let mut at = 0;
        while at < length {
            let bytes = (length - at).min(BLOCK as u64) as usize;
            wanted_file.read_exact_at(&mut wanted[..bytes], at).unwrap();
            let read = found_file.as_ref().is_some_and(|file| file.read_exact_at(&mut found[..bytes], at).is_ok());
            if !read || wanted[..bytes] != found[..bytes] {
                differing += bytes as u64;
            }
            at += bytes as u64;
        }
    }
    differing
}

/// Tries to start a server there, which must not work: nothing says that the directory is a cluster.
fn does_not_start(target: &Path) {
    let mut postgres = program("postgres");
    let output = postgres.arg("-D").arg(target).args(["-c", "listen_addresses="]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("pg_control"), "{said}");
}

#[test]
fn a_restore_over_old_data_that_is_killed_leaves_the_old_or_nothing_to_start_and_goes_on() {
    let seed = std::env::var("HOLDFAST_SEED").ok().and_then(|text| text.parse().ok());
    let seed = seed.unwrap_or_else(|| rand::rng().random_range(0..1_000_000));
    println!("HOLDFAST_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let scene = scene();
    let target = scene.cluster.place.path("target");
    let whole = scene.cluster.place.path("whole");
    let old = digest(&scene.cluster.data);
    copy(&scene.cluster.data, &whole);
    assert!(restore_in_a_process(&scene, &whole, None));
    let looks: u64 = fs::read_to_string(scene.cluster.place.path("counted")).unwrap().parse().unwrap();
    let restored = digest(&whole);
    let vault = MemoryVault::new();
    let point = point_of(&vault, &scene.origin);
    let (mut killed, mut half_way) = (0, 0);
    for round in 0..=ROUNDS {
        let is_last = round == ROUNDS;
        if is_last && half_way > 0 {
            break;
        }
        copy(&scene.cluster.data, &target);
        // Once or twice: the one that goes on is killed too.
        for _ in 0..random.random_range(1..=2) {
            // Most of the first half only looks at what is there.
            let look = (random.random_bool(0.5)).then(|| random.random_range(looks * 2 / 5..=looks));
            let drawn = (look, random.random_range(1..3000));
            // What is drawn may be over before its time has come; this is not.
            let fate = if is_last { (None, 0) } else { drawn };
            let about = match fate {
                (Some(look), micros) => {
                    format!("seed {seed}, round {round}, killed {micros} µs after look {look} of {looks}")
                }
                (None, micros) => format!("seed {seed}, round {round}, killed {micros} µs after it was half way"),
            };
            if restore_in_a_process(&scene, &target, Some(fate)) {
                continue;
            }
            killed += 1;
            if target.join("global/pg_control").exists() {
                let aside = scene.cluster.place.path("aside");
                copy(&target, &aside);
                run(Command::new("find").arg(&aside).args(["-name", ".holdfast-*", "-delete"]));
                let found = digest(&aside);
                assert!(found == old || found == restored, "{about}: half of it, and a server would start");
            } else {
                half_way += 1;
                does_not_start(&target);
            }
        }
        let differing = differing_bytes(&target, &whole);
        let before = written_bytes();
        restore_over(&point, &target, &NoControl).unwrap();
        let written = written_bytes() - before;
        // Once beside and once in its place.
        let most = 2 * differing + (4 << 20);
        assert!(written <= most, "seed {seed}, round {round}: {written} bytes written for {differing} that differed");
        assert_eq!(digest(&target), restored, "seed {seed}, round {round}");
        let before = written_bytes();
        restore_over(&point, &target, &NoControl).unwrap();
        let again = written_bytes() - before;
        assert!(again < 4 << 20, "seed {seed}, round {round}: {again} bytes written where nothing differed");
        assert_eq!(digest(&target), restored, "seed {seed}, round {round}");
    }
    println!("{killed} killed, {half_way} of them half way");
    assert!(killed > 0 && half_way > 0, "seed {seed}: {killed} killed, {half_way} half way");
    verify_backup(&target);
    is_the_recovery_point(&point, &target);
}
