//! A disk that a real qemu-storage-daemon serves, captured by a snapshot-worker by its dirty bitmaps.

use std::path::Path;

use integration_tests::installation::{Installation, Instance, Options, QemuOptions, wait_until};
use job_events::subjects::Service;
use job_model::{Arn, ChangeMethod, JobId, OverwritePolicy, RecoveryPoint, ResourceType, SourceView};

use crate::daemon::Daemon;
use crate::{MIB, run};

/// The recovery point of a backup, which restores to what the disk is now.
async fn made_and_right(
    installation: &Installation,
    daemon: &Daemon,
    resource: &Arn,
    job: JobId,
    target: &Path,
) -> RecoveryPoint {
    installation.completed(job).await.unwrap();
    let made = installation.made_by(resource, job).await.unwrap();
    let restore = installation.start_restore(&made.arn, target, OverwritePolicy::Refuse).await.unwrap();
    installation.completed(restore).await.unwrap();
    let disk = daemon.copy("compared");
    let raw = ["compare", "-f", "raw", "-F", "raw"];
    run("qemu-img", &[&raw[..], &[target.to_str().unwrap(), disk.to_str().unwrap()]].concat());
    std::fs::remove_file(disk).unwrap();
    made
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_served_disk_is_backed_up_by_its_bitmap_shown_and_restored() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::new("qcow2", true);
    std::fs::create_dir_all(daemon.path("scratch")).unwrap();
    let qemu = QemuOptions {
        qmp_socket: daemon.path("qmp"),
        nbd_socket: daemon.path("nbd"),
        scratch_directory: daemon.path("scratch"),
    };
    let options = Options { qemu: Some(qemu), ..Options::default() };
    let installation = Installation::start(dir.path(), options).await.unwrap();
    let stage = installation.make_vaults().await.unwrap();
    let location = "qemu:///disk0?profile=vm";
    let resource = installation.register_at("served", ResourceType::Volume, location).await.unwrap();

    let job = installation.start_plain_backup(&resource, &stage.primary).await.unwrap();
    let target = dir.path().join("first");
    let first = made_and_right(&installation, &daemon, &resource, job, &target).await;
    let reading = first.summary.reading.unwrap();
    let how = (reading.method, reading.view, reading.bytes_read, reading.fallback);
    assert_eq!(how, (ChangeMethod::FullRead, SourceView::ServedSnapshot, 23 * MIB, None));

    daemon.write(&["write -P 1 5M 4k", "write -P 2 150M 64k", "discard 200M 1M"]);
    let job = installation.start_plain_backup(&resource, &stage.primary).await.unwrap();
    let target = dir.path().join("second");
    let second = made_and_right(&installation, &daemon, &resource, job, &target).await;
    let reading = second.summary.reading.unwrap();
    assert_eq!((reading.method, reading.fallback), (ChangeMethod::DirtyBitmap, None));
    assert!((MIB / 2..=2 * MIB).contains(&reading.bytes_read), "{} bytes", reading.bytes_read);
    assert_eq!(daemon.bitmaps().len(), 1, "the parent's is gone with the child's commit");

    let shown = installation.cli(&["recovery-point", "show", second.arn.as_str(), "--output", "json"]).unwrap();
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    let reading_shown = &shown["recovery_point"]["summary"]["reading"];
    assert_eq!(reading_shown["method"], serde_json::to_value(ChangeMethod::DirtyBitmap).unwrap(), "{shown}");
    assert_eq!(reading_shown["bytes_read"], reading.bytes_read, "{shown}");
    let for_people = installation.cli(&["recovery-point", "show", second.arn.as_str()]).unwrap();
    assert!(for_people.contains("a bitmap of what was written since the parent"), "{for_people}");

    // A worker that dies with the instant taken leaves the bitmap that records; its next life clears the rest away.
    let worker = Instance::worker(Service::SnapshotWorker, 0);
    installation.kill9(&worker);
    installation.spawn(&worker, Some("snapshot-worker::after_clone=return")).unwrap();
    daemon.write(&["write -P 3 9M 64k"]);
    let job = installation.start_plain_backup(&resource, &stage.primary).await.unwrap();
    wait_until("the worker to die", || async { Ok(installation.ended(&worker)) }).await.unwrap();
    assert!(!daemon.litter().is_empty(), "the instant is still there");
    daemon.write(&["write -P 4 40M 64k"]);
    installation.spawn(&worker, None).unwrap();
    let target = dir.path().join("third");
    let third = made_and_right(&installation, &daemon, &resource, job, &target).await;
    let reading = third.summary.reading.unwrap();
    assert_eq!((reading.method, reading.fallback), (ChangeMethod::DirtyBitmap, None));
    assert!((MIB / 2..=2 * MIB).contains(&reading.bytes_read), "{} bytes", reading.bytes_read);
    assert_eq!((daemon.bitmaps().len(), daemon.litter()), (1, Vec::new()));
}
