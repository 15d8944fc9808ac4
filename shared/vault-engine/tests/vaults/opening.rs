//! What is refused when a vault is made or opened, and under which code.

use std::fs;

use job_model::{FailureCode, VaultAccess};
use vault_engine::{KeyProfile, Profiles, Vault, VaultError};

use crate::support::{Workshop, access, capture, files, surroundings};

fn refused(result: Result<Vault, VaultError>, code: FailureCode, names: &str) {
    let error = result.unwrap_err();
    assert_eq!(error.failure_code(), code, "{error}");
    assert!(error.to_string().contains(names), "{error}");
    assert!(!error.to_string().contains("the secret of"), "{error}");
}

#[test]
fn a_key_that_does_not_fit_is_told_from_one_that_is_not_there() {
    let workshop = Workshop::new();
    workshop.create("v");
    let open = |key: &str, profiles: &Profiles| {
        let access = VaultAccess { key_profile: key.to_owned(), ..workshop.access("v") };
        Vault::open(&access, profiles, &surroundings())
    };
    refused(open("other", &workshop.profiles), FailureCode::VaultWrongKey, "`other`");
    refused(open("unheard", &workshop.profiles), FailureCode::KeyProfileUnknown, "[keys.unheard]");
    let mut profiles = Profiles::default();
    let lost = KeyProfile { password_file: Some("/nonexistent/secret".into()), ..KeyProfile::default() };
    profiles.keys.insert("main".to_owned(), lost);
    refused(open("main", &profiles), FailureCode::KeyUnreadable, "/nonexistent/secret");
    profiles.keys.insert("main".to_owned(), KeyProfile::default());
    refused(open("main", &profiles), FailureCode::KeyUnreadable, "exactly one");
    let command = |words: &[&str]| KeyProfile {
        password_command: Some(words.iter().map(|word| (*word).to_owned()).collect()),
        ..KeyProfile::default()
    };
    profiles.keys.insert("main".to_owned(), command(&["false"]));
    refused(open("main", &profiles), FailureCode::KeyUnreadable, "`false` ended with");
    profiles.keys.insert("main".to_owned(), command(&["printf", "the secret of main\\n"]));
    assert!(open("main", &profiles).is_ok());
}

#[test]
fn a_vault_that_is_not_there_is_never_made_by_opening_it() {
    let workshop = Workshop::new();
    let open = |access: &VaultAccess| Vault::open(access, &workshop.profiles, &surroundings());
    refused(open(&workshop.access("v")), FailureCode::VaultNotFound, "mount");
    assert!(!workshop.path("v").exists());
    fs::create_dir_all(workshop.path("v")).unwrap();
    refused(open(&workshop.access("v")), FailureCode::VaultNotFound, "no vault at");
    assert_eq!(fs::read_dir(workshop.path("v")).unwrap().count(), 0);
    refused(open(&access("memory://never_made")), FailureCode::VaultNotFound, "never_made");
    for wrong in ["/srv/vault", "gopher://x/y", "s3://user:pass@bucket/x"] {
        let error = open(&access(wrong)).unwrap_err();
        assert_eq!(error.failure_code(), FailureCode::VaultNotFound, "{error}");
        assert!(!error.to_string().contains("pass@"), "{error}");
    }
}

#[test]
fn another_repository_in_the_place_of_the_vault_is_noticed() {
    let workshop = Workshop::new();
    let id = workshop.create("v").repository_id().to_owned();
    workshop.create("w");
    let mut access = workshop.access("v");
    access.repository_id = Some(id.clone());
    assert!(Vault::open(&access, &workshop.profiles, &surroundings()).is_ok());
    access.location = workshop.access("w").location;
    refused(Vault::open(&access, &workshop.profiles, &surroundings()), FailureCode::VaultNotTheSame, &id);
}

#[test]
fn a_new_vault_takes_no_place_that_somebody_has() {
    let workshop = Workshop::new();
    let create = |key: &str, vault: &str| {
        let access = VaultAccess { key_profile: key.to_owned(), ..workshop.access(vault) };
        Vault::create(&access, &workshop.profiles, &surroundings())
    };
    fs::create_dir_all(workshop.path("foreign")).unwrap();
    fs::write(workshop.path("foreign").join("letter.txt"), "dear").unwrap();
    refused(create("main", "foreign"), FailureCode::VaultLocationTaken, "letter.txt");

    let id = create("main", "v").unwrap().repository_id().to_owned();
    assert_eq!(create("main", "v").unwrap().repository_id(), id, "a repeated order finds its vault");
    refused(create("other", "v"), FailureCode::VaultLocationTaken, "this key does not open");
    capture(&workshop.open("v"), &files(&[("a", vec![1])]));
    refused(create("main", "v"), FailureCode::VaultLocationTaken, "1 snapshots");
}

#[test]
fn a_creation_that_was_cut_short_is_completed_by_the_next() {
    let workshop = Workshop::new();
    workshop.create("v");
    let key = workshop.files("v", "keys").remove(0);
    fs::remove_file(workshop.path("v").join("config")).unwrap();
    let vault = workshop.create("v");
    assert_eq!(workshop.files("v", "keys"), [key], "the key is taken over");
    capture(&vault, &files(&[("a", vec![1])]));
    workshop.restic_agrees("v");

    fs::remove_file(workshop.path("v").join("config")).unwrap();
    let error = Vault::create(&workshop.access("v"), &workshop.profiles, &surroundings()).unwrap_err();
    assert_eq!(error.failure_code(), FailureCode::VaultLocationTaken, "data without a configuration is not empty");
}

#[test]
fn profiles_are_read_from_toml_words_and_nothing_else() {
    let json =
        r#"{"keys":{"a":{"password_env":"X"}},"stores":{"a":{"endpoint":"http://127.0.0.1:1","allow_http":true}}}"#;
    let profiles: Profiles = serde_json::from_str(json).unwrap();
    assert_eq!(profiles.keys["a"].password_env.as_deref(), Some("X"));
    assert!(profiles.stores["a"].allow_http);
    for wrong in
        [r#"{"keys":{"a":{"password":"X"}}}"#, r#"{"stores":{"a":{"secret_access_key":"X"}}}"#, r#"{"key":{}}"#]
    {
        assert!(serde_json::from_str::<Profiles>(wrong).is_err(), "{wrong}");
    }
}
