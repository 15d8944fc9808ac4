//! Meaning of expressions, in local time and across changes of the clock.

use jiff::Timestamp;

use super::*;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn next(expression: &str, zone: &str, after: &str, count: usize) -> Vec<String> {
    let zone_of = TimeZone::get(zone).unwrap();
    Schedule::parse(expression, zone)
        .unwrap()
        .upcoming(at(after), count)
        .into_iter()
        .map(|instant| instant.to_zoned(zone_of.clone()).strftime("%Y-%m-%dT%H:%M%:z").to_string())
        .collect()
}

fn dates(expression: &str, after: &str, count: usize) -> Vec<String> {
    next(expression, "UTC", after, count).into_iter().map(|text| text[..10].to_owned()).collect()
}

#[test]
fn the_default_runs_every_day_at_five() {
    assert_eq!(
        next(DEFAULT_EXPRESSION, "Asia/Tokyo", "2026-11-20T20:00:00Z", 2),
        ["2026-11-22T05:00+09:00", "2026-11-23T05:00+09:00"]
    );
}

#[test]
fn an_instant_of_the_schedule_is_not_after_itself() {
    assert_eq!(next("0 5 * * ? *", "UTC", "2026-11-20T05:00:00Z", 1), ["2026-11-21T05:00+00:00"]);
    assert_eq!(next("0 5 * * ? *", "UTC", "2026-11-20T04:59:59.999Z", 1), ["2026-11-20T05:00+00:00"]);
    assert_eq!(next("0 5 * * ? *", "UTC", "2026-11-20T05:00:00.001Z", 1), ["2026-11-21T05:00+00:00"]);
}

#[test]
fn one_is_sunday_and_seven_is_saturday() {
    // 2026-11-22 is a Sunday.
    assert_eq!(dates("0 0 ? * 1 *", "2026-11-20T00:00:00Z", 2), ["2026-11-22", "2026-11-29"]);
    assert_eq!(dates("0 0 ? * SUN *", "2026-11-20T00:00:00Z", 1), ["2026-11-22"]);
    assert_eq!(dates("0 0 ? * 7 *", "2026-11-20T00:00:00Z", 1), ["2026-11-21"]);
    assert_eq!(dates("0 0 ? * 2-6 *", "2026-11-20T12:00:00Z", 3), ["2026-11-23", "2026-11-24", "2026-11-25"]);
    assert_eq!(dates("0 0 ? * MON-FRI *", "2026-11-20T12:00:00Z", 1), ["2026-11-23"]);
}

#[test]
fn l_is_the_last_day_of_the_month_or_of_the_week() {
    assert_eq!(dates("0 0 L * ? *", "2027-12-01T00:00:00Z", 3), ["2027-12-31", "2028-01-31", "2028-02-29"]);
    assert_eq!(dates("0 0 L-2 * ? *", "2026-02-01T00:00:00Z", 1), ["2026-02-26"]);
    assert_eq!(dates("0 0 ? * L *", "2026-11-20T00:00:00Z", 2), ["2026-11-21", "2026-11-28"]);
    // The last Friday.
    assert_eq!(dates("0 0 ? * 6L *", "2026-11-01T00:00:00Z", 2), ["2026-11-27", "2026-12-25"]);
    assert_eq!(dates("0 0 ? * FRIL *", "2026-11-01T00:00:00Z", 1), ["2026-11-27"]);
}

#[test]
fn w_is_the_nearest_weekday_in_the_same_month() {
    // 2026-08-15 is a Saturday, 2026-11-15 a Sunday, 2026-08-01 a Saturday, 2026-05-31 a Sunday.
    assert_eq!(dates("0 0 15W 8 ? *", "2026-08-01T00:00:00Z", 1), ["2026-08-14"]);
    assert_eq!(dates("0 0 15W 11 ? *", "2026-11-01T00:00:00Z", 1), ["2026-11-16"]);
    assert_eq!(dates("0 0 1W 8 ? *", "2026-07-30T00:00:00Z", 1), ["2026-08-03"]);
    assert_eq!(dates("0 0 31W 5 ? *", "2026-05-01T00:00:00Z", 1), ["2026-05-29"]);
    assert_eq!(dates("0 0 LW * ? *", "2026-05-01T00:00:00Z", 2), ["2026-05-29", "2026-06-30"]);
    // February has no 31st, so nothing is nearest to it.
    assert_eq!(dates("0 0 31W 2,3 ? 2027", "2027-01-01T00:00:00Z", 2), ["2027-03-31"]);
}

