//! Properties of schedules, with `croner` as the referee of what the fields mean and plain search as that of the rest.

#![expect(clippy::unwrap_used, reason = "tests")]

use croner::parser::{CronParser, Seconds, Year};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use schedule::Schedule;

/// A field of plain lists, ranges and steps over its range.
fn field(min: u32, max: u32) -> impl Strategy<Value = String> {
    let number = min..=max;
    let item = prop_oneof![
        number.clone().prop_map(|n| n.to_string()),
        (number.clone(), number.clone()).prop_map(|(a, b)| format!("{}-{}", a.min(b), a.max(b))),
        (1..=max / 2).prop_map(|step| format!("*/{step}")),
        (number.clone(), number, 1..=max / 2).prop_map(|(a, b, step)| format!("{}-{}/{step}", a.min(b), a.max(b))),
    ];
    prop_oneof![Just("*".to_owned()), prop::collection::vec(item, 1..3).prop_map(|items| items.join(","))]
}

fn weekdays() -> impl Strategy<Value = String> {
    const NAMES: [&str; 7] = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];
    prop::collection::vec(prop::sample::select(&NAMES[..]), 1..4).prop_map(|names| names.join(","))
}

/// Expressions that `croner` reads the same way.
fn expression() -> impl Strategy<Value = String> {
    let days = prop_oneof![
        field(1, 28).prop_map(|days| (days, "*".to_owned())),
        weekdays().prop_map(|days| ("*".to_owned(), days))
    ];
    (field(0, 59), field(0, 23), days, field(1, 12)).prop_map(|(minutes, hours, (of_month, of_week), months)| {
        format!("{minutes} {hours} {of_month} {months} {of_week}")
    })
}

fn instant() -> impl Strategy<Value = Timestamp> {
    // 2000 to 2100.
    (946_684_800_i64..4_102_444_800).prop_map(|second| Timestamp::from_second(second).unwrap())
}

fn zone() -> impl Strategy<Value = &'static str> {
    prop::sample::select(
        &["UTC", "Asia/Tokyo", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "America/Santiago"][..],
    )
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn agrees_with_croner_where_no_clock_changes(expression in expression(), after in instant()) {
        let ours = Schedule::parse(&expression, "UTC").unwrap();
        let theirs = CronParser::builder()
            .seconds(Seconds::Disallowed)
            .year(Year::Disallowed)
            .build()
            .parse(&expression)
            .unwrap();
        let mut at = after;
        for _ in 0..5 {
            let expected = theirs.find_next_occurrence(&at.to_zoned(TimeZone::UTC), false).unwrap().timestamp();
            let found = ours.next_after(at).unwrap();
            prop_assert_eq!(found, expected);
            at = found;
        }
    }

    #[test]
    fn the_next_instant_is_later_and_nothing_lies_between(
        expression in expression(),
        zone in zone(),
        after in instant(),
        share in 0.0..1.0_f64,
    ) {
        let schedule = Schedule::parse(&expression, zone).unwrap();
        let next = schedule.next_after(after).unwrap();
        prop_assert!(next > after);
        let between = after + SignedDuration::from_secs_f64((next - after).total(jiff::Unit::Second).unwrap() * share);
        if between < next {
            prop_assert_eq!(schedule.next_after(between).unwrap(), next);
        }
    }

    #[test]
    fn what_is_due_is_what_stepping_counts(
        expression in expression(),
        zone in zone(),
        last in instant(),
        hours in 0_i64..200,
    ) {
        let schedule = Schedule::parse(&expression, zone).unwrap();
        let now = last + SignedDuration::from_hours(hours);
        let mut stepped = Vec::new();
        let mut at = last;
        while let Some(next) = schedule.next_after(at).filter(|next| *next <= now) {
            stepped.push(next);
            at = next;
        }
        match schedule.due_since(last, now) {
            None => prop_assert!(stepped.is_empty()),
            Some(due) => {
                prop_assert_eq!(Some(&due.at), stepped.last());
                prop_assert_eq!(usize::try_from(due.passed).unwrap(), stepped.len());
            }
        }
    }

    #[test]
    fn no_text_makes_it_panic(text in "[0-9LW#?*/,\\- A-Za-z()]{0,40}") {
        let _ = Schedule::parse(&text, "UTC");
    }
}
