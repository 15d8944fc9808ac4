//! Vaults in an object store that is reached over HTTP: a server in this process that can go away and come back.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use driver_filesystem::FilesystemDriver;
use driver_volume::VolumeDriver;
use integration_tests::s3_store::{Manner, S3Store};
use job_bus::server_process::KeptPort;
use job_model::{FailureCode, OverwritePolicy, VaultAccess};
use tokio::runtime::Runtime;
use vault_engine::{KeepEntry, StoreProfile, VaultError};

use crate::oracle::difference;
use crate::referees::{Reading, Referee};
use crate::source::noise;
use crate::volume_oracle::{self, MIB, image};
use crate::workshop::{KEYS, Workshop, access, capture, check, copy, examine, restore, restore_new, try_capture};

const ACCESS_KEY: &str = "access-key-of-the-test";
const SECRET_KEY: &str = "secret-key-of-the-test";
pub(crate) const BUCKET: &str = "vaults";
/// How long the profile lets requests be repeated.
const RETRY_SECONDS: u64 = 2;
/// How long it may take until a vault whose store is gone counts as unreachable: less than without the profile, where a
/// request is repeated for a minute, and enough for a slow machine to do its own part of the work.
pub(crate) const PATIENCE: Duration = Duration::from_secs(45);

/// A workshop with a store and profiles for it.
pub(crate) struct Remote {
    pub(crate) workshop: Workshop,
    runtime: Runtime,
    port: KeptPort,
    manner: Manner,
    pub(crate) store: Option<S3Store>,
}

impl Remote {
    fn new() -> Self {
        Self::with(Manner::default())
    }

    pub(crate) fn with(manner: Manner) -> Self {
        let workshop = Workshop::new();
        fs::create_dir_all(workshop.path("buckets").join(BUCKET)).unwrap();
        fs::write(workshop.path("access"), format!("{ACCESS_KEY}\n")).unwrap();
        fs::write(workshop.path("secret"), format!("{SECRET_KEY}\n")).unwrap();
        let mut remote = Self {
            runtime: tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap(),
            port: KeptPort::draw().unwrap(),
            manner,
            store: None,
            workshop,
        };
        remote.come();
        let profile = remote.profile();
        for key in KEYS {
            remote.workshop.profiles.stores.insert(key.to_owned(), profile.clone());
        }
        remote
    }

    fn profile(&self) -> StoreProfile {
        StoreProfile {
            endpoint: Some(self.url()),
            region: Some("us-east-1".to_owned()),
            access_key_id_file: Some(self.workshop.path("access")),
            secret_access_key_file: Some(self.workshop.path("secret")),
            retry_seconds: Some(RETRY_SECONDS),
            allow_http: true,
            ..StoreProfile::default()
        }
    }

    /// The workshop, where whoever opens a vault from now on has requests repeated for so many seconds.
    pub(crate) fn patient(&mut self, seconds: u64) -> &Workshop {
        self.workshop.profiles.stores.values_mut().for_each(|profile| profile.retry_seconds = Some(seconds));
        &self.workshop
    }

    fn url(&self) -> String {
        self.store.as_ref().unwrap().url()
    }

    fn go(&mut self) {
        self.store = None;
        let is_gone = || std::net::TcpStream::connect(self.port.address()).is_err();
        let begin = Instant::now();
        while !is_gone() {
            assert!(begin.elapsed() < PATIENCE, "the server does not end");
            std::thread::yield_now();
        }
    }

    fn come(&mut self) {
        let buckets = self.workshop.path("buckets");
        let keys = [ACCESS_KEY, SECRET_KEY];
        let started = self.runtime.block_on(S3Store::start_with(&buckets, self.port.address(), keys, self.manner));
        self.store = Some(started.unwrap());
    }

    pub(crate) fn vault(name: &str, key: &str) -> VaultAccess {
        access(&format!("s3://{BUCKET}/{name}"), key)
    }

    /// restic, which reaches the same vault by its own means.
    fn restic<'a>(&self, vault: &str, key: &'a str) -> Reading<'a> {
        Reading {
            referee: Referee::Restic,
            repository: format!("s3:{}/{BUCKET}/{vault}", self.url()),
            key,
            credentials: Some((ACCESS_KEY, SECRET_KEY)),
        }
    }
}

pub(crate) fn tree(place: &Path) {
    fs::create_dir_all(place.join("directory")).unwrap();
    fs::write(place.join("large"), noise(1, 5 << 20)).unwrap();
    for number in 0..40 {
        fs::write(place.join(format!("directory/{number}")), noise(number, 500)).unwrap();
    }
}

