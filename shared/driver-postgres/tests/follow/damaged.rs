//! A file of an archive that is not what the server wrote.

use std::fs;

use driver_postgres::follow::FollowError;
use driver_postgres::window::Target;

use crate::archive::refused;
use crate::archived::Archived;
use crate::restored::{known, known_beyond};
use crate::source::{Server, is_possible, wait_for};
use crate::worker::SLOT;

const PAGE: usize = 8192;

/// Writes records up to beyond the middle of a segment that has just begun. Gives back its name.
fn fill(server: &Server) -> String {
    server.execute("SELECT pg_logical_emit_message(true, 'fill', repeat('x', 4000)) FROM generate_series(1, 200)");
    server.value("SELECT pg_walfile_name(pg_current_wal_lsn())")
}

#[test]
fn a_damaged_record_in_an_archive_is_refused_by_name_until_the_right_file_is_there() {
    if !is_possible() {
        return;
    }
    let archived = Archived::new("");
    let scene = &archived.scene;
    let mut worker = archived.start(1, "");
    let bases = [scene.base("base")];
    scene.server.execute("INSERT INTO notes VALUES ('before')");
    archived.take_all(&scene.server);
    worker.kill();
    let before = known(&scene.vault).log.runs().last().unwrap().end;
    let segment = fill(&scene.server);
    scene.server.execute("INSERT INTO notes VALUES ('after')");
    archived.switch(&scene.server);
    let path = archived.archive.join(&segment);
    let whole = fs::read(&path).unwrap();
    let kept = archived.files();
    // In a record's body, and in the address of a page: without that nothing says that a page is missing.
    for (epoch, at) in [(2, whole.len() / 2 + 100), (3, whole.len() / 2 + 9)] {
        assert_eq!((whole.len() / 2) % PAGE, 0);
        let mut damaged = whole.clone();
        damaged[at] ^= 0x10;
        fs::write(&path, &damaged).unwrap();
        let (error, text) = refused(&archived, epoch, SLOT);
        assert!(matches!(error, FollowError::Archive { .. }) && !error.is_passing(), "{text}");
        assert!(text.contains(&path.display().to_string()) && text.contains("damaged at"), "{text}");
        // Nothing of it is in the vault, the file is left, and nothing is passed over.
        let seen = known(&scene.vault);
        assert_eq!(seen.log.runs().last().unwrap().end, before, "{text}");
        assert_eq!(seen.stored.facts.unwrap().gaps, [], "{text}");
        assert_eq!(archived.files(), kept);
    }
    fs::write(&path, &whole).unwrap();
    let _worker = archived.start(4, "");
    archived.take_all(&scene.server);
    let seen = known(&scene.vault);
    assert_eq!(seen.log.runs().len(), 1, "{:?}", seen.log);
    assert_eq!(seen.stored.facts.as_ref().unwrap().gaps, []);
    assert_eq!(scene.notes_at(&seen, &bases, Target::Latest, "latest").as_deref(), Ok("after before"));
}

#[test]
fn a_damaged_file_that_is_removed_is_a_gap() {
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
    let segment = fill(&scene.server);
    let lost = scene.server.end_of_second();
    archived.switch(&scene.server);
    let path = archived.archive.join(&segment);
    let mut damaged = fs::read(&path).unwrap();
    let middle = damaged.len() / 2 + 100;
    damaged[middle] ^= 0x10;
    fs::write(&path, &damaged).unwrap();
    refused(&archived, 2, SLOT);
    fs::remove_file(&path).unwrap();
    scene.server.execute("INSERT INTO notes VALUES ('later')");
    archived.switch(&scene.server);
    let _worker = archived.start(3, "");
    wait_for("the gap", 60, || known(&scene.vault).stored.facts.is_some_and(|facts| !facts.gaps.is_empty()));
    let later = scene.base("later");
    let stopped = later.stopped_at;
    scene.server.execute("INSERT INTO notes VALUES ('last')");
    scene.server.end_of_second();
    archived.take_all(&scene.server);
    let bases = [first, later];
    let seen = known_beyond(&scene.vault, &bases, stopped);
    let gaps = &seen.stored.facts.as_ref().unwrap().gaps;
    assert!(gaps.len() == 1 && gaps[0].reason.contains(&segment), "{gaps:?}");
    assert_eq!(seen.window(&bases).len(), 2, "{:?}", seen.window(&bases));
    assert!(seen.plan(&bases, Target::Time(lost)).is_err());
}
