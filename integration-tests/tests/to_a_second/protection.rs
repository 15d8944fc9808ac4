//! A plan that has a server followed, and what comes of it.

use std::collections::BTreeMap;
use std::path::Path;

use integration_tests::cycle::Stage;
use integration_tests::installation::{Installation, wait_until};
use jiff::Timestamp;
use job_events::{CreatePlan, CreateSelection, RegisterResource, RuleInput, StartRestore};
use job_model::{
    Arn, Conditions, CopyAction, JobId, Lifecycle, OverwritePolicy, RecoveryPoint, RecoveryPointKind, ResourceType,
    RestoreTarget,
};

use crate::server::{PORT, Server};

/// Has a server followed and captured every minute. `more` is the end of its location.
pub(crate) async fn protect(installation: &Installation, stage: &Stage, source: &Server, more: &str) -> Arn {
    let region = installation.regions[0].clone();
    let arn: Arn = format!("arn:aws:rds:{region}:000000000000:db:shop").parse().unwrap();
    let register = RegisterResource {
        arn: arn.clone(),
        resource_type: ResourceType::Rds,
        region,
        location: format!("postgresql:///?host={}&port={PORT}&profile=test{more}", source.sockets.display()),
        hooks: None,
        tags: BTreeMap::new(),
    };
    installation.request(register).await.unwrap();
    let lifecycle = Lifecycle { delete_after_days: Some(7), ..Lifecycle::default() };
    let rule = RuleInput {
        name: "every-minute".to_owned(),
        target_vault: stage.primary.clone(),
        schedule: Some("cron(* * * * ? *)".to_owned()),
        time_zone: None,
        start_window_minutes: Some(60),
        completion_window_minutes: Some(120),
        lifecycle,
        generations: None,
        copy_actions: vec![CopyAction { destination_vault: stage.copy.clone(), lifecycle }],
        recovery_point_tags: BTreeMap::new(),
        enable_continuous: true,
    };
    let plan = CreatePlan {
        name: "continuous".to_owned(),
        rules: vec![rule],
        advanced_settings: Vec::new(),
        tags: BTreeMap::new(),
    };
    let plan_id = installation.request(plan).await.unwrap().result.unwrap().parse().unwrap();
    let selection = CreateSelection {
        plan_id,
        name: "shop".to_owned(),
        resources: vec![arn.to_string()],
        not_resources: Vec::new(),
        list_of_tags: Vec::new(),
        conditions: Conditions::default(),
        iam_role: None,
    };
    installation.request(selection).await.unwrap();
    arn
}

/// Waits until the window reaches beyond an instant.
pub(crate) async fn window_beyond(installation: &Installation, resource: &Arn, at: Timestamp) -> RecoveryPoint {
    wait_until(&format!("a window beyond {at}"), || async {
        let points = installation.recovery_points(resource).await?;
        let reaches = |point: &RecoveryPoint| {
            let continuous = point.continuous.as_ref();
            continuous.and_then(|continuous| continuous.window.last()).is_some_and(|interval| interval.to > at)
        };
        Ok(points.into_iter().find(|point| point.kind == RecoveryPointKind::Continuous && reaches(point)))
    })
    .await
    .unwrap()
}

/// Starts a restore.
pub(crate) async fn restore(installation: &Installation, point: &Arn, to: &Path, metadata: &[(&str, String)]) -> JobId {
    let request = StartRestore {
        recovery_point: point.clone(),
        target: RestoreTarget::Location { url: format!("file://{}", to.display()) },
        overwrite: OverwritePolicy::Refuse,
        include: Vec::new(),
        test: None,
        metadata: metadata.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect(),
        iam_role: None,
    };
    installation.request(request).await.unwrap().job_id.unwrap()
}
