use job_events::{Fact, PutRestoreTestingPlan};
use job_model::{PointAlgorithm, ProtectedResourceConditions, ResourceType, RestoreTestingSelection};
use uuid::Uuid;

use super::*;
use crate::speak::Speaker;
use crate::store::PlanRow;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn plan(start_window_hours: u32) -> RestoreTestingPlan {
    RestoreTestingPlan {
        name: "nightly_proof".to_owned(),
        schedule: Some("cron(0 5 ? * * *)".to_owned()),
        time_zone: "UTC".to_owned(),
        start_window_hours,
        algorithm: PointAlgorithm::LatestWithinWindow,
        include_vaults: vec!["*".to_owned()],
        exclude_vaults: Vec::new(),
        selection_window_days: 30,
        selections: vec![RestoreTestingSelection {
            name: "files".to_owned(),
            resource_type: ResourceType::Files,
            protected_resources: vec!["arn:aws:files:ap-northeast-1:000000000000:tree/home".to_owned()],
            conditions: ProtectedResourceConditions::default(),
            validation_window_hours: 0,
            iam_role: None,
            creator_request_id: None,
            created_at: None,
            updated_at: None,
            restore_metadata_overrides: std::collections::BTreeMap::new(),
        }],
        updated_at: at("2026-11-01T00:00:00Z"),
        account: None,
        region: None,
        creator_request_id: None,
        tags: std::collections::BTreeMap::new(),
        created_at: None,
        recovery_point_kinds: vec![job_model::RecoveryPointKind::Snapshot],
        last_started_at: None,
    }
}

fn nightly() -> PlanKey {
    PlanKey { owner: None, name: "nightly_proof".to_owned() }
}

fn rules() -> Rules {
    Rules {
        account: "000000000000".parse().unwrap(),
        speaker: Speaker::new("/holdfast/verifier/1", at("2026-11-01T00:00:00Z")),
        regions: vec!["ap-northeast-1".parse().unwrap()],
        run_timeout: SignedDuration::from_hours(24),
    }
}

fn draw(number: u128) -> Draw {
    Draw { id: TestRunId::new(Uuid::from_u128(number)), random: 1 }
}

/// Looks at a plan at an instant and says how many runs there are then.
async fn runs_after(state: &StateStore, now: Timestamp, number: u128) -> usize {
    commit(state, move |tx| start_due(tx, &rules(), &nightly(), draw(number), now)).await.unwrap();
    state.read(|tx| Ok(store::all_runs(tx)?.len())).await.unwrap()
}

async fn state_with(plan: RestoreTestingPlan, served_until: Timestamp) -> StateStore {
    let state = StateStore::in_memory();
    let row = PlanRow { plan, region: "ap-northeast-1".parse().unwrap(), served_until };
    commit(&state, move |tx| store::put_plan(tx, &row)).await.unwrap();
    state
}

#[test]
fn a_start_is_delayed_by_the_plans_own_share_of_its_window() {
    let (served, day) = (at("2026-11-19T05:00:00Z"), at("2026-11-20T05:00:00Z"));
    assert_eq!(due(&plan(0), served, day).map(|due| due.at), Some(day));
    let share = delay(&plan(24));
    assert!(share > SignedDuration::ZERO && share < SignedDuration::from_hours(24));
    assert_eq!(due(&plan(24), served, day + share - SignedDuration::from_secs(1)), None);
    assert_eq!(due(&plan(24), served, day + share).map(|due| due.at), Some(day));
}

#[test]
fn a_plan_without_a_schedule_is_never_due() {
    let on_request = RestoreTestingPlan { schedule: None, ..plan(0) };
    assert_eq!(due(&on_request, Timestamp::UNIX_EPOCH, at("2026-11-20T05:00:00Z")), None);
}