#[test]
fn tree_and_volume_come_back_from_an_object_store_and_from_a_copy_and_restic_reads_both() {
    let remote = Remote::new();
    let workshop = &remote.workshop;
    let (source, volume) = (workshop.path("source"), workshop.path("volume"));
    tree(&source);
    image(&volume, 100 * MIB, &[(MIB, 100), (99 * MIB, MIB as usize)]);
    let vault = workshop.create(&Remote::vault("below/a/prefix", "main"));
    let first = capture(&vault, &FilesystemDriver, &source, None);
    fs::write(source.join("directory/new"), noise(77, 100_000)).unwrap();
    let second = capture(&vault, &FilesystemDriver, &source, Some(&first));
    assert!(second.stats.bytes_new < 1 << 20, "{:?}", second.stats);
    let image = capture(&vault, &VolumeDriver, &volume, None);
    // Into another object store's vault, and into one in a directory.
    let elsewhere = workshop.create(&Remote::vault("elsewhere", "other"));
    let at_home = workshop.create(&workshop.in_directory("at home", "other"));
    for (number, (vault, of_tree, of_image)) in [
        (&vault, second, image),
        (&elsewhere, copy(&vault, &second, &elsewhere).unwrap(), copy(&vault, &image, &elsewhere).unwrap()),
        (&at_home, copy(&vault, &second, &at_home).unwrap(), copy(&vault, &image, &at_home).unwrap()),
    ]
    .into_iter()
    .enumerate()
    {
        let (target, restored_image) = (workshop.path(&format!("tree {number}")), workshop.path(&format!("{number}")));
        restore_new(vault, &FilesystemDriver, &of_tree, &target);
        assert_eq!(difference(&source, &target), None);
        assert_eq!(check(vault, &FilesystemDriver, &of_tree, &target).findings, []);
        restore_new(vault, &VolumeDriver, &of_image, &restored_image);
        assert_eq!(volume_oracle::difference(&volume, &restored_image), None);
        assert!(examine(vault).is_sound());
    }
    // Opened anew, with the id the planner knows.
    let mut known = Remote::vault("below/a/prefix", "main");
    known.repository_id = Some(vault.repository_id().to_owned());
    assert_eq!(workshop.open(&known).unwrap().snapshots().unwrap().readable.len(), 3);
    remote.restic("below/a/prefix", "main").agrees(workshop);
    remote.restic("elsewhere", "other").agrees(workshop);
    let target = workshop.path("restored by restic");
    remote.restic("below/a/prefix", "main").restore(workshop, &second.snapshot.to_hex(), &target, None);
    assert_eq!(difference(&source, &target.join("data")), None);
}

#[test]
fn vault_whose_store_goes_away_is_unreachable_soon_and_works_when_it_is_back() {
    let mut remote = Remote::new();
    let source = remote.workshop.path("source");
    tree(&source);
    let access = Remote::vault("v", "main");
    let vault = remote.workshop.create(&access);
    let point = capture(&vault, &FilesystemDriver, &source, None);
    let target = remote.workshop.path("target");
    restore_new(&vault, &FilesystemDriver, &point, &target);
    fs::write(source.join("large"), noise(2, 5 << 20)).unwrap();
    let second = capture(&vault, &FilesystemDriver, &source, Some(&point));
    remote.go();

    let unreachable = |what: &str, begin: Instant, code: Option<FailureCode>| {
        assert_eq!(code, Some(FailureCode::VaultUnreachable), "{what}");
        assert!(begin.elapsed() < PATIENCE, "{what} took {:?}", begin.elapsed());
    };
    let begin = Instant::now();
    let refused = remote.workshop.open(&access).unwrap_err();
    assert!(matches!(refused, VaultError::Store { .. }), "{refused:?}");
    unreachable("open", begin, Some(refused.failure_code()));
    let begin = Instant::now();
    let refused = try_capture(&vault, &FilesystemDriver, &source, None).unwrap_err();
    unreachable("capture", begin, VaultError::code_behind(&refused));
    let begin = Instant::now();
    let refused = restore(&vault, &FilesystemDriver, &second, &target, OverwritePolicy::Exact).unwrap_err();
    unreachable("restore", begin, VaultError::code_behind(&refused));
    assert!(fs::read(target.join("large")).unwrap() == noise(1, 5 << 20), "what was there is still there");

    remote.come();
    // The same vault, still open.
    restore(&vault, &FilesystemDriver, &second, &target, OverwritePolicy::Exact).unwrap();
    assert_eq!(difference(&source, &target), None);
    fs::write(source.join("new"), "new").unwrap();
    capture(&vault, &FilesystemDriver, &source, Some(&second));
    assert!(examine(&vault).is_sound());
}

