use job_model::{
    CaptureSummary, Consistency, JobId, Lifecycle, ProtectedResourceConditions, RecoveryPointId, RecoveryPointKind,
    TagEquality,
};
use proptest::prelude::*;
use uuid::Uuid;

use super::*;

fn resource(name: &str) -> Arn {
    format!("arn:aws:files:ap-northeast-1:000000000000:tree/{name}").parse().unwrap()
}

fn vault(region: &str, name: &str) -> Arn {
    format!("arn:aws:backup:{region}:000000000000:backup-vault:{name}").parse().unwrap()
}

fn now() -> Timestamp {
    "2026-11-20T05:00:00Z".parse().unwrap()
}

fn point(number: u128, of: &str, age_hours: i64) -> RecoveryPoint {
    let id = RecoveryPointId::new(Uuid::from_u128(number));
    let created_at = now() - SignedDuration::from_hours(age_hours);
    RecoveryPoint {
        id,
        arn: format!("arn:aws:backup:ap-northeast-1:000000000000:recovery-point:{id}").parse().unwrap(),
        kind: RecoveryPointKind::Snapshot,
        vault: vault("ap-northeast-1", "main"),
        storage_class: job_model::StorageClass::Warm,
        snapshot_id: "0".repeat(64),
        resource: resource(of),
        resource_type: ResourceType::Files,
        status: RecoveryPointStatus::Completed,
        status_message: None,
        job_id: JobId::new(Uuid::nil()),
        created_by: None,
        copied_from: None,
        created_at,
        completed_at: created_at,
        summary: CaptureSummary {
            tree_id: "0".repeat(64),
            consistency: Consistency::Crash,
            capture_started_at: created_at,
            capture_ended_at: created_at,
            size_bytes: 0,
            items: 0,
            change_detection: "full read by hashing".to_owned(),
            reading: None,
            exception_count: 0,
            exceptions: Vec::new(),
        },
        lifecycle: Lifecycle::default(),
        generations: None,
        time_zone: "UTC".to_owned(),
        tags: BTreeMap::new(),
        traceparent: None,
        last_verdict: None,
        iam_role: None,
        last_restored_at: None,
        continuous: None,
    }
}

fn selection(resources: &[&str]) -> RestoreTestingSelection {
    RestoreTestingSelection {
        name: "files".to_owned(),
        resource_type: ResourceType::Files,
        protected_resources: resources.iter().map(|r| (*r).to_owned()).collect(),
        conditions: ProtectedResourceConditions::default(),
        validation_window_hours: 0,
        iam_role: None,
        creator_request_id: None,
        created_at: None,
        updated_at: None,
        restore_metadata_overrides: std::collections::BTreeMap::new(),
    }
}

fn plan(algorithm: PointAlgorithm) -> RestoreTestingPlan {
    RestoreTestingPlan {
        name: "proof".to_owned(),
        schedule: None,
        time_zone: "UTC".to_owned(),
        start_window_hours: 0,
        algorithm,
        include_vaults: vec!["*".to_owned()],
        exclude_vaults: Vec::new(),
        selection_window_days: 30,
        selections: vec![selection(&["*"])],
        updated_at: now(),
        account: None,
        region: None,
        creator_request_id: None,
        tags: std::collections::BTreeMap::new(),
        created_at: None,
        recovery_point_kinds: vec![job_model::RecoveryPointKind::Snapshot],
        last_started_at: None,
    }
}

fn latest() -> RestoreTestingPlan {
    plan(PointAlgorithm::LatestWithinWindow)
}

/// Resource name and number of the point, or nothing.
fn picked(plan: &RestoreTestingPlan, points: &[RecoveryPoint]) -> Vec<(String, Option<u128>)> {
    pick(plan, points, now(), 7)
        .into_iter()
        .map(|pick| {
            let name = pick.resource.resource().trim_start_matches("tree/").to_owned();
            (name, pick.choice.ok().map(|point| point.id.as_uuid().as_u128()))
        })
        .collect()
}

fn expected(rows: &[(&str, Option<u128>)]) -> Vec<(String, Option<u128>)> {
    rows.iter().map(|(name, number)| ((*name).to_owned(), *number)).collect()
}

#[test]
fn the_latest_of_each_resource_is_picked() {
    let points = [point(1, "a", 48), point(2, "a", 24), point(3, "b", 72)];
    assert_eq!(picked(&latest(), &points), expected(&[("a", Some(2)), ("b", Some(3))]));
}

