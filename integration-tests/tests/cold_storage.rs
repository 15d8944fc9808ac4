//! A recovery point through its whole lifecycle with real processes: warm, moved to cold storage by its lifecycle, restored
//! from there, deleted. Days pass for the planner, which alone looks at the calendar, by a clock that is set ahead.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use integration_tests::installation::{Installation, Instance, Options, wait_until};
use job_events::subjects::Service;
use job_events::{CreateVaultRequest, StartBackup};
use job_model::{Arn, Lifecycle, OverwritePolicy, RecoveryPoint, StorageClass, VaultType};

/// Snapshots in the repositories of the vault: in the warm one, in the cold one.
fn snapshots(installation: &Installation) -> (usize, usize) {
    let count = |name| fs::read_dir(installation.vault_dir(name).join("snapshots")).map_or(0, Iterator::count);
    (count("warm"), count("cold"))
}

async fn only_point(installation: &Installation, resource: &Arn) -> Option<RecoveryPoint> {
    let points = installation.recovery_points(resource).await.unwrap();
    assert!(points.len() <= 1, "{points:?}");
    points.into_iter().next()
}

/// Days pass for the planner. Nothing that is under way counts in hours.
fn set_ahead(installation: &Installation, hours: u32) {
    let planner = Instance::single(Service::Planner);
    installation.kill9(&planner);
    installation.spawn_ahead(&planner, hours).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recovery_point_moves_to_cold_storage_restores_from_there_and_is_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let installation = Installation::start(dir.path(), Options::default()).await.unwrap();
    let location = |name| format!("file://{}", installation.vault_dir(name).display());
    let vault = CreateVaultRequest {
        name: "tiered".to_owned(),
        region: installation.regions[0].clone(),
        location: location("warm"),
        key_profile: "main".to_owned(),
        cold_location: Some(location("cold")),
        cold_key_profile: None,
        min_retention_days: None,
        max_retention_days: None,
        vault_type: VaultType::BackupVault,
        tags: BTreeMap::new(),
    };
    let vault = installation.make_vault_as(vault).await.unwrap();
    let resource = installation.make_resource("tree").await.unwrap();
    let backup = StartBackup {
        resource: resource.clone(),
        vault,
        lifecycle: Lifecycle { move_to_cold_after_days: Some(1), delete_after_days: Some(3) },
        start_window_minutes: None,
        completion_window_minutes: None,
        recovery_point_tags: BTreeMap::new(),
        copy_actions: Vec::new(),
        iam_role: None,
    };
    let job = installation.request(backup).await.unwrap().job_id.unwrap();
    installation.completed(job).await.unwrap();
    let warm = only_point(&installation, &resource).await.unwrap();
    assert_eq!((warm.storage_class, snapshots(&installation)), (StorageClass::Warm, (1, 0)));

    // The worker that copies dies when the copy is there and nobody knows of it.
    let copier = Instance::worker(Service::CopyReplicator, 0);
    installation.kill9(&copier);
    installation.spawn(&copier, Some("runner::after_effect_before_result=return")).unwrap();
    set_ahead(&installation, 25);
    wait_until("the copy-replicator to die", || async { Ok(installation.ended(&copier)) }).await.unwrap();
    assert_eq!(snapshots(&installation), (1, 1), "what is warm stays until the cold one is known");
    installation.spawn(&copier, None).unwrap();
    wait_until("the warm snapshot to go", || async { Ok((snapshots(&installation) == (0, 1)).then_some(())) })
        .await
        .unwrap();
    let cold = only_point(&installation, &resource).await.unwrap();
    assert_eq!((cold.storage_class, &cold.arn), (StorageClass::Cold, &warm.arn));
    assert_ne!(cold.snapshot_id, warm.snapshot_id);

    // With nothing of the warm repository there.
    let aside = dir.path().join("aside");
    fs::rename(installation.vault_dir("warm"), &aside).unwrap();
    let target = dir.path().join("restored");
    let restore = installation.start_restore(&cold.arn, &target, OverwritePolicy::Refuse).await.unwrap();
    installation.completed(restore).await.unwrap();
    fs::rename(&aside, installation.vault_dir("warm")).unwrap();
    let source = dir.path().join("resources/tree");
    let compared = Command::new("diff").arg("-r").args([&source, &target]).output().unwrap();
    assert!(compared.status.success(), "{}", String::from_utf8_lossy(&compared.stdout));

    set_ahead(&installation, 3 * 24 + 1);
    let is_gone = || async { Ok((snapshots(&installation) == (0, 0)).then_some(())) };
    wait_until("the cold snapshot to go", is_gone).await.unwrap();
    wait_until("the recovery point to leave the catalogue", || async {
        Ok(only_point(&installation, &resource).await.is_none().then_some(()))
    })
    .await
    .unwrap();
}
