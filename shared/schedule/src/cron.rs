//! An expression, read.

use std::fmt;
use std::str::FromStr;

use jiff::civil::{DateTime, date};

use crate::field::{self, DAYS_OF_MONTH, DAYS_OF_WEEK, HOURS, MINUTES, MONTHS, Values, YEARS};
use crate::{Part, ScheduleError};

/// A cron expression as AWS has them.
///
/// Six fields (minutes, hours, day-of-month, month, day-of-week, year) or five (without the year), with or without
/// `cron(` and `)` around them. Weekdays count from 1 for Sunday; because Unix counts from 0, five-field expressions must
/// use names for them. At most one of the two day fields restricts anything; `?` and `*` mean the same in them, except
/// that they cannot both be `?`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cron {
    text: String,
    pub(crate) minutes: Values,
    pub(crate) hours: Values,
    pub(crate) days: Days,
    pub(crate) months: Values,
    pub(crate) years: Values,
}

/// Which days of a month match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Days {
    /// All.
    Every,
    /// By their number.
    OfMonth {
        /// `1`, `1-7`, `*/2`.
        days: Values,
        /// `L`, `L-3`: this many days before the last.
        before_last: Vec<i8>,
        /// `15W`: the weekday nearest to it in the same month.
        nearest_weekday: Vec<i8>,
        /// `LW`: the last weekday.
        last_weekday: bool,
    },
    /// By their weekday, 1 for Sunday.
    OfWeek {
        /// `MON-FRI`.
        days: Values,
        /// `6L`: the last of that weekday in the month.
        last: Values,
        /// `3#2`: the second of that weekday in the month.
        nth: Vec<(u16, i8)>,
    },
}

impl Cron {
    /// Reads an expression.
    ///
    /// # Errors
    /// Names the field, what stands there and the mend. Also when no day ever matches, such as the 30th of February.
    pub fn parse(text: &str) -> Result<Self, ScheduleError> {
        let refuse = |problem: &str| Err(ScheduleError::new(Part::Expression, text, problem));
        let trimmed = text.trim();
        if trimmed.starts_with("rate(") || trimmed.starts_with("at(") {
            return refuse("only cron expressions are supported; write for example `cron(0 5 ? * * *)`");
        }
        let inner = match (trimmed.strip_prefix("cron("), trimmed.ends_with(')')) {
            (Some(rest), true) => &rest[..rest.len() - 1],
            (None, false) => trimmed,
            _ => return refuse("`cron(` and `)` must stand around the whole expression or not at all"),
        };
        let fields: Vec<&str> = inner.split_ascii_whitespace().collect();
        let (day_of_week, year) = match fields.as_slice() {
            [_, _, _, _, day_of_week] => (*day_of_week, "*"),
            [_, _, _, _, day_of_week, year] => (*day_of_week, *year),
            _ => {
                return Err(ScheduleError::new(
                    Part::Expression,
                    text,
                    format!(
                        "has {} fields; write six (minutes hours day-of-month month day-of-week year) or five without \
                         the year",
                        fields.len()
                    ),
                ));
            }
        };
        if fields.len() == 5 {
            refuse_unix_weekday_numbers(day_of_week)?;
        }
        let cron = Self {
            text: format!("cron({} {year})", fields[..5].join(" ")),
            minutes: field::values(MINUTES, fields[0])?,
            hours: field::values(HOURS, fields[1])?,
            days: days(fields[2], day_of_week)?,
            months: field::values(MONTHS, fields[3])?,
            years: field::values(YEARS, year)?,
        };
        if cron.next_at_or_after(date(1970, 1, 1).at(0, 0, 0, 0)).is_none() {
            return refuse("no day ever matches it; look at the day and month fields");
        }
        Ok(cron)
    }

    /// The first local time of the expression that is not before `from`; seconds are zero.
    #[must_use]
    pub fn next_at_or_after(&self, from: DateTime) -> Option<DateTime> {
        crate::calendar::next_at_or_after(self, from)
    }
}