#[test]
fn a_resource_whose_points_are_too_old_is_a_failure_and_not_a_missing_row() {
    let points = [point(1, "a", 31 * 24)];
    assert_eq!(picked(&latest(), &points), expected(&[("a", None)]));
    let reason = pick(&latest(), &points, now(), 7).remove(0).choice.unwrap_err();
    assert!(reason.contains("none of its 1 recovery points"), "{reason}");
}

#[test]
fn a_named_resource_without_any_point_is_a_failure() {
    let named = RestoreTestingPlan {
        selections: vec![selection(&[resource("ghost").as_str(), resource("a").as_str()])],
        ..latest()
    };
    assert_eq!(picked(&named, &[point(1, "a", 1)]), expected(&[("a", Some(1)), ("ghost", None)]));
    assert_eq!(pick(&named, &[], now(), 7)[1].choice, Err("no recovery point of it is known".to_owned()));
}

#[test]
fn the_vaults_of_the_plan_decide_between_primary_and_copy() {
    let copy = RecoveryPoint { vault: vault("eu-west-1", "dr"), ..point(2, "a", 1) };
    let points = [point(1, "a", 2), copy];
    let copies = RestoreTestingPlan { include_vaults: vec!["arn:aws:backup:eu-west-1:*".to_owned()], ..latest() };
    assert_eq!(picked(&copies, &points), expected(&[("a", Some(2))]));
    let primary = RestoreTestingPlan { exclude_vaults: vec!["*:backup-vault:dr".to_owned()], ..latest() };
    assert_eq!(picked(&primary, &points), expected(&[("a", Some(1))]));
}

#[test]
fn points_that_go_or_are_gone_are_not_picked_and_partial_ones_are() {
    for (status, number) in [
        (RecoveryPointStatus::Deleting, None),
        (RecoveryPointStatus::Expired, None),
        (RecoveryPointStatus::Partial, Some(1)),
    ] {
        let points = [RecoveryPoint { status, ..point(1, "a", 1) }];
        assert_eq!(picked(&latest(), &points), expected(&[("a", number)]), "{status:?}");
    }
}

#[test]
fn another_type_is_not_of_the_selection() {
    let points = [RecoveryPoint { resource_type: ResourceType::Volume, ..point(1, "a", 1) }];
    assert_eq!(picked(&latest(), &points), expected(&[]));
    let named = RestoreTestingPlan { selections: vec![selection(&[resource("a").as_str()])], ..latest() };
    assert_eq!(picked(&named, &points), expected(&[("a", None)]));
}

#[test]
fn conditions_look_at_the_tags_of_the_latest_point() {
    let tagged = |number, age, stage: &str| RecoveryPoint {
        tags: BTreeMap::from([("stage".to_owned(), stage.to_owned())]),
        ..point(number, "a", age)
    };
    let mut plan = latest();
    plan.selections[0].conditions.string_equals =
        vec![TagEquality { key: "aws:ResourceTag/stage".to_owned(), value: "prod".to_owned() }];
    assert_eq!(picked(&plan, &[tagged(1, 2, "test"), tagged(2, 1, "prod")]), expected(&[("a", Some(2))]));
    assert_eq!(picked(&plan, &[tagged(1, 2, "prod"), tagged(2, 1, "test")]), expected(&[]));
    // Nothing is known of a named resource's tags, and silence is no proof.
    plan.selections[0].protected_resources = vec![resource("ghost").to_string()];
    assert_eq!(picked(&plan, &[]), expected(&[("ghost", None)]));
}

#[test]
fn a_resource_in_two_selections_is_tested_once() {
    let plan = RestoreTestingPlan { selections: vec![selection(&["*"]), selection(&["*"])], ..latest() };
    assert_eq!(picked(&plan, &[point(1, "a", 1)]), expected(&[("a", Some(1))]));
}

