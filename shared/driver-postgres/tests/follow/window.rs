//! Quiet times, and what cannot be restored.

use std::os::unix::fs::FileExt as _;
use std::time::Duration;

use driver_postgres::window::Target;

use crate::restored::{known, restore};
use crate::source::{Server, directory, is_possible};
use crate::worker::{SLOT, Worker, vault, wait_until_durable};

fn second(text: &str) -> jiff::Timestamp {
    jiff::Timestamp::from_second(text.parse().unwrap()).unwrap()
}

#[test]
fn a_quiet_time_has_every_second_and_a_gap_none() {
    if !is_possible() {
        return;
    }
    let quiet = std::env::var("HOLDFAST_QUIET_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(4);
    let place = directory();
    let vault = vault(place.path());
    let server = Server::create(&place.path().join("source"), "max_slot_wal_keep_size = 16MB\nwal_keep_size = 0\n");
    server.execute("CREATE TABLE notes (text text)");
    let mut worker = Worker::start(place.path(), &server, 1);
    wait_until_durable(&server);
    let first_files = place.path().join("source/first");
    let first = server.base(&first_files, "first");
    server.execute("INSERT INTO notes VALUES ('before')");
    let clock = "SELECT ceil(extract(epoch FROM clock_timestamp()))::bigint";
    let begun = second(&server.value(clock));
    std::thread::sleep(Duration::from_secs(quiet + 2));
    server.execute("SELECT pg_create_restore_point('release')");
    server.execute("INSERT INTO notes VALUES ('after')");
    std::thread::sleep(Duration::from_millis(1200));
    wait_until_durable(&server);

    let seen = known(&vault);
    let bases = [first.clone()];
    let window = seen.window(&bases);
    let at = begun + jiff::SignedDuration::from_secs(i64::try_from(quiet / 2).unwrap());
    for second in 0..=i64::try_from(quiet).unwrap() {
        let at = begun + jiff::SignedDuration::from_secs(second);
        seen.plan(&bases, Target::Time(at)).unwrap();
    }
    let notes = |server: &Server| server.value("SELECT string_agg(text, ' ' ORDER BY text) FROM notes");
    for (name, target, expected) in [
        ("time", Target::Time(at), "before"),
        ("point", Target::Point("release".to_owned()), "before"),
        ("lsn", Target::Lsn(first.stop), "-"),
        ("latest", Target::Latest, "after before"),
    ] {
        let plan = seen.plan(&bases, target).unwrap();
        let found = restore(&vault, &seen, &plan, &first_files, &place.path().join(name), |server| {
            assert_eq!(server.value("SHOW archive_mode"), "off");
            server.value("SELECT coalesce((SELECT string_agg(text, ' ' ORDER BY text) FROM notes), '-')")
        });
        assert_eq!(found.as_deref(), Ok(expected), "{name}");
    }

    // Nobody listens, and the server gives up on the slot.
    worker.kill();
    for _ in 0..5 {
        server.execute("INSERT INTO notes SELECT repeat('x', 2000) FROM generate_series(1, 4000)");
        server.execute("SELECT pg_switch_wal()");
    }
    server.execute("CHECKPOINT");
    assert_eq!(
        server.value(&format!("SELECT wal_status FROM pg_replication_slots WHERE slot_name = '{SLOT}'")),
        "lost"
    );
    let in_the_gap = second(&server.value(clock));
    std::thread::sleep(Duration::from_millis(1100));
    let _worker = Worker::start(place.path(), &server, 2);
    wait_until_durable(&server);
    let second_files = place.path().join("source/second");
    let later = server.base(&second_files, "second");
    server.execute("DELETE FROM notes WHERE text LIKE 'x%'");
    std::thread::sleep(Duration::from_millis(2200));
    wait_until_durable(&server);

    let seen = known(&vault);
    let bases = [first, later.clone()];
    let windows = seen.window(&bases);
    assert_eq!(windows.len(), 2, "{windows:?}");
    assert!(windows[0].to >= window[0].to, "nothing of the first interval is lost: {windows:?} {window:?}");
    let facts = seen.stored.facts.as_ref().unwrap();
    assert_eq!(facts.gaps.len(), 1, "{facts:?}");
    assert!(facts.gaps[0].reason.contains("max_slot_wal_keep_size"), "{facts:?}");
    let refused = |target| seen.plan(&bases, target).unwrap_err().to_string();
    let text = refused(Target::Time(in_the_gap));
    assert!(text.contains("gap") && text.contains(&windows[1].from.to_string()), "{text}");
    let text = refused(Target::Time(bases[0].stopped_at - jiff::SignedDuration::from_secs(1)));
    assert!(text.contains("before the end of the first base backup") && text.contains(", and "), "{text}");
    let text = refused(Target::Time(windows[1].to + jiff::SignedDuration::from_secs(5)));
    assert!(text.contains("after the last durable commit"), "{text}");
    seen.plan(&bases, Target::Time(at)).unwrap();
    let after = later.stopped_at + jiff::SignedDuration::from_secs(1);
    let plan = seen.plan(&bases, Target::Time(after)).unwrap();
    assert_eq!(plan.base.id, "second");
    let found = restore(&vault, &seen, &plan, &second_files, &place.path().join("second"), notes);
    assert_eq!(found.as_deref(), Ok("after before"));

    // A segment that is lost in the vault stops the recovery; it does not end it.
    let mut lost = known(&vault);
    lost.stored.pieces.retain(|piece| piece.start < plan.from.0);
    let stopped = restore(&vault, &lost, &plan, &second_files, &place.path().join("stopped"), notes).unwrap_err();
    assert!(stopped.contains("this is a gap, not the end"), "{stopped}");
}

#[test]
fn a_damaged_record_at_the_server_is_a_gap_and_not_the_end_of_following() {
    if !is_possible() {
        return;
    }
    let place = directory();
    let vault = vault(place.path());
    let server = Server::create(&place.path().join("source"), "");
    server.execute("CREATE TABLE notes (text text)");
    let mut worker = Worker::start(place.path(), &server, 1);
    wait_until_durable(&server);
    worker.kill();
    // A record in the middle of what nobody has received yet.
    let segment = server.value("SELECT pg_walfile_name(pg_current_wal_lsn())");
    let from: u64 = server.value("SELECT (pg_walfile_name_offset(pg_current_wal_lsn())).file_offset").parse().unwrap();
    server.execute("INSERT INTO notes SELECT repeat('x', 2000) FROM generate_series(1, 1000)");
    server.execute("SELECT pg_switch_wal()");
    server.execute("INSERT INTO notes VALUES ('after')");
    let file = std::fs::File::options().read(true).write(true).open(server.data.join("pg_wal").join(&segment)).unwrap();
    let (at, mut byte) = (from + 500_000, [0; 1]);
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 0x55], at).unwrap();
    let _worker = Worker::start(place.path(), &server, 2);
    wait_until_durable(&server);
    let facts = known(&vault).stored.facts.unwrap();
    assert_eq!(facts.gaps.len(), 1, "{facts:?}");
    assert!(facts.gaps[0].reason.contains("damaged at"), "{facts:?}");
    assert_eq!(facts.gaps[0].to.0 % facts.segment_size.bytes(), 0, "it goes on with the next segment: {facts:?}");
}