impl FromStr for Cron {
    type Err = ScheduleError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl fmt::Display for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// In five fields a number is ambiguous: `1` is Monday to Unix and Sunday to AWS. A backup on the wrong day is worse than
/// a question.
fn refuse_unix_weekday_numbers(day_of_week: &str) -> Result<(), ScheduleError> {
    let number = day_of_week.split(',').find(|item| {
        let span = item.split(['/', '#']).next().unwrap_or_default();
        span.bytes().any(|b| b.is_ascii_digit())
    });
    match number {
        None => Ok(()),
        Some(item) => Err(ScheduleError::new(
            Part::DayOfWeek,
            item,
            "numbers of weekdays mean different days to Unix and to AWS; write names (`MON`), or six fields, where 1 is \
             Sunday",
        )),
    }
}

fn days(of_month: &str, of_week: &str) -> Result<Days, ScheduleError> {
    let is_open = |text: &str| text == "?" || text == "*";
    match (is_open(of_month), is_open(of_week)) {
        (true, true) if of_month == "?" && of_week == "?" => Err(ScheduleError::new(
            Part::DayOfWeek,
            "?",
            "only one of day-of-month and day-of-week can be `?`; write `*` in the other",
        )),
        (true, true) => Ok(Days::Every),
        (false, true) => days_of_month(of_month),
        (true, false) => days_of_week(of_week),
        (false, false) => Err(ScheduleError::new(
            Part::DayOfWeek,
            of_week,
            "day-of-month and day-of-week cannot both restrict the days; write `?` in one of them",
        )),
    }
}

fn days_of_month(text: &str) -> Result<Days, ScheduleError> {
    let mut days = Values::none(DAYS_OF_MONTH);
    let (mut before_last, mut nearest_weekday, mut last_weekday) = (Vec::new(), Vec::new(), false);
    for item in text.split(',') {
        let upper = item.to_ascii_uppercase();
        if upper == "LW" {
            last_weekday = true;
        } else if upper == "L" {
            before_last.push(0);
        } else if let Some(offset) = upper.strip_prefix("L-") {
            match offset.parse::<i8>() {
                Ok(offset) if (1..=30).contains(&offset) => before_last.push(offset),
                _ => return Err(ScheduleError::new(Part::DayOfMonth, item, "after `L-` stands a number from 1 to 30")),
            }
        } else if let Some(day) = upper.strip_suffix('W') {
            let day = field::number(DAYS_OF_MONTH, item, day)?;
            nearest_weekday.push(i8::try_from(day).unwrap_or_default());
        } else {
            field::add(DAYS_OF_MONTH, item, &mut days)?;
        }
    }
    Ok(Days::OfMonth { days, before_last, nearest_weekday, last_weekday })
}

fn days_of_week(text: &str) -> Result<Days, ScheduleError> {
    let mut days = Values::none(DAYS_OF_WEEK);
    let mut last = Values::none(DAYS_OF_WEEK);
    let mut nth = Vec::new();
    for item in text.split(',') {
        let upper = item.to_ascii_uppercase();
        if upper == "L" {
            // The last day of the week, which AWS begins on Sunday.
            days.insert(7);
        } else if let Some(day) = upper.strip_suffix('L') {
            last.insert(field::number(DAYS_OF_WEEK, item, day)?);
        } else if let Some((day, count)) = upper.split_once('#') {
            let day = field::number(DAYS_OF_WEEK, item, day)?;
            match count.parse::<i8>() {
                Ok(count) if (1..=5).contains(&count) => nth.push((day, count)),
                _ => return Err(ScheduleError::new(Part::DayOfWeek, item, "after `#` stands a number from 1 to 5")),
            }
        } else {
            field::add(DAYS_OF_WEEK, item, &mut days)?;
        }
    }
    Ok(Days::OfWeek { days, last, nth })
}
