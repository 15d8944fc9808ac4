//! The AWS Backup API as its clients use it: the `aws` command line and boto3, unchanged, before a whole installation.
//!
//! What a client says lies in Python beside this file; each script prints what it did and every finding, and its failure
//! is the test's. Here the installation is started, and taken apart where a proof wants that.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod points;
mod script;
mod up;

use integration_tests::installation::{ApiGateway, Installation, Instance, Options};
use job_events::subjects::Service;

use points::tell_of;
use script::{Setting, run};
use up::Up;

async fn installed(dir: &tempfile::TempDir) -> (Installation, ApiGateway) {
    let installation = Installation::start(dir.path(), Options::default()).await.unwrap();
    let gateway = ApiGateway::start(&installation).await.unwrap();
    (installation, gateway)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_operation_answers_as_the_model_says_and_refuses_what_the_model_forbids() {
    let dir = tempfile::tempdir().unwrap();
    let (installation, gateway) = installed(&dir).await;
    run("operations.py", &Setting::of(&installation, &gateway)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_state_of_things_forbids_is_refused_with_the_name_of_the_member() {
    let dir = tempfile::tempdir().unwrap();
    let (installation, gateway) = installed(&dir).await;
    run("refusals.py", &Setting::of(&installation, &gateway)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signature_that_is_not_true_and_a_role_without_the_right_change_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (installation, gateway) = installed(&dir).await;
    // The roles first: they expect that nothing is there.
    run("roles.py", &Setting::of(&installation, &gateway)).await;
    run("signatures.py", &Setting::of(&installation, &gateway)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_accounts_see_nothing_of_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let (installation, gateway) = installed(&dir).await;
    run("accounts.py", &Setting::of(&installation, &gateway)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_whose_answer_was_lost_is_retried_and_done_once() {
    let dir = tempfile::tempdir().unwrap();
    let (installation, mut gateway) = installed(&dir).await;
    let setting = Setting::of(&installation, &gateway);
    let part = async |part: &str| run("lost_answers.py", &Setting { part: part.to_owned(), ..setting.clone() }).await;
    part("").await;
    // And over the death of the gateway: after it answered, and while it waited for an answer itself.
    part("remember").await;
    let planner = Instance::single(Service::Planner);
    installation.pause(&planner);
    part("intend").await;
    gateway.kill9();
    installation.thaw_planner().await.unwrap();
    gateway.restart().await.unwrap();
    part("repeat").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_or_a_bus_that_is_away_is_told_within_a_bounded_time_and_leaves_nothing_half_made() {
    let dir = tempfile::tempdir().unwrap();
    let (mut installation, gateway) = installed(&dir).await;
    let setting = Setting::of(&installation, &gateway);
    let part = async |part: &str| run("outages.py", &Setting { part: part.to_owned(), ..setting.clone() }).await;
    let (planner, verifier) = (Instance::single(Service::Planner), Instance::single(Service::Verifier));
    part("prepare").await;
    installation.kill9(&planner);
    part("planner is away").await;
    installation.spawn(&planner, None).unwrap();
    installation.wait_until_ready().await.unwrap();
    installation.kill9(&verifier);
    part("verifier is away").await;
    installation.spawn(&verifier, None).unwrap();
    installation.pause(&planner);
    part("planner is frozen").await;
    installation.thaw_planner().await.unwrap();
    installation.wait_until_ready().await.unwrap();
    installation.nats().kill9();
    part("bus is away").await;
    installation.nats().restart().unwrap();
    // Who cannot keep a lease ends, and is started again by whoever supervises it.
    for instance in [planner, verifier] {
        installation.kill9(&instance);
        installation.spawn(&instance, None).unwrap();
    }
    installation.wait_until_ready().await.unwrap();
    part("all is back").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_aws_command_line_goes_from_empty_vaults_to_restored_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let up = Up::start(dir.path()).await;
    run("command_line.py", &up.setting()).await;
    up.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn paginators_give_each_row_once_of_everything_and_of_more_recovery_points_than_a_page_has() {
    const MORE: u32 = 1_300;
    let dir = tempfile::tempdir().unwrap();
    let (installation, gateway) = installed(&dir).await;
    let setting = Setting::of(&installation, &gateway);
    run("pages.py", &Setting { part: "prepare".to_owned(), ..setting.clone() }).await;
    let resource = format!("arn:aws:files:{}:000000000000:tree/pages-0", installation.regions[0]).parse().unwrap();
    let points = installation.recovery_points(&resource).await.unwrap();
    let like = points.iter().find(|point| point.copied_from.is_none()).unwrap();
    tell_of(&installation, like, MORE).await;
    // Beside those that were told of: one of each of two resources.
    run("pages.py", &Setting { part: (MORE + 2).to_string(), ..setting }).await;
}
