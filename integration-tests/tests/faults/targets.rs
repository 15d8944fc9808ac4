//! Targets that a restore may not or cannot write to.

use std::fs;

use integration_tests::installation::{Installation, Options};
use integration_tests::mounts::Tmpfs;
use job_model::{FailureCode, JobState, OverwritePolicy};

use crate::{assert_says, listing, recovers};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restore_touches_only_what_it_may() {
    let dir = tempfile::tempdir().unwrap();
    let allowed = dir.path().join("allowed");
    fs::create_dir_all(&allowed).unwrap();
    let options = Options { target_roots: Some(vec![allowed.clone()]), ..Options::default() };
    let installation = Installation::start(dir.path(), options).await.unwrap();
    let stage = installation.make_vaults().await.unwrap();
    let resource = installation.make_resource("tree").await.unwrap();
    let point = installation.backed_up(&resource, &stage.primary).await.unwrap();

    let taken = allowed.join("taken");
    fs::create_dir_all(&taken).unwrap();
    fs::write(taken.join("file-1"), "somebody's").unwrap();
    let job = installation.start_restore(&point.arn, &taken, OverwritePolicy::Refuse).await.unwrap();
    let failed = installation.job_ended(job).await.unwrap();
    assert_eq!(failed.state, JobState::Failed, "{failed:?}");
    assert_says(&failed, FailureCode::TargetExists, &[taken.to_str().unwrap(), "choose another target"]);
    assert_eq!(listing(&allowed), [taken.clone(), taken.join("file-1")].into(), "nothing is added beside or below it");
    assert_eq!(fs::read_to_string(taken.join("file-1")).unwrap(), "somebody's");

    let outside = dir.path().join("outside");
    let through_a_link = allowed.join("link/below");
    std::os::unix::fs::symlink(dir.path(), allowed.join("link")).unwrap();
    for (target, named) in [(&outside, outside.clone()), (&through_a_link, dir.path().join("below"))] {
        let job = installation.start_restore(&point.arn, target, OverwritePolicy::Refuse).await.unwrap();
        let failed = installation.job_ended(job).await.unwrap();
        assert_eq!(failed.state, JobState::Failed, "{failed:?}");
        assert_says(&failed, FailureCode::TargetInvalid, &[named.to_str().unwrap(), "`target_roots`", "add it"]);
        assert!(!named.exists(), "nothing is made outside of the allowed directories");
    }

    let free = allowed.join("free");
    let job = installation.start_restore(&point.arn, &free, OverwritePolicy::Refuse).await.unwrap();
    installation.completed(job).await.unwrap();
    assert_eq!(fs::read_to_string(free.join("below/one")).unwrap(), "tree");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_that_becomes_writable_is_restored_to() {
    if !Tmpfs::is_allowed() {
        println!("skipped: needs the right to mount");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let installation = Installation::start(dir.path(), Options::default()).await.unwrap();
    let stage = installation.make_vaults().await.unwrap();
    let resource = installation.make_resource("tree").await.unwrap();
    let point = installation.backed_up(&resource, &stage.primary).await.unwrap();
    let mounted = dir.path().join("mounted");
    let disk = Tmpfs::mount(&mounted, 64).unwrap();
    let target = mounted.join("restored");

    disk.set_writable(false).unwrap();
    let job = installation.start_restore(&point.arn, &target, OverwritePolicy::Refuse).await.unwrap();
    let words = [target.to_str().unwrap(), "give the worker's user the right"];
    recovers(&installation, 0, job, FailureCode::PermissionDenied, &words, async || disk.set_writable(true)).await;
    assert_eq!(fs::read_to_string(target.join("below/one")).unwrap(), "tree");
    assert_eq!(fs::read_dir(&mounted).unwrap().count(), 1, "nothing temporary is left beside the target");
    drop(installation);
}