#[tokio::test]
async fn each_instant_is_served_once_and_a_long_absence_once() {
    let state = state_with(plan(0), at("2026-11-19T05:00:00Z")).await;
    assert_eq!(runs_after(&state, at("2026-11-20T04:59:59Z"), 1).await, 0);
    assert_eq!(runs_after(&state, at("2026-11-20T05:00:01Z"), 2).await, 1);
    assert_eq!(runs_after(&state, at("2026-11-20T05:00:06Z"), 3).await, 1);
    // Ten days later one run stands for all that were missed.
    assert_eq!(runs_after(&state, at("2026-11-30T07:00:00Z"), 4).await, 2);
    assert_eq!(runs_after(&state, at("2026-11-30T07:00:05Z"), 5).await, 2);
}

#[tokio::test]
async fn a_new_schedule_does_not_catch_up_what_came_before_it() {
    let state = StateStore::in_memory();
    let region = "ap-northeast-1".parse().unwrap();
    let plan = plan(0);
    let request: job_events::Request = PutRestoreTestingPlan {
        name: plan.name.clone(),
        schedule: plan.schedule,
        time_zone: None,
        start_window_hours: Some(0),
        algorithm: plan.algorithm,
        include_vaults: plan.include_vaults,
        exclude_vaults: Vec::new(),
        selection_window_days: None,
        selections: plan.selections,
    }
    .into();
    let now = at("2026-11-20T12:00:00Z");
    let envelope = job_events::Envelope::new(
        "1".to_owned(),
        "/t".to_owned(),
        request.event_type(),
        now,
        request.to_value().unwrap(),
    );
    let payload = envelope.to_bytes().unwrap();
    commit(&state, move |tx| {
        let asked = crate::handlers::Asked { region: &region, payload: &payload, now, draw: draw(9) };
        crate::handlers::handle_request(tx, &rules(), &asked)
    })
    .await
    .unwrap();
    assert_eq!(runs_after(&state, at("2026-11-20T12:00:05Z"), 1).await, 0);
    assert_eq!(runs_after(&state, at("2026-11-21T05:00:05Z"), 2).await, 1);
}

#[tokio::test]
async fn a_run_that_selects_nothing_ends_at_once() {
    let mut everything = plan(0);
    everything.selections[0].protected_resources = vec!["*".to_owned()];
    let state = state_with(everything, at("2026-11-19T05:00:00Z")).await;
    assert_eq!(runs_after(&state, at("2026-11-20T05:00:00Z"), 1).await, 1);
    let run = state.read(|tx| store::run(tx, draw(1).id)).await.unwrap().unwrap();
    assert_eq!((run.ended_at.is_some(), run.open_entries), (true, 0));
}

#[tokio::test]
async fn the_first_verdict_on_an_entry_stays() {
    let state = state_with(plan(0), at("2026-11-19T05:00:00Z")).await;
    assert_eq!(runs_after(&state, at("2026-11-20T05:00:00Z"), 1).await, 1);
    let entries = || state.read(|tx| store::entries(tx, draw(1).id));
    let before = entries().await.unwrap();
    assert_eq!(before[0].verdict.as_ref().unwrap().status, job_model::VerdictStatus::Failed);
    let later = at("2026-11-20T06:00:00Z");
    let job = job_model::JobId::new(Uuid::from_u128(8));
    let proven = job_model::Verdict {
        status: job_model::VerdictStatus::Successful,
        message: "too late".to_owned(),
        judged_at: later,
        restore_job_id: Some(job),
        rto_ms: 1,
        rpo_ms: 1,
    };
    let reached: Fact = job_events::VerdictReached {
        attempt: job_events::AttemptHeader {
            job_id: job,
            attempt: 1,
            epoch: 1,
            worker: "verifier/1".to_owned(),
            at: later,
        },
        test_run: draw(1).id,
        restore_job_id: job,
        recovery_point: "arn:aws:backup:ap-northeast-1:000000000000:recovery-point:x".parse().unwrap(),
        resource: before[0].resource.clone(),
        verdict: proven,
        findings: Vec::new(),
        rto_phases: Vec::new(),
        progress: job_model::Progress::default(),
        check_steps: Vec::new(),
    }
    .into();
    commit(&state, move |tx| crate::handlers::handle_fact(tx, &rules(), reached, later)).await.unwrap();
    assert_eq!(entries().await.unwrap(), before);
}
