//! Random trees. The seed is printed; `HOLDFAST_SEED` runs that one again.

use std::fs;
use std::path::{Path, PathBuf};

use driver_api::conformance::{Bench, Subject};
use job_model::OverwritePolicy;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use super::oracle::difference;
use super::source::{noise, set_time};
use super::torture::Plain;
use super::windows::PlainInWindows;

#[derive(Clone, Debug)]
enum Step {
    Directory(String),
    File { name: String, size: usize, seed: u64 },
    Sparse { name: String, offset: u64, length: usize },
    Symlink(String),
    HardLink(String),
    Fifo(String),
    Attribute { name: String, value: Vec<u8> },
    Mode(u32),
    Owner(u32, u32),
    Time(i64, u32),
    Descend(usize),
    Remove(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let name = || "[a-zA-Z0-9 .\u{e4}]{1,12}".prop_filter("stands for a directory", |n| n != "." && n != "..");
    prop_oneof![
        3 => name().prop_map(Step::Directory),
        5 => (name(), prop_oneof![Just(0), 1..5000_usize, 100_000..600_000_usize], any::<u64>())
            .prop_map(|(name, size, seed)| Step::File { name, size, seed }),
        1 => (name(), 0..8_000_000_u64, 1..10_000_usize)
            .prop_map(|(name, offset, length)| Step::Sparse { name, offset, length }),
        1 => name().prop_map(Step::Symlink),
        1 => name().prop_map(Step::HardLink),
        1 => name().prop_map(Step::Fifo),
        1 => ("[a-z]{1,8}", proptest::collection::vec(any::<u8>(), 0..50))
            .prop_map(|(name, value)| Step::Attribute { name, value }),
        1 => (0..0o7777_u32).prop_map(Step::Mode),
        1 => (0..70_000_u32, 0..70_000_u32).prop_map(|(u, g)| Step::Owner(u, g)),
        1 => (-2_000_000_000..10_000_000_000_i64, 0..999_999_999_u32).prop_map(|(s, n)| Step::Time(s, n)),
        4 => any::<usize>().prop_map(Step::Descend),
        1 => any::<usize>().prop_map(Step::Remove),
    ]
}

/// Does the steps; those that make no sense where they come are passed over.
fn apply(root: &Path, steps: &[Step]) {
    let mut directories = vec![root.to_owned()];
    let mut at = root.to_owned();
    let mut last: PathBuf = root.to_owned();
    for step in steps {
        let place = |name: &String| at.join(name);
        let made = match step {
            Step::Directory(name) => fs::create_dir(place(name)).map(|()| directories.push(place(name))).map(|()| name),
            Step::File { name, size, seed } => {
                let taken = place(name).is_symlink() || place(name).exists();
                if taken { continue } else { fs::write(place(name), noise(*seed, *size)).map(|()| name) }
            }
            Step::Sparse { name, offset, length } => fs::File::create_new(place(name)).map(|file| {
                std::os::unix::fs::FileExt::write_all_at(&file, &noise(*offset, *length), *offset).unwrap();
                file.set_len(offset + *length as u64 + offset / 2).unwrap();
                file.sync_all().unwrap();
                name
            }),
            Step::Symlink(name) => std::os::unix::fs::symlink("a target", place(name)).map(|()| name),
            Step::HardLink(name) => fs::hard_link(&last, place(name)).map(|()| name),
            Step::Fifo(name) => rustix::fs::mkfifoat(rustix::fs::CWD, place(name), 0o644.into())
                .map(|()| name)
                .map_err(std::io::Error::from),
            Step::Attribute { name, value } => {
                let _ = xattr::set(&last, format!("trusted.{name}"), value);
                continue;
            }
            Step::Mode(mode) => {
                if !last.is_symlink() {
                    fs::set_permissions(&last, std::os::unix::fs::PermissionsExt::from_mode(*mode)).unwrap();
                }
                continue;
            }
            Step::Owner(uid, gid) => {
                std::os::unix::fs::lchown(&last, Some(*uid), Some(*gid)).unwrap();
                continue;
            }
            Step::Time(seconds, nanoseconds) => {
                set_time(&last, *seconds, *nanoseconds);
                continue;
            }
            Step::Descend(n) => {
                at = directories[n % directories.len()].clone();
                continue;
            }
            Step::Remove(n) => {
                let gone = directories.swap_remove(n % directories.len());
                if gone == root || directories.iter().any(|d| d.starts_with(&gone)) {
                    directories.push(gone);
                } else {
                    fs::remove_dir_all(&gone).unwrap();
                    at = root.to_owned();
                    last = root.to_owned();
                }
                continue;
            }
        };
        if let Ok(name) = made {
            last = at.join(name);
        }
    }
}

#[test]
fn random_trees_and_random_changes_come_back() {
    let seed = seed();
    println!("HOLDFAST_SEED={seed}");
    come_back(&Plain, seed);
}

#[test]
fn random_trees_and_random_changes_come_back_in_windows_of_one_directory() {
    let seed = seed();
    println!("HOLDFAST_SEED={seed}");
    come_back(&PlainInWindows, seed);
}

fn seed() -> u64 {
    std::env::var("HOLDFAST_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or_else(|| {
        let mut bytes = [0; 8];
        std::io::Read::read_exact(&mut fs::File::open("/dev/urandom").unwrap(), &mut bytes).unwrap();
        u64::from_le_bytes(bytes)
    })
}

fn come_back(subject: &dyn Subject, seed: u64) {
    let mut full = [0; 32];
    full[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &full);
    let config = Config { cases: 12, max_shrink_iters: 20, failure_persistence: None, ..Config::default() };
    let steps = || proptest::collection::vec(step(), 1..80);
    TestRunner::new_with_rng(config, rng)
        .run(&(steps(), steps()), |(first, second)| {
            let bench = Bench::new();
            let (source, target, fresh) = (bench.path("source"), bench.path("target"), bench.path("fresh"));
            fs::create_dir(&source).unwrap();
            apply(&source, &first);
            bench.settle();
            let one = bench.capture(subject, &source, None);
            bench.restore(subject, &one, &target, OverwritePolicy::Refuse).unwrap();
            prop_assert_eq!(difference(&source, &target), None);
            apply(&source, &second);
            bench.settle();
            let two = bench.capture(subject, &source, Some(&one));
            bench.restore(subject, &two, &target, OverwritePolicy::Exact).unwrap();
            prop_assert_eq!(difference(&source, &target), None);
            bench.restore(subject, &two, &fresh, OverwritePolicy::Refuse).unwrap();
            prop_assert_eq!(difference(&source, &fresh), None);
            prop_assert_eq!(bench.check(subject, &two, &fresh).unwrap().findings, []);
            Ok(())
        })
        .unwrap_or_else(|error| panic!("HOLDFAST_SEED={seed}: {error}"));
}
