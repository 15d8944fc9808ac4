//! An image on XFS and a worker that dies between any two steps of a capture.

use std::fs::File;
use std::os::unix::fs::FileExt;

use driver_api::conformance::Mount;
use integration_tests::installation::{Installation, Instance, Options, wait_until};
use job_events::subjects::Service;
use job_model::{ChangeMethod, OverwritePolicy, ResourceType, SourceView};

use crate::{MIB, run};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_killed_at_any_instant_leaves_one_clone_and_a_right_recovery_point() {
    let dir = tempfile::tempdir().unwrap();
    let mount = Mount::xfs();
    let image = mount.path("disk.img");
    let file = File::create(&image).unwrap();
    for mebibyte in 0..40_u64 {
        file.write_all_at(&vec![mebibyte as u8 + 1; MIB as usize], mebibyte * MIB).unwrap();
    }
    let installation = Installation::start(dir.path(), Options::default()).await.unwrap();
    let stage = installation.make_vaults().await.unwrap();
    let resource = installation.register("disk", ResourceType::Volume, &image).await.unwrap();
    let first = installation.backed_up(&resource, &stage.primary).await.unwrap();
    let reading = first.summary.reading.unwrap();
    assert_eq!((reading.method, reading.view), (ChangeMethod::FullRead, SourceView::ReflinkClone));
    assert_eq!((reading.bytes_read, mount.kept().len()), (40 * MIB, 1));

    let worker = Instance::worker(Service::SnapshotWorker, 0);
    let points = ["after_intent", "after_clone", "before_commit", "after_commit"];
    for (round, point) in points.into_iter().enumerate() {
        installation.kill9(&worker);
        installation.spawn(&worker, Some(&format!("snapshot-worker::{point}=return"))).unwrap();
        file.write_all_at(point.as_bytes(), round as u64 * 7 * MIB + 5).unwrap();
        let job = installation.start_plain_backup(&resource, &stage.primary).await.unwrap();
        let died = || async { Ok(installation.ended(&worker)) };
        wait_until(&format!("the worker to die at {point}"), died).await.unwrap();
        installation.spawn(&worker, None).unwrap();
        installation.completed(job).await.unwrap();
        let made = installation.made_by(&resource, job).await.unwrap();
        let reading = made.summary.reading.unwrap();
        assert_eq!((reading.method, reading.fallback), (ChangeMethod::ExtentComparison, None), "{point}");
        assert!(reading.bytes_read <= 2 * MIB, "{point}: {} bytes", reading.bytes_read);
        assert_eq!(mount.kept().len(), 1, "{point}");
        let target = dir.path().join(format!("restored-{round}"));
        let restore = installation.start_restore(&made.arn, &target, OverwritePolicy::Refuse).await.unwrap();
        installation.completed(restore).await.unwrap();
        run("cmp", &[image.to_str().unwrap(), target.to_str().unwrap()]);
    }
}
