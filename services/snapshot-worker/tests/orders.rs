//! Orders on a real bus, captures of real files into real vaults, and the facts they lead to.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use driver_api::{HookErrorPolicy, QuiesceHooks, QuiesceLevel};
use job_events::{AttemptFailed, SnapshotCaptured};
use job_events::{
    CaptureSnapshot, CheckVault, CreateVault, DeleteRecoveryPointOrder, Disposition, Fact, HoldTerms, LockTerms,
    ParentSnapshot, ProtectVault, PruneVault,
};
use job_model::{Arn, Consistency, ResourceType, VaultAccess};
use snapshot_worker::{Config, SnapshotWorker};
use vault_engine::{KeepEntry, KeyProfile, Profiles, Surroundings, Vault, read_description};
use worker_host::testing::{Bench, location};

fn resource() -> Arn {
    "arn:aws:files:ap-northeast-1:000000000000:tree/home".parse().unwrap()
}

fn config(bench: &Bench, instance: &str) -> Config {
    let key = KeyProfile { password_file: Some(bench.password_file()), ..KeyProfile::default() };
    Config {
        common: bench.common(instance),
        region: Some(bench.region()),
        nats: bench.nats(),
        source_roots: vec![bench.path("")],
        keys: BTreeMap::from([("main".to_owned(), key)]),
        ..Config::default()
    }
}

/// Opens a vault as restic's user would: beside the worker.
fn open(bench: &Bench, vault: &VaultAccess) -> Vault {
    let config = config(bench, "aside");
    let profiles = Profiles { keys: config.keys, stores: config.stores };
    Vault::open(vault, &profiles, &Surroundings::new(|| "2026-01-01T00:00:00Z".parse().unwrap())).unwrap()
}

fn source(bench: &Bench) -> std::path::PathBuf {
    let dir = bench.path("source");
    std::fs::create_dir_all(dir.join("deep")).unwrap();
    std::fs::write(dir.join("a"), "alpha").unwrap();
    std::fs::write(dir.join("deep/b"), vec![7; 300_000]).unwrap();
    dir
}

fn capture(bench: &Bench, vault: &VaultAccess, from: &Path) -> CaptureSnapshot {
    let (recovery_point_id, recovery_point) = bench.recovery_point();
    CaptureSnapshot {
        order: bench.header(&resource()),
        resource_type: ResourceType::Files,
        location: location(from),
        hooks: None,
        vault: vault.clone(),
        recovery_point_id,
        recovery_point,
        parent: None,
        tags: BTreeMap::new(),
        created_at: bench.now(),
        base_of: None,
    }
}

async fn make_vault(bench: &Bench, name: &str) -> VaultAccess {
    let mut vault = bench.vault(name);
    let job = bench.order(CreateVault { order: bench.header(&vault.arn), vault: vault.clone() }).await;
    match bench.outcome(job).await {
        Fact::VaultCreated(made) => vault.repository_id = Some(made.repository_id),
        other => panic!("{other:?}"),
    }
    vault
}

async fn captured(bench: &Bench, order: CaptureSnapshot) -> SnapshotCaptured {
    let job = bench.order(order).await;
    match bench.outcome(job).await {
        Fact::SnapshotCaptured(captured) => captured,
        other => panic!("{other:?}"),
    }
}