#[test]
fn wrong_credentials_are_named_and_nothing_of_them_is_told() {
    let mut remote = Remote::new();
    let access = Remote::vault("v", "main");
    remote.workshop.create(&access);
    for (file, wrong) in [("access", "somebody-else-entirely"), ("secret", "not-the-secret-at-all")] {
        let right = fs::read(remote.workshop.path(file)).unwrap();
        fs::write(remote.workshop.path(file), wrong).unwrap();
        let begin = Instant::now();
        for refused in [
            remote.workshop.open(&access).unwrap_err(),
            vault_engine::Vault::create(
                &Remote::vault("another", "main"),
                &remote.workshop.profiles,
                &vault_engine::Surroundings::new(|| jiff::Timestamp::UNIX_EPOCH),
            )
            .unwrap_err(),
        ] {
            assert_eq!(refused.failure_code(), FailureCode::PermissionDenied, "{refused:?}");
            let told = format!("{refused} {refused:?}");
            assert!(!told.contains(SECRET_KEY) && !told.contains("not-the-secret"), "{told}");
        }
        assert!(begin.elapsed() < PATIENCE);
        fs::write(remote.workshop.path(file), right).unwrap();
    }
    remote.workshop.open(&access).unwrap();
    let profile = remote.workshop.profiles.stores.get_mut("main").unwrap();
    profile.secret_access_key_file = Some("/nowhere/secret".into());
    let refused = remote.workshop.open(&access).unwrap_err();
    assert_eq!(refused.failure_code(), FailureCode::KeyUnreadable);
    assert!(refused.to_string().contains("/nowhere/secret"), "{refused}");
    let profile = remote.workshop.profiles.stores.get_mut("main").unwrap();
    profile.retry_seconds = Some(3600);
    let refused = remote.workshop.open(&access).unwrap_err();
    assert!(refused.to_string().contains("retry_seconds"), "{refused}");
}

/// Two writers of what protects recovery points, the second between the first one's look and its write.
fn protected_by_two(manner: Manner) {
    let remote = Remote::with(manner);
    let access = Remote::vault("v", "main");
    let first = remote.workshop.create(&access);
    let second = remote.workshop.open(&access).unwrap();
    let hold =
        |name: &str, id: &str| KeepEntry::Hold { hold: name.to_owned(), recovery_points: [id.parse().unwrap()].into() };
    let (one, two) = ("00000001-0000-4000-8000-000000000000", "00000002-0000-4000-8000-000000000000");
    let between = hold("second", two);
    let (done, was_done) = std::sync::mpsc::channel();
    remote.store.as_ref().unwrap().before_listing("v/snapshots", move || {
        done.send(second.protect(&between).map(|keep| keep.entries)).unwrap();
    });
    let after_both = first.protect(&hold("first", one)).unwrap();
    assert_eq!(was_done.recv().unwrap().unwrap(), 1, "{manner:?}");
    assert_eq!(after_both.entries, 2, "{manner:?}: the first one looked again");
    let found = remote.workshop.open(&access).unwrap().keep().unwrap();
    assert_eq!(found.holds.keys().collect::<Vec<_>>(), ["first", "second"], "{manner:?}");
    assert!(
        !remote.workshop.path("buckets/vaults/v/tmp/conditional-write").exists(),
        "{manner:?}: what was tried is gone"
    );
}

#[test]
fn what_protects_recovery_points_is_not_overwritten_where_the_server_keeps_conditions() {
    protected_by_two(Manner::default());
}

#[test]
fn server_that_ignores_conditions_in_silence_is_found_out_and_asked_first() {
    protected_by_two(Manner { ignores_conditions: true, ..Manner::default() });
}

#[test]
fn bucket_that_locks_its_objects_gets_the_checksums_that_it_demands() {
    let remote = Remote::with(Manner { demands_checksums: true, ..Manner::default() });
    let source = remote.workshop.path("source");
    tree(&source);
    let vault = remote.workshop.create(&Remote::vault("v", "main"));
    let point = capture(&vault, &FilesystemDriver, &source, None);
    let target = remote.workshop.path("target");
    restore_new(&vault, &FilesystemDriver, &point, &target);
    assert_eq!(difference(&source, &target), None);
}
