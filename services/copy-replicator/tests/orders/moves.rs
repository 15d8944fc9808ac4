//! Moves into a vault's cold repository: a copy, and then the warm snapshot goes.

use copy_replicator::CopyReplicator;
use job_events::{CopyRecoveryPoint, Fact, ForgetWarmSnapshot, OrderBody};
use job_model::VaultAccess;
use vault_engine::{Committed, KeepEntry};
use worker_host::testing::Bench;

use crate::scene::{config, copied, make_vault, open, order, resource, tagged_snapshot};

struct Tiers {
    bench: Bench,
    warm: VaultAccess,
    cold: VaultAccess,
    snapshot: Committed,
    copy: CopyRecoveryPoint,
}

/// A recovery point in a warm repository, and the order to copy it into the cold one as the same recovery point.
async fn tiers() -> Tiers {
    let bench = Bench::start().await;
    let (warm, cold) = (make_vault(&bench, "vault"), make_vault(&bench, "vault-cold"));
    let (id, arn) = bench.recovery_point();
    let snapshot = tagged_snapshot(&bench, &warm, &[5; 400_000], id);
    let copy = CopyRecoveryPoint {
        source_recovery_point: arn.clone(),
        recovery_point_id: id,
        recovery_point: arn,
        ..order(&bench, &warm, &cold, &snapshot)
    };
    Tiers { bench, warm, cold, snapshot, copy }
}

impl Tiers {
    fn forget(&self, cold_snapshot_id: &str) -> ForgetWarmSnapshot {
        ForgetWarmSnapshot {
            order: self.bench.header(&resource()),
            warm: self.warm.clone(),
            cold: self.cold.clone(),
            recovery_point: self.copy.recovery_point.clone(),
            recovery_point_id: self.copy.recovery_point_id,
            warm_snapshot_id: self.snapshot.snapshot_id.to_hex(),
            cold_snapshot_id: cold_snapshot_id.to_owned(),
            tree_id: self.snapshot.tree_id.to_hex(),
        }
    }

    async fn outcome(&self, order: impl Into<OrderBody>) -> Fact {
        let job = self.bench.order(order).await;
        self.bench.outcome(job).await
    }

    fn warm_snapshots(&self) -> usize {
        open(&self.bench, &self.warm).snapshots().unwrap().readable.len()
    }

    fn cold_snapshots(&self) -> Vec<String> {
        let listing = open(&self.bench, &self.cold).snapshots().unwrap();
        listing.readable.iter().map(|snapshot| snapshot.id.to_hex()).collect()
    }

    fn cold_is_sound(&self) {
        let options = vault_engine::CheckOptions { read_data: true, control: &driver_api::NoControl };
        let report = open(&self.bench, &self.cold).check(&options).unwrap();
        assert!(report.is_sound() && report.snapshots == 1, "{report:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_warm_snapshot_goes_once_the_cold_one_is_whole_and_not_before() {
    let tiers = tiers().await;
    let worker = tiers.bench.run::<CopyReplicator>(config(&tiers.bench));
    let early = tiers.outcome(tiers.forget(&"0".repeat(64))).await;
    assert!(matches!(early, Fact::AttemptFailed(failed) if failed.code == "SNAPSHOT_MISSING"));
    assert_eq!(tiers.warm_snapshots(), 1);

    let there = copied(&tiers.bench, tiers.copy.clone()).await;
    assert_eq!((tiers.warm_snapshots(), tiers.cold_snapshots()), (1, vec![there.snapshot_id.clone()]));

    let hold = KeepEntry::Hold { hold: "case".to_owned(), recovery_points: [tiers.copy.recovery_point_id].into() };
    open(&tiers.bench, &tiers.warm).protect(&hold).unwrap();
    let held = tiers.outcome(tiers.forget(&there.snapshot_id)).await;
    assert!(matches!(held, Fact::AttemptFailed(failed) if failed.code == "RECOVERY_POINT_PROTECTED"));
    assert_eq!(tiers.warm_snapshots(), 1);
    open(&tiers.bench, &tiers.warm).protect(&KeepEntry::Release { hold: "case".to_owned() }).unwrap();

    for _ in 0..2 {
        let gone = tiers.outcome(tiers.forget(&there.snapshot_id)).await;
        assert!(matches!(gone, Fact::SnapshotForgotten(gone) if gone.recovery_point == tiers.copy.recovery_point));
        assert_eq!((tiers.warm_snapshots(), tiers.cold_snapshots().len()), (0, 1));
    }
    tiers.cold_is_sound();
    worker.stop().await;
}

/// Only with `--features failpoints`, as CI runs it.
#[cfg(feature = "failpoints")]
mod deaths {
    use std::path::Path;
    use std::process::{Child, Command, Stdio};
    use std::time::Duration;

    use super::*;

    struct Process(Child);

    impl Drop for Process {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    fn start(bench: &Bench, config: &Path, failpoints: &str) -> Process {
        let child = Command::new(env!("CARGO_BIN_EXE_copy-replicator"))
            .arg("--config")
            .arg(config)
            .env("FAILPOINTS", failpoints)
            .current_dir(bench.path(""))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Process(child)
    }

    /// Dies there once, and another process with its state goes on.
    async fn dies_at(point: &str) {
        let tiers = tiers().await;
        let file = tiers.bench.path("copy-replicator.toml");
        std::fs::write(&file, toml::to_string(&config(&tiers.bench)).unwrap()).unwrap();
        let order: OrderBody = if point.contains("forget") {
            let worker = tiers.bench.run::<CopyReplicator>(config(&tiers.bench));
            let there = copied(&tiers.bench, tiers.copy.clone()).await;
            worker.stop().await;
            tiers.forget(&there.snapshot_id).into()
        } else {
            tiers.copy.clone().into()
        };
        let mut first = start(&tiers.bench, &file, &format!("copy-replicator::{point}=return"));
        let job = tiers.bench.order(order).await;
        let died = async {
            while first.0.try_wait().unwrap().is_none() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(180), died)
            .await
            .unwrap_or_else(|_| panic!("it does not die at {point}"));
        assert!(!first.0.wait().unwrap().success());
        assert!(tiers.warm_snapshots() + tiers.cold_snapshots().len() >= 1, "{point}: one is always there");
        let _second = start(&tiers.bench, &file, "");
        match tiers.bench.outcome(job).await {
            Fact::RecoveryPointCopied(there) => {
                assert_eq!((tiers.warm_snapshots(), tiers.cold_snapshots()), (1, vec![there.snapshot_id]), "{point}");
            }
            Fact::SnapshotForgotten(_) => {
                assert_eq!((tiers.warm_snapshots(), tiers.cold_snapshots().len()), (0, 1), "{point}");
            }
            other => panic!("{point}: {other:?}"),
        }
        tiers.cold_is_sound();
    }

    /// All at once: each waits half a minute for the dead process's lease to end.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_move_survives_a_death_before_and_after_each_of_its_effects() {
        let points = ["before_copy", "after_copy", "before_forget_warm", "after_forget_warm"];
        let deaths: Vec<_> = points.into_iter().map(|point| tokio::spawn(dies_at(point))).collect();
        for death in deaths {
            death.await.unwrap();
        }
    }
}
