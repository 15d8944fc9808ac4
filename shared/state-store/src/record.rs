//! Types that have a table.

use std::fmt;
use std::marker::PhantomData;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// A type whose values are rows of a table.
pub trait Record: Serialize + DeserializeOwned + Send + 'static {
    /// Version of its JSON shape, from 1. Raise it when the shape changes in a way that `serde` defaults do not cover.
    const VERSION: u8;

    /// Brings the JSON of an older version to the current shape. Rows are written back only when their owner does so.
    ///
    /// # Errors
    /// Says why the version cannot be read.
    fn upgrade(from: u8, json: serde_json::Value) -> Result<serde_json::Value, String> {
        if from == Self::VERSION { Ok(json) } else { Err(format!("version {from} is not known")) }
    }
}

/// A table: a name and the type of its rows. Keys are bytes, ordered as such; use big-endian numbers.
pub struct Table<R> {
    name: &'static str,
    record: PhantomData<fn() -> R>,
}

impl<R> Table<R> {
    /// A table of that name: lower-case letters, digits and `-`, beginning with a letter.
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        Self { name, record: PhantomData }
    }

    /// Its name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }
}

impl<R> Clone for Table<R> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<R> Copy for Table<R> {}

impl<R> fmt::Debug for Table<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Table").field(&self.name).finish()
    }
}
