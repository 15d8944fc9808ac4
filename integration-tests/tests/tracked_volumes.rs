//! Volumes on XFS through whole installations: changes are tracked across processes that die at any instant, and no clone is
//! left that nobody knows of. Needs root and mkfs.xfs.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use integration_tests::installation::{Installation, Instance, Options};
use job_events::subjects::Service;
use job_model::{ChangeMethod, OverwritePolicy, ResourceType, SourceView};

const MIB: u64 = 1 << 20;

/// A file system in a file, mounted by a loop device.
struct Xfs(PathBuf);

impl Xfs {
    fn mount(backing: &Path, at: &Path) -> Self {
        File::create(backing).unwrap().set_len(1 << 30).unwrap();
        fs::create_dir_all(at).unwrap();
        run("mkfs.xfs", &["-q", "-m", "reflink=1", backing.to_str().unwrap()]);
        run("mount", &["-o", "loop", backing.to_str().unwrap(), at.to_str().unwrap()]);
        Self(at.to_owned())
    }
}

impl Drop for Xfs {
    fn drop(&mut self) {
        let _shown_by_mount = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn clones(at: &Path) -> usize {
    fs::read_dir(at.join(".holdfast-clones")).map_or(0, Iterator::count)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_killed_at_any_instant_leaves_one_clone_and_a_right_recovery_point() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().join("resources/xfs");
    let _mounted = Xfs::mount(&dir.path().join("backing"), &at);
    let image = at.join("disk.img");
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
    assert_eq!((reading.bytes_read, clones(&at)), (40 * MIB, 1));

    let worker = Instance::worker(Service::SnapshotWorker, 0);
    let points = ["after_intent", "after_clone", "before_commit", "after_commit"];
    for (round, point) in points.into_iter().enumerate() {
        installation.kill9(&worker);
        installation.spawn(&worker, Some(&format!("snapshot-worker::{point}=return"))).unwrap();
        file.write_all_at(point.as_bytes(), round as u64 * 7 * MIB + 5).unwrap();
        let job = installation.start_plain_backup(&resource, &stage.primary).await.unwrap();
        let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
        while installation.ended(&worker).is_none() {
            assert!(tokio::time::Instant::now() < deadline, "the worker did not die at {point}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        installation.spawn(&worker, None).unwrap();
        installation.completed(job).await.unwrap();
        let made = installation.made_by(&resource, job).await.unwrap();
        let reading = made.summary.reading.unwrap();
        assert_eq!((reading.method, reading.fallback), (ChangeMethod::ExtentComparison, None), "{point}");
        assert!(reading.bytes_read <= 2 * MIB, "{point}: {} bytes", reading.bytes_read);
        assert_eq!(clones(&at), 1, "{point}");
        let target = dir.path().join(format!("restored-{round}"));
        let restore = installation.start_restore(&made.arn, &target, OverwritePolicy::Refuse).await.unwrap();
        installation.completed(restore).await.unwrap();
        run("cmp", &[image.to_str().unwrap(), target.to_str().unwrap()]);
    }
}
