//! Any second of a busy and troubled time.

use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use driver_postgres::window::Target;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use crate::restored::{known_beyond, restore};
use crate::source::{BIN, Server, as_postgres, directory, is_possible, run};
use crate::worker::{Worker, delays, vault, wait_until_durable};

pub(crate) fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// What the database held at an instant, by what the server says about commits; without an instant, all that it holds.
/// Rows, highest row and sum of all ids, and the number and sum of everything that pgbench moved.
fn state(server: &Server, until: Option<&str>) -> String {
    let when = until.map_or(String::new(), |at| format!(" WHERE pg_xact_commit_timestamp(xmin) <= '{at}'"));
    server.value(&format!(
        "SELECT (SELECT count(*) || ' ' || coalesce(max(id), 0) || ' ' || coalesce(sum(id), 0) FROM ticks{when}) || ' ' || \
         (SELECT count(*) || ' ' || coalesce(sum(delta), 0) FROM pgbench_history{when})"
    ))
}

fn sums(server: &Server) -> [String; 3] {
    ["sum(abalance) FROM pgbench_accounts", "sum(tbalance) FROM pgbench_tellers", "sum(bbalance) FROM pgbench_branches"]
        .map(|sum| server.value(&format!("SELECT {sum}")))
}

/// A row, and no other writer beside its commit: two commits that overlap can be in the log in another order than their times,
/// and a recovery to an instant between them ends before both. pgbench holds the same row.
const TICK_ALONE: &str = "BEGIN; SELECT 1 FROM pgbench_branches WHERE bid = 1 FOR UPDATE; \
     INSERT INTO ticks (at) VALUES (clock_timestamp()); COMMIT";
/// A row of the only writer.
pub(crate) const TICK: &str = "INSERT INTO ticks (at) VALUES (clock_timestamp())";

/// Inserts a row every 50 ms, whatever happens to the server.
pub(crate) fn write(sockets: &Server, tick: &str, stop: &AtomicBool) {
    let mut connection = None;
    while !stop.load(Ordering::Acquire) {
        let open = match connection.take() {
            Some(open) => Ok(open),
            None => sockets.connect(),
        };
        connection = open.ok().and_then(|mut open| open.query(tick).is_ok().then_some(open));
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Ends the load, also when the test fails meanwhile.
pub(crate) struct Stop<'a>(pub(crate) &'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

fn pgbench(server: &Server, stop: &AtomicBool) {
    while !stop.load(Ordering::Acquire) {
        let mut child = as_postgres(&format!("{BIN}/pgbench"))
            .args(["-n", "-c4", "-T3600", "-R150", "-U", "postgres", "-h"])
            .arg(&server.sockets)
            .arg("postgres")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        while !stop.load(Ordering::Acquire) && child.try_wait().unwrap().is_none() {
            std::thread::sleep(Duration::from_millis(50));
        }
        let _ = child.kill();
        child.wait().unwrap();
    }
}

#[test]
fn any_second_comes_back_whoever_was_killed() {
    if !is_possible() {
        return;
    }
    let seed = number("HOLDFAST_SEED", rand::rng().random_range(0..1_000_000));
    let targets = number("HOLDFAST_PITR_TARGETS", 4);
    let seconds = number("HOLDFAST_PITR_SECONDS", 15);
    println!("HOLDFAST_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let place = directory();
    let vault = vault(place.path());
    let mut server = Server::create(&place.path().join("source"), "");
    run(as_postgres(&format!("{BIN}/pgbench"))
        .args(["-i", "-q", "-U", "postgres", "-h"])
        .arg(&server.sockets)
        .arg("postgres"));
    server.execute("CREATE TABLE ticks (id bigserial PRIMARY KEY, at timestamptz NOT NULL)");
    let mut epoch = 1;
    let mut worker = Worker::start(place.path(), &server, epoch);
    wait_until_durable(&server);

    let stop = AtomicBool::new(false);
    let load = Server::at(&server.data);
    let base_files = place.path().join("source/base");
    // When what is to be killed is killed, in milliseconds after the base backup.
    let last = seconds * 1000;
    let mut kills: Vec<(u64, bool)> =
        [true, true, false].iter().map(|worker| (random.random_range(1000..last - 2000), *worker)).collect();
    kills.sort_unstable();
    let base = std::thread::scope(|scope| {
        let _stop = Stop(&stop);
        scope.spawn(|| write(&load, TICK_ALONE, &stop));
        scope.spawn(|| pgbench(&load, &stop));
        // The base backup is taken under load too.
        let base = server.base(&base_files, "first");
        let begun = Instant::now();
        for (at, is_worker) in kills {
            std::thread::sleep(Duration::from_millis(at).saturating_sub(begun.elapsed()));
            if is_worker {
                worker.kill();
                epoch += 1;
                worker = Worker::start(place.path(), &server, epoch);
            } else {
                server.kill();
                server.start(&[]);
                server.wait_until_ready();
            }
        }
        std::thread::sleep(Duration::from_millis(last).saturating_sub(begun.elapsed()));
        base
    });
    // The load's last commit, and a heartbeat after it.
    let bases = [base];
    let known = known_beyond(&vault, &bases, server.clock());
    let window = known.window(&bases);
    assert_eq!(window.len(), 1, "{window:?}");
    let (from, to) = (window[0].from.as_second() + 1, window[0].to.as_second());
    assert!(to - from >= i64::try_from(seconds).unwrap() - 3, "{window:?}");
    for n in 0..targets {
        let second = random.random_range(from..to);
        let at = jiff::Timestamp::from_second(second).unwrap();
        let plan = known.plan(&bases, Target::Time(at)).unwrap();
        let expected = state(&server, Some(&at.to_string()));
        let place = place.path().join(format!("restored{n}"));
        let (found, in_time, sums) = restore(&vault, &known, &plan, &base_files, &place, |restored| {
            (state(restored, None), state(restored, Some(&at.to_string())), sums(restored))
        })
        .unwrap_or_else(|log| panic!("{at}: {log}"));
        assert_eq!(found, expected, "seed {seed}, target {at}");
        // By the restored server's own ledger, too: it holds nothing that was committed later.
        assert_eq!(in_time, found, "seed {seed}, target {at}");
        let moved = expected.split(' ').next_back().unwrap();
        assert_eq!(sums.each_ref().map(String::as_str), [moved; 3], "seed {seed}, target {at}");
        println!("{at}: {found}");
    }
    // All of it, too.
    let plan = known.plan(&bases, Target::Latest).unwrap();
    let expected = state(&server, None);
    let found = restore(&vault, &known, &plan, &base_files, &place.path().join("latest"), |r| state(r, None)).unwrap();
    assert_eq!(found, expected, "seed {seed}");
    drop(worker);
    let delays = delays(place.path());
    let (median, worst) = (delays[delays.len() / 2], delays[delays.len() - 1]);
    println!("from the server's hand until durable: median {median} ms, worst {worst} ms of {}", delays.len());
    assert!(median < 1000, "seed {seed}: {delays:?}");
    if std::process::Command::new("restic").arg("version").output().is_ok() {
        let checked = std::process::Command::new("restic")
            .args(["check", "--read-data", "-r"])
            .arg(place.path().join("vault"))
            .arg("--password-file")
            .arg(place.path().join("password"))
            .output()
            .unwrap();
        assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    }
}
