//! What a closure sees of the state: the committed rows under its own changes.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::{Bound, ControlFlow, Range};
use std::sync::Arc;

use crate::backend::{Backend, Direction, KeyRange, Writes};
use crate::error::{BackendError, StoreError};
use crate::record::{Record, Table};
use crate::row::{self, Stored};
use crate::{KEY_BYTES_MAX, ROW_BYTES_MAX};

/// The tree of counters.
pub(crate) const COUNTERS: &str = "~counters";

/// Keys and stored values, in order.
type StoredRows = Vec<(Vec<u8>, Vec<u8>)>;

/// A transaction: reads see its own writes, and nothing is visible to others before it is committed as a whole.
pub struct Tx<'a> {
    backend: &'a dyn Backend,
    writes: Writes,
    /// First sign that the database cannot be trusted; the store fails on it even if the closure goes on.
    broken: RefCell<Option<StoreError>>,
}

impl fmt::Debug for Tx<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tx").field("trees_written", &self.writes.keys()).finish_non_exhaustive()
    }
}

fn damaged(counter: &str, problem: &str) -> StoreError {
    StoreError::Damaged { table: COUNTERS.to_owned(), key: shown(counter.as_bytes()), problem: problem.to_owned() }
}

/// A key as it may stand in a message.
fn shown(key: &[u8]) -> String {
    key.escape_ascii().to_string()
}

impl<'a> Tx<'a> {
    pub(crate) fn new(backend: &'a dyn Backend) -> Self {
        Self { backend, writes: Writes::new(), broken: RefCell::new(None) }
    }

    /// What was written, and what was found broken.
    pub(crate) fn finish(self) -> (Writes, Option<StoreError>) {
        (self.writes, self.broken.into_inner())
    }

    /// The row of a key.
    ///
    /// # Errors
    /// When the row is damaged, does not fit its type, or cannot be read.
    pub fn get<R: Record>(&self, table: &Table<R>, key: &[u8]) -> Result<Option<R>, StoreError> {
        check_table(table.name())?;
        match self.raw(table.name(), key)? {
            Some(value) => self.decode(table, key, value).map(Some),
            None => Ok(None),
        }
    }

    /// Writes a row, replacing the one of the same key.
    ///
    /// # Errors
    /// When the row is too large, its key is empty or too long, or it cannot be written as JSON; nothing is changed then.
    pub fn put<R: Record>(&mut self, table: &Table<R>, key: &[u8], record: &R) -> Result<(), StoreError> {
        check_table(table.name())?;
        let name = table.name();
        if key.is_empty() || key.len() > KEY_BYTES_MAX {
            return Err(StoreError::KeySize { table: name.to_owned(), bytes: key.len(), limit: KEY_BYTES_MAX });
        }
        let encoded = row::encode(record).map_err(|source| StoreError::Encode {
            table: name.to_owned(),
            key: shown(key),
            source: Arc::new(source),
        })?;
        let bytes = encoded.len();
        let too_large =
            || StoreError::TooLarge { table: name.to_owned(), key: shown(key), bytes, limit: ROW_BYTES_MAX };
        if bytes > ROW_BYTES_MAX {
            return Err(too_large());
        }
        self.delete_pieces(name, key)?;
        if bytes <= row::PIECE_BYTES {
            self.write(name, key.to_vec(), Some(encoded));
            return Ok(());
        }
        let total = u32::try_from(bytes).map_err(|_| too_large())?;
        let tree = row::pieces_tree(name);
        let mut count = 0;
        for piece in encoded.chunks(row::PIECE_BYTES) {
            self.write(&tree, row::piece_key(key, count), Some(piece.to_vec()));
            count += 1;
        }
        self.write(name, key.to_vec(), Some(row::header(total, count)));
        Ok(())
    }

    /// Removes a row; tells whether there was one.
    ///
    /// # Errors
    /// When the row cannot be read.
    pub fn delete<R: Record>(&mut self, table: &Table<R>, key: &[u8]) -> Result<bool, StoreError> {
        check_table(table.name())?;
        if self.raw(table.name(), key)?.is_none() {
            return Ok(false);
        }
        self.delete_pieces(table.name(), key)?;
        self.write(table.name(), key.to_vec(), None);
        Ok(true)
    }