async fn failed(bench: &Bench, order: CaptureSnapshot) -> AttemptFailed {
    let job = bench.order(order).await;
    match bench.outcome(job).await {
        Fact::AttemptFailed(failed) => failed,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_capture_is_a_described_snapshot_and_the_next_one_stores_only_what_changed() {
    let bench = Bench::start().await;
    let worker = bench.run::<SnapshotWorker>(config(&bench, "1"));
    let vault = make_vault(&bench, "vault").await;
    let source = source(&bench);

    let order = capture(&bench, &vault, &source);
    let first = captured(&bench, order.clone()).await;
    assert_eq!(first.summary.size_bytes, 300_005);
    assert_eq!(first.summary.exception_count, 0);
    let phases: Vec<_> = first.phases.iter().map(|p| p.phase.as_str()).collect();
    assert_eq!(phases, ["open", "quiesce", "capture", "commit"]);
    let opened = open(&bench, &vault);
    let reader = opened.reader(first.snapshot_id.parse().unwrap()).unwrap();
    let description = read_description(&reader).unwrap();
    assert_eq!(description.recovery_point, order.recovery_point);
    assert_eq!(description.resource, resource());
    drop(reader);

    std::fs::write(source.join("c"), "gamma").unwrap();
    let parent = ParentSnapshot { snapshot_id: first.snapshot_id.clone(), tree_id: first.summary.tree_id.clone() };
    let second = captured(&bench, CaptureSnapshot { parent: Some(parent), ..capture(&bench, &vault, &source) }).await;
    assert_ne!(second.snapshot_id, first.snapshot_id);
    assert_eq!(second.summary.size_bytes, 300_010);
    assert!(second.progress.bytes_new < 100_000, "{:?}", second.progress);
    assert!(second.progress.bytes_read < 100_000, "unchanged files are not read: {:?}", second.progress);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_volume_is_captured_without_its_holes_and_the_next_capture_stores_only_what_changed() {
    const VOLUME_BYTES: u64 = 200 << 20;
    let bench = Bench::start().await;
    let worker = bench.run::<SnapshotWorker>(config(&bench, "1"));
    let vault = make_vault(&bench, "vault").await;
    let source = bench.path("disk.img");
    let file = std::fs::File::create(&source).unwrap();
    file.set_len(VOLUME_BYTES).unwrap();
    for chunk in 0..8_u8 {
        file.write_all_at(&vec![chunk + 1; 1 << 20], u64::from(chunk) << 20).unwrap();
    }
    let order = || CaptureSnapshot { resource_type: ResourceType::Volume, ..capture(&bench, &vault, &source) };

    let first = captured(&bench, order()).await;
    assert_eq!(first.summary.size_bytes, VOLUME_BYTES);
    assert_eq!(first.progress.bytes_read, 8 << 20, "holes are not read");
    let opened = open(&bench, &vault);
    let description = read_description(&opened.reader(first.snapshot_id.parse().unwrap()).unwrap()).unwrap();
    assert_eq!(description.resource_type, ResourceType::Volume);
    assert_eq!(description.driver["size"], VOLUME_BYTES);

    file.write_all_at(b"changed", 3 << 20).unwrap();
    let parent = ParentSnapshot { snapshot_id: first.snapshot_id.clone(), tree_id: first.summary.tree_id.clone() };
    let second = captured(&bench, CaptureSnapshot { parent: Some(parent), ..order() }).await;
    assert_ne!(second.summary.tree_id, first.summary.tree_id);
    // One chunk, and the trees that lead to it.
    assert!((256 << 10..(256 << 10) + 50_000).contains(&second.progress.bytes_new), "{:?}", second.progress);

    let directory = CaptureSnapshot { location: location(&bench.path("")), ..order() };
    let refused = failed(&bench, directory).await;
    assert_eq!((refused.code.as_str(), refused.disposition), ("RESOURCE_LOCATION_INVALID", Disposition::Fail));
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeated_order_finds_what_it_made_even_when_the_source_is_gone() {
    let bench = Bench::start().await;
    let worker = bench.run::<SnapshotWorker>(config(&bench, "1"));
    let vault = make_vault(&bench, "vault").await;
    let source = source(&bench);
    let mut order = capture(&bench, &vault, &source);
    let first = captured(&bench, order.clone()).await;

    std::fs::remove_dir_all(&source).unwrap();
    order.order.attempt = 2;
    let again = captured(&bench, order).await;
    assert_eq!(again.snapshot_id, first.snapshot_id);
    assert_eq!(again.summary, first.summary);
    assert_eq!(open(&bench, &vault).snapshots().unwrap().readable.len(), 1);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deleting_a_recovery_point_twice_removes_its_snapshot_and_no_other() {
    let bench = Bench::start().await;
    let worker = bench.run::<SnapshotWorker>(config(&bench, "1"));
    let vault = make_vault(&bench, "vault").await;
    let source = source(&bench);
    let order = capture(&bench, &vault, &source);
    let first = captured(&bench, order.clone()).await;
    let second = captured(&bench, capture(&bench, &vault, &source)).await;

    for _ in 0..2 {
        let delete = DeleteRecoveryPointOrder {
            order: bench.header(&vault.arn),
            vault: vault.clone(),
            recovery_point: order.recovery_point.clone(),
            snapshot_id: first.snapshot_id.clone(),
            also: None,
        };
        let job = bench.order(delete).await;
        assert!(matches!(bench.outcome(job).await, Fact::SnapshotForgotten(_)));
    }
    let left = open(&bench, &vault).snapshots().unwrap().readable;
    assert_eq!(left.iter().map(|s| s.id.to_hex()).collect::<Vec<_>>(), [second.snapshot_id]);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn locks_and_holds_are_written_into_the_vault_and_bind_whoever_orders_later() {
    let bench = Bench::start().await;
    let worker = bench.run::<SnapshotWorker>(config(&bench, "1"));
    let vault = make_vault(&bench, "vault").await;
    let order = capture(&bench, &vault, &source(&bench));
    let kept = captured(&bench, order.clone()).await;
    let by_hand = KeepEntry::Hold { hold: "by hand".to_owned(), recovery_points: [order.recovery_point_id].into() };
    open(&bench, &vault).protect(&by_hand).unwrap();
    let case: job_model::LegalHoldId = "0199f0a8-0000-7000-8000-000000000009".parse().unwrap();
    let lock = LockTerms { min_retention_days: Some(7), max_retention_days: None, fixed_from: None };
    let written = ProtectVault {
        order: bench.header(&vault.arn),
        vault: vault.clone(),
        digest: "one".to_owned(),
        lock: Some(lock),
        unlock: false,
        holds: vec![HoldTerms { hold: case, recovery_points: [].into() }],
        released: [].into(),
    };
    for _ in 0..2 {
        let job = bench.order(ProtectVault { order: bench.header(&vault.arn), ..written.clone() }).await;
        let Fact::VaultProtected(done) = bench.outcome(job).await else { panic!("not written") };
        assert_eq!((done.digest.as_str(), done.locked, done.entries), ("one", true, 3), "once and for all");
        assert_eq!(done.holds, [case].into());
    }
    let delete = || DeleteRecoveryPointOrder {
        order: bench.header(&vault.arn),
        vault: vault.clone(),
        recovery_point: order.recovery_point.clone(),
        snapshot_id: kept.snapshot_id.clone(),
        also: None,
    };
    let job = bench.order(delete()).await;
    assert!(
        matches!(bench.outcome(job).await, Fact::AttemptFailed(failed) if failed.code == "RECOVERY_POINT_PROTECTED")
    );

    // A planner that knows of nothing takes nothing back.
    let empty = ProtectVault { lock: None, holds: Vec::new(), digest: "two".to_owned(), ..written.clone() };
    let job = bench.order(ProtectVault { order: bench.header(&vault.arn), ..empty.clone() }).await;
    assert!(matches!(bench.outcome(job).await, Fact::VaultProtected(done) if done.entries == 3));
    let lifted = ProtectVault { order: bench.header(&vault.arn), unlock: true, released: [case].into(), ..empty };
    let job = bench.order(lifted).await;
    assert!(matches!(bench.outcome(job).await, Fact::VaultProtected(done) if done.entries == 5));
    let keep = open(&bench, &vault).keep().unwrap();
    assert_eq!((keep.lock, keep.holds.keys().cloned().collect::<Vec<_>>()), (None, vec!["by hand".to_owned()]));
    open(&bench, &vault).protect(&KeepEntry::Release { hold: "by hand".to_owned() }).unwrap();
    let job = bench.order(delete()).await;
    assert!(matches!(bench.outcome(job).await, Fact::SnapshotForgotten(_)));
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_order_deletes_what_the_vault_itself_protects() {
    let bench = Bench::start().await;
    let worker = bench.run::<SnapshotWorker>(config(&bench, "1"));
    let vault = make_vault(&bench, "vault").await;
    let order = capture(&bench, &vault, &source(&bench));
    let kept = captured(&bench, order.clone()).await;
    let hold = KeepEntry::Hold { hold: "case".to_owned(), recovery_points: [order.recovery_point_id].into() };
    open(&bench, &vault).protect(&hold).unwrap();
    let delete = DeleteRecoveryPointOrder {
        order: bench.header(&vault.arn),
        vault: vault.clone(),
        recovery_point: order.recovery_point.clone(),
        snapshot_id: kept.snapshot_id.clone(),
        also: None,
    };
    let job = bench.order(delete).await;
    let Fact::AttemptFailed(refused) = bench.outcome(job).await else { panic!("it was deleted") };
    assert_eq!((refused.code.as_str(), refused.disposition), ("RECOVERY_POINT_PROTECTED", Disposition::Fail));
    assert!(refused.message.contains("legal hold `case`"), "{}", refused.message);
    assert_eq!(open(&bench, &vault).snapshots().unwrap().readable.len(), 1);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_prune_says_what_it_would_do_marks_it_and_says_when_there_is_nothing() {
    let bench = Bench::start().await;
    let worker = bench.run::<SnapshotWorker>(config(&bench, "1"));
    let vault = make_vault(&bench, "vault").await;
    let order = capture(&bench, &vault, &source(&bench));
    let gone = captured(&bench, order).await;
    open(&bench, &vault).forget(gone.snapshot_id.parse().unwrap()).unwrap();
    let packs = walk(&bench.path("vault/data")).len() as u64;
    let prune = |plan_only, grace_hours| PruneVault {
        order: bench.header(&vault.arn),
        vault: vault.clone(),
        plan_only,
        grace_hours,
    };
    let pruned = async |order| {
        let job = bench.order(order).await;
        let Fact::VaultPruned(pruned) = bench.outcome(job).await else { panic!("no prune") };
        pruned
    };
    let plan = pruned(prune(true, 24)).await;
    assert!(plan.plan_only && plan.plan.contains("needed by no snapshot"), "{plan:?}");
    assert_eq!((plan.packs_marked, plan.packs_waiting), (0, 0));
    let marked = pruned(prune(false, 24)).await;
    assert_eq!((marked.packs_marked, marked.packs_removed, marked.packs_waiting), (packs, 0, packs), "{marked:?}");
    let waits = pruned(prune(false, 24)).await;
    assert_eq!((waits.packs_marked, waits.packs_removed, waits.packs_waiting), (0, 0, packs), "{waits:?}");
    assert_eq!(walk(&bench.path("vault/data")).len() as u64, packs);

    let job = bench.order(prune(false, 0)).await;
    let Fact::AttemptFailed(refused) = bench.outcome(job).await else { panic!("without grace") };
    assert_eq!(refused.code, "ORDER_INVALID");
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_goes_wrong_has_its_code_its_causes_and_its_mend() {
    let bench = Bench::start().await;
    let worker = bench.run::<SnapshotWorker>(config(&bench, "1"));
    let vault = make_vault(&bench, "vault").await;
    let source = source(&bench);

    let gone = failed(&bench, capture(&bench, &vault, &bench.path("gone"))).await;
    assert_eq!((gone.code.as_str(), gone.disposition), ("RESOURCE_NOT_FOUND", Disposition::Retry), "{gone:?}");

    let outside = failed(&bench, capture(&bench, &vault, Path::new("/etc"))).await;
    assert_eq!((outside.code.as_str(), outside.disposition), ("RESOURCE_LOCATION_INVALID", Disposition::Fail));
    assert!(outside.message.contains("`/etc`") && outside.message.contains("`source_roots`"), "{outside:?}");

    let hooks = Some("none".to_owned());
    let unknown = failed(&bench, CaptureSnapshot { hooks, ..capture(&bench, &vault, &source) }).await;
    assert_eq!(unknown.code, "HOOK_UNKNOWN");
    assert!(unknown.message.contains("`[hooks.none]`"), "{unknown:?}");

    let nowhere = failed(&bench, capture(&bench, &bench.vault("unmounted"), &source)).await;
    assert_eq!((nowhere.code.as_str(), nowhere.disposition), ("VAULT_NOT_FOUND", Disposition::Retry), "{nowhere:?}");
    assert!(!bench.path("unmounted").exists(), "a new repository is never made in its place");

    let other = VaultAccess { repository_id: Some("0".repeat(64)), ..vault.clone() };
    assert_eq!(failed(&bench, capture(&bench, &other, &source)).await.code, "VAULT_NOT_THE_SAME");

    let stranger = VaultAccess { key_profile: "nobody".to_owned(), ..vault.clone() };
    assert_eq!(failed(&bench, capture(&bench, &stranger, &source)).await.code, "KEY_PROFILE_UNKNOWN");

    std::fs::write(bench.path("password"), "wrong\n").unwrap();
    assert_eq!(failed(&bench, capture(&bench, &vault, &source)).await.code, "VAULT_WRONG_KEY");
    worker.stop().await;
}

fn hooks(bench: &Bench, on_error: HookErrorPolicy, pre: &str) -> QuiesceHooks {
    let shell = |script: String| vec!["/bin/sh".to_owned(), "-c".to_owned(), script];
    let log = bench.path("hooks.log");
    QuiesceHooks {
        pre: shell(format!("echo pre >>{}; {pre}", log.display())),
        post: shell(format!("echo post >>{}", log.display())),
        timeout_seconds: 20,
        hold_seconds: 60,
        on_error,
        level: QuiesceLevel::Application,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hooks_of_the_configuration_surround_the_capture() {
    let bench = Bench::start().await;
    let mut config = config(&bench, "1");
    config.hooks = BTreeMap::from([
        ("good".to_owned(), hooks(&bench, HookErrorPolicy::Fail, "true")),
        ("bad".to_owned(), hooks(&bench, HookErrorPolicy::Fail, "false")),
    ]);
    let worker = bench.run::<SnapshotWorker>(config);
    let vault = make_vault(&bench, "vault").await;
    let source = source(&bench);

    let order = CaptureSnapshot { hooks: Some("good".to_owned()), ..capture(&bench, &vault, &source) };
    assert_eq!(captured(&bench, order).await.summary.consistency, Consistency::Application);
    assert_eq!(std::fs::read_to_string(bench.path("hooks.log")).unwrap(), "pre\npost\n");

    let order = CaptureSnapshot { hooks: Some("bad".to_owned()), ..capture(&bench, &vault, &source) };
    assert_eq!(failed(&bench, order).await.code, "HOOK_FAILED");
    assert_eq!(std::fs::read_to_string(bench.path("hooks.log")).unwrap(), "pre\npost\npre\npost\n");
    assert_eq!(open(&bench, &vault).snapshots().unwrap().readable.len(), 1);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_check_finds_nothing_in_a_sound_vault_and_the_damage_in_a_damaged_one() {
    let bench = Bench::start().await;
    let worker = bench.run::<SnapshotWorker>(config(&bench, "1"));
    let vault = make_vault(&bench, "vault").await;
    let source = source(&bench);
    let order = capture(&bench, &vault, &source);
    captured(&bench, order.clone()).await;
    let check = |bench: &Bench| CheckVault {
        order: bench.header(&vault.arn),
        vault: vault.clone(),
        read_data: true,
        scrub_mib: None,
    };

    let job = bench.order(check(&bench)).await;
    let Fact::VaultChecked(sound) = bench.outcome(job).await else { panic!("no check") };
    assert_eq!((sound.findings.len(), sound.snapshots), (0, 1), "{sound:?}");
    assert!(sound.packs_read > 0 && sound.coverage.is_none());
    let scrub = || CheckVault { read_data: false, scrub_mib: Some(1), ..check(&bench) };
    let job = bench.order(scrub()).await;
    let Fact::VaultChecked(scrubbed) = bench.outcome(job).await else { panic!("no scrub") };
    let coverage = scrubbed.coverage.unwrap();
    assert!(coverage.packs_covered >= 1 && coverage.oldest_read.is_some(), "{coverage:?}");

    let pack = walk(&bench.path("vault/data")).into_iter().max_by_key(|p| p.metadata().unwrap().len()).unwrap();
    let mut bytes = std::fs::read(&pack).unwrap();
    bytes[10] ^= 1;
    let mut permissions = pack.metadata().unwrap().permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o600);
    std::fs::set_permissions(&pack, permissions).unwrap();
    std::fs::write(&pack, bytes).unwrap();
    let job = bench.order(check(&bench)).await;
    let Fact::VaultChecked(damaged) = bench.outcome(job).await else { panic!("no check") };
    assert!(!damaged.findings.is_empty(), "{damaged:?}");
    assert_eq!((damaged.recovery_points_damaged, damaged.recovery_points), (1, vec![order.recovery_point_id]));
    worker.stop().await;
}

fn walk(dir: &Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}
