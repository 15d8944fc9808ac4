//! Copies between vaults.

use copy_replicator::CopyReplicator;
use driver_api::SnapshotReader as _;
use job_events::CopyRecoveryPoint;
use vault_engine::recovery_point_tag;
use vault_format::NodeKind;
use worker_host::testing::Bench;

use crate::scene::{config, copied, failed, make_vault, open, order, snapshot};

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