#[test]
fn hash_counts_weekdays_in_the_month() {
    // AWS's own example: 3#2 is the second Tuesday.
    assert_eq!(dates("0 0 ? * 3#2 *", "2026-11-01T00:00:00Z", 2), ["2026-11-10", "2026-12-08"]);
    // Only months that have a fifth Monday.
    assert_eq!(dates("0 0 ? * MON#5 *", "2026-10-01T00:00:00Z", 2), ["2026-11-30", "2027-03-29"]);
}

#[test]
fn february_29_waits_for_a_leap_year() {
    assert_eq!(dates("30 3 29 2 ? *", "2026-01-01T00:00:00Z", 2), ["2028-02-29", "2032-02-29"]);
    assert_eq!(dates("30 3 29 2 ? *", "2096-03-01T00:00:00Z", 1), ["2104-02-29"]);
}

#[test]
fn the_31st_skips_short_months() {
    assert_eq!(dates("0 0 31 * ? *", "2026-03-31T12:00:00Z", 3), ["2026-05-31", "2026-07-31", "2026-08-31"]);
}

#[test]
fn years_end_a_schedule() {
    assert_eq!(dates("0 12 1 1 ? 2027-2028", "2026-11-20T00:00:00Z", 9), ["2027-01-01", "2028-01-01"]);
    assert_eq!(dates("0 12 1 1 ? 2020", "2026-11-20T00:00:00Z", 1), [""; 0]);
}

#[test]
fn steps_begin_at_their_start() {
    assert_eq!(
        next("5/20 8-9 ? * * *", "UTC", "2026-11-20T00:00:00Z", 4),
        ["2026-11-20T08:05+00:00", "2026-11-20T08:25+00:00", "2026-11-20T08:45+00:00", "2026-11-20T09:05+00:00"]
    );
    assert_eq!(dates("0 0 1/15 * ? *", "2026-11-01T12:00:00Z", 3), ["2026-11-16", "2026-12-01", "2026-12-16"]);
}

#[test]
fn five_fields_mean_every_year() {
    assert_eq!(dates("0 0 * * MON", "2026-11-20T00:00:00Z", 2), ["2026-11-23", "2026-11-30"]);
    assert_eq!(Cron::parse("0  0 * * MON").unwrap().to_string(), "cron(0 0 * * MON *)");
}

#[test]
fn a_skipped_local_time_runs_at_the_first_valid_instant_after_it() {
    // Berlin jumps from 02:00 to 03:00, New York likewise, Lord Howe by half an hour, Santiago at midnight.
    let cases = [
        ("30 2 * * ? *", "Europe/Berlin", "2026-03-28T12:00:00Z", "2026-03-29T03:00+02:00"),
        ("30 2 * * ? *", "America/New_York", "2026-03-07T12:00:00Z", "2026-03-08T03:00-04:00"),
        ("15 2 * * ? *", "Australia/Lord_Howe", "2026-10-03T00:00:00Z", "2026-10-04T02:30+11:00"),
        ("30 0 * * ? *", "America/Santiago", "2026-09-05T12:00:00Z", "2026-09-06T01:00-03:00"),
    ];
    for (expression, zone, after, expected) in cases {
        assert_eq!(next(expression, zone, after, 1), [expected], "{zone}");
    }
}

#[test]
fn the_day_after_a_skipped_time_is_as_usual() {
    assert_eq!(
        next("30 2 * * ? *", "Europe/Berlin", "2026-03-27T12:00:00Z", 3),
        ["2026-03-28T02:30+01:00", "2026-03-29T03:00+02:00", "2026-03-30T02:30+02:00"]
    );
}

#[test]
fn several_times_in_a_skipped_hour_run_once() {
    assert_eq!(
        next("0/15 1-3 29 3 ? 2026", "Europe/Berlin", "2026-03-29T00:30:00Z", 3),
        ["2026-03-29T01:45+01:00", "2026-03-29T03:00+02:00", "2026-03-29T03:15+02:00"]
    );
}

#[test]
fn a_repeated_local_time_runs_once_at_its_first_occurrence() {
    let cases = [
        ("30 2 25 10 ? 2026", "Europe/Berlin", "2026-10-24T12:00:00Z", "2026-10-25T02:30+02:00"),
        ("30 1 1 11 ? 2026", "America/New_York", "2026-10-31T12:00:00Z", "2026-11-01T01:30-04:00"),
        ("45 1 5 4 ? 2026", "Australia/Lord_Howe", "2026-04-04T00:00:00Z", "2026-04-05T01:45+11:00"),
        ("30 23 4 4 ? 2026", "America/Santiago", "2026-04-04T00:00:00Z", "2026-04-04T23:30-03:00"),
    ];
    for (expression, zone, after, expected) in cases {
        assert_eq!(next(expression, zone, after, 2), [expected], "{zone}");
    }
}

