//! Servers that cannot be followed say why, and what happened to a vault or a slot is not the server's problem.

use driver_api::NoControl;
use driver_postgres::follow::{FollowError, FollowSettings, Follower};
use driver_postgres::server::Credentials;

use crate::scene::Scene;
use crate::source::{Server, credentials, directory, is_possible};
use crate::worker::{SLOT, Worker, now, subject, vault, wait_until_durable};

/// Tries once to follow, with this role.
fn follow(place: &std::path::Path, server: &Server, epoch: u64, user: &str) -> FollowError {
    let vault = vault(place);
    let store = vault.follow(subject(), epoch, &NoControl).unwrap();
    let credentials = Credentials { user: user.to_owned(), ..credentials() };
    let (database, slot) = ("postgres".to_owned(), SLOT.to_owned());
    let spool = place.join("tried");
    let settings = FollowSettings::new(server.address(), credentials, database, slot, spool);
    let follower = Follower {
        settings: &settings,
        store: &store,
        control: &NoControl,
        now: &now,
        keep_from: &|| None,
        watch: &|_| {},
    };
    follower.run().unwrap_err()
}

pub(crate) fn chain(error: &FollowError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

#[test]
fn what_a_server_lacks_is_said() {
    if !is_possible() {
        return;
    }
    let place = directory();
    let server =
        Server::create(&place.path().join("source"), "wal_level = minimal\nmax_wal_senders = 0\narchive_mode = off\n");
    let error = chain(&follow(place.path(), &server, 1, "postgres"));
    assert!(error.contains("wal_level"), "{error}");
    drop(server);

    let place = directory();
    let server = Server::create(&place.path().join("source"), "max_replication_slots = 1\n");
    server.execute("CREATE ROLE stranger LOGIN");
    let error = chain(&follow(place.path(), &server, 1, "stranger"));
    assert!(error.contains("42501") || error.contains("28000"), "{error}");
    server.execute("SELECT pg_create_physical_replication_slot('somebody_else')");
    let error = chain(&follow(place.path(), &server, 2, "postgres"));
    assert!(error.contains("53400"), "{error}");
}

#[test]
fn another_cluster_and_one_that_was_set_back_are_not_mixed_in() {
    if !is_possible() {
        return;
    }
    let mut scene = Scene::new("");
    scene.follow(&scene.server, 1).kill();
    let other = Server::create(&scene.place.path().join("other"), "");
    let error = follow(scene.place.path(), &other, 2, "postgres");
    assert!(matches!(error, FollowError::OtherCluster { .. }), "{}", chain(&error));
    assert!(!error.is_passing());
    drop(other);

    // The files of an earlier time under the same cluster: a restored disk.
    scene.server.stop();
    let saved = scene.files("saved");
    crate::source::run(std::process::Command::new("cp").arg("-a").arg(&scene.server.data).arg(&saved));
    scene.server.start(&[]);
    scene.server.wait_until_ready();
    let mut worker = Worker::start(scene.place.path(), &scene.server, 3);
    scene.server.execute("INSERT INTO notes SELECT repeat('x', 1000) FROM generate_series(1, 2000)");
    wait_until_durable(&scene.server);
    worker.kill();
    scene.server.kill();
    let mut restored = Server::at(&saved);
    restored.start(&[]);
    restored.wait_until_ready();
    let error = follow(scene.place.path(), &restored, 4, "postgres");
    assert!(matches!(error, FollowError::ServerBehind { .. }), "{}", chain(&error));
    restored.execute("INSERT INTO notes SELECT repeat('y', 1000) FROM generate_series(1, 4000)");
    let error = follow(scene.place.path(), &restored, 5, "postgres");
    assert!(matches!(error, FollowError::Diverged { .. }), "{}", chain(&error));
}