    /// All rows whose key begins with `prefix`, in order of their keys.
    ///
    /// # Errors
    /// As [`Tx::get`].
    pub fn scan<R: Record>(&self, table: &Table<R>, prefix: &[u8]) -> Result<Vec<(Vec<u8>, R)>, StoreError> {
        let end = after_prefix(prefix);
        let end = end.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        self.rows(table, (Bound::Included(prefix), end), Direction::Forward, usize::MAX)
    }

    /// At most `limit` rows of a range of keys, in order of their keys.
    ///
    /// # Errors
    /// As [`Tx::get`].
    pub fn scan_range<R: Record>(
        &self,
        table: &Table<R>,
        range: Range<Vec<u8>>,
        limit: usize,
    ) -> Result<Vec<(Vec<u8>, R)>, StoreError> {
        if range.start >= range.end {
            return Ok(Vec::new());
        }
        self.rows(table, (Bound::Included(&range.start), Bound::Excluded(&range.end)), Direction::Forward, limit)
    }

    /// The row with the greatest key.
    ///
    /// # Errors
    /// As [`Tx::get`].
    pub fn last<R: Record>(&self, table: &Table<R>) -> Result<Option<(Vec<u8>, R)>, StoreError> {
        Ok(self.rows(table, (Bound::Unbounded, Bound::Unbounded), Direction::Backward, 1)?.pop())
    }

    /// The next number of a counter: 1, 2, 3 and so on. A number drawn by a transaction that is discarded is drawn again.
    ///
    /// # Errors
    /// When the counter cannot be read.
    pub fn next_number(&mut self, counter: &str) -> Result<u64, StoreError> {
        let next =
            self.last_number(counter)?.checked_add(1).ok_or_else(|| damaged(counter, "it has no next number"))?;
        let mut value = vec![1];
        value.extend_from_slice(next.to_string().as_bytes());
        self.write(COUNTERS, counter.as_bytes().to_vec(), Some(row::seal(value)));
        Ok(next)
    }

    /// The number that a counter gave last, 0 before the first.
    ///
    /// # Errors
    /// When the counter cannot be read.
    pub fn last_number(&self, counter: &str) -> Result<u64, StoreError> {
        let Some(value) = self.raw(COUNTERS, counter.as_bytes())? else { return Ok(0) };
        let body = row::unseal(&value).and_then(|body| body.split_first());
        let number = body.and_then(|(_, digits)| std::str::from_utf8(digits).ok()?.parse::<u64>().ok());
        number.ok_or_else(|| self.note(damaged(counter, "it is no number")))
    }

    fn write(&mut self, tree: &str, key: Vec<u8>, value: Option<Vec<u8>>) {
        match self.writes.get_mut(tree) {
            Some(rows) => {
                rows.insert(key, value);
            }
            None => {
                self.writes.insert(tree.to_owned(), BTreeMap::from([(key, value)]));
            }
        }
    }

    fn note(&self, error: StoreError) -> StoreError {
        self.broken.borrow_mut().get_or_insert_with(|| error.clone());
        error
    }

    fn unreadable(&self, tree: &str, source: BackendError) -> StoreError {
        self.note(StoreError::Read { table: tree.to_owned(), source: Arc::new(source) })
    }

    fn damaged(&self, table: &str, key: &[u8], problem: &str) -> StoreError {
        self.note(StoreError::Damaged { table: table.to_owned(), key: shown(key), problem: problem.to_owned() })
    }

    /// The stored value of a key, own writes first.
    fn raw(&self, tree: &str, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        if let Some(value) = self.writes.get(tree).and_then(|rows| rows.get(key)) {
            return Ok(value.clone());
        }
        self.backend.get(tree, key).map_err(|source| self.unreadable(tree, source))
    }

