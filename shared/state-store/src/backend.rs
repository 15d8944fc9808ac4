//! What the store needs of a database; `sled` on disk, a map in memory.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::{Bound, ControlFlow};

use crate::error::BackendError;

pub(crate) mod mark;
pub(crate) mod memory;
pub(crate) mod sled_db;

/// Changes by tree and key; `None` deletes.
pub(crate) type Writes = BTreeMap<String, BTreeMap<Vec<u8>, Option<Vec<u8>>>>;

/// A range of keys.
pub(crate) type KeyRange<'a> = (Bound<&'a [u8]>, Bound<&'a [u8]>);

/// Every key.
pub(crate) const ALL_KEYS: KeyRange<'static> = (Bound::Unbounded, Bound::Unbounded);

/// In which order keys are visited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Forward,
    Backward,
}

/// What looks at rows one after the other.
pub(crate) type Visitor<'a> = &'a mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>;

/// An ordered store of trees with atomic commits over all of them and a barrier.
pub(crate) trait Backend: Send + fmt::Debug {
    /// The value of a key; `None` also when there is no such tree.
    fn get(&self, tree: &str, key: &[u8]) -> Result<Option<Vec<u8>>, BackendError>;

    /// Shows the rows of a tree in order until the visitor breaks.
    fn visit(
        &self,
        tree: &str,
        range: KeyRange<'_>,
        direction: Direction,
        visitor: Visitor<'_>,
    ) -> Result<(), BackendError>;

    /// The names of all trees.
    fn trees(&self) -> Result<Vec<String>, BackendError>;

    /// Applies all changes or none. They are durable after the next barrier.
    fn commit(&mut self, writes: &Writes) -> Result<(), BackendError>;

    /// Makes everything committed durable; `number` is that of the newest commit.
    fn barrier(&mut self, number: u64) -> Result<(), BackendError>;

    /// Bytes on disk.
    fn size(&self) -> Result<u64, BackendError>;
}
