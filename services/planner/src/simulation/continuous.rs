//! Continuous recovery points over days: one for each resource, its runs, its end.

use jiff::SignedDuration;
use job_events::{
    DeleteRecoveryPoint, DeregisterResource, DisassociateRecoveryPoint, FollowResource, FollowTask, OrderBody,
    RegisterResource, RuleInput, StartRestore, UpdatePlan,
};
use job_model::{
    Arn, FollowState, JobDetail, JobState, MessageCategory, OverwritePolicy, PlanId, RecoveryPointKind,
    RecoveryPointStatus, ResourceType, RestoreTarget,
};

use super::scene::{AUSTRALIA, EUROPE, create_vault, days, protect, rule};
use super::{Mischief, World, arn};
use crate::state::PointRow;

struct Scene {
    world: World,
    shop: Arn,
    near: Arn,
    plan: PlanId,
}

fn continuous(vault: &Arn, keep: u32) -> RuleInput {
    RuleInput {
        lifecycle: days(keep),
        enable_continuous: true,
        ..rule("pitr", vault.clone(), "cron(0 2 * * ? *)", "UTC")
    }
}

fn scene(mischief: Mischief) -> Scene {
    let mut world = World::new("2026-03-01T00:00:00Z", &[EUROPE, AUSTRALIA], mischief);
    let near = create_vault(&mut world, EUROPE, "main");
    let shop = register(&mut world);
    let plan = protect(&mut world, "continuous", continuous(&near, 14), &[&shop]);
    Scene { world, shop, near, plan }
}

fn register(world: &mut World) -> Arn {
    let shop = arn(&format!("arn:aws:rds:{EUROPE}:000000000000:db:shop"));
    world.accepted(RegisterResource {
        arn: shop.clone(),
        resource_type: ResourceType::Rds,
        region: EUROPE.parse().unwrap(),
        location: "postgresql://db1.example:5432/?profile=main".to_owned(),
        hooks: None,
        tags: std::collections::BTreeMap::new(),
    });
    shop
}

fn tasks(world: &World) -> Vec<FollowTask> {
    world.workers.assignments.iter().map(|follow: &FollowResource| follow.task).collect()
}

/// The recovery points of the server, newest last.
fn points(s: &Scene) -> Vec<&PointRow> {
    s.world.state.points_of(&s.shop).collect()
}

fn run_days(world: &mut World, days: i64) {
    world.run_for(SignedDuration::from_hours(24 * days));
}

#[test]
fn every_run_of_a_rule_is_a_full_capture_of_one_recovery_point() {
    for mischief in [Mischief::None, Mischief::DiesAfterEachStep, Mischief::DiesInEachStep] {
        let mut s = scene(mischief);
        run_days(&mut s.world, 3);
        let points = points(&s);
        assert_eq!(points.len(), 1, "{mischief:?}");
        let point = points[0].point.clone();
        assert_eq!((point.kind, point.status), (RecoveryPointKind::Continuous, RecoveryPointStatus::Completed));
        assert_eq!(point.continuous.as_ref().unwrap().state, FollowState::Following);
        assert_eq!(point.delete_at(), None, "it has no age while its resource is followed");
        assert_eq!(tasks(&s.world), [FollowTask::Follow], "{mischief:?}: told once");
        let captures: Vec<_> = s
            .world
            .workers
            .orders
            .iter()
            .filter_map(|order| match order {
                OrderBody::CaptureSnapshot(order) => Some(order.base_of.clone().unwrap().recovery_point),
                _ => None,
            })
            .collect();
        assert_eq!(captures, vec![point.arn.clone(); 3], "{mischief:?}");
        let row = s.world.state.continuous.get(&point.arn).unwrap();
        assert_eq!(row.bases.last().unwrap().snapshot_id, point.snapshot_id, "the newest one is what copies take");
        assert_eq!(row.bases.len(), 3);
    }
}

