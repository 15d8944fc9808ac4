//! restic's locks and ours see each other.

use std::fs;

use driver_api::NoControl;
use jiff::{SignedDuration, Timestamp};
use job_model::FailureCode;
use vault_engine::{Surroundings, Vault, VaultError};
use vault_format::{Id, KeyFile, LockFile, MasterKey, encode_unpacked};

use crate::support::{Workshop, capture, content, files, input, read_files, surroundings, write_files};

fn master_key(workshop: &Workshop, vault: &str) -> MasterKey {
    let bytes = fs::read(workshop.files(vault, "keys").remove(0)).unwrap();
    KeyFile::decode(&bytes).unwrap().open(b"the secret of main").unwrap()
}

/// Writes a lock as another program would.
fn put_lock(workshop: &Workshop, exclusive: bool, time: Timestamp, hostname: &str, pid: u32) {
    let hostname = hostname.to_owned();
    put_lock_file(workshop, &LockFile { time, exclusive, hostname, username: "them".to_owned(), pid, holdfast: None });
}

pub(crate) fn put_lock_file(workshop: &Workshop, lock: &LockFile) {
    let sealed = encode_unpacked(&master_key(workshop, "v"), [7; 16], &lock.encode().unwrap()).unwrap();
    let path = workshop.path("v").join("locks").join(Id::of(&sealed).to_hex());
    fs::write(&path, sealed).unwrap();
    // As the store would have dated it.
    fs::File::options().write(true).open(path).unwrap().set_modified(lock.time.into()).unwrap();
}

#[test]
fn restic_does_not_prune_while_we_write() {
    let workshop = Workshop::new();
    let vault = workshop.create("v");
    let wanted = files(&[("a", content(1, 1 << 20))]);
    let writer = vault.writer(&NoControl).unwrap();
    let root = write_files(&writer, &wanted);
    let refused = workshop.restic_with("v", "main", &["prune"]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("locked"), "{said}");
    assert!(said.contains(&std::process::id().to_string()), "{said}");
    // A backup of restic goes on beside us.
    workshop.restic("v", &["backup", workshop.path("v").join("config").to_str().unwrap()]);
    let committed = writer.commit(input(root, &[])).unwrap();
    assert_eq!(workshop.files("v", "locks").len(), 0);
    workshop.restic("v", &["prune"]);
    assert_eq!(read_files(&vault, committed.snapshot_id).unwrap(), wanted);
}

#[test]
fn an_exclusive_lock_keeps_us_and_restic_out_and_says_whose_it_is() {
    let workshop = Workshop::new();
    let vault = workshop.create("v");
    let committed = capture(&vault, &files(&[("a", vec![1])]));
    put_lock(&workshop, true, surroundings().now(), "elsewhere", 4242);
    let refused = vault.writer(&NoControl).unwrap_err();
    assert!(matches!(refused, VaultError::Locked { .. }));
    assert_eq!(refused.failure_code(), FailureCode::VaultUnreachable, "it is tried again later");
    let said = refused.to_string();
    assert!(["4242", "`elsewhere`", "restic unlock"].iter().all(|part| said.contains(part)), "{said}");
    assert!(vault.reader(committed.snapshot_id).is_err());
    assert!(vault.forget(committed.snapshot_id).is_err());
    assert_eq!(workshop.files("v", "locks").len(), 1, "nothing of ours is left");
    // The lock we made up is one to restic as well.
    assert!(!workshop.restic_with("v", "main", &["check"]).status.success());
    workshop.restic("v", &["unlock", "--remove-all"]);
    assert!(vault.writer(&NoControl).is_ok());
}

#[test]
fn locks_of_the_dead_are_removed_and_those_of_the_living_respected() {
    let workshop = Workshop::new();
    let vault = workshop.create("v");
    let now = surroundings().now();
    put_lock(&workshop, true, now - SignedDuration::from_mins(31), "elsewhere", 1);
    put_lock(&workshop, true, now, &surroundings().hostname, 1 << 30);
    drop(vault.writer(&NoControl).unwrap());
    assert_eq!(workshop.files("v", "locks").len(), 0);
    put_lock(&workshop, true, now, &surroundings().hostname, std::process::id());
    assert!(matches!(vault.writer(&NoControl), Err(VaultError::Locked { .. })));
    workshop.restic("v", &["unlock", "--remove-all"]);
    put_lock(&workshop, false, now, "elsewhere", 1);
    assert!(vault.writer(&NoControl).is_ok(), "locks that are not exclusive go together");
}

#[test]
fn a_lock_file_that_cannot_be_read_stops_writers_but_no_restore() {
    let workshop = Workshop::new();
    let vault = workshop.create("v");
    let wanted = files(&[("a", vec![1])]);
    let committed = capture(&vault, &wanted);
    fs::write(workshop.path("v").join("locks").join("ab".repeat(32)), b"rubbish").unwrap();
    let refused = vault.writer(&NoControl).unwrap_err().to_string();
    assert!(refused.contains("locks/abab") && refused.contains("restic unlock --remove-all"), "{refused}");
    assert_eq!(read_files(&vault, committed.snapshot_id).unwrap(), wanted);
    let file = fs::File::options().write(true).open(workshop.files("v", "locks").remove(0)).unwrap();
    file.set_modified((surroundings().now() - SignedDuration::from_mins(31)).into()).unwrap();
    assert!(vault.writer(&NoControl).is_ok(), "nobody has renewed it");
    assert_eq!(workshop.files("v", "locks").len(), 0);
}

#[test]
fn a_machine_whose_clock_is_ahead_takes_no_living_lock_away() {
    let workshop = Workshop::new();
    let vault = workshop.create("v");
    put_lock(&workshop, true, surroundings().now(), "elsewhere", 1);
    let ahead = Surroundings::new(|| surroundings().now() + SignedDuration::from_hours(2));
    let confused = Vault::open(&workshop.access("v"), &workshop.profiles, &ahead).unwrap();
    assert!(matches!(confused.writer(&NoControl), Err(VaultError::Locked { .. })));
    assert_eq!(workshop.files("v", "locks").len(), 1);
    assert!(matches!(vault.writer(&NoControl), Err(VaultError::Locked { .. })));
}

#[test]
fn who_lost_his_lock_commits_nothing() {
    let workshop = Workshop::new();
    let vault = workshop.create("v");
    let writer = vault.writer(&NoControl).unwrap();
    let root = write_files(&writer, &files(&[("a", content(1, 1 << 20))]));
    workshop.restic("v", &["unlock", "--remove-all"]);
    assert!(matches!(writer.commit(input(root, &[])), Err(VaultError::LockLost)));
    assert!(vault.snapshots().unwrap().readable.is_empty());
}