fn any_points() -> impl Strategy<Value = Vec<RecoveryPoint>> {
    prop::collection::vec(("[abc]", 0_i64..2_000, 0_u8..4, any::<bool>()), 0..40).prop_map(|rows| {
        (1_u128..)
            .zip(rows)
            .map(|(number, (name, age, status, in_dr))| {
                let mut row = point(number, &name, age);
                row.status = [
                    RecoveryPointStatus::Completed,
                    RecoveryPointStatus::Partial,
                    RecoveryPointStatus::Deleting,
                    RecoveryPointStatus::Expired,
                ][usize::from(status)];
                if in_dr {
                    row.vault = vault("eu-west-1", "dr");
                }
                row
            })
            .collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_known_resource_has_exactly_one_row_and_an_eligible_point_or_a_reason(
        points in any_points(),
        random in any::<u64>(),
        by_chance in any::<bool>(),
    ) {
        let algorithm =
            if by_chance { PointAlgorithm::RandomWithinWindow } else { PointAlgorithm::LatestWithinWindow };
        let plan = RestoreTestingPlan { exclude_vaults: vec!["*dr".to_owned()], ..plan(algorithm) };
        let picks = pick(&plan, &points, now(), random);
        let known: BTreeSet<Arn> = points.iter().map(|p| p.resource.clone()).collect();
        let rows: Vec<Arn> = picks.iter().map(|pick| pick.resource.clone()).collect();
        prop_assert_eq!(rows, known.into_iter().collect::<Vec<_>>());
        for pick in picks {
            let eligible: Vec<&RecoveryPoint> = points
                .iter()
                .filter(|p| p.resource == pick.resource && is_eligible(&plan, &plan.selections[0], p, now()))
                .collect();
            match pick.choice {
                Err(_) => prop_assert!(eligible.is_empty()),
                Ok(point) => {
                    prop_assert!(eligible.contains(&&point));
                    if !by_chance {
                        prop_assert!(eligible.iter().all(|p| p.created_at <= point.created_at));
                    }
                }
            }
        }
    }

    #[test]
    fn the_same_random_number_picks_the_same_points(points in any_points(), random in any::<u64>()) {
        let plan = plan(PointAlgorithm::RandomWithinWindow);
        let reversed: Vec<RecoveryPoint> = points.iter().rev().cloned().collect();
        prop_assert_eq!(pick(&plan, &points, now(), random), pick(&plan, &reversed, now(), random));
    }
}

#[test]
fn chance_reaches_every_eligible_point() {
    let points: Vec<RecoveryPoint> = (1..=5).map(|n| point(n, "a", i64::try_from(n).unwrap())).collect();
    let plan = plan(PointAlgorithm::RandomWithinWindow);
    let reached: BTreeSet<u128> = (0..200)
        .map(|random| pick(&plan, &points, now(), random).remove(0).choice.unwrap().id.as_uuid().as_u128())
        .collect();
    assert_eq!(reached, (1..=5).collect());
}

fn continuous(intervals: &[(&str, &str)]) -> RecoveryPoint {
    let interval = |(from, to): &(&str, &str)| job_model::RestorableInterval {
        from: from.parse().unwrap(),
        to: to.parse().unwrap(),
        from_position: "0/1".to_owned(),
        to_position: "0/2".to_owned(),
    };
    let window = intervals.iter().map(interval).collect();
    RecoveryPoint {
        kind: RecoveryPointKind::Continuous,
        continuous: Some(job_model::Continuous { window, ..job_model::Continuous::default() }),
        ..point(1, "db", 0)
    }
}

#[test]
fn any_second_of_a_window_is_drawn_and_none_in_its_gap() {
    let window =
        [("2026-11-20T05:00:00.5Z", "2026-11-20T05:00:03Z"), ("2026-11-20T06:00:00Z", "2026-11-20T06:00:01.5Z")];
    let point = continuous(&window);
    let drawn: BTreeSet<String> =
        (0..200).filter_map(|random| instant_of(&point, &BTreeMap::new(), random)).map(|(_, at)| at).collect();
    let all = ["2026-11-20T05:00:01Z", "2026-11-20T05:00:02Z", "2026-11-20T06:00:01Z"];
    assert_eq!(drawn, all.map(str::to_owned).into(), "after the beginning and before the end of each interval");
    let again = instant_of(&point, &BTreeMap::new(), 7);
    assert_eq!(instant_of(&point, &BTreeMap::new(), 7), again, "a run is drawn again the same");
}

#[test]
fn without_a_window_the_newest_instant_is_restored_and_what_was_said_counts() {
    let latest = Some(("UseLatestRestorableTime".to_owned(), "true".to_owned()));
    assert_eq!(instant_of(&continuous(&[]), &BTreeMap::new(), 1), latest);
    let said = BTreeMap::from([("restoreTime".to_owned(), "2026-11-20T05:00:02Z".to_owned())]);
    let point = continuous(&[("2026-11-20T05:00:00Z", "2026-11-20T05:00:09Z")]);
    assert_eq!(instant_of(&point, &said, 1), None);
}
