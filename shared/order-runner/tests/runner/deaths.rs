//! A process is killed at each point of an order's life, and another one goes on with its state.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::fixture::{Fixture, until};

/// Built by cargo together with the tests, beside their directory.
fn one_worker() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.parent().and_then(Path::parent).unwrap().join("examples/one_worker")
}

struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(f: &Fixture, failpoints: &str) -> Process {
    let child = Command::new(one_worker())
        .args([f.server.url(), f.region.to_string()])
        .arg(f.dir.path())
        .env("FAILPOINTS", failpoints)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    Process(child)
}

/// Runs until it dies by itself.
async fn until_dead(process: &mut Process) {
    until(async || process.0.try_wait().unwrap().is_some()).await;
    assert!(!process.0.try_wait().unwrap().unwrap().success());
}

/// How often work ran, and how many effects there are.
fn seen(f: &Fixture) -> (usize, usize) {
    let runs = std::fs::read_to_string(f.dir.path().join("runs")).unwrap_or_default().lines().count();
    let effects = std::fs::read_dir(f.dir.path().join("effects")).unwrap().count();
    (runs, effects)
}

/// Dies there once, is started again, and brings the order to its end.
async fn dies_at(failpoint: &str) -> (Fixture, Vec<String>) {
    let f = Fixture::new().await;
    f.order(1).await;
    let mut first = start(&f, &format!("{failpoint}=return"));
    until_dead(&mut first).await;
    let second = start(&f, "");
    f.settled().await;
    drop(second);
    let told = f.told().await;
    (f, told)
}

#[tokio::test]
async fn a_death_before_the_work_repeats_nothing_that_was_done() {
    let (f, told) = dies_at("runner::before_effect").await;
    assert_eq!(seen(&f), (1, 1));
    assert_eq!(told.last().unwrap(), "sandbox-removed");
    assert_eq!(told.iter().filter(|name| *name == "sandbox-removed").count(), 1);
}

#[tokio::test]
async fn a_death_between_effect_and_result_finds_the_effect_and_tells_it_once() {
    let (f, told) = dies_at("runner::after_effect_before_result").await;
    assert_eq!(seen(&f), (2, 1), "the second run found the first one's effect");
    assert_eq!(told.iter().filter(|name| *name == "sandbox-removed").count(), 1);
}

#[tokio::test]
async fn a_death_between_result_and_acknowledgement_tells_the_same_result_and_runs_nothing() {
    let (f, told) = dies_at("runner::after_result_before_ack").await;
    assert_eq!(seen(&f), (1, 1));
    assert_eq!(told.iter().filter(|name| *name == "sandbox-removed").count(), 1);
}

#[tokio::test]
async fn a_death_between_writing_the_result_down_and_publishing_it_loses_nothing() {
    // The first fact to leave is the start; its death leaves the attempt open, and the work is begun anew.
    let (f, told) = dies_at("ledger::after_barrier_before_publish").await;
    assert_eq!(seen(&f).1, 1);
    assert_eq!(told.iter().filter(|name| *name == "sandbox-removed").count(), 1);
}

#[tokio::test]
async fn a_death_between_a_publish_and_its_mark_tells_nothing_twice() {
    let (f, told) = dies_at("ledger::after_puback_before_mark").await;
    assert_eq!(seen(&f).1, 1);
    assert_eq!(told.iter().filter(|name| *name == "sandbox-removed").count(), 1);
}
