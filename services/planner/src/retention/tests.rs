use job_model::{
    CaptureSummary, Consistency, CreatedBy, Generations, JobId, Lifecycle, PlanId, RecoveryPointId, RecoveryPointKind,
    ResourceType, Verdict,
};
use proptest::prelude::*;
use uuid::Uuid;

use jiff::SignedDuration;

use super::*;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn vault(name: &str) -> Arn {
    format!("arn:aws:backup:ap-northeast-1:000000000000:backup-vault:{name}").parse().unwrap()
}

fn point(number: u128, created_at: Timestamp) -> RecoveryPoint {
    let id = RecoveryPointId::new(Uuid::from_u128(number));
    RecoveryPoint {
        id,
        arn: format!("arn:aws:backup:ap-northeast-1:000000000000:recovery-point:{id}").parse().unwrap(),
        kind: RecoveryPointKind::Snapshot,
        vault: vault("main"),
        storage_class: job_model::StorageClass::Warm,
        snapshot_id: "0".repeat(64),
        resource: "arn:aws:files:ap-northeast-1:000000000000:tree/home".parse().unwrap(),
        resource_type: ResourceType::Files,
        status: RecoveryPointStatus::Completed,
        status_message: None,
        job_id: JobId::new(Uuid::nil()),
        created_by: Some(CreatedBy {
            plan_id: PlanId::new(Uuid::nil()),
            plan_version: 1,
            rule_id: RuleId::new(Uuid::nil()),
            rule_name: "daily".to_owned(),
            plan_name: None,
            rule_schedule: None,
            rule_time_zone: None,
        }),
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
        lifecycle: Lifecycle { delete_after_days: Some(7), move_to_cold_after_days: None },
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

fn by_generations(number: u128, created_at: &str, generations: Generations) -> RecoveryPoint {
    RecoveryPoint { lifecycle: Lifecycle::default(), generations: Some(generations), ..point(number, at(created_at)) }
}

fn proven(point: RecoveryPoint) -> RecoveryPoint {
    let verdict = Verdict {
        status: VerdictStatus::Successful,
        message: "equal".to_owned(),
        judged_at: point.created_at,
        restore_job_id: None,
        rto_ms: 1,
        rpo_ms: 1,
    };
    RecoveryPoint { last_verdict: Some(verdict), ..point }
}

/// Last part of the id and what keeps it, or `delete: why`; newest first.
fn fates(points: &[RecoveryPoint], protected: &[&str], now: &str) -> Vec<(u128, String)> {
    let protected_vaults = protected.iter().map(|name| vault(name)).collect();
    let in_use = BTreeSet::new();
    decide(
        points,
        Surroundings {
            protected_vaults: &protected_vaults,
            in_use: &in_use,
            held: &BTreeSet::new(),
            locked_until: &BTreeMap::new(),
            now: at(now),
        },
    )
    .into_iter()
    .map(|decision| {
        let point = points.iter().find(|point| point.arn == decision.recovery_point).unwrap();
        let text = match decision.fate {
            Fate::Keep(reasons) => reasons.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
            Fate::Delete { reason } => format!("delete: {reason}"),
        };
        (point.id.as_uuid().as_u128(), text)
    })
    .collect()
}

fn text(expected: &[(u128, &str)]) -> Vec<(u128, String)> {
    expected.iter().map(|(number, text)| (*number, (*text).to_owned())).collect()
}

#[test]
fn a_lifecycle_keeps_until_its_end() {
    let points = [point(1, at("2026-11-01T05:00:00Z")), point(2, at("2026-11-02T05:00:00Z"))];
    assert_eq!(
        fates(&points, &[], "2026-11-08T05:00:00Z"),
        text(&[(2, "lifecycle until 2026-11-09T05:00:00Z"), (1, "delete: lifecycle ended 2026-11-08T05:00:00Z"),])
    );
}

#[test]
fn without_any_limit_a_point_stays_for_ever() {
    let points = [RecoveryPoint { lifecycle: Lifecycle::default(), ..point(1, at("1999-01-01T00:00:00Z")) }];
    assert_eq!(fates(&points, &[], "2026-11-08T05:00:00Z"), text(&[(1, "kept for ever")]));
}

#[test]
fn the_last_good_and_the_last_proven_stay_while_the_resource_is_protected() {
    let points = [
        proven(point(1, at("2026-01-01T00:00:00Z"))),
        point(2, at("2026-01-02T00:00:00Z")),
        RecoveryPoint { status: RecoveryPointStatus::Partial, ..point(3, at("2026-01-03T00:00:00Z")) },
    ];
    let ended = "delete: lifecycle ended";
    assert_eq!(
        fates(&points, &["main"], "2026-11-08T05:00:00Z"),
        text(&[(3, &format!("{ended} 2026-01-10T00:00:00Z")), (2, "last good"), (1, "last proven")])
    );
    assert!(fates(&points, &[], "2026-11-08T05:00:00Z").iter().all(|(_, text)| text.starts_with("delete")));
}

#[test]
fn the_last_of_each_protected_vault_stays() {
    let copy = RecoveryPoint { vault: vault("dr"), ..point(2, at("2026-01-01T00:00:00Z")) };
    let points = [point(1, at("2026-11-08T00:00:00Z")), copy];
    let kept = fates(&points, &["main", "dr"], "2026-11-08T05:00:00Z");
    assert_eq!(kept[1], (2, "last good".to_owned()));
}

#[test]
fn a_failed_deletion_is_tried_again_and_one_under_way_is_left_alone() {
    let points = [
        RecoveryPoint { status: RecoveryPointStatus::Expired, ..point(1, at("2026-01-01T00:00:00Z")) },
        RecoveryPoint { status: RecoveryPointStatus::Deleting, ..point(2, at("2026-01-02T00:00:00Z")) },
    ];
    let fates = fates(&points, &["main"], "2026-11-08T05:00:00Z");
    // The one under deletion does not count as the last good one either.
    assert_eq!(fates, text(&[(1, "last good")]));
}

#[test]
fn a_point_a_job_reads_from_stays() {
    let points = [point(1, at("2026-01-01T00:00:00Z"))];
    let in_use = BTreeSet::from([points[0].arn.clone()]);
    let none = BTreeSet::new();
    let around = Surroundings {
        protected_vaults: &none,
        in_use: &in_use,
        held: &BTreeSet::new(),
        locked_until: &BTreeMap::new(),
        now: at("2026-11-08T05:00:00Z"),
    };
    assert_eq!(decide(&points, around)[0].fate, Fate::Keep(vec![KeepReason::InUse]));
}

#[test]
fn generations_keep_the_newest_of_each_period() {
    let wanted = Generations { daily: 2, monthly: 2, ..Generations::default() };
    let points = [
        by_generations(1, "2026-09-30T05:00:00Z", wanted),
        by_generations(2, "2026-10-31T05:00:00Z", wanted),
        by_generations(3, "2026-11-19T05:00:00Z", wanted),
        by_generations(4, "2026-11-20T05:00:00Z", wanted),
        by_generations(5, "2026-11-20T17:00:00Z", wanted),
    ];
    assert_eq!(
        fates(&points, &[], "2026-11-20T18:00:00Z"),
        text(&[
            (5, "daily 2026-11-20, monthly 2026-11"),
            (4, "delete: no generation keeps it"),
            (3, "daily 2026-11-19"),
            (2, "monthly 2026-10"),
            (1, "delete: no generation keeps it"),
        ])
    );
}

#[test]
fn days_begin_in_the_time_zone_of_the_rule() {
    let wanted = Generations { daily: 9, ..Generations::default() };
    let tokyo = |number, created_at| RecoveryPoint {
        time_zone: "Asia/Tokyo".to_owned(),
        ..by_generations(number, created_at, wanted)
    };
    // 23:30 and 00:30 in Tokyo, the same day in UTC.
    let points = [tokyo(1, "2026-11-20T14:30:00Z"), tokyo(2, "2026-11-20T15:30:00Z")];
    assert_eq!(fates(&points, &[], "2026-11-21T00:00:00Z"), text(&[(2, "daily 2026-11-21"), (1, "daily 2026-11-20")]));
}

#[test]
fn weeks_are_those_of_iso_8601() {
    let wanted = Generations { weekly: 9, yearly: 9, ..Generations::default() };
    // Friday 2027-01-01 is in the last week of 2026; Sunday 2027-01-03 too; Monday 2027-01-04 begins week 1.
    let points = [
        by_generations(1, "2026-12-31T00:00:00Z", wanted),
        by_generations(2, "2027-01-03T00:00:00Z", wanted),
        by_generations(3, "2027-01-04T00:00:00Z", wanted),
    ];
    assert_eq!(
        fates(&points, &[], "2027-02-01T00:00:00Z"),
        text(&[(3, "weekly 2027-W01, yearly 2027"), (2, "weekly 2026-W53"), (1, "yearly 2026")])
    );
}

#[test]
fn a_repeated_hour_is_two_hours() {
    let wanted = Generations { hourly: 9, ..Generations::default() };
    let berlin = |number, created_at| RecoveryPoint {
        time_zone: "Europe/Berlin".to_owned(),
        ..by_generations(number, created_at, wanted)
    };
    let points = [berlin(1, "2026-10-25T00:30:00Z"), berlin(2, "2026-10-25T01:30:00Z")];
    assert_eq!(
        fates(&points, &[], "2026-11-01T00:00:00Z"),
        text(&[(2, "hourly 2026-10-25T02+01:00"), (1, "hourly 2026-10-25T02+02:00")])
    );
}

#[test]
fn a_whole_point_stands_for_a_period_before_a_newer_partial_one() {
    let wanted = Generations { daily: 1, ..Generations::default() };
    let points = [
        by_generations(1, "2026-11-20T05:00:00Z", wanted),
        RecoveryPoint { status: RecoveryPointStatus::Partial, ..by_generations(2, "2026-11-20T06:00:00Z", wanted) },
    ];
    assert_eq!(
        fates(&points, &[], "2026-11-21T00:00:00Z"),
        text(&[(2, "delete: no generation keeps it"), (1, "daily 2026-11-20")])
    );
}

#[test]
fn rules_do_not_take_each_others_generations() {
    let wanted = Generations { daily: 1, ..Generations::default() };
    let mut other = by_generations(2, "2026-11-20T06:00:00Z", wanted);
    other.created_by.as_mut().unwrap().rule_id = RuleId::new(Uuid::from_u128(7));
    let points = [by_generations(1, "2026-11-20T05:00:00Z", wanted), other];
    let kept = fates(&points, &[], "2026-11-21T00:00:00Z");
    assert!(kept.iter().all(|(_, text)| text == "daily 2026-11-20"), "{kept:?}");
}

#[test]
fn a_point_from_the_future_stays_and_takes_no_place() {
    let wanted = Generations { last: 1, ..Generations::default() };
    let points = [by_generations(1, "2026-11-20T05:00:00Z", wanted), by_generations(2, "2036-01-01T00:00:00Z", wanted)];
    assert_eq!(fates(&points, &[], "2026-11-21T00:00:00Z"), text(&[(2, "dated in the future"), (1, "last 1 of 1")]));
}

fn any_points() -> impl Strategy<Value = Vec<RecoveryPoint>> {
    let one = (0_i64..2_000, 0_u32..4, prop::option::of(1_u32..60), any::<bool>(), any::<bool>(), any::<bool>());
    prop::collection::vec(one, 0..30).prop_map(|rows| {
        (1_u128..)
            .zip(rows)
            .map(|(number, (hours, daily, delete_after_days, partial, is_proven, in_dr))| {
                let created_at = at("2026-06-01T00:00:00Z") + SignedDuration::from_hours(hours);
                let mut row = point(number, created_at);
                row.lifecycle.delete_after_days = delete_after_days;
                row.generations = (daily > 0).then_some(Generations { daily, weekly: 1, ..Generations::default() });
                if partial {
                    row.status = RecoveryPointStatus::Partial;
                }
                if in_dr {
                    row.vault = vault("dr");
                }
                if is_proven { proven(row) } else { row }
            })
            .collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_protected_vault_never_loses_its_last_good_and_last_proven(points in any_points(), hours in 0_i64..20_000) {
        let now = at("2026-06-01T00:00:00Z") + SignedDuration::from_hours(hours);
        let (protected_vaults, in_use) = (BTreeSet::from([vault("main"), vault("dr")]), BTreeSet::new());
        let decisions = decide(&points, Surroundings { protected_vaults: &protected_vaults, in_use: &in_use, held: &BTreeSet::new(), locked_until: &BTreeMap::new(), now });
        let is_kept = |point: &RecoveryPoint| {
            decisions.iter().any(|d| d.recovery_point == point.arn && matches!(d.fate, Fate::Keep(_)))
        };
        prop_assert_eq!(decisions.len(), points.len());
        for vault in &protected_vaults {
            let here = || points.iter().filter(|point| point.vault == *vault);
            let newest = |wanted: fn(&RecoveryPoint) -> bool| {
                here().filter(|point| wanted(point)).max_by_key(|point| (point.created_at, point.id))
            };
            prop_assert!(newest(is_whole).is_none_or(is_kept));
            prop_assert!(newest(is_proven).is_none_or(is_kept));
            prop_assert!(here().next().is_none() || here().any(is_kept));
        }
    }

    #[test]
    fn deciding_again_without_what_was_deleted_deletes_nothing_more(points in any_points(), hours in 0_i64..20_000) {
        let now = at("2026-06-01T00:00:00Z") + SignedDuration::from_hours(hours);
        let (protected_vaults, in_use) = (BTreeSet::from([vault("main")]), BTreeSet::new());
        let around = Surroundings { protected_vaults: &protected_vaults, in_use: &in_use, held: &BTreeSet::new(), locked_until: &BTreeMap::new(), now };
        let gone: BTreeSet<Arn> = decide(&points, around)
            .into_iter()
            .filter(|d| matches!(d.fate, Fate::Delete { .. }))
            .map(|d| d.recovery_point)
            .collect();
        let left: Vec<RecoveryPoint> = points.into_iter().filter(|point| !gone.contains(&point.arn)).collect();
        prop_assert!(decide(&left, around).iter().all(|d| matches!(d.fate, Fate::Keep(_))));
    }

    #[test]
    fn the_order_of_the_points_does_not_matter(points in any_points(), hours in 0_i64..20_000) {
        let now = at("2026-06-01T00:00:00Z") + SignedDuration::from_hours(hours);
        let (protected_vaults, in_use) = (BTreeSet::from([vault("main")]), BTreeSet::new());
        let around = Surroundings { protected_vaults: &protected_vaults, in_use: &in_use, held: &BTreeSet::new(), locked_until: &BTreeMap::new(), now };
        let reversed: Vec<RecoveryPoint> = points.iter().rev().cloned().collect();
        prop_assert_eq!(decide(&points, around), decide(&reversed, around));
    }
}
