//! A follower that takes the log from an archive, cut off wherever it is.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use driver_postgres::window::Target;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use crate::archived::Archived;
use crate::proof::number;
use crate::restored::{known, known_beyond};
use crate::source::{is_possible, wait_for};

/// What must be true at any time: a segment is in the archive, or all of it is in the vault.
fn nothing_is_lost(archived: &Archived, written: &[String]) {
    // First what is still here: a file that goes meanwhile is in the vault by then.
    let here = archived.files();
    let log = known(&archived.scene.vault).log;
    for name in written.iter().filter(|name| !here.contains(name)) {
        let whole = log.segments.iter().any(|facts| facts.until.is_none() && facts.segment().name(log.size) == *name);
        assert!(whole, "`{name}` is neither in the archive nor in the vault: {here:?} {:?}", log.segments);
    }
}

#[test]
fn a_file_goes_only_when_it_is_durable_wherever_the_follower_dies() {
    if !is_possible() {
        return;
    }
    let archived = Archived::new("");
    let scene = &archived.scene;
    let base;
    let mut written = Vec::new();
    let mut epoch = 1;
    let write = |text: &str, written: &mut Vec<String>| {
        scene.server.execute(&format!("INSERT INTO notes VALUES ('{text}')"));
        written.push(scene.server.value("SELECT pg_walfile_name(pg_current_wal_lsn())"));
        archived.switch(&scene.server);
    };
    {
        let mut worker = archived.start(epoch, "");
        base = scene.base("base");
        archived.take_all(&scene.server);
        worker.kill();
    }
    for point in [
        "follow::after_piece=panic",
        "follow::after_commit=panic",
        "follow::before_archive_removal=panic",
        "follow::after_archive_removal=panic",
    ] {
        epoch += 1;
        let at = epoch;
        write(&format!("a{at}"), &mut written);
        let mut worker = archived.start(epoch, point);
        write(&format!("b{at}"), &mut written);
        wait_for("the planned crash", 60, || worker.has_ended());
        nothing_is_lost(&archived, &written);
    }
    // The server archives a file again of which it does not know that it did. Some are there: the last follower died at the
    // first one that it removed.
    let again = archived.files().remove(0);
    let copied = fs::read(archived.archive.join(&again)).unwrap();
    let _worker = archived.start(epoch + 1, "");
    write("last", &mut written);
    scene.server.end_of_second();
    archived.take_all(&scene.server);
    nothing_is_lost(&archived, &written);
    // As a push does: whoever looks sees all of it or nothing.
    let unfinished = archived.archive.join(format!(".{again}"));
    fs::write(&unfinished, copied).unwrap();
    fs::rename(unfinished, archived.archive.join(&again)).unwrap();
    wait_for("the same file to go again", 60, || archived.files().is_empty());
    let bases = [base];
    let seen = known_beyond(&scene.vault, &bases, bases[0].stopped_at);
    assert_eq!(seen.log.runs().len(), 1, "{:?}", seen.log);
    assert_eq!(seen.stored.facts.as_ref().unwrap().gaps, []);
    let expected = scene.server.value("SELECT string_agg(text, ' ' ORDER BY text) FROM notes");
    assert_eq!(scene.notes_at(&seen, &bases, Target::Latest, "latest"), Ok(expected));
}

#[test]
fn any_second_comes_back_from_an_archive_whoever_was_killed() {
    if !is_possible() {
        return;
    }
    let seed = number("HOLDFAST_SEED", rand::rng().random_range(0..1_000_000));
    println!("HOLDFAST_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let mut archived = Archived::new("archive_timeout = 1s\n");
    archived.scene.server.execute("CREATE TABLE ticks (id bigserial PRIMARY KEY, at timestamptz NOT NULL)");
    let mut epoch = 1;
    let mut worker = archived.start(epoch, "");
    let bases = [archived.scene.base("base")];
    let stop = AtomicBool::new(false);
    let load = crate::source::Server::at(&archived.scene.server.data);
    std::thread::scope(|scope| {
        let _stop = crate::proof::Stop(&stop);
        scope.spawn(|| crate::proof::write(&load, crate::proof::TICK, &stop));
        for is_worker in [true, false, true, true] {
            std::thread::sleep(Duration::from_millis(random.random_range(500..3000)));
            if is_worker {
                worker.kill();
                epoch += 1;
                worker = archived.start(epoch, "");
            } else {
                archived.scene.server.kill();
                archived.scene.server.start(&[]);
                archived.scene.server.wait_until_ready();
                // Its checkpointer, which minds `archive_timeout`, slept through the recovery's end, for up to
                // `checkpoint_timeout`.
                archived.scene.server.execute("CHECKPOINT");
            }
        }
        std::thread::sleep(Duration::from_secs(1));
        stop.store(true, Ordering::Release);
    });
    let server = &archived.scene.server;
    let at = server.clock();
    wait_for("the follower to take all", 120, || {
        let window = known(&archived.scene.vault).window(&bases);
        window.last().is_some_and(|interval| interval.to > at)
    });
    let seen = known_beyond(&archived.scene.vault, &bases, at);
    let window = seen.window(&bases);
    assert_eq!(window.len(), 1, "seed {seed}: {window:?}");
    assert_eq!(seen.stored.facts.as_ref().unwrap().gaps, []);
    let (from, to) = (window[0].from.as_second() + 1, window[0].to.as_second());
    for n in 0..2 {
        let at = jiff::Timestamp::from_second(random.random_range(from..to)).unwrap();
        let plan = seen.plan(&bases, Target::Time(at)).unwrap();
        let state = format!(
            "SELECT count(*) || ' ' || coalesce(sum(id), 0) FROM ticks WHERE pg_xact_commit_timestamp(xmin) <= '{at}'"
        );
        let expected = server.value(&state);
        let place = archived.scene.place.path().join(format!("restored{n}"));
        let files = archived.scene.files("base");
        let found = crate::restored::restore(&archived.scene.vault, &seen, &plan, &files, &place, |restored| {
            restored.value("SELECT count(*) || ' ' || coalesce(sum(id), 0) FROM ticks")
        });
        assert_eq!(found, Ok(expected), "seed {seed}, target {at}");
    }
}
