//! Why a schedule cannot be used.

use std::fmt;

/// A part of a schedule, as its author knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The expression as a whole.
    Expression,
    /// 0 to 59.
    Minutes,
    /// 0 to 23.
    Hours,
    /// 1 to 31, `L`, `W`, `?`.
    DayOfMonth,
    /// 1 to 12 or `JAN` to `DEC`.
    Month,
    /// 1 to 7 or `SUN` to `SAT`, `L`, `#`, `?`.
    DayOfWeek,
    /// 1970 to 2199.
    Year,
    /// The IANA time zone beside the expression.
    TimeZone,
}

impl Part {
    /// The name in messages.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Expression => "expression",
            Self::Minutes => "minutes",
            Self::Hours => "hours",
            Self::DayOfMonth => "day-of-month",
            Self::Month => "month",
            Self::DayOfWeek => "day-of-week",
            Self::Year => "year",
            Self::TimeZone => "time zone",
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a schedule cannot be used: which part, what stands there and how to mend it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{part} `{value}`: {problem}")]
pub struct ScheduleError {
    /// The part that is wrong.
    pub part: Part,
    /// What stands there.
    pub value: String,
    /// What is wrong with it and how to mend it.
    pub problem: String,
}

impl ScheduleError {
    pub(crate) fn new(part: Part, value: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { part, value: value.into(), problem: problem.into() }
    }
}
