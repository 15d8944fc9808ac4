//! Two weeks in two time zones, with a clock change in each direction, a planner that is down for two days, workers
//! that are slow, flaky or not there, and retention by age and by generations.

use jiff::{SignedDuration, Timestamp};
use job_events::{Disposition, RuleInput};
use job_model::{CopyAction, Generations};

use super::scene::{AUSTRALIA, EUROPE, create_vault, days, protect, register, rule, test_restore};
use super::{Mischief, World};

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
