//! A new primary on a new timeline, and two workers that both think it is their turn.

use std::process::Command;

use driver_postgres::window::Target;

use crate::restored::known;
use crate::scene::Scene;
use crate::source::{BIN, Server, as_postgres, is_possible, run, wait_for};
use crate::worker::{Worker, wait_until_durable};

/// A standby of the server, in a directory of its own.
fn standby_of(scene: &Scene) -> Server {
    let place = scene.place.path().join("standby");
    run(Command::new("install").args(["-d", "-o", "postgres", "-g", "postgres", "-m", "700"]).arg(&place));
    run(as_postgres(&format!("{BIN}/pg_basebackup"))
        .args(["-R", "-X", "stream", "-c", "fast", "--no-sync", "-U", "postgres", "-h"])
        .arg(&scene.server.sockets)
        .arg("-D")
        .arg(place.join("data")));
    let mut standby = Server::at(&place.join("data"));
    standby.start(&[]);
    standby.wait_until_ready();
    standby
}

#[test]
fn the_window_goes_on_over_a_failover() {
    if !is_possible() {
        return;
    }
    let mut scene = Scene::new("wal_keep_size = 256MB\n");
    let standby = standby_of(&scene);
    let mut worker = scene.follow(&scene.server, 1);
    let bases = [scene.base("base")];
    scene.server.execute("INSERT INTO notes VALUES ('old')");
    let before = scene.server.end_of_second();
    scene.server.execute("INSERT INTO notes VALUES ('older')");
    wait_until_durable(&scene.server);
    let end = scene.server.value("SELECT pg_current_wal_lsn()");
    wait_for("the standby", 30, || {
        standby.value(&format!("SELECT coalesce(pg_last_wal_replay_lsn() >= '{end}', false)")) == "t"
    });
    worker.kill();
    scene.server.kill();
    standby.execute("SELECT pg_promote()");
    assert_eq!(standby.value("SELECT pg_is_in_recovery()"), "f");
    standby.execute("INSERT INTO notes VALUES ('new')");
    let _worker = scene.follow(&standby, 2);
    let after = standby.end_of_second();
    standby.execute("INSERT INTO notes VALUES ('newer')");

    let seen = scene.known_beyond_now(&standby, &bases);
    assert_eq!(seen.log.history.timeline, 2);
    assert_eq!(seen.window(&bases).len(), 1, "{:?}", seen.log);
    for (name, target, expected) in [
        ("before", Target::Time(before), "old"),
        ("after", Target::Time(after), "new old older"),
        ("latest", Target::Latest, "new newer old older"),
    ] {
        assert_eq!(scene.notes_at(&seen, &bases, target, name).as_deref(), Ok(expected), "{name}");
    }
}

#[test]
fn a_worker_that_was_succeeded_stops_and_nothing_is_lost() {
    if !is_possible() {
        return;
    }
    let scene = Scene::new("");
    let server = &scene.server;
    let mut old = scene.follow(server, 1);
    let bases = [scene.base("base")];
    // Its spool is its own; the slot is not.
    let _new = Worker::start_beside(scene.place.path(), server, 2);
    for n in 0..4 {
        server.execute(&format!("INSERT INTO notes VALUES ('{n}')"));
        server.execute("SELECT pg_switch_wal()");
        wait_until_durable(server);
    }
    wait_for("the old worker to stop", 30, || old.has_ended());
    server.execute("INSERT INTO notes VALUES ('last')");
    let seen = scene.known_beyond_now(server, &bases);
    assert_eq!(seen.log.runs().len(), 1, "{:?}", seen.log);
    assert_eq!(scene.notes_at(&seen, &bases, Target::Latest, "latest").as_deref(), Ok("0 1 2 3 last"));
}

#[test]
fn log_that_no_base_backup_needs_is_dropped() {
    if !is_possible() {
        return;
    }
    let scene = Scene::new("");
    let server = &scene.server;
    let _worker = scene.follow(server, 1);
    for _ in 0..3 {
        server.execute("INSERT INTO notes VALUES ('x'); SELECT pg_switch_wal()");
    }
    let base = scene.base("base");
    wait_until_durable(server);
    assert!(known(&scene.vault).log.runs()[0].start < base.start);
    std::fs::write(scene.place.path().join("keep-from"), base.start.to_string()).unwrap();
    server.execute("INSERT INTO notes VALUES ('y'); SELECT pg_switch_wal(); INSERT INTO notes VALUES ('z')");
    wait_for("the log to be dropped", 30, || {
        let seen = known(&scene.vault);
        let start = seen.log.size.floor(base.start);
        seen.log.runs().first().is_some_and(|run| run.start == start)
    });
    let bases = [base];
    let seen = scene.known_beyond_now(server, &bases);
    assert_eq!(scene.notes_at(&seen, &bases, Target::Latest, "latest").as_deref(), Ok("x x x y z"));
}