    fn delete_pieces(&mut self, table: &str, key: &[u8]) -> Result<(), StoreError> {
        let Some(value) = self.raw(table, key)? else { return Ok(()) };
        if let Stored::Pieces { count, .. } = row::inspect(&value).map_err(|e| self.damaged(table, key, e))? {
            let tree = row::pieces_tree(table);
            for index in 0..count {
                self.write(&tree, row::piece_key(key, index), None);
            }
        }
        Ok(())
    }

    fn decode<R: Record>(&self, table: &Table<R>, key: &[u8], value: Vec<u8>) -> Result<R, StoreError> {
        let name = table.name();
        let damaged = |problem| self.damaged(name, key, problem);
        let encoded = match row::inspect(&value).map_err(damaged)? {
            Stored::Whole => value,
            Stored::Pieces { bytes, count } => {
                let tree = row::pieces_tree(name);
                let mut whole = Vec::with_capacity(bytes as usize);
                for index in 0..count {
                    let piece = self.raw(&tree, &row::piece_key(key, index))?;
                    whole.extend_from_slice(&piece.ok_or_else(|| damaged("a piece of it is missing"))?);
                }
                whole
            }
        };
        let (version, json) = row::open(&encoded).map_err(damaged)?;
        row::decode(version, json).map_err(|problem| StoreError::Decode {
            table: name.to_owned(),
            key: shown(key),
            version,
            problem,
        })
    }

    fn rows<R: Record>(
        &self,
        table: &Table<R>,
        range: KeyRange<'_>,
        direction: Direction,
        limit: usize,
    ) -> Result<Vec<(Vec<u8>, R)>, StoreError> {
        check_table(table.name())?;
        let mut rows = Vec::new();
        for (key, value) in self.merged(table.name(), range, direction, limit)? {
            let record = self.decode(table, &key, value)?;
            rows.push((key, record));
        }
        Ok(rows)
    }

    /// The first `limit` stored values of a range, own writes over committed rows.
    fn merged(
        &self,
        tree: &str,
        range: KeyRange<'_>,
        direction: Direction,
        limit: usize,
    ) -> Result<StoredRows, StoreError> {
        let mut merged = Vec::new();
        if limit == 0 {
            return Ok(merged);
        }
        let none = BTreeMap::new();
        let own = self.writes.get(tree).unwrap_or(&none).range::<[u8], _>(range);
        let own: Vec<_> = match direction {
            Direction::Forward => own.collect(),
            Direction::Backward => own.rev().collect(),
        };
        let mut own = own.into_iter().peekable();
        let before = |a: &[u8], b: &[u8]| if direction == Direction::Forward { a < b } else { a > b };
        let mut visitor = |key: &[u8], value: &[u8]| {
            while let Some((own_key, own_value)) = own.next_if(|(own_key, _)| before(own_key, key)) {
                merged.extend(own_value.clone().map(|value| (own_key.clone(), value)));
            }
            match own.next_if(|(own_key, _)| own_key.as_slice() == key) {
                Some((_, own_value)) => merged.extend(own_value.clone().map(|value| (key.to_vec(), value))),
                None => merged.push((key.to_vec(), value.to_vec())),
            }
            if merged.len() >= limit { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        self.backend.visit(tree, range, direction, &mut visitor).map_err(|source| self.unreadable(tree, source))?;
        // Whatever is left of the own writes lies beyond the last row visited, or beyond the limit.
        merged.extend(own.filter_map(|(key, value)| value.clone().map(|value| (key.clone(), value))));
        merged.truncate(limit);
        Ok(merged)
    }
}

/// Refuses names that would collide with the store's own trees.
fn check_table(name: &str) -> Result<(), StoreError> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if name.starts_with(|first: char| first.is_ascii_lowercase()) && name.bytes().all(plain) {
        return Ok(());
    }
    Err(StoreError::TableName { table: name.to_owned() })
}

/// The first key after all keys with this prefix; `None` when there is none.
fn after_prefix(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte != 0xff)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end)
}

#[cfg(test)]
mod tests;