#[test]
fn a_rule_for_another_vault_makes_snapshots_that_name_the_plan() {
    let mut s = scene(Mischief::None);
    let second = create_vault(&mut s.world, EUROPE, "second");
    let later = RuleInput { schedule: Some("cron(0 3 * * ? *)".to_owned()), ..continuous(&second, 7) };
    protect(&mut s.world, "later", later, &[&s.shop]);
    run_days(&mut s.world, 1);
    let point = s.world.newest_point(&s.shop, &second);
    assert_eq!(s.world.point(&point).kind, RecoveryPointKind::Snapshot);
    let job = s.world.job(s.world.point(&point).job_id);
    assert_eq!((job.state, job.message_category), (JobState::Completed, MessageCategory::Issues));
    let message = job.status_message.as_ref().unwrap();
    assert!(message.contains("PITR already configured in backup plan: [arn:aws:backup:"), "{message}");
    assert!(message.contains(&s.plan.to_string()), "{message}");
}

#[test]
fn the_longest_retention_wins_and_a_change_reaches_the_worker() {
    let mut s = scene(Mischief::None);
    run_days(&mut s.world, 1);
    let later = RuleInput { schedule: Some("cron(0 3 * * ? *)".to_owned()), ..continuous(&s.near, 35) };
    protect(&mut s.world, "longer", later, &[&s.shop]);
    run_days(&mut s.world, 1);
    let point = s.world.newest_point(&s.shop, &s.near);
    assert_eq!(s.world.workers.assignments.last().unwrap().keep_days, Some(35));
    assert_eq!(s.world.point(&point).lifecycle, days(35));
    assert_eq!(points(&s).len(), 1);
}

#[test]
fn a_rule_that_is_gone_ends_the_following_and_the_window_lives_for_its_retention() {
    let mut s = scene(Mischief::None);
    run_days(&mut s.world, 2);
    let plain = rule("pitr", s.near.clone(), "cron(0 2 * * ? *)", "UTC");
    s.world.accepted(UpdatePlan {
        plan_id: s.plan,
        name: "continuous".to_owned(),
        rules: vec![RuleInput { lifecycle: days(30), ..plain }],
        advanced_settings: Vec::new(),
    });
    run_days(&mut s.world, 1);
    assert_eq!(tasks(&s.world), [FollowTask::Follow, FollowTask::Release, FollowTask::Nothing]);
    let of_kind = |row: &&&PointRow| row.point.kind == RecoveryPointKind::Continuous;
    let stopped = points(&s).iter().find(of_kind).unwrap().point.clone();
    let state = stopped.continuous.as_ref().unwrap();
    assert_eq!(state.state, FollowState::Stopped);
    let ends = state.stopped_at.unwrap() + SignedDuration::from_hours(24 * 14);
    assert_eq!(stopped.delete_at(), Some(ends));
    run_days(&mut s.world, 13);
    assert!(s.world.state.points.contains(&stopped.arn));
    run_days(&mut s.world, 3);
    assert!(!s.world.state.points.contains(&stopped.arn), "its retention is over");
    assert!(s.world.state.continuous.get(&stopped.arn).is_none());
}

#[test]
fn a_deletion_waits_until_nobody_follows_and_the_next_run_begins_anew() {
    let mut s = scene(Mischief::None);
    run_days(&mut s.world, 1);
    let first = s.world.newest_point(&s.shop, &s.near);
    let (job, _) = s.world.accepted(DeleteRecoveryPoint { recovery_point: first.clone(), vault: None });
    let job = job.unwrap();
    assert_eq!(s.world.job(job).state, JobState::Created, "its worker is told to stop first");
    assert_eq!(tasks(&s.world), [FollowTask::Follow, FollowTask::Release]);
    run_days(&mut s.world, 1);
    assert_eq!(s.world.job(job).state, JobState::Completed);
    assert!(!s.world.state.points.contains(&first));
    run_days(&mut s.world, 1);
    let next = s.world.newest_point(&s.shop, &s.near);
    assert_ne!(next, first);
    assert_eq!(s.world.point(&next).kind, RecoveryPointKind::Continuous);
}

#[test]
fn a_disassociated_recovery_point_stays_restorable_and_is_followed_no_longer() {
    let mut s = scene(Mischief::None);
    run_days(&mut s.world, 1);
    let first = s.world.newest_point(&s.shop, &s.near);
    s.world.accepted(DisassociateRecoveryPoint { recovery_point: first.clone() });
    s.world.run_for(SignedDuration::from_hours(1));
    let point = s.world.point(&first);
    assert_eq!(point.continuous.as_ref().unwrap().state, FollowState::Stopped);
    run_days(&mut s.world, 1);
    assert!(s.world.state.points.contains(&first));
    assert_eq!(points(&s).len(), 2, "the next run begins a new one");
}

