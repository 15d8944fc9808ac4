//! Requests about plans, and what is refused.

use std::time::Duration;

use job_events::{
    Answer, DeleteRestoreTestingPlan, Envelope, Fact, PutRestoreTestingPlan, Query, Request, RequestRejected,
    RunRestoreTest,
};
use job_model::{PointAlgorithm, ProtectedResourceConditions, ResourceType, RestoreTestingSelection};
use vault_engine::Profiles;

use crate::planner::resource;
use crate::world::{World, instant};

const HOUR: Duration = Duration::from_secs(3_600);

pub(crate) fn put(resources: &[&str]) -> PutRestoreTestingPlan {
    PutRestoreTestingPlan {
        name: "proof".to_owned(),
        schedule: None,
        time_zone: None,
        start_window_hours: None,
        algorithm: PointAlgorithm::LatestWithinWindow,
        include_vaults: vec!["*".to_owned()],
        exclude_vaults: Vec::new(),
        selection_window_days: None,
        selections: vec![RestoreTestingSelection {
            name: "files".to_owned(),
            resource_type: ResourceType::Files,
            protected_resources: resources
                .iter()
                .map(|name| if *name == "*" { "*".to_owned() } else { resource(name).to_string() })
                .collect(),
            conditions: ProtectedResourceConditions::default(),
            validation_window_hours: 0,
            iam_role: None,
            creator_request_id: None,
            created_at: None,
            updated_at: None,
            restore_metadata_overrides: std::collections::BTreeMap::new(),
        }],
    }
}

pub(crate) fn rejected(fact: Fact) -> RequestRejected {
    match fact {
        Fact::RequestRejected(rejected) => rejected,
        other => panic!("`{}` instead of a rejection", other.name()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_comes_too_late_is_not_done_and_with_more_time_it_is() {
    let mut world = World::new().await;
    world.start(Profiles::default(), HOUR).await;
    let request = Request::from(put(&["*"]));
    let data = request.to_value().unwrap();
    let mut envelope = Envelope::new("late".to_owned(), "/test".to_owned(), request.event_type(), instant(), data);
    envelope.expiry_time = Some(instant() - jiff::SignedDuration::from_secs(2));
    let refusal = rejected(world.ask_with(&request, &envelope).await);
    assert_eq!((refusal.code.as_str(), refusal.field.as_str()), ("RequestExpired", "expirytime"));
    assert!(refusal.message.contains("nothing was done"), "{}", refusal.message);

    envelope.expiry_time = Some(instant() + jiff::SignedDuration::from_secs(60));
    let answer = world.ask_as("late again".to_owned(), &request, &envelope).await;
    assert!(matches!(&answer, Fact::RequestAccepted(a) if a.result.as_deref() == Some("proof")), "{answer:?}");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_gets_defaults_and_is_listed_until_it_is_deleted() {
    let mut world = World::new().await;
    world.start(Profiles::default(), HOUR).await;
    let answer = world.ask(put(&["*"])).await;
    assert!(matches!(&answer, Fact::RequestAccepted(a) if a.result.as_deref() == Some("proof")), "{answer:?}");

    // The plan is there after a restart.
    world.stop().await;
    world.start(Profiles::default(), HOUR).await;
    let Answer::RestoreTestingPlans(plans) = world.query(&Query::ListRestoreTestingPlans).await else { panic!() };
    assert_eq!(plans.len(), 1);
    assert_eq!((plans[0].start_window_hours, plans[0].selection_window_days), (24, 30));
    assert_eq!(plans[0].time_zone, "UTC");

    let delete = DeleteRestoreTestingPlan { name: "proof".to_owned(), only_empty: false };
    assert!(matches!(world.ask(delete.clone()).await, Fact::RequestAccepted(_)));
    let again = rejected(world.ask(delete).await);
    assert_eq!((again.code.as_str(), again.field.as_str()), ("ResourceNotFoundException", "name"));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_rejected_by_the_name_of_its_field() {
    let mut world = World::new().await;
    world.start(Profiles::default(), HOUR).await;
    let cases: Vec<(PutRestoreTestingPlan, &str)> = vec![
        (PutRestoreTestingPlan { name: "with-hyphen".to_owned(), ..put(&["*"]) }, "name"),
        (PutRestoreTestingPlan { schedule: Some("cron(0 25 ? * * *)".to_owned()), ..put(&["*"]) }, "schedule"),
        (PutRestoreTestingPlan { time_zone: Some("Mars".to_owned()), ..put(&["*"]) }, "time_zone"),
        (PutRestoreTestingPlan { selection_window_days: Some(366), ..put(&["*"]) }, "selection_window_days"),
        (PutRestoreTestingPlan { selections: Vec::new(), ..put(&["*"]) }, "selections"),
    ];
    for (request, field) in cases {
        let rejected = rejected(world.ask(request).await);
        assert_eq!(rejected.field, field, "{rejected:?}");
        assert!(!rejected.message.is_empty());
    }
    let unknown = rejected(world.ask(RunRestoreTest { name: "ghost".to_owned() }).await);
    assert_eq!(unknown.code, "ResourceNotFoundException");

    let mut unreadable = Envelope::new(
        "unreadable".to_owned(),
        "/test".to_owned(),
        "holdfast.request.run-restore-test.v1".to_owned(),
        instant(),
        serde_json::json!({ "nam": "typo" }),
    );
    let request = RunRestoreTest { name: String::new() }.into();
    let typo = rejected(world.ask_with(&request, &unreadable).await);
    assert!(typo.message.contains("nam"), "{typo:?}");
    unreadable.id = "no-envelope".to_owned();
    unreadable.specversion = "0.3".to_owned();
    assert_eq!(rejected(world.ask_with(&request, &unreadable).await).field, "specversion");
    world.stop().await;
}
