use std::collections::{BTreeMap, BTreeSet};

use axum::http::StatusCode;
use job_events::{Fact, RecoveryPointCreated, RecoveryPointDeleted};
use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::scene::{self, ACCOUNT, REGION, ask, json_of, point};

mod following;

const LIST: &str = "/backup-vaults/main/recovery-points/";

/// What the facts of a planner say.
#[derive(Clone, Debug)]
enum Told {
    Made(u64),
    Gone(u64),
    Vault,
}

fn told() -> impl Strategy<Value = Told> {
    prop_oneof![6 => (0u64..40).prop_map(Told::Made), 3 => (0u64..40).prop_map(Told::Gone), 1 => Just(Told::Vault)]
}

fn made(number: u64) -> Fact {
    RecoveryPointCreated { recovery_point: point(number) }.into()
}

fn gone(number: u64) -> Fact {
    let point = point(number);
    let reason = "requested".to_owned();
    RecoveryPointDeleted { recovery_point: point.arn, vault: point.vault, resource: point.resource, reason }.into()
}

fn change_of(told: &Told) -> Change {
    let own = ACCOUNT.parse().unwrap();
    match told {
        Told::Made(number) => change::of_fact(made(*number), &own).unwrap(),
        Told::Gone(number) => change::of_fact(gone(*number), &own).unwrap(),
        Told::Vault => Change::Put(Box::new(Object::Vault(scene::vault()))),
    }
}

/// Ids of all points, newest first, by pages of three.
async fn listed(projection: &Projection) -> Vec<Uuid> {
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let page = projection.points((ACCOUNT, REGION), &PointFilter::default(), after, 3).await;
        all.extend(page.rows.iter().map(|point| point.id.as_uuid()));
        after = page.next;
        if after.is_none() {
            return all;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever order points come and go in, and however facts are put together to batches: lists show what is there, in
    /// the same process and after a restart.
    #[test]
    fn lists_show_what_facts_told_and_after_a_restart_too(
        batches in prop::collection::vec(prop::collection::vec(told(), 0..12), 0..8),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let store = StateStore::in_memory();
            let projection = scene::projection(store.clone()).await;
            let mut model = BTreeMap::new();
            for batch in &batches {
                for told in batch {
                    match told {
                        Told::Made(number) => drop(model.insert(*number, point(*number).id.as_uuid())),
                        Told::Gone(number) => drop(model.remove(number)),
                        Told::Vault => {}
                    }
                }
                projection.apply(batch.iter().map(change_of).collect(), None).await.unwrap();
            }
            let expected: Vec<Uuid> = model.values().rev().copied().collect();
            let count = expected.len() as u64;
            for projection in [projection, scene::projection(store).await] {
                prop_assert_eq!(&listed(&projection).await, &expected);
                prop_assert_eq!(projection.count_in(&scene::vault_arn()), count);
                let has_vault = batches.iter().flatten().any(|told| matches!(told, Told::Vault));
                prop_assert_eq!(projection.objects("vault/").len(), usize::from(has_vault));
            }
            Ok(())
        })?;
    }
}

/// Many at once change the same few points, as callers and facts do.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn memory_and_disk_agree_whoever_is_told_first_that_a_change_is_durable() {
    let dir = tempfile::tempdir().unwrap();
    let config = state_store::StoreConfig::new(dir.path().join("gateway"));
    let opened = tokio::task::spawn_blocking(move || StateStore::open(&config)).await.unwrap().unwrap();
    let projection = scene::projection(opened.store.clone()).await;
    let all = |projection: Projection| async move {
        projection.points((ACCOUNT, REGION), &PointFilter::default(), None, 100).await.rows
    };
    for round in 0..40u64 {
        let tasks = (0..16u64).map(|task| {
            let projection = projection.clone();
            tokio::spawn(async move {
                let number = task % 3;
                let change = if (round + task).is_multiple_of(4) {
                    change_of(&Told::Gone(number))
                } else {
                    let mut point = point(number);
                    point.status_message = Some(format!("round {round} task {task}"));
                    Change::of_point(&point)
                };
                projection.apply(vec![change], None).await.unwrap();
            })
        });
        for task in tasks.collect::<Vec<_>>() {
            task.await.unwrap();
        }
        let stored = scene::projection(opened.store.clone()).await;
        assert_eq!(all(projection.clone()).await, all(stored).await, "round {round}");
    }
    opened.store.close().await;
}

/// An API around these points in its vault.
async fn api_with(numbers: impl Iterator<Item = u64>) -> Arc<crate::http::Api> {
    let (api, _) = scene::api(StateStore::in_memory()).await;
    let mut changes = vec![Change::Put(Box::new(Object::Vault(scene::vault())))];
    changes.extend(numbers.map(|number| Change::of_point(&point(number))));
    api.projection.apply(changes, None).await.unwrap();
    api
}

async fn page(api: &Arc<crate::http::Api>, target: &str) -> (Vec<String>, Option<String>) {
    let response = ask(api, "GET", target, b"").await;
    assert_eq!(response.status(), StatusCode::OK, "{target}");
    let body = json_of(response).await;
    let arn = |row: &Value| row["RecoveryPointArn"].as_str().unwrap().to_owned();
    let rows = body["RecoveryPoints"].as_array().unwrap().iter().map(arn).collect();
    (rows, body.get("NextToken").map(|token| token.as_str().unwrap().to_owned()))
}

