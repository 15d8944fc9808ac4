//! A server that cannot be streamed from: its log comes from its archive.

use std::fs;

use driver_api::NoControl;
use driver_postgres::follow::{FollowError, FollowSettings, Follower, LogSource};
use driver_postgres::window::Target;
use jiff::SignedDuration;

use crate::archived::{Archived, archiving, make_archive};
use crate::restored::{known, known_beyond};
use crate::source::{BIN, Server, as_postgres, credentials, directory, is_possible, run, wait_for};
use crate::worker::{SLOT, now, status, subject, vault};

#[test]
fn an_archive_gives_every_second_although_the_worker_stops_in_between() {
    if !is_possible() {
        return;
    }
    let archived = Archived::new("");
    let scene = &archived.scene;
    let mut worker = archived.start(1, "");
    let bases = [scene.base("base")];
    scene.server.execute("INSERT INTO notes VALUES ('first')");
    let first = scene.server.end_of_second();
    scene.server.execute("INSERT INTO notes VALUES ('second')");
    archived.take_all(&scene.server);
    worker.kill();
    // Nobody takes it, and nothing is lost.
    let kept = archived.files().len();
    scene.server.execute("INSERT INTO notes VALUES ('third')");
    let third = scene.server.end_of_second();
    archived.switch(&scene.server);
    assert!(archived.files().len() > kept);
    let _worker = archived.start(2, "");
    scene.server.execute("INSERT INTO notes VALUES ('fourth')");
    let at = scene.server.clock();
    // The heartbeat after it.
    scene.server.end_of_second();
    archived.take_all(&scene.server);
    let seen = known_beyond(&scene.vault, &bases, third);
    assert_eq!(seen.log.runs().len(), 1, "{:?}", seen.log);
    assert_eq!(seen.stored.facts.as_ref().unwrap().gaps, []);
    for (name, target, expected) in [
        ("first", Target::Time(first), "first"),
        ("third", Target::Time(third), "first second third"),
        ("latest", Target::Latest, "first fourth second third"),
    ] {
        assert_eq!(scene.notes_at(&seen, &bases, target, name).as_deref(), Ok(expected), "{name} {at}");
    }
    assert_eq!(scene.server.value("SELECT count(*) FROM pg_replication_slots"), "0");
}

#[test]
fn the_window_of_an_idle_server_moves_with_its_archive_timeout() {
    if !is_possible() {
        return;
    }
    let archived = Archived::new("archive_timeout = 2s\n");
    let scene = &archived.scene;
    let _worker = archived.start(1, "");
    let bases = [scene.base("base")];
    let begun = scene.server.clock();
    let seen = known_beyond(&scene.vault, &bases, begun + SignedDuration::from_secs(3));
    assert_eq!(seen.window(&bases).len(), 1);
    wait_for("the status", 30, || status(scene.place.path()).contains("no_heartbeat: None"));
    let said = status(scene.place.path());
    assert!(said.contains("notice: None"), "{said}");
    // The server is ahead of what it has archived by no more than what it writes in that time.
    let number = |name: &str| -> u64 {
        let text = said.split(&format!("{name}: Lsn(")).nth(1).unwrap();
        text.split(')').next().unwrap().parse().unwrap()
    };
    assert!(number("server_end") >= number("durable") && number("durable") > 0, "{said}");
    assert_eq!(number("durable") % seen.log.size.bytes(), 0, "{said}");
}