#[test]
fn an_instant_in_the_second_pass_of_a_repeated_hour_has_a_next_one() {
    // 02:45 for the second time.
    assert_eq!(next("30 2 * * ? *", "Europe/Berlin", "2026-10-25T01:45:00Z", 1), ["2026-10-26T02:30+01:00"]);
}

#[test]
fn a_long_absence_is_due_once_with_its_count() {
    let schedule = Schedule::parse("0 5 * * ? *", "UTC").unwrap();
    assert_eq!(schedule.due_since(at("2026-11-20T05:00:00Z"), at("2026-11-21T04:59:59Z")), None);
    let due = schedule.due_since(at("2026-11-20T05:00:00Z"), at("2026-11-21T05:00:00Z")).unwrap();
    assert_eq!((due.at, due.passed, due.missed()), (at("2026-11-21T05:00:00Z"), 1, 0));
    let due = schedule.due_since(at("2026-11-01T05:00:00Z"), at("2026-11-20T12:00:00Z")).unwrap();
    assert_eq!((due.at, due.passed, due.missed()), (at("2026-11-20T05:00:00Z"), 19, 18));
}

#[test]
fn more_than_anybody_counts_still_finds_the_last_one() {
    let schedule = Schedule::parse("* * ? * * *", "UTC").unwrap();
    let due = schedule.due_since(at("2020-01-01T00:00:00Z"), at("2026-11-20T12:00:30Z")).unwrap();
    assert_eq!((due.at, due.passed), (at("2026-11-20T12:00:00Z"), u32::MAX));
    let rare = Schedule::parse("* * 1 1 ? *", "UTC").unwrap();
    let due = rare.due_since(at("1970-01-02T00:00:00Z"), at("2199-11-20T12:00:30Z")).unwrap();
    assert_eq!(due.at, at("2199-01-01T23:59:00Z"));
}

#[test]
fn errors_name_the_field_what_stands_there_and_the_mend() {
    let cases = [
        ("60 0 * * ? *", Part::Minutes, "60"),
        ("0 24 * * ? *", Part::Hours, "24"),
        ("0 0 32 * ? *", Part::DayOfMonth, "32"),
        ("0 0 ? 13 * *", Part::Month, "13"),
        ("0 0 ? FOO * *", Part::Month, "FOO"),
        ("0 0 ? * 0 *", Part::DayOfWeek, "0"),
        ("0 0 ? * 8 *", Part::DayOfWeek, "8"),
        ("0 0 ? * 3#6 *", Part::DayOfWeek, "3#6"),
        ("0 0 ? * * 1969", Part::Year, "1969"),
        ("0 0 ? * * 2200", Part::Year, "2200"),
        ("0/0 0 ? * * *", Part::Minutes, "0/0"),
        ("30-10 0 ? * * *", Part::Minutes, "30-10"),
        ("1,,2 0 ? * * *", Part::Minutes, ""),
        ("? 0 ? * * *", Part::Minutes, "?"),
        ("+5 0 ? * * *", Part::Minutes, "+5"),
        ("0 0 ? * ? *", Part::DayOfWeek, "?"),
        ("0 0 1 * MON *", Part::DayOfWeek, "MON"),
        ("0 0 L-31 * ? *", Part::DayOfMonth, "L-31"),
        ("0 0 * * 1", Part::DayOfWeek, "1"),
        ("0 0 * * MON,2", Part::DayOfWeek, "2"),
        ("0 0 30 2 ? *", Part::Expression, "0 0 30 2 ? *"),
        ("0 0 *", Part::Expression, "0 0 *"),
        ("", Part::Expression, ""),
        ("rate(1 hour)", Part::Expression, "rate(1 hour)"),
        ("cron(0 0 ? * * *", Part::Expression, "cron(0 0 ? * * *"),
        ("0 0 ? * * *)", Part::Expression, "0 0 ? * * *)"),
    ];
    for (expression, part, value) in cases {
        let error = Cron::parse(expression).expect_err(expression);
        assert_eq!((error.part, error.value.as_str()), (part, value), "{expression}: {error}");
    }
    let error = Schedule::parse(DEFAULT_EXPRESSION, "Mars/Olympus").unwrap_err();
    assert_eq!(error.part, Part::TimeZone);
    assert_eq!(
        error.to_string(),
        "time zone `Mars/Olympus`: is not a known IANA name; write one such as `Asia/Tokyo` or `UTC`"
    );
}