#[test]
fn a_resource_that_is_gone_is_given_back() {
    let mut s = scene(Mischief::None);
    run_days(&mut s.world, 1);
    s.world.accepted(DeregisterResource { arn: s.shop.clone() });
    s.world.run_for(SignedDuration::from_hours(1));
    assert_eq!(tasks(&s.world), [FollowTask::Follow, FollowTask::Release, FollowTask::Nothing]);
}

#[test]
fn copies_of_a_continuous_recovery_point_are_snapshots_of_its_newest_capture() {
    let mut s = scene(Mischief::None);
    let far = create_vault(&mut s.world, AUSTRALIA, "far");
    let action = job_model::CopyAction { destination_vault: far.clone(), lifecycle: days(30) };
    let copied = RuleInput { copy_actions: vec![action], ..continuous(&s.near, 14) };
    s.world.accepted(UpdatePlan {
        plan_id: s.plan,
        name: "continuous".to_owned(),
        rules: vec![copied],
        advanced_settings: Vec::new(),
    });
    run_days(&mut s.world, 2);
    let source = s.world.newest_point(&s.shop, &s.near);
    let copies: Vec<_> = s.world.state.points_of(&s.shop).filter(|row| row.point.vault == far).collect();
    assert_eq!(copies.len(), 2);
    for copy in &copies {
        assert_eq!(copy.point.kind, RecoveryPointKind::Snapshot);
        assert_eq!(copy.point.copied_from.as_ref(), Some(&source));
        let JobDetail::Copy { .. } = s.world.job(copy.point.job_id).detail else { panic!("a copy job") };
    }
    let newest = copies.last().unwrap().point.summary.tree_id.clone();
    assert_eq!(newest, s.world.point(&source).summary.tree_id);
}

fn restore(point: &Arn, key: &str, value: &str) -> StartRestore {
    StartRestore {
        recovery_point: point.clone(),
        target: RestoreTarget::Location { url: "file:///srv/back".to_owned() },
        overwrite: OverwritePolicy::default(),
        include: Vec::new(),
        test: None,
        metadata: std::collections::BTreeMap::from([(key.to_owned(), value.to_owned())]),
        iam_role: None,
    }
}

#[test]
fn a_restore_to_an_instant_is_ordered_with_every_full_capture() {
    let mut s = scene(Mischief::None);
    run_days(&mut s.world, 3);
    let point = s.world.newest_point(&s.shop, &s.near);
    s.world.accepted(restore(&point, "RestoreTime", "2026-03-03T05:00:07Z"));
    s.world.run_for(SignedDuration::from_hours(1));
    let order = s.world.workers.orders.iter().rev().find_map(|order| match order {
        OrderBody::RestoreRecoveryPoint(order) => Some(order.clone()),
        _ => None,
    });
    let order = order.unwrap();
    assert_eq!(order.bases.len(), 3);
    assert_eq!(order.bases.last().unwrap().tree_id, order.tree_id, "the newest is the last");
    assert_eq!(order.metadata["RestoreTime"], "2026-03-03T05:00:07Z");
}

#[test]
fn an_instant_that_lies_ahead_or_of_a_snapshot_is_refused_with_its_key() {
    let mut s = scene(Mischief::None);
    let second = create_vault(&mut s.world, EUROPE, "second");
    let later = RuleInput { schedule: Some("cron(0 3 * * ? *)".to_owned()), ..continuous(&second, 7) };
    protect(&mut s.world, "later", later, &[&s.shop]);
    run_days(&mut s.world, 1);
    let point = s.world.newest_point(&s.shop, &s.near);
    let snapshot = s.world.newest_point(&s.shop, &second);
    for (point, key, value) in [
        (&point, "RestoreTime", "2027-01-01T00:00:00Z"),
        (&point, "RestoreTime", "soon"),
        (&snapshot, "RestoreTime", "2026-03-01T05:00:00Z"),
        (&snapshot, "UseLatestRestorableTime", "true"),
    ] {
        let (_, field, message) = s.world.refused(restore(point, key, value));
        assert!(field.starts_with("metadata"), "{key}={value}: {field}: {message}");
    }
}