#[test]
fn a_missing_segment_is_a_gap_and_one_that_comes_late_stays_and_is_told() {
    if !is_possible() {
        return;
    }
    let archived = Archived::new("");
    let scene = &archived.scene;
    let mut worker = archived.start(1, "");
    let first = scene.base("first");
    scene.server.execute("INSERT INTO notes VALUES ('before')");
    archived.take_all(&scene.server);
    worker.kill();
    scene.server.execute("INSERT INTO notes VALUES ('lost')");
    let lost = scene.server.value("SELECT pg_walfile_name(pg_current_wal_lsn())");
    let in_the_gap = scene.server.end_of_second();
    archived.switch(&scene.server);
    let aside = scene.place.path().join("aside");
    fs::rename(archived.archive.join(&lost), &aside).unwrap();
    scene.server.execute("INSERT INTO notes VALUES ('after')");
    archived.switch(&scene.server);
    let _worker = archived.start(2, "");
    wait_for("the gap", 60, || known(&scene.vault).stored.facts.is_some_and(|facts| !facts.gaps.is_empty()));
    let later = scene.base("later");
    let stopped = later.stopped_at;
    scene.server.execute("INSERT INTO notes VALUES ('later')");
    scene.server.end_of_second();
    archived.take_all(&scene.server);
    let bases = [first, later];
    let seen = known_beyond(&scene.vault, &bases, stopped);
    let facts = seen.stored.facts.as_ref().unwrap();
    assert_eq!(facts.gaps.len(), 1, "{facts:?}");
    let gap = &facts.gaps[0];
    assert!(gap.reason.contains(&lost), "{gap:?}");
    let size = seen.log.size;
    assert_eq!(size.segment_at(1, gap.from).name(size), lost);
    assert_eq!(gap.to.0 - gap.from.0, size.bytes(), "{gap:?}");
    assert_eq!(seen.window(&bases).len(), 2, "{:?}", seen.window(&bases));
    assert!(seen.plan(&bases, Target::Time(in_the_gap)).is_err());
    assert_eq!(scene.notes_at(&seen, &bases, Target::Latest, "latest").as_deref(), Ok("after before later lost"));
    // It comes after all: it is not removed, because nobody has it.
    fs::rename(&aside, archived.archive.join(&lost)).unwrap();
    wait_for("the notice", 30, || status(scene.place.path()).contains(&format!("`{lost}` came after")));
    assert_eq!(archived.files(), [lost]);
}

/// Tries once to follow; it must fail.
pub(crate) fn refused(archived: &Archived, epoch: u64, slot: &str) -> (FollowError, String) {
    let place = archived.scene.place.path();
    let store = archived.scene.vault.follow(subject(), epoch, &NoControl).unwrap();
    let mut settings = FollowSettings::new(
        archived.scene.server.address(),
        credentials(),
        "postgres".to_owned(),
        slot.to_owned(),
        place.join("tried"),
    );
    settings.log = LogSource::Archive(archived.archive.clone());
    let follower = Follower {
        settings: &settings,
        store: &store,
        control: &NoControl,
        now: &now,
        keep_from: &|| None,
        watch: &|_| {},
    };
    let error = follower.run().unwrap_err();
    let text = crate::refusals::chain(&error);
    (error, text)
}

#[test]
fn files_that_are_not_this_servers_are_refused_by_name_and_left() {
    if !is_possible() {
        return;
    }
    let archived = Archived::new("");
    let scene = &archived.scene;
    let mut worker = archived.start(1, "");
    wait_for("the follower", 60, || known(&scene.vault).stored.facts.is_some());
    archived.take_all(&scene.server);
    worker.kill();
    scene.server.execute("INSERT INTO notes VALUES ('x')");
    let segment = scene.server.value("SELECT pg_walfile_name(pg_current_wal_lsn())");
    archived.switch(&scene.server);
    let path = archived.archive.join(&segment);
    let whole = fs::read(&path).unwrap();
    let shown = path.display().to_string();

    fs::write(&path, &whole[..8192]).unwrap();
    let (error, text) = refused(&archived, 2, SLOT);
    assert!(matches!(error, FollowError::Archive { .. }) && !error.is_passing(), "{text}");
    assert!(text.contains(&shown) && text.contains("8192") && text.contains("1048576"), "{text}");

    // Another cluster's, past its own push.
    let mut other = whole.clone();
    other[24] ^= 1;
    fs::write(&path, &other).unwrap();
    let (error, text) = refused(&archived, 3, SLOT);
    assert!(matches!(error, FollowError::Archive { .. }), "{text}");
    assert!(text.contains(&shown) && text.contains("cluster"), "{text}");
    assert_eq!(archived.files(), std::slice::from_ref(&segment));

    // The directory is one follower's.
    let (error, text) = refused(&archived, 4, "holdfast_other");
    assert!(matches!(error, FollowError::Archive { .. }), "{text}");
    assert!(text.contains(".holdfast-follower") && text.contains(SLOT), "{text}");

    fs::write(&path, &whole).unwrap();
    let _worker = archived.start(5, "");
    archived.take_all(&scene.server);
    assert_eq!(known(&scene.vault).log.runs().len(), 1);
}

