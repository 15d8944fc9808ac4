//! Neighbouring rows of a list, column by column: a filter looks at nothing but the columns it names.

use std::ops::Range;

use super::{Place, Wanted};

/// Rows of a block at most. A pass over blocks touches each once; a row that comes in between moves half a block.
pub(super) const ROWS_MAX: usize = 512;

#[derive(Debug)]
pub(super) struct Block<M, const N: usize, R> {
    places: Vec<Place>,
    marks: [Vec<M>; N],
    rows: Vec<R>,
}

impl<M: Copy + Eq, const N: usize, R> Block<M, N, R> {
    pub(super) fn new() -> Self {
        Self { places: Vec::new(), marks: std::array::from_fn(|_| Vec::new()), rows: Vec::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    pub(super) fn last(&self) -> Option<Place> {
        self.places.last().copied()
    }

    pub(super) fn places(&self) -> &[Place] {
        &self.places
    }

    pub(super) fn find(&self, place: &Place) -> Result<usize, usize> {
        self.places.binary_search(place)
    }

    pub(super) fn marks(&self, at: usize) -> [M; N] {
        std::array::from_fn(|column| self.marks[column][at])
    }

    pub(super) fn row(&self, at: usize) -> &R {
        &self.rows[at]
    }

    pub(super) fn insert(&mut self, at: usize, place: Place, marks: [M; N], row: R) {
        self.places.insert(at, place);
        for (column, mark) in self.marks.iter_mut().zip(marks) {
            column.insert(at, mark);
        }
        self.rows.insert(at, row);
    }

    /// Puts another row at a place that is there.
    pub(super) fn replace(&mut self, at: usize, marks: [M; N], row: R) -> ([M; N], R) {
        let before = self.marks(at);
        for (column, mark) in self.marks.iter_mut().zip(marks) {
            column[at] = mark;
        }
        (before, std::mem::replace(&mut self.rows[at], row))
    }

    pub(super) fn remove(&mut self, at: usize) -> ([M; N], R) {
        self.places.remove(at);
        (std::array::from_fn(|column| self.marks[column].remove(at)), self.rows.remove(at))
    }

    /// Takes the rows from here on away.
    pub(super) fn split_off(&mut self, at: usize) -> Self {
        Self {
            places: self.places.split_off(at),
            marks: std::array::from_fn(|column| self.marks[column].split_off(at)),
            rows: self.rows.split_off(at),
        }
    }

    /// Takes over the rows of the block that follows.
    pub(super) fn append(&mut self, mut next: Self) {
        self.places.append(&mut next.places);
        for (column, more) in self.marks.iter_mut().zip(&mut next.marks) {
            column.append(more);
        }
        self.rows.append(&mut next.rows);
    }

    /// Rows of the range that have the marks, last first.
    pub(super) fn matching<'a>(
        &'a self,
        range: Range<usize>,
        wanted: &'a Wanted<M, N>,
    ) -> impl Iterator<Item = usize> + 'a {
        // Most blocks have no row of a sparse filter: one look at a column says so for all of them. Without an early end the
        // compiler compares many marks at once.
        let lacks = |(column, wanted): (&Vec<M>, &Option<M>)| {
            let has = |wanted| column[range.clone()].iter().fold(false, |has, mark| has | (*mark == wanted));
            wanted.is_some_and(|wanted| !has(wanted))
        };
        let none = self.marks.iter().zip(&wanted.marks).any(lacks);
        let range = if none { 0..0 } else { range };
        range.rev().filter(move |at| {
            let mut columns = self.marks.iter().zip(&wanted.marks);
            columns.all(|(column, wanted)| wanted.is_none_or(|wanted| column[*at] == wanted))
        })
    }
}
