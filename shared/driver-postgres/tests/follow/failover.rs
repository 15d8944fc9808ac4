//! A new primary on a new timeline, and two workers that both think it is their turn.

use std::process::Command;
use std::time::Duration;

use driver_postgres::window::Target;

use crate::restored::{known, restore};
use crate::source::{BIN, Server, as_postgres, directory, is_possible, run, wait_for};
use crate::worker::{Worker, vault, wait_until_durable};

const CLOCK: &str = "SELECT ceil(extract(epoch FROM clock_timestamp()))::bigint";

fn second(server: &Server) -> jiff::Timestamp {
    let second = jiff::Timestamp::from_second(server.value(CLOCK).parse().unwrap()).unwrap();
    // Over by then.
    std::thread::sleep(Duration::from_millis(1100));
    second
}

#[test]
fn the_window_goes_on_over_a_failover() {
    if !is_possible() {
        return;
    }
    let place = directory();
    let vault = vault(place.path());
    let mut primary = Server::create(&place.path().join("source"), "wal_keep_size = 256MB\n");
    primary.execute("CREATE TABLE notes (text text)");
    let standby_place = place.path().join("standby");
    run(Command::new("install").args(["-d", "-o", "postgres", "-g", "postgres", "-m", "700"]).arg(&standby_place));
    run(as_postgres(&format!("{BIN}/pg_basebackup"))
        .args(["-R", "-X", "stream", "-c", "fast", "--no-sync", "-U", "postgres", "-h"])
        .arg(&primary.sockets)
        .arg("-D")
        .arg(standby_place.join("data")));
    let mut standby = Server::at(&standby_place.join("data"));
    standby.start(&[]);
    standby.wait_until_ready();

    let mut worker = Worker::start(place.path(), &primary, 1);
    wait_until_durable(&primary);
    let files = place.path().join("source/base");
    let base = primary.base(&files, "base");
    primary.execute("INSERT INTO notes VALUES ('old')");
    let before = second(&primary);
    primary.execute("INSERT INTO notes VALUES ('older')");
    wait_until_durable(&primary);
    let end = primary.value("SELECT pg_current_wal_lsn()");
    wait_for("the standby", 30, || {
        standby.value(&format!("SELECT coalesce(pg_last_wal_replay_lsn() >= '{end}', false)")) == "t"
    });
    worker.kill();
    primary.kill();
    standby.execute("SELECT pg_promote()");
    assert_eq!(standby.value("SELECT pg_is_in_recovery()"), "f");
    standby.execute("INSERT INTO notes VALUES ('new')");
    let _worker = Worker::start(place.path(), &standby, 2);
    wait_until_durable(&standby);
    let after = second(&standby);
    standby.execute("INSERT INTO notes VALUES ('newer')");
    std::thread::sleep(Duration::from_millis(1200));
    wait_until_durable(&standby);

    let seen = known(&vault);
    assert_eq!(seen.log.history.timeline, 2);
    let bases = [base];
    assert_eq!(seen.window(&bases).len(), 1, "{:?}", seen.log);
    for (name, target, expected) in [
        ("before", Target::Time(before), "old"),
        ("after", Target::Time(after), "new old older"),
        ("latest", Target::Latest, "new newer old older"),
    ] {
        let plan = seen.plan(&bases, target).unwrap();
        let found = restore(&vault, &seen, &plan, &files, &place.path().join(name), |server| {
            server.value("SELECT string_agg(text, ' ' ORDER BY text) FROM notes")
        });
        assert_eq!(found.as_deref(), Ok(expected), "{name}");
    }
}

#[test]
fn a_worker_that_was_succeeded_stops_and_nothing_is_lost() {
    if !is_possible() {
        return;
    }
    let place = directory();
    let vault = vault(place.path());
    let server = Server::create(&place.path().join("source"), "");
    server.execute("CREATE TABLE notes (text text)");
    let mut old = Worker::start(place.path(), &server, 1);
    wait_until_durable(&server);
    let files = place.path().join("source/base");
    let bases = [server.base(&files, "base")];
    // Its spool is its own; the slot is not.
    let _new = Worker::start_beside(place.path(), &server, 2);
    for n in 0..4 {
        server.execute(&format!("INSERT INTO notes VALUES ('{n}')"));
        server.execute("SELECT pg_switch_wal()");
        std::thread::sleep(Duration::from_millis(300));
    }
    wait_for("the old worker to stop", 30, || old.has_ended());
    server.execute("INSERT INTO notes VALUES ('last')");
    wait_until_durable(&server);
    let seen = known(&vault);
    assert_eq!(seen.log.runs().len(), 1, "{:?}", seen.log);
    let plan = seen.plan(&bases, Target::Latest).unwrap();
    let found = restore(&vault, &seen, &plan, &files, &place.path().join("latest"), |server| {
        server.value("SELECT string_agg(text, ' ' ORDER BY text) FROM notes")
    });
    assert_eq!(found.as_deref(), Ok("0 1 2 3 last"));
}

#[test]
fn log_that_no_base_backup_needs_is_dropped() {
    if !is_possible() {
        return;
    }
    let place = directory();
    let vault = vault(place.path());
    let server = Server::create(&place.path().join("source"), "");
    server.execute("CREATE TABLE notes (text text)");
    let _worker = Worker::start(place.path(), &server, 1);
    wait_until_durable(&server);
    for _ in 0..3 {
        server.execute("INSERT INTO notes VALUES ('x'); SELECT pg_switch_wal()");
    }
    let files = place.path().join("source/base");
    let base = server.base(&files, "base");
    wait_until_durable(&server);
    assert!(known(&vault).log.runs()[0].start < base.start);
    std::fs::write(place.path().join("keep-from"), base.start.to_string()).unwrap();
    server.execute("INSERT INTO notes VALUES ('y'); SELECT pg_switch_wal(); INSERT INTO notes VALUES ('z')");
    wait_for("the log to be dropped", 30, || {
        let seen = known(&vault);
        let start = seen.log.size.floor(base.start);
        seen.log.runs().first().is_some_and(|run| run.start == start)
    });
    std::thread::sleep(Duration::from_millis(1200));
    wait_until_durable(&server);
    let seen = known(&vault);
    let plan = seen.plan(&[base], Target::Latest).unwrap();
    let found = restore(&vault, &seen, &plan, &files, &place.path().join("latest"), |server| {
        server.value("SELECT string_agg(text, '' ORDER BY text) FROM notes")
    });
    assert_eq!(found.as_deref(), Ok("xxxyz"));
}
