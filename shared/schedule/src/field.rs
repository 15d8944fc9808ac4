//! One field of an expression: lists, ranges and steps of numbers or names.

use crate::{Part, ScheduleError};

/// Which numbers and names a field takes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Range {
    /// The field.
    pub(crate) part: Part,
    /// Smallest number.
    pub(crate) min: u16,
    /// Largest number.
    pub(crate) max: u16,
    /// Names that stand for `min`, `min + 1`, …
    pub(crate) names: &'static [&'static str],
}

pub(crate) const MINUTES: Range = Range { part: Part::Minutes, min: 0, max: 59, names: &[] };
pub(crate) const HOURS: Range = Range { part: Part::Hours, min: 0, max: 23, names: &[] };
pub(crate) const DAYS_OF_MONTH: Range = Range { part: Part::DayOfMonth, min: 1, max: 31, names: &[] };
pub(crate) const MONTHS: Range = Range {
    part: Part::Month,
    min: 1,
    max: 12,
    names: &["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"],
};
pub(crate) const DAYS_OF_WEEK: Range =
    Range { part: Part::DayOfWeek, min: 1, max: 7, names: &["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"] };
pub(crate) const YEARS: Range = Range { part: Part::Year, min: 1970, max: 2199, names: &[] };

/// The values a field matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Values {
    min: u16,
    set: Vec<bool>,
}

impl Values {
    pub(crate) fn none(range: Range) -> Self {
        Self { min: range.min, set: vec![false; usize::from(range.max - range.min) + 1] }
    }

    pub(crate) fn contains(&self, value: u16) -> bool {
        value.checked_sub(self.min).and_then(|index| self.set.get(usize::from(index))).copied().unwrap_or(false)
    }

    pub(crate) fn insert(&mut self, value: u16) {
        if let Some(slot) = value.checked_sub(self.min).and_then(|index| self.set.get_mut(usize::from(index))) {
            *slot = true;
        }
    }

    /// The first value that is at least `from`.
    pub(crate) fn first_from(&self, from: u16) -> Option<u16> {
        let start = from.saturating_sub(self.min);
        let position = self.set.iter().skip(usize::from(start)).position(|is_set| *is_set)?;
        Some(self.min + start + u16::try_from(position).ok()?)
    }
}

/// Reads a whole field.
pub(crate) fn values(range: Range, text: &str) -> Result<Values, ScheduleError> {
    let mut values = Values::none(range);
    for item in text.split(',') {
        add(range, item, &mut values)?;
    }
    Ok(values)
}

/// Reads one item of a list: `*`, `7`, `1-5`, `*/10`, `5/10`, `0-30/10`.
pub(crate) fn add(range: Range, item: &str, values: &mut Values) -> Result<(), ScheduleError> {
    let refuse = |problem: String| Err(ScheduleError::new(range.part, item, problem));
    if item.is_empty() {
        return refuse(format!("an item of the list is empty; write {}", expected(range)));
    }
    let (span, step) = match item.split_once('/') {
        None => (item, None),
        Some((span, step)) => match step.parse::<u16>() {
            Ok(step) if step >= 1 && step <= range.max => (span, Some(step)),
            _ => return refuse(format!("the step after `/` must be a number from 1 to {}", range.max)),
        },
    };
    let (first, last) = match span.split_once('-') {
        _ if span == "*" => (range.min, range.max),
        Some((first, last)) => (number(range, item, first)?, number(range, item, last)?),
        None => {
            let first = number(range, item, span)?;
            (first, if step.is_some() { range.max } else { first })
        }
    };
    if first > last {
        return refuse(
            "the range runs backwards; write two ranges, one up to the end and one from the start".to_owned(),
        );
    }
    for value in (first..=last).step_by(usize::from(step.unwrap_or(1))) {
        values.insert(value);
    }
    Ok(())
}

/// Reads a number or a name.
pub(crate) fn number(range: Range, item: &str, text: &str) -> Result<u16, ScheduleError> {
    if let Some(index) = range.names.iter().position(|name| name.eq_ignore_ascii_case(text)) {
        return Ok(range.min + u16::try_from(index).unwrap_or_default());
    }
    let all_digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    match text.parse::<u16>() {
        Ok(value) if all_digits && (range.min..=range.max).contains(&value) => Ok(value),
        _ => Err(ScheduleError::new(range.part, item, format!("`{text}` does not fit; write {}", expected(range)))),
    }
}

fn expected(range: Range) -> String {
    match (range.names.first(), range.names.last()) {
        (Some(first), Some(last)) if range.part == Part::DayOfWeek => {
            format!("{} to {} (1 is Sunday) or `{first}` to `{last}`", range.min, range.max)
        }
        (Some(first), Some(last)) => format!("{} to {} or `{first}` to `{last}`", range.min, range.max),
        _ => format!("{} to {}", range.min, range.max),
    }
}
