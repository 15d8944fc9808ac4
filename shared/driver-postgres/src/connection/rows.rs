//! Results of queries, in text form.

use std::io;

use fallible_iterator::FallibleIterator as _;
use postgres_protocol::message::backend::DataRowBody;

use crate::error::PgError;

/// The rows of one result.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rows {
    columns: Vec<String>,
    rows: Vec<Vec<Option<String>>>,
}

impl Rows {
    pub(super) const fn new(columns: Vec<String>) -> Self {
        Self { columns, rows: Vec::new() }
    }

    pub(super) fn push(&mut self, row: Vec<Option<String>>) {
        self.rows.push(row);
    }

    /// Names of the columns.
    #[must_use]
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// How many rows there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are no rows.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The rows; none for NULL.
    pub fn iter(&self) -> impl Iterator<Item = &[Option<String>]> {
        self.rows.iter().map(Vec::as_slice)
    }

    /// A value; none for NULL and for what is not there.
    #[must_use]
    pub fn value(&self, row: usize, column: usize) -> Option<&str> {
        self.rows.get(row)?.get(column)?.as_deref()
    }

    /// The first value of the first row.
    ///
    /// # Errors
    /// [`PgError::Unexpected`] when there is none, or it is NULL.
    pub fn single(&self) -> Result<&str, PgError> {
        self.value(0, 0).ok_or_else(|| PgError::Unexpected { problem: "a query gave no value".to_owned() })
    }

    /// A value that must be there and be of a type.
    ///
    /// # Errors
    /// [`PgError::Unexpected`] when it is not.
    pub fn parse<T: std::str::FromStr>(&self, row: usize, column: usize) -> Result<T, PgError> {
        let value = self.value(row, column);
        value.and_then(|text| text.parse().ok()).ok_or_else(|| PgError::Unexpected {
            problem: format!(
                "column `{}` is {}",
                self.columns.get(column).map_or("?", String::as_str),
                value.unwrap_or("NULL")
            ),
        })
    }
}

pub(super) fn decode(body: &DataRowBody) -> io::Result<Vec<Option<String>>> {
    let buffer = body.buffer();
    body.ranges().map(|range| Ok(range.map(|range| String::from_utf8_lossy(&buffer[range]).into_owned()))).collect()
}
