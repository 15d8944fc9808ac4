//! Vaults, a snapshot and orders about it.

use std::collections::BTreeMap;

use copy_replicator::Config;
use driver_api::{CaptureWriter as _, Chunking, NoControl};
use job_events::{AttemptFailed, CopyRecoveryPoint, Fact, RecoveryPointCopied};
use job_model::{Arn, RecoveryPointId, VaultAccess};
use vault_engine::{Committed, KeyProfile, Profiles, SnapshotInput, Surroundings, Vault, recovery_point_tag};
use vault_format::{Node, NodeKind, Tree};
use worker_host::testing::Bench;

pub(crate) fn resource() -> Arn {
    "arn:aws:files:ap-northeast-1:000000000000:tree/home".parse().unwrap()
}

pub(crate) fn profiles(bench: &Bench) -> Profiles {
    let key = KeyProfile { password_file: Some(bench.password_file()), ..KeyProfile::default() };
    Profiles { keys: BTreeMap::from([("main".to_owned(), key)]), ..Profiles::default() }
}

pub(crate) fn config(bench: &Bench) -> Config {
    Config {
        common: bench.common("1"),
        region: Some(bench.region()),
        nats: bench.nats(),
        keys: profiles(bench).keys,
        ..Config::default()
    }
}

pub(crate) fn surroundings() -> Surroundings {
    Surroundings::new(|| "2026-01-01T00:00:00Z".parse().unwrap())
}

pub(crate) fn make_vault(bench: &Bench, name: &str) -> VaultAccess {
    let mut access = bench.vault(name);
    let vault = Vault::create(&access, &profiles(bench), &surroundings()).unwrap();
    access.repository_id = Some(vault.repository_id().to_owned());
    access
}

pub(crate) fn open(bench: &Bench, vault: &VaultAccess) -> Vault {
    Vault::open(vault, &profiles(bench), &surroundings()).unwrap()
}

pub(crate) fn node(name: &str, kind: NodeKind) -> Node {
    let at = "2026-01-01T00:00:00Z".parse().unwrap();
    Node { inode: 1, ..Node::unowned(name, kind, 0o644, at) }
}

/// A snapshot with one file.
pub(crate) fn snapshot(bench: &Bench, vault: &VaultAccess, content: &[u8]) -> Committed {
    with_tag(bench, vault, content, "source".to_owned())
}

/// A snapshot with one file, of a recovery point.
pub(crate) fn tagged_snapshot(bench: &Bench, vault: &VaultAccess, content: &[u8], id: RecoveryPointId) -> Committed {
    with_tag(bench, vault, content, recovery_point_tag(id))
}

fn with_tag(bench: &Bench, vault: &VaultAccess, content: &[u8], tag: String) -> Committed {
    let vault = open(bench, vault);
    let writer = vault.writer(&NoControl).unwrap();
    let written = writer.write_content(Chunking::ContentDefined, &mut &*content).unwrap();
    let file = node("file", NodeKind::File { content: written.blobs, size: written.size });
    let input = SnapshotInput {
        root: Tree { nodes: vec![file] },
        time: "2026-01-01T00:00:00Z".parse().unwrap(),
        hostname: "host".to_owned(),
        paths: vec!["/srv".to_owned()],
        tags: vec![tag],
        parent: None,
    };
    writer.commit(input).unwrap()
}

pub(crate) fn order(bench: &Bench, from: &VaultAccess, to: &VaultAccess, snapshot: &Committed) -> CopyRecoveryPoint {
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

pub(crate) async fn copied(bench: &Bench, order: CopyRecoveryPoint) -> RecoveryPointCopied {
    let job = bench.order(order).await;
    match bench.outcome(job).await {
        Fact::RecoveryPointCopied(copied) => copied,
        other => panic!("{other:?}"),
    }
}

pub(crate) async fn failed(bench: &Bench, order: CopyRecoveryPoint) -> AttemptFailed {
    let job = bench.order(order).await;
    match bench.outcome(job).await {
        Fact::AttemptFailed(failed) => failed,
        other => panic!("{other:?}"),
    }
}
