//! Two weeks in two time zones, with a clock change in each direction, a planner that is down for two days, workers
//! that are slow, flaky or not there, and retention by age and by generations.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use job_events::{
    CreatePlan, CreateSelection, CreateVaultRequest, Disposition, RegisterResource, RestoreTest, RuleInput,
    StartRestore,
};
use job_model::{
    Arn, Conditions, CopyAction, Generations, Lifecycle, OverwritePolicy, PlanId, ResourceType, RestoreTarget,
    TestRunId,
};
use uuid::Uuid;

use super::{Mischief, World, arn};

const EUROPE: &str = "eu-central-1";
const AUSTRALIA: &str = "ap-southeast-2";

fn resource(region: &str, name: &str) -> Arn {
    arn(&format!("arn:aws:files:{region}:000000000000:tree/{name}"))
}

fn vault(region: &str, name: &str) -> Arn {
    arn(&format!("arn:aws:backup:{region}:000000000000:backup-vault:{name}"))
}

fn register(world: &mut World, region: &str, name: &str) -> Arn {
    let arn = resource(region, name);
    world.accepted(RegisterResource {
        arn: arn.clone(),
        resource_type: ResourceType::Files,
        region: region.parse().unwrap(),
        location: format!("file:///srv/{name}"),
        hooks: None,
        tags: BTreeMap::new(),
    });
    arn
}

fn create_vault(world: &mut World, region: &str, name: &str) -> Arn {
    world.accepted(CreateVaultRequest {
        name: name.to_owned(),
        region: region.parse().unwrap(),
        location: format!("file:///vaults/{region}/{name}"),
        key_profile: name.to_owned(),
        min_retention_days: None,
        max_retention_days: None,
    });
    vault(region, name)
}

fn rule(name: &str, vault: Arn, schedule: &str, time_zone: &str) -> RuleInput {
    RuleInput {
        name: name.to_owned(),
        target_vault: vault,
        schedule: Some(schedule.to_owned()),
        time_zone: Some(time_zone.to_owned()),
        start_window_minutes: Some(60),
        completion_window_minutes: Some(120),
        lifecycle: Lifecycle::default(),
        generations: None,
        copy_actions: Vec::new(),
        recovery_point_tags: BTreeMap::new(),
    }
}

fn protect(world: &mut World, name: &str, rule: RuleInput, resources: &[&Arn]) {
    let (_, id) = world.accepted(CreatePlan { name: name.to_owned(), rules: vec![rule] });
    let plan_id: PlanId = id.unwrap().parse().unwrap();
    world.accepted(CreateSelection {
        plan_id,
        name: name.to_owned(),
        resources: resources.iter().map(ToString::to_string).collect(),
        not_resources: Vec::new(),
        list_of_tags: Vec::new(),
        conditions: Conditions::default(),
    });
}

fn days(days: u32) -> Lifecycle {
    Lifecycle { delete_after_days: Some(days), ..Lifecycle::default() }
}

fn test_restore(world: &mut World, resource: &Arn, vault: &Arn, run: u128) {
    let recovery_point = world.newest_point(resource, vault);
    world.accepted(StartRestore {
        recovery_point,
        target: RestoreTarget::Sandbox,
        overwrite: OverwritePolicy::default(),
        include: Vec::new(),
        test: Some(RestoreTest {
            test_run: TestRunId::new(Uuid::from_u128(run)),
            restore_testing_plan: "weekly".to_owned(),
            validation_window_hours: 0,
        }),
    });
}

/// The story; every decision of it is in the golden file.
fn fortnight(mischief: Mischief) -> String {
    let at = |text: &str| -> Timestamp { text.parse().unwrap() };
    let mut world = World::new("2026-03-25T00:00:00Z", &[EUROPE, AUSTRALIA], mischief);
    let near = create_vault(&mut world, EUROPE, "near");
    let far = create_vault(&mut world, AUSTRALIA, "far");
    let home = register(&mut world, EUROPE, "home");
    let data = register(&mut world, AUSTRALIA, "data");
    let slow = register(&mut world, EUROPE, "slow");
    let lost = register(&mut world, EUROPE, "lost");
    world.run_for(SignedDuration::from_mins(30));
    world.workers.temper(&slow).takes = SignedDuration::from_hours(3);
    world.workers.temper(&lost).absent = true;
    world.workers.temper(&data).fails = Some((1, Disposition::Retry));

    // Europe: 02:30 does not exist on 29 March. The copy outlives its source.
    let berlin = RuleInput {
        lifecycle: days(3),
        copy_actions: vec![CopyAction { destination_vault: far.clone(), lifecycle: days(5) }],
        ..rule("berlin", near.clone(), "cron(30 2 * * ? *)", "Europe/Berlin")
    };
    protect(&mut world, "homes", berlin, &[&home]);
    // Australia: 02:30 comes twice on 5 April.
    let sydney = RuleInput {
        generations: Some(Generations { daily: 3, weekly: 2, ..Generations::default() }),
        ..rule("sydney", far.clone(), "cron(30 2 * * ? *)", "Australia/Sydney")
    };
    protect(&mut world, "databases", sydney, &[&data]);
    // Mondays: one worker too slow for its window, one not there.
    let mondays = RuleInput { lifecycle: days(30), ..rule("mondays", near.clone(), "cron(0 12 ? * MON *)", "UTC") };
    protect(&mut world, "mondays", mondays, &[&slow, &lost]);

    world.run_until(at("2026-03-31T12:00:00Z"));
    world.down_until(at("2026-04-02T09:00:00Z"));
    world.run_until(at("2026-04-02T15:00:00Z"));
    test_restore(&mut world, &home, &near, 1);
    test_restore(&mut world, &home, &far, 2);
    world.run_until(at("2026-04-03T15:00:00Z"));
    // From here on the source of `home` is broken: what is kept is what was good and what was proven.
    world.workers.temper(&home).fails = Some((9, Disposition::Fail));
    world.run_until(at("2026-04-08T00:00:00Z"));
    let now = world.now;
    let state = world.state.clone();
    world.transcript.kept(&state, now);
    world.transcript.text().to_owned()
}

#[test]
fn two_weeks_are_decided_as_the_golden_file_says() {
    insta::assert_snapshot!("fortnight", fortnight(Mischief::None));
}

#[test]
fn a_planner_that_dies_after_each_step_decides_the_same() {
    assert_eq!(fortnight(Mischief::DiesAfterEachStep), fortnight(Mischief::None));
}

#[test]
fn a_planner_that_dies_in_each_step_decides_the_same() {
    assert_eq!(fortnight(Mischief::DiesInEachStep), fortnight(Mischief::None));
}
