//! Quiet times, and what cannot be restored.

use std::os::unix::fs::FileExt as _;

use driver_postgres::window::Target;
use jiff::SignedDuration;

use crate::proof::number;
use crate::restored::{known, known_beyond};
use crate::scene::Scene;
use crate::source::is_possible;
use crate::worker::SLOT;

#[test]
fn a_quiet_time_has_every_second_and_a_gap_none() {
    if !is_possible() {
        return;
    }
    let quiet = i64::try_from(number("HOLDFAST_QUIET_SECONDS", 4)).unwrap();
    let scene = Scene::new("max_slot_wal_keep_size = 16MB\nwal_keep_size = 0\n");
    let (server, vault) = (&scene.server, &scene.vault);
    let mut worker = scene.follow(server, 1);
    let first = scene.base("first");
    server.execute("INSERT INTO notes VALUES ('before')");
    let begun = server.end_of_second();
    // Nobody writes: what is asked for is quiet time.
    server.wait_for_clock(begun + SignedDuration::from_secs(quiet + 1));
    server.execute("SELECT pg_create_restore_point('release')");
    server.execute("INSERT INTO notes VALUES ('after')");

    let bases = [first.clone()];
    let seen = scene.known_beyond_now(server, &bases);
    let window = seen.window(&bases);
    let at = begun + SignedDuration::from_secs(quiet / 2);
    for second in 0..=quiet {
        let at = begun + SignedDuration::from_secs(second);
        seen.plan(&bases, Target::Time(at)).unwrap();
    }
    for (name, target, expected) in [
        ("time", Target::Time(at), "before"),
        ("point", Target::Point("release".to_owned()), "before"),
        ("lsn", Target::Lsn(first.stop), "-"),
        ("latest", Target::Latest, "after before"),
    ] {
        assert_eq!(scene.notes_at(&seen, &bases, target, name).as_deref(), Ok(expected), "{name}");
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
    let in_the_gap = server.end_of_second();
    let _worker = scene.follow(server, 2);
    let later = scene.base("second");
    server.execute("DELETE FROM notes WHERE text LIKE 'x%'");
    // However long that took.
    let after = server.end_of_second();

    let bases = [first, later];
    let seen = known_beyond(vault, &bases, server.clock());
    let windows = seen.window(&bases);
    assert_eq!(windows.len(), 2, "{windows:?}");
    assert!(windows[0].to >= window[0].to, "nothing of the first interval is lost: {windows:?} {window:?}");
    let facts = seen.stored.facts.as_ref().unwrap();
    assert_eq!(facts.gaps.len(), 1, "{facts:?}");
    assert!(facts.gaps[0].reason.contains("max_slot_wal_keep_size"), "{facts:?}");
    let refused = |target| seen.plan(&bases, target).unwrap_err().to_string();
    let text = refused(Target::Time(in_the_gap));
    assert!(text.contains("gap") && text.contains(&windows[1].from.to_string()), "{text}");
    let text = refused(Target::Time(bases[0].stopped_at - SignedDuration::from_secs(1)));
    assert!(text.contains("before the end of the first base backup") && text.contains(", and "), "{text}");
    let text = refused(Target::Time(windows[1].to + SignedDuration::from_secs(5)));
    assert!(text.contains("after the last durable commit"), "{text}");
    seen.plan(&bases, Target::Time(at)).unwrap();
    assert_eq!(seen.plan(&bases, Target::Time(after)).unwrap().base.id, "second");
    assert_eq!(scene.notes_at(&seen, &bases, Target::Time(after), "second").as_deref(), Ok("after before"));

    // A segment that is lost in the vault stops the recovery; it does not end it.
    let mut lost = known(vault);
    let from = seen.plan(&bases, Target::Time(after)).unwrap().from;
    lost.stored.pieces.retain(|piece| piece.start < from.0);
    let stopped = scene.notes_at(&lost, &bases, Target::Time(after), "stopped").unwrap_err();
    assert!(stopped.contains("this is a gap, not the end"), "{stopped}");
}

#[test]
fn a_damaged_record_at_the_server_is_a_gap_and_not_the_end_of_following() {
    if !is_possible() {
        return;
    }
    let scene = Scene::new("");
    let server = &scene.server;
    scene.follow(server, 1).kill();
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
    let _worker = scene.follow(server, 2);
    let facts = known(&scene.vault).stored.facts.unwrap();
    assert_eq!(facts.gaps.len(), 1, "{facts:?}");
    assert!(facts.gaps[0].reason.contains("damaged at"), "{facts:?}");
    assert_eq!(facts.gaps[0].to.0 % facts.segment_size.bytes(), 0, "it goes on with the next segment: {facts:?}");
}
