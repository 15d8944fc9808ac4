//! One protection cycle is one connected trace across all five services, and its numbers are metrics.

use std::collections::{BTreeMap, BTreeSet};

use integration_tests::installation::{Installation, Options, wait_until};
use integration_tests::otlp_sink::{OtlpSink, SeenSpan};
use job_events::{Answer, CreatePlan, CreateSelection, Query, RuleInput};
use job_model::{Conditions, CopyAction, Lifecycle, ResourceType, VerdictStatus};

/// Spans of the trace whose parent is neither in the trace nor none.
fn orphans<'a>(trace: &[&'a SeenSpan]) -> Vec<&'a SeenSpan> {
    let ids: BTreeSet<&str> = trace.iter().map(|span| span.span_id.as_str()).collect();
    trace.iter().filter(|span| !span.parent_id.is_empty() && !ids.contains(span.parent_id.as_str())).copied().collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scheduled_cycle_is_one_trace_from_schedule_to_verdict() {
    let sink = OtlpSink::start().await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let options = Options { otlp_endpoint: Some(sink.endpoint()), ..Options::default() };
    let installation = Installation::start(dir.path(), options).await.unwrap();
    let stage = installation.make_vaults().await.unwrap();
    let resource = installation.make_resource("traced").await.unwrap();
    let rule = RuleInput {
        name: "every-minute".to_owned(),
        target_vault: stage.primary.clone(),
        schedule: Some("cron(* * * * ? *)".to_owned()),
        time_zone: None,
        start_window_minutes: None,
        completion_window_minutes: None,
        lifecycle: Lifecycle::default(),
        generations: None,
        copy_actions: vec![CopyAction { destination_vault: stage.copy.clone(), lifecycle: Lifecycle::default() }],
        recovery_point_tags: BTreeMap::new(),
        enable_continuous: false,
    };
    let plan = installation
        .request(CreatePlan {
            name: "traced".to_owned(),
            rules: vec![rule],
            advanced_settings: Vec::new(),
            tags: std::collections::BTreeMap::new(),
        })
        .await
        .unwrap();
    let selection = CreateSelection {
        plan_id: plan.result.unwrap().parse().unwrap(),
        name: "traced".to_owned(),
        resources: vec![resource.to_string()],
        not_resources: Vec::new(),
        list_of_tags: Vec::new(),
        conditions: Conditions::default(),
        iam_role: None,
    };
    installation.request(selection).await.unwrap();

    let copied = wait_until("a scheduled copy", || async {
        let points = installation.recovery_points(&resource).await?;
        Ok(points.into_iter().find(|point| point.vault == stage.copy))
    })
    .await
    .unwrap();
    let run = installation.prove(&resource, ResourceType::Files, &stage.copy).await.unwrap();
    assert_eq!(run.entries[0].verdict.as_ref().unwrap().status, VerdictStatus::Successful, "{run:?}");
    let tested = run.entries[0].recovery_point.clone().unwrap();
    let Answer::RecoveryPoint { recovery_point, .. } =
        installation.query(&Query::ShowRecoveryPoint { recovery_point: tested }).await.unwrap()
    else {
        panic!("the tested recovery point is in the catalogue")
    };
    let traceparent = recovery_point.traceparent.or(copied.traceparent).expect("a recovery point knows its trace");
    let trace_id = traceparent.split('-').nth(1).unwrap().to_owned();

    let services = ["planner", "snapshot-worker", "copy-replicator", "restore-worker", "verifier"];
    let whole = wait_until("the trace to be whole", || async {
        let spans = sink.spans();
        let trace: Vec<&SeenSpan> = spans.iter().filter(|span| span.trace_id == trace_id).collect();
        let seen: BTreeSet<&str> = trace.iter().map(|span| span.service.as_str()).collect();
        let verdict = trace.iter().any(|span| span.service == "verifier" && span.name.contains("verify"));
        let all = services.iter().all(|service| seen.contains(service));
        Ok((all && verdict && orphans(&trace).is_empty()).then(|| trace.into_iter().cloned().collect::<Vec<_>>()))
    })
    .await;
    let Ok(whole) = whole else {
        let spans = sink.spans();
        let trace: Vec<&SeenSpan> = spans.iter().filter(|span| span.trace_id == trace_id).collect();
        let names: Vec<_> = trace.iter().map(|span| (&span.service, &span.name, &span.parent_id)).collect();
        panic!("the trace is not whole; orphans: {:?}; spans: {names:#?}", orphans(&trace));
    };
    let roots: Vec<&SeenSpan> = whole.iter().filter(|span| span.parent_id.is_empty()).collect();
    assert_eq!(roots.len(), 1, "one schedule, one root: {roots:?}");
    assert_eq!(roots[0].service, "planner");
    assert!(roots[0].name.contains("schedule"), "the root is the firing of the schedule: {}", roots[0].name);

    let wanted = ["jobs", "bytes", "rto", "rpo", "restorable.age", "checked.age"];
    wait_until("the metrics", || async {
        let names = sink.metrics();
        Ok(wanted.iter().all(|part| names.iter().any(|name| name.contains(part))).then_some(()))
    })
    .await
    .unwrap_or_else(|_| panic!("metrics of {wanted:?} are missing in {:?}", sink.metrics()));
    assert!(!sink.logs().is_empty(), "services export their logs");
}
