//! Resources and vaults that are not there, not the right ones, not reachable or full.

use std::fs;
use std::path::Path;

use integration_tests::installation::{Installation, Options, S3Options, wait_until};
use integration_tests::mounts::Tmpfs;
use integration_tests::s3_store::S3Store;
use job_bus::server_process::KeptPort;
use job_model::{FailureCode, JobState, ResourceType};

use crate::{assert_says, listing, noise, recovers};

/// Snapshots in a vault's directory.
fn snapshots(vault: &Path) -> usize {
    fs::read_dir(vault.join("snapshots")).unwrap().count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_back_lets_the_job_complete() {
    let dir = tempfile::tempdir().unwrap();
    let installation = Installation::start(dir.path(), Options::default()).await.unwrap();
    let stage = installation.make_vaults().await.unwrap();
    let resource = installation.make_resource("tree").await.unwrap();
    let (tree, aside) = (dir.path().join("resources/tree"), dir.path().join("aside"));
    let vault = installation.vault_dir("primary");

    fs::rename(&tree, &aside).unwrap();
    let job = installation.start_plain_backup(&resource, &stage.primary).await.unwrap();
    let words = [tree.to_str().unwrap(), "register it", "bring it back"];
    recovers(&installation, 0, job, FailureCode::ResourceNotFound, &words, async || {
        assert_eq!(snapshots(&vault), 0, "nothing was captured, so nothing is in the vault");
        Ok(fs::rename(&aside, &tree)?)
    })
    .await;
    assert_eq!(snapshots(&vault), 1);

    fs::rename(&vault, &aside).unwrap();
    let job = installation.start_plain_backup(&resource, &stage.primary).await.unwrap();
    let words = [vault.to_str().unwrap(), "mount its store"];
    recovers(&installation, 0, job, FailureCode::VaultNotFound, &words, async || {
        assert!(!vault.exists(), "a repository is never made in the place of one that is gone");
        Ok(fs::rename(&aside, &vault)?)
    })
    .await;
    assert_eq!(snapshots(&vault), 2);
    assert_eq!(installation.recovery_points(&resource).await.unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_somebody_must_mend_fails_at_once_and_the_next_job_completes() {
    let dir = tempfile::tempdir().unwrap();
    let installation = Installation::start(dir.path(), Options::default()).await.unwrap();
    let stage = installation.make_vaults().await.unwrap();
    let resource = installation.make_resource("tree").await.unwrap();
    let vault = installation.vault_dir("primary");
    let before = listing(&vault);

    let password = fs::read(installation.vault_password_file()).unwrap();
    fs::write(installation.vault_password_file(), "not the right one\n").unwrap();
    let job = installation.start_plain_backup(&resource, &stage.primary).await.unwrap();
    let failed = installation.job_ended(job).await.unwrap();
    assert_eq!(failed.state, JobState::Failed, "{failed:?}");
    assert_says(&failed, FailureCode::VaultWrongKey, &["`main`", vault.to_str().unwrap(), "correct"]);
    assert!(!format!("{failed:?}").contains("not the right one"), "a message must never hold a secret");
    assert_eq!(listing(&vault), before, "nothing is written to a vault that could not be opened");
    fs::write(installation.vault_password_file(), password).unwrap();
    installation.backed_up(&resource, &stage.primary).await.unwrap();

    let other = dir.path().join("vaults/other");
    installation.make_vault(&installation.regions[0], "other", &format!("file://{}", other.display())).await.unwrap();
    let aside = dir.path().join("aside");
    fs::rename(&vault, &aside).unwrap();
    fs::rename(&other, &vault).unwrap();
    let before = listing(&vault);
    let job = installation.start_plain_backup(&resource, &stage.primary).await.unwrap();
    let failed = installation.job_ended(job).await.unwrap();
    assert_eq!(failed.state, JobState::Failed, "{failed:?}");
    assert_says(
        &failed,
        FailureCode::VaultNotTheSame,
        &[vault.to_str().unwrap(), "put the vault's own repository back"],
    );
    assert_eq!(listing(&vault), before, "nothing is written to somebody else's repository");
    fs::rename(&vault, &other).unwrap();
    fs::rename(&aside, &vault).unwrap();
    installation.backed_up(&resource, &stage.primary).await.unwrap();
    assert_eq!(installation.recovery_points(&resource).await.unwrap().len(), 2);
    assert_eq!(snapshots(&vault), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_store_is_filled_on_when_there_is_space() {
    if !Tmpfs::is_allowed() {
        println!("skipped: needs the right to mount");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let store = Tmpfs::mount(&dir.path().join("small"), 8).unwrap();
    let installation = Installation::start(dir.path(), Options::default()).await.unwrap();
    let vault_dir = dir.path().join("small/vault");
    let location = format!("file://{}", vault_dir.display());
    let vault = installation.make_vault(&installation.regions[0], "small", &location).await.unwrap();
    let tree = dir.path().join("resources/large");
    fs::create_dir_all(&tree).unwrap();
    for number in 0..6 {
        fs::write(tree.join(format!("part-{number}")), noise(4 << 20)).unwrap();
    }
    let resource = installation.register("large", ResourceType::Files, &tree).await.unwrap();
    let job = installation.start_plain_backup(&resource, &vault).await.unwrap();
    recovers(&installation, 0, job, FailureCode::NoSpace, &["free space"], async || {
        assert_eq!(snapshots(&vault_dir), 0, "what is not whole is not a recovery point");
        store.resize(64)
    })
    .await;
    assert_eq!(snapshots(&vault_dir), 1);
    let run = installation.prove(&resource, ResourceType::Files, &vault).await.unwrap();
    let verdict = run.entries[0].verdict.as_ref().unwrap();
    assert_eq!(verdict.status, job_model::VerdictStatus::Successful, "{run:?}");
    drop(installation);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_answers_again_lets_the_job_complete() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("s3");
    fs::create_dir_all(root.join("vaults")).unwrap();
    let key_files = [dir.path().join("s3.id"), dir.path().join("s3.secret")];
    for (file, text) in key_files.iter().zip(["the-id", "the-secret-of-the-store"]) {
        fs::write(file, text).unwrap();
    }
    let port = KeptPort::draw().unwrap();
    let serve = async || S3Store::start(&root, port.address(), "the-id", "the-secret-of-the-store").await;
    let store = serve().await.unwrap();
    let endpoint = store.url();
    let options = Options { s3: Some(S3Options { endpoint, key_files }), ..Options::default() };
    let installation = Installation::start(dir.path(), options).await.unwrap();
    let vault = installation.make_vault(&installation.regions[0], "remote", "s3://vaults/one").await.unwrap();
    let resource = installation.make_resource("tree").await.unwrap();

    drop(store);
    let is_gone = async || Ok(tokio::net::TcpStream::connect(port.address()).await.is_err().then_some(()));
    wait_until("the store to be gone", is_gone).await.unwrap();
    let job = installation.start_plain_backup(&resource, &vault).await.unwrap();
    let mut again = None;
    recovers(&installation, 0, job, FailureCode::VaultUnreachable, &["check the store"], async || {
        again = Some(serve().await?);
        Ok(())
    })
    .await;
    let story = format!("{:?}", installation.story(0, job).await.unwrap());
    assert!(!story.contains("the-secret-of-the-store"), "a message must never hold a secret");
    let run = installation.prove(&resource, ResourceType::Files, &vault).await.unwrap();
    let verdict = run.entries[0].verdict.as_ref().unwrap();
    assert_eq!(verdict.status, job_model::VerdictStatus::Successful, "{run:?}");
    drop(again);
}
