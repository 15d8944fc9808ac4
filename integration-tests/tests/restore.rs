//! Restores by request: what comes back equals the source, what exists is touched only as far as the policy says, a worker
//! that is killed goes on where it was, and a recovery point that is deleted takes nothing else with it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use integration_tests::installation::{Installation, Instance, Options, Rejected, wait_until};
use job_events::subjects::Service;
use job_events::{Answer, CreatePlan, CreateSelection, DeleteRecoveryPoint, Query, RuleInput};
use job_model::{Conditions, JobDetail, JobState, Lifecycle, OverwritePolicy, ResourceType};

/// What a restore writes in some hundred pieces.
const LARGE_BYTES: u64 = 512 << 20;
/// So many of them are written when the worker dies.
const PIECES_BEFORE_DEATH: u32 = 20;

/// What rsync would do to make the second directory the first: nothing, when they are equal.
fn differences(source: &Path, restored: &Path) -> String {
    let directory = |path: &Path| format!("{}/", path.display());
    let output = Command::new("rsync")
        .args(["-naHAXSi", "--checksum", "--delete", &directory(source), &directory(restored)])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[expect(clippy::disallowed_methods, reason = "file times are compared with those of the real clock")]
fn set_age(path: &Path, hours: u64) {
    let at = SystemTime::now() - Duration::from_secs(hours * 3600);
    File::options().append(true).open(path).unwrap().set_modified(at).unwrap();
}

fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restore_elsewhere_equals_the_source_and_a_policy_decides_about_what_exists() {
    let dir = tempfile::tempdir().unwrap();
    let installation = Installation::start(dir.path(), Options::default()).await.unwrap();
    let stage = installation.make_vaults().await.unwrap();
    let resource = installation.make_resource("tree").await.unwrap();
    let source = dir.path().join("resources/tree");
    for name in ["file-1", "file-2", "file-3"] {
        set_age(&source.join(name), 2);
    }
    std::os::unix::fs::symlink("below/one", source.join("link")).unwrap();
    fs::hard_link(source.join("file-4"), source.join("below/the-same")).unwrap();
    let backup = installation.start_backup(&resource, &stage).await.unwrap();
    installation.completed(backup).await.unwrap();
    let copy = installation.copy_after(backup).await.unwrap();
    let points = [
        installation.made_by(&resource, backup).await.unwrap(),
        installation.made_by(&resource, copy.id).await.unwrap(),
    ];
    let restored = async |point: usize, target: &Path, policy: OverwritePolicy| {
        let job = installation.start_restore(&points[point].arn, target, policy).await.unwrap();
        installation.completed(job).await.unwrap()
    };

    for (point, name) in [(0, "from-the-vault"), (1, "from-the-copy")] {
        let target = dir.path().join(name);
        let job = restored(point, &target, OverwritePolicy::Refuse).await;
        assert_eq!(differences(&source, &target), "", "{name}");
        let JobDetail::Restore { created_location, .. } = &job.detail else { panic!("{job:?}") };
        assert_eq!(created_location.as_deref(), Some(format!("file://{}", target.display()).as_str()));
        assert_eq!(job.region, installation.regions[point], "a restore runs where its vault is");
    }

    let target = dir.path().join("from-the-vault");
    // One changed and newer, one changed and older, one missing, one that nobody backed up.
    let disturb = || {
        fs::write(target.join("file-1"), "newer").unwrap();
        fs::write(target.join("file-2"), "older").unwrap();
        set_age(&target.join("file-2"), 200);
        fs::remove_file(target.join("file-3")).unwrap();
        fs::write(target.join("extra"), "not in the recovery point").unwrap();
    };

    disturb();
    restored(0, &target, OverwritePolicy::Never).await;
    assert_eq!((text(&target.join("file-1")), text(&target.join("file-2"))), ("newer".to_owned(), "older".to_owned()));
    assert_eq!(text(&target.join("file-3")), text(&source.join("file-3")), "what is missing is added");
    assert!(target.join("extra").exists());

    disturb();
    restored(0, &target, OverwritePolicy::IfNewer).await;
    assert_eq!(text(&target.join("file-1")), "newer", "what is newer than the recovery point stays");
    assert_eq!(text(&target.join("file-2")), text(&source.join("file-2")));
    assert_eq!(text(&target.join("file-3")), text(&source.join("file-3")));
    assert!(target.join("extra").exists());

    disturb();
    restored(0, &target, OverwritePolicy::IfChanged).await;
    for name in ["file-1", "file-2", "file-3"] {
        assert_eq!(text(&target.join(name)), text(&source.join(name)), "{name}");
    }
    assert_eq!(text(&target.join("extra")), "not in the recovery point");

    disturb();
    restored(1, &target, OverwritePolicy::Exact).await;
    assert_eq!(differences(&source, &target), "", "the target is the recovery point and nothing else");
    let left: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().starts_with('.')), "nothing temporary is left: {left:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restore_worker_killed_in_the_middle_goes_on_where_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let installation = Installation::start(dir.path(), Options::default()).await.unwrap();
    let stage = installation.make_vaults().await.unwrap();
    let source = dir.path().join("resources/large");
    let mut noise = File::open("/dev/urandom").unwrap();
    for number in 0..LARGE_BYTES / (2 << 20) {
        let below = source.join(format!("part-{}", number % 8));
        fs::create_dir_all(&below).unwrap();
        let mut content = vec![0; 2 << 20];
        noise.read_exact(&mut content).unwrap();
        fs::write(below.join(format!("file-{number}")), content).unwrap();
    }
    let resource = installation.register("large", ResourceType::Files, &source).await.unwrap();
    let point = installation.backed_up(&resource, &stage.primary).await.unwrap();

    let target = dir.path().join("restored");
    let worker = Instance::worker(Service::RestoreWorker, 0);
    installation.kill9(&worker);
    installation.spawn(&worker, Some(&format!("runner::at_a_piece={PIECES_BEFORE_DEATH}*off->1*return"))).unwrap();
    let job = installation.start_restore(&point.arn, &target, OverwritePolicy::Refuse).await.unwrap();
    // What is being restored lies beside the target, under a name of its own, until it is whole.
    let written = || -> Option<u64> {
        let hidden = |entry: &fs::DirEntry| entry.file_name().to_string_lossy().starts_with(".holdfast-");
        let staging = fs::read_dir(dir.path()).unwrap().filter_map(Result::ok).find(hidden)?;
        let parts = fs::read_dir(staging.path()).ok()?.filter_map(Result::ok);
        let files = parts.filter_map(|part| fs::read_dir(part.path()).ok()).flatten().filter_map(Result::ok);
        Some(files.filter_map(|file| file.metadata().ok()).map(|metadata| metadata.blocks() * 512).sum())
    };
    wait_until("the worker to die", || async { Ok(installation.ended(&worker)) }).await.unwrap();
    let at_death = written().expect("the worker died before it was done");
    assert!(at_death > 0, "it died in the middle of the content");
    assert!(!target.exists(), "a target has its name when it is whole, never before");
    installation.spawn(&worker, None).unwrap();
    let ended = installation.completed(job).await.unwrap();
    println!("killed when {at_death} bytes were taken up for {LARGE_BYTES}");
    assert_eq!(ended.progress.bytes_done, LARGE_BYTES, "{ended:?}");
    assert_eq!(differences(&source, &target), "");
    assert_eq!(written(), None, "nothing temporary is left beside the target");
    let story = installation.story(0, job).await.unwrap();
    let ends = story.iter().filter(|(state, _)| state.is_terminal()).count();
    assert_eq!(ends, 1, "{story:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recovery_point_deleted_on_request_is_gone_and_its_copy_still_restores() {
    let dir = tempfile::tempdir().unwrap();
    let installation = Installation::start(dir.path(), Options::default()).await.unwrap();
    let stage = installation.make_vaults().await.unwrap();
    let resource = installation.make_resource("tree").await.unwrap();
    // A plan that keeps for ever protects the vault's last good point from retention, not from its owner.
    let rule = RuleInput {
        name: "yearly".to_owned(),
        target_vault: stage.primary.clone(),
        schedule: Some("cron(0 5 1 1 ? *)".to_owned()),
        time_zone: None,
        start_window_minutes: None,
        completion_window_minutes: None,
        lifecycle: Lifecycle::default(),
        generations: None,
        copy_actions: Vec::new(),
        recovery_point_tags: std::collections::BTreeMap::new(),
        enable_continuous: false,
    };
    let plan = installation
        .request(CreatePlan {
            name: "yearly".to_owned(),
            rules: vec![rule],
            advanced_settings: Vec::new(),
            tags: std::collections::BTreeMap::new(),
        })
        .await
        .unwrap();
    let selection = CreateSelection {
        plan_id: plan.result.unwrap().parse().unwrap(),
        name: "all".to_owned(),
        resources: vec![resource.to_string()],
        not_resources: Vec::new(),
        list_of_tags: Vec::new(),
        conditions: Conditions::default(),
        iam_role: None,
    };
    installation.request(selection).await.unwrap();
    let backup = installation.start_backup(&resource, &stage).await.unwrap();
    installation.completed(backup).await.unwrap();
    let copy = installation.copy_after(backup).await.unwrap();
    let point = installation.made_by(&resource, backup).await.unwrap();
    let copied = installation.made_by(&resource, copy.id).await.unwrap();
    let snapshots = |vault: &str| fs::read_dir(installation.vault_dir(vault).join("snapshots")).unwrap().count();
    assert_eq!((snapshots("primary"), snapshots("copies")), (1, 1));

    let request = DeleteRecoveryPoint { recovery_point: point.arn.clone(), vault: None };
    let accepted = installation.request(request.clone()).await.unwrap();
    let deleted = installation.job_ended(accepted.job_id.expect("a deletion has a job")).await.unwrap();
    assert_eq!(deleted.state, JobState::Completed, "{deleted:?}");
    assert_eq!((snapshots("primary"), snapshots("copies")), (0, 1));
    let left: Vec<_> = installation.recovery_points(&resource).await.unwrap().into_iter().map(|p| p.arn).collect();
    assert_eq!(left, std::slice::from_ref(&copied.arn));
    let show = Query::ShowRecoveryPoint { recovery_point: point.arn.clone() };
    let shown = installation.query(&show).await;
    assert!(!matches!(shown, Ok(Answer::RecoveryPoint { .. })), "{shown:?}");
    let told = installation.facts(0).await.unwrap().into_iter().find_map(|(_, fact)| match fact {
        job_events::Fact::RecoveryPointDeleted(gone) if gone.recovery_point == point.arn => Some(gone.reason),
        _ => None,
    });
    assert_eq!(told.as_deref(), Some("requested"));

    let again = installation.request(request).await.unwrap_err();
    let rejected = again.downcast_ref::<Rejected>().unwrap();
    assert!(rejected.field == "recovery_point" && rejected.message.contains("does not exist"), "{rejected}");

    let target = dir.path().join("from-the-copy");
    let job = installation.start_restore(&copied.arn, &target, OverwritePolicy::Refuse).await.unwrap();
    installation.completed(job).await.unwrap();
    assert_eq!(differences(&dir.path().join("resources/tree"), &target), "");
}