#[tokio::test]
async fn a_reader_of_pages_meets_every_point_that_stays_once_while_others_come_and_go() {
    // Even ones stay, odd ones go while they are read, and newer and older ones come.
    let api = api_with(1000..2000).await;
    let (mut met, mut next, mut round) = (Vec::new(), None::<String>, 0);
    loop {
        let target = match &next {
            None => format!("{LIST}?maxResults=64"),
            Some(token) => format!("{LIST}?maxResults=64&nextToken={token}"),
        };
        let (rows, token) = page(&api, &target).await;
        assert!(rows.len() <= 64);
        met.extend(rows);
        let Some(token) = token else { break };
        next = Some(token);
        let step = |n: u64| 1000 + (round * 60 + n) % 1000;
        let leaving = (0..60).map(step).filter(|n| n % 2 == 1).map(|n| change_of(&Told::Gone(n)));
        let coming = [2000 + round, 999 - round].map(|n| change_of(&Told::Made(n)));
        api.projection.apply(leaving.chain(coming).collect(), None).await.unwrap();
        round += 1;
    }
    assert!(round > 5, "many pages: {round}");
    let once: BTreeSet<&String> = met.iter().collect();
    assert_eq!(once.len(), met.len(), "no point twice");
    let staying: Vec<String> = (1000..2000).rev().filter(|n| n % 2 == 0).map(|n| point(n).arn.to_string()).collect();
    let kept: Vec<&String> = met.iter().filter(|arn| staying.contains(arn)).collect();
    assert_eq!(kept, staying.iter().collect::<Vec<_>>(), "all that stay, newest first");
}

#[tokio::test]
async fn filters_take_what_they_name_and_nothing_else() {
    let api = api_with(0..3000).await;
    let instant = |number| point(number).created_at.to_string().replace(':', "%3A");
    let count = async |query: &str| page(&api, &format!("{LIST}?{query}")).await.0.len();
    assert_eq!(
        count(&format!("resourceArn={}", "arn%3Aaws%3Afiles%3Aeu-central-1%3A000000000000%3Atree%2Fresource-7")).await,
        3
    );
    assert_eq!(count("resourceType=Volume").await, 750);
    assert_eq!(count("resourceType=EBS").await, 0);
    assert_eq!(count(&format!("backupPlanId={}", scene::plan_id(3))).await, 150);
    assert_eq!(count(&format!("createdAfter={}&createdBefore={}", instant(10), instant(20))).await, 9);
    assert_eq!(count(&format!("createdAfter={}&createdBefore={}", instant(20), instant(10))).await, 0);
    assert_eq!(count(&format!("resourceType=Volume&createdAfter={}", instant(2989))).await, 2);
}

#[tokio::test]
async fn a_page_token_opens_for_its_own_list_and_caller_only() {
    let api = api_with(0..10).await;
    let (_, token) = page(&api, &format!("{LIST}?maxResults=4")).await;
    let token = token.unwrap();
    let flipped: String = token.chars().rev().collect();
    let refused = [
        format!("{LIST}?maxResults=4&nextToken={flipped}"),
        format!("{LIST}?maxResults=4&nextToken={}", &token[..token.len() - 2]),
        format!("{LIST}?maxResults=4&nextToken=AAAA"),
        format!("{LIST}?resourceType=Files&nextToken={token}"),
        format!("/backup-vaults/?nextToken={token}"),
    ];
    for target in refused {
        let response = ask(&api, "GET", &target, b"").await;
        assert_eq!(response.status(), StatusCode::BAD_REQUEST, "{target}");
        assert_eq!(response.headers()["x-amzn-errortype"], "InvalidParameterValueException", "{target}");
        assert!(json_of(response).await["Message"].as_str().unwrap().contains("NextToken"), "{target}");
    }
    let (rows, _) = page(&api, &format!("{LIST}?maxResults=2&nextToken={token}")).await;
    assert_eq!(rows, [point(5), point(4)].map(|point| point.arn.to_string()));
}

#[tokio::test]
async fn lists_say_since_when_their_services_are_silent() {
    let api = api_with(0..3).await;
    let stale = async |target: &str| {
        let response = ask(&api, "GET", target, b"").await;
        assert_eq!(response.status(), StatusCode::OK, "{target}");
        response.headers().get("x-holdfast-stale-since").map(|value| value.to_str().unwrap().to_owned())
    };
    assert_eq!(stale(LIST).await, None);
    api.projection.note_silence(|silence| silence.planner = Some(scene::start()));
    for target in
        [LIST, "/backup-vaults/", "/backup/plans/", "/resources/", "/backup-jobs/", "/audit/backup-job-summaries"]
    {
        assert_eq!(stale(target).await.as_deref(), Some("2025-01-02T03:04:05Z"), "{target}");
    }
    assert_eq!(stale("/restore-testing/plans").await, None, "that is the verifier's");
    api.projection.note_silence(|silence| *silence = Silence { verifier: Some(scene::start()), planner: None });
    assert!(stale("/restore-testing/plans").await.is_some());
    assert_eq!(stale(LIST).await, None);
}
