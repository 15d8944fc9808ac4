//! Secrets come and go; the data stays as it is.

use std::fs;
use std::time::Duration;

use job_model::VaultAccess;
use vault_engine::{Vault, VaultError};

use crate::support::{Workshop, capture, content, files, read_files, succeeded, surroundings};

#[test]
fn a_secret_is_exchanged_without_rewriting_data_and_the_old_one_opens_nothing_any_more() {
    let workshop = Workshop::new();
    let vault = workshop.create("v");
    let wanted = files(&[("a", content(1, 1 << 20))]);
    let committed = capture(&vault, &wanted);
    let data = workshop.files("v", "data");
    let old = vault.keys().unwrap().0;
    assert!(old.len() == 1 && old[0].current);
    assert!(matches!(vault.revoke_key(old[0].id), Err(VaultError::KeyInUse { .. })));

    let added = vault.add_key("other", &workshop.profiles).unwrap();
    let both = vault.keys().unwrap().0;
    assert_eq!(both.iter().map(|key| (key.id, key.current)).collect::<Vec<_>>(), [(old[0].id, true), (added, false)]);
    assert!(succeeded(&workshop.restic_with("v", "other", &["key", "list"])).contains(&added.to_hex()[..8]));

    let access = VaultAccess { key_profile: "other".to_owned(), ..workshop.access("v") };
    let by_new = Vault::open(&access, &workshop.profiles, &surroundings()).unwrap();
    assert!(by_new.revoke_key(old[0].id).unwrap());
    assert!(!by_new.revoke_key(old[0].id).unwrap());
    let refused = Vault::open(&workshop.access("v"), &workshop.profiles, &surroundings()).unwrap_err();
    assert!(matches!(refused, VaultError::WrongKey { .. }));
    assert_eq!(read_files(&by_new, committed.snapshot_id).unwrap(), wanted);
    assert_eq!(workshop.files("v", "data"), data);
    succeeded(&workshop.restic_with("v", "other", &["check", "--read-data"]));
}

#[test]
fn a_key_that_restic_added_is_listed_and_one_that_is_damaged_keeps_nobody_out() {
    let workshop = Workshop::new();
    let vault = workshop.create("v");
    let file = workshop.dir.path().join("other");
    workshop.restic("v", &["key", "add", "--new-password-file", file.to_str().unwrap()]);
    fs::write(workshop.path("v").join("keys").join("ab".repeat(32)), b"rubbish").unwrap();
    let (keys, damaged) = workshop.open("v").keys().unwrap();
    assert_eq!((keys.len(), damaged.len()), (2, 1));
    drop(vault);
}

#[test]
fn a_secret_that_is_given_time_costs_more_to_guess() {
    let workshop = Workshop::new();
    workshop.create("v");
    let patient = surroundings().with_kdf_time(Duration::from_secs(1));
    let vault = Vault::open(&workshop.access("v"), &workshop.profiles, &patient).unwrap();
    let added = vault.add_key("other", &workshop.profiles).unwrap();
    let json: serde_json::Value =
        serde_json::from_slice(&fs::read(workshop.path("v").join("keys").join(added.to_hex())).unwrap()).unwrap();
    let work = json["N"].as_u64().unwrap() * json["p"].as_u64().unwrap();
    assert!(work >= 1 << 15, "never below the floor: {json}");
    succeeded(&workshop.restic_with("v", "other", &["snapshots"]));
}
