//! Orders on a real bus, copies between real vaults, and the facts they lead to.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;

use copy_replicator::{Config, CopyReplicator};
use driver_api::{CaptureWriter as _, Chunking, NoControl, SnapshotReader as _};
use job_events::{AttemptFailed, CopyRecoveryPoint, Fact, RecoveryPointCopied};
use job_model::{Arn, VaultAccess};
use vault_engine::{Committed, KeyProfile, Profiles, SnapshotInput, Surroundings, Vault, recovery_point_tag};
use vault_format::{Node, NodeKind, Tree};
use worker_host::testing::Bench;

fn resource() -> Arn {
    "arn:aws:files:ap-northeast-1:000000000000:tree/home".parse().unwrap()
}

fn profiles(bench: &Bench) -> Profiles {
    let key = KeyProfile { password_file: Some(bench.password_file()), ..KeyProfile::default() };
    Profiles { keys: BTreeMap::from([("main".to_owned(), key)]), ..Profiles::default() }
}

fn config(bench: &Bench) -> Config {
    Config {
        common: bench.common("1"),
        region: Some(bench.region()),
        nats: bench.nats(),
        keys: profiles(bench).keys,
        ..Config::default()
    }
}

fn surroundings() -> Surroundings {
    Surroundings::new(|| "2026-01-01T00:00:00Z".parse().unwrap())
}

fn make_vault(bench: &Bench, name: &str) -> VaultAccess {
    let mut access = bench.vault(name);
    let vault = Vault::create(&access, &profiles(bench), &surroundings()).unwrap();
    access.repository_id = Some(vault.repository_id().to_owned());
    access
}

fn open(bench: &Bench, vault: &VaultAccess) -> Vault {
    Vault::open(vault, &profiles(bench), &surroundings()).unwrap()
}

fn node(name: &str, kind: NodeKind) -> Node {
    let at = "2026-01-01T00:00:00Z".parse().unwrap();
    Node {
        name: name.as_bytes().to_vec(),
        kind,
        mode: 0o644,
        mtime: at,
        atime: at,
        ctime: at,
        uid: 0,
        gid: 0,
        user: String::new(),
        group: String::new(),
        inode: 1,
        device_id: 0,
        links: 1,
        xattrs: Vec::new(),
    }
}

/// A snapshot with one file.
fn snapshot(bench: &Bench, vault: &VaultAccess, content: &[u8]) -> Committed {
    let vault = open(bench, vault);
    let writer = vault.writer(&NoControl).unwrap();
    let written = writer.write_content(Chunking::ContentDefined, &mut &*content).unwrap();
    let file = node("file", NodeKind::File { content: written.blobs, size: written.size });
    let input = SnapshotInput {
        root: Tree { nodes: vec![file] },
        time: "2026-01-01T00:00:00Z".parse().unwrap(),
        hostname: "host".to_owned(),
        paths: vec!["/srv".to_owned()],
        tags: vec!["source".to_owned()],
        parent: None,
    };
    writer.commit(input).unwrap()
}

fn order(bench: &Bench, from: &VaultAccess, to: &VaultAccess, snapshot: &Committed) -> CopyRecoveryPoint {
    let (recovery_point_id, recovery_point) = bench.recovery_point();
    CopyRecoveryPoint {
        order: bench.header(&resource()),
        source: from.clone(),
        source_recovery_point: bench.recovery_point().1,
        source_snapshot_id: snapshot.snapshot_id.to_hex(),
        tree_id: snapshot.tree_id.to_hex(),
        destination: to.clone(),
        recovery_point_id,
        recovery_point,
        created_at: bench.now(),
    }
}

async fn copied(bench: &Bench, order: CopyRecoveryPoint) -> RecoveryPointCopied {
    let job = bench.order(order).await;
    match bench.outcome(job).await {
        Fact::RecoveryPointCopied(copied) => copied,
        other => panic!("{other:?}"),
    }
}

async fn failed(bench: &Bench, order: CopyRecoveryPoint) -> AttemptFailed {
    let job = bench.order(order).await;
    match bench.outcome(job).await {
        Fact::AttemptFailed(failed) => failed,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_has_the_same_tree_and_a_repeated_order_copies_nothing_twice() {
    let bench = Bench::start().await;
    let (from, to) = (make_vault(&bench, "from"), make_vault(&bench, "to"));
    let snapshot = snapshot(&bench, &from, &[5; 400_000]);
    let worker = bench.run::<CopyReplicator>(config(&bench));

    let mut order = order(&bench, &from, &to, &snapshot);
    let first = copied(&bench, order.clone()).await;
    assert_eq!(first.tree_id, snapshot.tree_id.to_hex());
    assert!(first.progress.bytes_stored > 0, "{:?}", first.progress);

    order.order.attempt = 2;
    let again = copied(&bench, order.clone()).await;
    assert_eq!(again.snapshot_id, first.snapshot_id);

    let destination = open(&bench, &to);
    let listing = destination.snapshots().unwrap();
    assert_eq!(listing.readable.len(), 1);
    assert_eq!(listing.readable[0].tags, [recovery_point_tag(order.recovery_point_id)]);
    let reader = destination.reader(listing.readable[0].id).unwrap();
    let root = reader.tree(&reader.root()).unwrap();
    let NodeKind::File { content, .. } = &root.nodes[0].kind else { panic!("no file") };
    let mut read = Vec::new();
    std::io::Read::read_to_end(&mut reader.open(content), &mut read).unwrap();
    assert_eq!(read, [5; 400_000]);
    drop(reader);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_tree_than_the_ordered_one_is_refused_and_nothing_is_committed() {
    let bench = Bench::start().await;
    let (from, to) = (make_vault(&bench, "from"), make_vault(&bench, "to"));
    let (wanted, other) = (snapshot(&bench, &from, b"wanted"), snapshot(&bench, &from, b"other"));
    let worker = bench.run::<CopyReplicator>(config(&bench));

    let forged =
        CopyRecoveryPoint { source_snapshot_id: other.snapshot_id.to_hex(), ..order(&bench, &from, &to, &wanted) };
    assert_eq!(failed(&bench, forged).await.code, "SNAPSHOT_DIFFERS");

    let missing = CopyRecoveryPoint { source_snapshot_id: "0".repeat(64), ..order(&bench, &from, &to, &wanted) };
    assert_eq!(failed(&bench, missing).await.code, "SNAPSHOT_MISSING");

    let nowhere = order(&bench, &from, &bench.vault("unmounted"), &wanted);
    assert_eq!(failed(&bench, nowhere).await.code, "VAULT_NOT_FOUND");
    assert!(open(&bench, &to).snapshots().unwrap().readable.is_empty());
    worker.stop().await;
}
