//! Finds the next local time that an expression matches.

use jiff::civil::{Date, DateTime, Weekday, time};

use crate::Cron;
use crate::cron::Days;

/// The first local time that is not before `from`; none when the expression's years are over.
pub(crate) fn next_at_or_after(cron: &Cron, from: DateTime) -> Option<DateTime> {
    // Times of an expression have no seconds: within a minute that has begun nothing is left.
    let begun = from.second() != 0 || from.subsec_nanosecond() != 0;
    let mut date = from.date();
    if let Some(at) = next_time(cron, from.hour(), from.minute() + i8::from(begun)).filter(|_| matches_date(cron, date))
    {
        return Some(date.at(at.0, at.1, 0, 0));
    }
    let first = next_time(cron, 0, 0)?;
    date = date.tomorrow().ok()?;
    loop {
        let year = cron.years.first_from(u16::try_from(date.year()).unwrap_or(0))?;
        let year = i16::try_from(year).ok()?;
        if year > date.year() {
            date = Date::new(year, 1, 1).ok()?;
        }
        if !cron.months.contains(month_number(date)) {
            date = date.last_of_month().tomorrow().ok()?;
            continue;
        }
        if matches_day(&cron.days, date) {
            return Some(date.to_datetime(time(first.0, first.1, 0, 0)));
        }
        date = date.tomorrow().ok()?;
    }
}

/// The first hour and minute that are not before these.
fn next_time(cron: &Cron, hour: i8, minute: i8) -> Option<(i8, i8)> {
    let as_value = |n: i8| u16::try_from(n).unwrap_or(0);
    let as_clock = |n: u16| i8::try_from(n).ok();
    if cron.hours.contains(as_value(hour))
        && let Some(minute) = cron.minutes.first_from(as_value(minute))
    {
        return Some((hour, as_clock(minute)?));
    }
    let hour = cron.hours.first_from(as_value(hour) + 1)?;
    Some((as_clock(hour)?, as_clock(cron.minutes.first_from(0)?)?))
}

fn month_number(date: Date) -> u16 {
    u16::try_from(date.month()).unwrap_or(0)
}

fn matches_date(cron: &Cron, date: Date) -> bool {
    u16::try_from(date.year()).is_ok_and(|year| cron.years.contains(year))
        && cron.months.contains(month_number(date))
        && matches_day(&cron.days, date)
}

fn matches_day(days: &Days, date: Date) -> bool {
    let length = date.days_in_month();
    match days {
        Days::Every => true,
        Days::OfMonth { days, before_last, nearest_weekday, last_weekday } => {
            u16::try_from(date.day()).is_ok_and(|day| days.contains(day))
                || before_last.iter().any(|offset| date.day() == length - offset)
                || nearest_weekday.iter().any(|day| *day <= length && nearest(date, *day) == Some(date))
                || (*last_weekday && nearest_before_end(date) == Some(date))
        }
        Days::OfWeek { days, last, nth } => {
            let weekday = weekday_number(date.weekday());
            days.contains(weekday)
                || (last.contains(weekday) && date.day() > length - 7)
                || nth.iter().any(|(day, count)| *day == weekday && (date.day() - 1) / 7 + 1 == *count)
        }
    }
}

/// 1 for Sunday, 7 for Saturday.
fn weekday_number(weekday: Weekday) -> u16 {
    u16::try_from(weekday.to_sunday_one_offset()).unwrap_or(0)
}

/// The weekday nearest to a day of the month of `date`, without leaving the month.
fn nearest(date: Date, day: i8) -> Option<Date> {
    let wanted = Date::new(date.year(), date.month(), day).ok()?;
    let shifted = match wanted.weekday() {
        Weekday::Saturday if day == 1 => 3,
        Weekday::Saturday => day - 1,
        Weekday::Sunday if day == date.days_in_month() => day - 2,
        Weekday::Sunday => day + 1,
        _ => day,
    };
    Date::new(date.year(), date.month(), shifted).ok()
}

/// The last weekday of the month of `date`.
fn nearest_before_end(date: Date) -> Option<Date> {
    let last = date.last_of_month();
    let back = match last.weekday() {
        Weekday::Saturday => 1,
        Weekday::Sunday => 2,
        _ => 0,
    };
    Date::new(last.year(), last.month(), last.day() - back).ok()
}
