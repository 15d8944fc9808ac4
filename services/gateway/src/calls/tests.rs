use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::json;

use super::*;

fn now() -> Timestamp {
    "2025-01-02T03:04:05Z".parse().unwrap()
}

struct World {
    calls: Calls,
    account: AccountId,
    effects: AtomicU32,
}

impl World {
    fn new() -> Self {
        let calls = Calls::new(StateStore::in_memory());
        Self { calls, account: "000000000000".parse().unwrap(), effects: AtomicU32::new(0) }
    }

    async fn call(&self, invocation: Option<&str>, signature: &str, input: &str) -> Result<Reply, Fault> {
        let name = CallName { account: &self.account, operation: "CreateBackupPlan", invocation, signature, input };
        let make = |call: Call| async move {
            let number = self.effects.fetch_add(1, Ordering::SeqCst);
            Ok(Reply::json(json!({ "number": number, "request": call.request_id("r") })))
        };
        self.calls.once(&name, now(), make).await
    }
}

#[tokio::test]
async fn a_call_that_comes_again_has_one_effect_and_the_same_answer() {
    let world = World::new();
    let first = world.call(Some("i-1"), "s-1", "x").await.unwrap();
    assert_eq!(world.call(Some("i-1"), "s-2", "x").await.unwrap(), first);
    assert_eq!(world.effects.load(Ordering::SeqCst), 1);
    assert_ne!(world.call(Some("i-2"), "s-3", "x").await.unwrap(), first);
    let other: AccountId = "111111111111".parse().unwrap();
    let elsewhere = World { calls: world.calls.clone(), account: other, effects: AtomicU32::new(9) };
    assert_ne!(elsewhere.call(Some("i-1"), "s-4", "x").await.unwrap(), first);
}

#[tokio::test]
async fn both_tries_at_once_are_one_call() {
    let world = World::new();
    let (a, b) = tokio::join!(world.call(Some("i-1"), "s-1", "x"), world.call(Some("i-1"), "s-2", "x"));
    assert_eq!(a.unwrap(), b.unwrap());
    assert_eq!(world.effects.load(Ordering::SeqCst), 1);
    assert!(world.calls.under_way.lock().is_empty());
}

#[tokio::test]
async fn the_same_invocation_for_something_else_is_refused() {
    let world = World::new();
    world.call(Some("i-1"), "s-1", "x").await.unwrap();
    assert_eq!(world.call(Some("i-1"), "s-2", "y").await.unwrap_err().code, "InvalidParameterValueException");
}

#[tokio::test]
async fn a_copied_request_changes_nothing() {
    let world = World::new();
    let first = world.call(None, "s-1", "x").await.unwrap();
    assert_eq!(world.call(None, "s-1", "x").await.unwrap(), first);
    assert_eq!(world.call(Some("forged"), "s-1", "x").await.unwrap_err().code, "ThrottlingException");
    assert_eq!(world.effects.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_refused_call_is_decided_anew_and_an_unknown_outcome_keeps_its_request_id() {
    let world = World::new();
    let name = CallName { account: &world.account, operation: "O", invocation: Some("i"), signature: "s", input: "x" };
    let ids = Mutex::new(Vec::new());
    for fault in [Fault::unavailable("down"), Fault::unavailable("down"), Fault::request("no"), Fault::request("no")] {
        let make = |call: Call| {
            ids.lock().push(call.request_id("r"));
            std::future::ready(Err(fault))
        };
        world.calls.once(&name, now(), make).await.unwrap_err();
    }
    let ids = ids.into_inner();
    assert_eq!(ids[0], ids[1]);
    assert_eq!(ids[1], ids[2]);
    assert_ne!(ids[2], ids[3]);
}

#[tokio::test]
async fn the_signature_of_a_refused_call_may_be_used_again() {
    let world = World::new();
    let name = CallName { account: &world.account, operation: "O", invocation: Some("i"), signature: "s", input: "x" };
    world.calls.once(&name, now(), |_| std::future::ready(Err(Fault::request("no")))).await.unwrap_err();
    world.call(Some("another"), "s", "x").await.unwrap();
}

#[tokio::test]
async fn old_calls_are_forgotten_and_young_ones_kept() {
    let world = World::new();
    world.call(Some("i-1"), "s-1", "x").await.unwrap();
    assert_eq!(world.calls.forget_old(now() + SignedDuration::from_hours(23)).await.unwrap(), 0);
    assert_eq!(world.calls.forget_old(now() + SignedDuration::from_hours(25)).await.unwrap(), 1);
}