#[test]
fn a_server_that_does_not_archive_to_us_is_told_setting_and_mend() {
    if !is_possible() {
        return;
    }
    for (settings, words) in [
        ("archive_mode = off\n", ["`archive_mode`", "`off`"]),
        ("archive_command = 'cp %p /nowhere/%f'\n", ["`archive_command`", "holdfast-wal push"]),
        ("archive_mode = off\nwal_level = minimal\nmax_wal_senders = 0\n", ["`wal_level`", "`minimal`"]),
    ] {
        let archived = Archived::new(settings);
        let (error, text) = refused(&archived, 1, SLOT);
        assert!(matches!(error, FollowError::Server(_)), "{text}");
        assert!(words.iter().all(|word| text.contains(word)), "{text}");
    }
}

#[test]
fn two_servers_do_not_push_into_one_directory() {
    if !is_possible() {
        return;
    }
    let place = directory();
    drop(vault(place.path()));
    let archive = make_archive(place.path());
    let settings = archiving(place.path(), &archive);
    let first = Server::create(&place.path().join("first"), &settings);
    first.execute("SELECT pg_switch_wal()");
    wait_for("the first server's archiver", 60, || {
        first.value("SELECT archived_count > 0 FROM pg_stat_archiver") == "t"
    });
    let second = Server::create(&place.path().join("second"), &settings);
    second.execute("SELECT pg_switch_wal()");
    wait_for("the refusal", 60, || {
        second.value("SELECT failed_count > 0 FROM pg_stat_archiver") == "t"
            && second.log().contains(".holdfast-system")
    });
    assert_eq!(second.value("SELECT archived_count FROM pg_stat_archiver"), "0");
}

#[test]
fn the_window_goes_on_over_a_promotion_that_shows_in_the_archive() {
    if !is_possible() {
        return;
    }
    let mut archived = Archived::new("wal_keep_size = 256MB\nmax_wal_senders = 4\n");
    let place = archived.scene.place.path().join("standby");
    run(std::process::Command::new("install")
        .args(["-d", "-o", "postgres", "-g", "postgres", "-m", "700"])
        .arg(&place));
    run(as_postgres(&format!("{BIN}/pg_basebackup"))
        .args(["-R", "-X", "stream", "-c", "fast", "--no-sync", "--no-slot", "-U", "postgres", "-h"])
        .arg(&archived.scene.server.sockets)
        .arg("-D")
        .arg(place.join("data")));
    let mut standby = Server::at(&place.join("data"));
    standby.start(&[]);
    standby.wait_until_ready();
    let mut worker = archived.start(1, "");
    let bases = [archived.scene.base("base")];
    archived.scene.server.execute("INSERT INTO notes VALUES ('old')");
    archived.take_all(&archived.scene.server);
    archived.scene.server.execute("INSERT INTO notes VALUES ('older')");
    let before = archived.scene.server.end_of_second();
    let end = archived.scene.server.value("SELECT pg_current_wal_lsn()");
    wait_for("the standby", 30, || {
        standby.value(&format!("SELECT coalesce(pg_last_wal_replay_lsn() >= '{end}', false)")) == "t"
    });
    archived.scene.server.kill();
    standby.execute("SELECT pg_promote()");
    standby.execute("INSERT INTO notes VALUES ('new')");
    // The old server does not answer, and its follower goes on with what is in the archive.
    let end = archived.switch(&standby);
    wait_for("the new timeline", 60, || {
        known(&archived.scene.vault).log.runs().last().is_some_and(|run| run.end >= end)
    });
    wait_for("the notice", 30, || status(archived.scene.place.path()).contains("no_heartbeat: Some"));
    worker.kill();
    std::mem::swap(&mut archived.scene.server, &mut standby);
    let _worker = archived.start(2, "");
    archived.scene.server.execute("INSERT INTO notes VALUES ('newer')");
    archived.scene.server.end_of_second();
    archived.take_all(&archived.scene.server);
    let seen = known_beyond(&archived.scene.vault, &bases, before);
    assert_eq!(seen.log.history.timeline, 2);
    assert_eq!(seen.window(&bases).len(), 1, "{:?}", seen.log);
    assert_eq!(seen.stored.facts.as_ref().unwrap().gaps, []);
    for (name, target, expected) in
        [("before", Target::Time(before), "old older"), ("latest", Target::Latest, "new newer old older")]
    {
        assert_eq!(archived.scene.notes_at(&seen, &bases, target, name).as_deref(), Ok(expected), "{name}");
    }
}
