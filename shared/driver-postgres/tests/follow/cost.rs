//! What following costs the server that is followed. `just bench-postgres` measures longer and asks for more.

use crate::source::{BIN, Server, as_postgres, directory, is_possible, run};
use crate::worker::{Worker, wait_until_durable};

const SECONDS: u64 = 2;
const ROUNDS: u64 = 2;
/// And more where the machine had other work just while it was followed: what following costs it costs in every round.
const ROUNDS_MAX: u64 = 8;
/// Beside other tests on two cores little can be said; the benchmark asks for nine tenths.
const LEAST_PERCENT: f64 = 40.0;

/// Transactions each second of pgbench with four clients.
fn throughput(server: &Server, seconds: u64) -> f64 {
    let said = run(as_postgres(&format!("{BIN}/pgbench"))
        .args(["-n", "-c4", "-j2", "-U", "postgres", "-T", &seconds.to_string(), "-h"])
        .arg(&server.sockets)
        .arg("postgres"));
    let line = said.lines().find_map(|line| line.strip_prefix("tps = ")).unwrap();
    line.split(' ').next().unwrap().parse().unwrap()
}

#[test]
fn a_followed_server_is_hardly_slower() {
    if !is_possible() {
        return;
    }
    let place = directory();
    drop(crate::worker::vault(place.path()));
    let server = Server::create(&place.path().join("source"), "synchronous_commit = on\n");
    run(as_postgres(&format!("{BIN}/pgbench"))
        .args(["-i", "-q", "-s", "5", "-U", "postgres", "-h"])
        .arg(&server.sockets)
        .arg("postgres"));
    let (mut alone, mut followed) = (0.0, 0.0);
    let mut round = 0;
    let percent = loop {
        round += 1;
        alone += throughput(&server, SECONDS);
        let mut worker = Worker::start(place.path(), &server, round);
        wait_until_durable(&server);
        followed += throughput(&server, SECONDS);
        wait_until_durable(&server);
        worker.kill();
        let percent = 100.0 * followed / alone;
        if round == ROUNDS_MAX || round >= ROUNDS && percent >= LEAST_PERCENT {
            break percent;
        }
    };
    let each = |all: f64| all / round as f64;
    println!(
        "| pgbench -c4, transactions/s | alone {:.0} | followed {:.0} | {percent:.1} % | {round} rounds |",
        each(alone),
        each(followed)
    );
    assert!(percent >= LEAST_PERCENT, "{percent:.1} % of {alone:.0} transactions, {LEAST_PERCENT} % are asked for");
}
