//! A resource that changes under the capture, a backup that is stopped, a resource that nobody backed up.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use integration_tests::installation::{Installation, Instance, Options, wait_until};
use job_events::Fact;
use job_events::subjects::Service;
use job_model::{
    ExceptionKind, FindingKind, JobState, MessageCategory, RecoveryPointStatus, ResourceType, Severity, VerdictStatus,
};

use crate::{listing, noise};

const LARGE_FILES: usize = 12;
const LARGE_FILE_BYTES: usize = 24 << 20;

/// Starts the worker anew as one that takes its time with each piece it reads, so that a capture lasts on the fastest of
/// machines, too.
fn slow_down(installation: &Installation, milliseconds: u32) {
    let worker = Instance::worker(Service::SnapshotWorker, 0);
    installation.kill9(&worker);
    installation.spawn(&worker, Some(&format!("runner::at_a_piece=sleep({milliseconds})"))).unwrap();
}

/// Waits until the capture is in the middle of the large files: the first of them is in the vault.
async fn under_way(vault: &Path) {
    let packs = || async { Ok(listing(&vault.join("data")).iter().any(|path| path.is_file()).then_some(())) };
    wait_until("the first pack in the vault", packs).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_changes_while_it_is_read_is_never_hidden() {
    let dir = tempfile::tempdir().unwrap();
    let installation = Installation::start(dir.path(), Options::default()).await.unwrap();
    let stage = installation.make_vaults().await.unwrap();
    let tree = dir.path().join("resources/moving");
    fs::create_dir_all(&tree).unwrap();
    // Entries of a directory are listed at once and read from the last name to the first.
    for number in 0..LARGE_FILES {
        fs::write(tree.join(format!("large-{number:02}")), noise(LARGE_FILE_BYTES)).unwrap();
    }
    fs::write(tree.join("a-vanishing"), "here when the directory is listed").unwrap();
    fs::write(tree.join("growing"), noise(8 << 20)).unwrap();
    let resource = installation.register("moving", ResourceType::Files, &tree).await.unwrap();

    let done = AtomicBool::new(false);
    let mut growing = File::options().append(true).open(tree.join("growing")).unwrap();
    let writer = || {
        while !done.load(Ordering::Relaxed) {
            growing.write_all(b"more").unwrap();
            std::thread::sleep(Duration::from_millis(1));
        }
    };
    slow_down(&installation, 5);
    let capture = async {
        let job = installation.start_plain_backup(&resource, &stage.primary).await.unwrap();
        under_way(&installation.vault_dir("primary")).await;
        fs::remove_file(tree.join("a-vanishing")).unwrap();
        let ended = installation.job_ended(job).await.unwrap();
        done.store(true, Ordering::Relaxed);
        ended
    };
    let (runtime, mut writer) = (tokio::runtime::Handle::current(), Some(writer));
    let ended = tokio::task::block_in_place(|| {
        std::thread::scope(|scope| {
            scope.spawn(writer.take().unwrap());
            runtime.block_on(capture)
        })
    });

    assert_eq!(ended.state, JobState::Completed, "{ended:?}");
    assert_eq!(ended.message_category, MessageCategory::Issues, "{ended:?}");
    let message = ended.status_message.as_deref().unwrap();
    assert!(message.starts_with("2 entries were not captured as they should be"), "{message}");
    let point = installation.made_by(&resource, ended.id).await.unwrap();
    assert_eq!(point.status, RecoveryPointStatus::Partial);
    assert_eq!(point.summary.exception_count, 2, "{point:?}");
    let exceptions: Vec<_> = point.summary.exceptions.iter().map(|e| (e.path.as_str(), e.kind)).collect();
    assert_eq!(
        exceptions,
        [("a-vanishing", ExceptionKind::Vanished), ("growing", ExceptionKind::ChangedWhileReading)],
        "{point:?}"
    );

    let run = installation.prove(&resource, ResourceType::Files, &stage.primary).await.unwrap();
    let verdict = run.entries[0].verdict.as_ref().unwrap();
    assert_eq!(verdict.status, VerdictStatus::Failed, "part of a resource is no proof of it: {run:?}");
    let finding = run.entries[0].findings.iter().find(|f| f.kind == FindingKind::CaptureIncomplete).unwrap();
    assert_eq!(finding.severity, Severity::Failure);
    assert!(verdict.message.contains("2 entries were not captured"), "{verdict:?}");
    installation.sandboxes_empty().await.unwrap();

    // At rest, the same resource is captured whole.
    fs::write(tree.join("a-vanishing"), "back").unwrap();
    let point = installation.backed_up(&resource, &stage.primary).await.unwrap();
    assert_eq!((point.status, point.summary.exception_count), (RecoveryPointStatus::Completed, 0), "{point:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_that_is_stopped_leaves_nothing_to_restore() {
    let dir = tempfile::tempdir().unwrap();
    let installation = Installation::start(dir.path(), Options::default()).await.unwrap();
    let stage = installation.make_vaults().await.unwrap();
    let tree = dir.path().join("resources/large");
    fs::create_dir_all(&tree).unwrap();
    for number in 0..LARGE_FILES {
        fs::write(tree.join(format!("large-{number:02}")), noise(LARGE_FILE_BYTES)).unwrap();
    }
    let resource = installation.register("large", ResourceType::Files, &tree).await.unwrap();
    slow_down(&installation, 20);
    let job = installation.start_plain_backup(&resource, &stage.primary).await.unwrap();
    under_way(&installation.vault_dir("primary")).await;
    installation.stop_job(job).await.unwrap();
    let ended = installation.job_ended(job).await.unwrap();
    let story = installation.story(0, job).await.unwrap();
    assert_eq!(ended.state, JobState::Aborted, "{story:#?}");
    assert!(story.iter().any(|(state, _)| *state == JobState::Aborting), "{story:#?}");
    assert!(ended.status_message.as_deref().is_some_and(|m| m.contains("stopped on request")), "{ended:?}");
    assert!(installation.recovery_points(&resource).await.unwrap().is_empty());
    let vault = installation.vault_dir("primary");
    for part in ["snapshots", "locks"] {
        assert_eq!(fs::read_dir(vault.join(part)).unwrap().count(), 0, "`{part}` of the vault is empty");
    }

    // What was never backed up fails its test, and is in the report.
    let run = installation.prove(&resource, ResourceType::Files, &stage.primary).await.unwrap();
    let entry = &run.entries[0];
    assert_eq!((run.entries.len(), &entry.resource), (1, &resource));
    assert_eq!((entry.recovery_point.as_ref(), entry.restore_job_id), (None, None));
    assert_eq!(entry.verdict.as_ref().unwrap().status, VerdictStatus::Failed);
    assert_eq!(entry.findings[0].kind, FindingKind::NoEligibleRecoveryPoint);
    let is_of_the_run =
        |fact: &Fact| matches!(fact, Fact::ResourceUnproven(u) if u.resource == resource && u.test_run == run.id);
    wait_until("`resource-unproven` to say it to whoever listens", async || {
        Ok(installation.facts(0).await?.iter().any(|(_, fact)| is_of_the_run(fact)).then_some(()))
    })
    .await
    .unwrap();

    // The resource and the vault are free again.
    for number in 1..LARGE_FILES {
        fs::remove_file(tree.join(format!("large-{number:02}"))).unwrap();
    }
    installation.backed_up(&resource, &stage.primary).await.unwrap();
}
