//! A database in memory that can lose what no barrier covers.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use super::{Backend, Direction, KeyRange, Visitor, Writes};
use crate::error::BackendError;

/// Trees as maps, with the way back to the last barrier.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    trees: BTreeMap<String, BTreeMap<Vec<u8>, Vec<u8>>>,
    /// Old values since the last barrier, oldest first.
    undo: Vec<(String, Vec<u8>, Option<Vec<u8>>)>,
    #[cfg(test)]
    pub(crate) faults: Faults,
    #[cfg(test)]
    pub(crate) barriers: usize,
}

/// What a test makes fail.
#[cfg(test)]
#[derive(Clone, Debug, Default)]
pub(crate) struct Faults {
    pub(crate) commit: std::sync::Arc<std::sync::atomic::AtomicBool>,
    pub(crate) barrier: std::sync::Arc<std::sync::atomic::AtomicBool>,
}

#[cfg(test)]
impl Faults {
    fn check(flag: &std::sync::atomic::AtomicBool, step: &'static str) -> Result<(), BackendError> {
        if flag.load(std::sync::atomic::Ordering::SeqCst) {
            return Err(BackendError::Io { step, source: std::io::ErrorKind::StorageFull.into() });
        }
        Ok(())
    }
}

impl Memory {
    fn set(&mut self, tree: &str, key: Vec<u8>, value: Option<Vec<u8>>) -> Option<Vec<u8>> {
        let rows = self.trees.entry(tree.to_owned()).or_default();
        match value {
            Some(value) => rows.insert(key, value),
            None => rows.remove(&key),
        }
    }

    /// Loses everything since the last barrier, as a power cut does.
    #[cfg(test)]
    pub(crate) fn crash(&mut self) {
        while let Some((tree, key, old)) = self.undo.pop() {
            self.set(&tree, key, old);
        }
    }

    /// Changes a row behind the store's back.
    #[cfg(test)]
    pub(crate) fn tamper(&mut self, tree: &str, key: &[u8], value: Option<Vec<u8>>) {
        self.set(tree, key.to_vec(), value);
    }
}

impl Backend for Memory {
    fn get(&self, tree: &str, key: &[u8]) -> Result<Option<Vec<u8>>, BackendError> {
        Ok(self.trees.get(tree).and_then(|rows| rows.get(key)).cloned())
    }

    fn visit(
        &self,
        tree: &str,
        range: KeyRange<'_>,
        direction: Direction,
        visitor: Visitor<'_>,
    ) -> Result<(), BackendError> {
        let Some(rows) = self.trees.get(tree) else { return Ok(()) };
        let rows = rows.range::<[u8], _>(range);
        // `try_for_each` only carries the visitor's wish to stop.
        let _: ControlFlow<()> = match direction {
            Direction::Forward => rows.into_iter().try_for_each(|(key, value)| visitor(key, value)),
            Direction::Backward => rows.rev().try_for_each(|(key, value)| visitor(key, value)),
        };
        Ok(())
    }

    fn trees(&self) -> Result<Vec<String>, BackendError> {
        Ok(self.trees.keys().cloned().collect())
    }

    fn commit(&mut self, writes: &Writes) -> Result<(), BackendError> {
        #[cfg(test)]
        Faults::check(&self.faults.commit, "write the log")?;
        for (tree, rows) in writes {
            for (key, value) in rows {
                let old = self.set(tree, key.clone(), value.clone());
                self.undo.push((tree.clone(), key.clone(), old));
            }
        }
        Ok(())
    }

    fn barrier(&mut self, _number: u64) -> Result<(), BackendError> {
        #[cfg(test)]
        Faults::check(&self.faults.barrier, "sync the data file")?;
        self.undo.clear();
        Ok(())
    }

    fn size(&self) -> Result<u64, BackendError> {
        Ok(0)
    }
}

/// A database that outlives its store, as a disk does.
#[cfg(test)]
#[derive(Clone, Debug, Default)]
pub(crate) struct Shared(pub(crate) std::sync::Arc<std::sync::Mutex<Memory>>);

#[cfg(test)]
impl Shared {
    pub(crate) fn lock(&self) -> std::sync::MutexGuard<'_, Memory> {
        self.0.lock().unwrap()
    }
}

#[cfg(test)]
impl Backend for Shared {
    fn get(&self, tree: &str, key: &[u8]) -> Result<Option<Vec<u8>>, BackendError> {
        self.lock().get(tree, key)
    }

    fn visit(
        &self,
        tree: &str,
        range: KeyRange<'_>,
        direction: Direction,
        visitor: Visitor<'_>,
    ) -> Result<(), BackendError> {
        self.lock().visit(tree, range, direction, visitor)
    }

    fn trees(&self) -> Result<Vec<String>, BackendError> {
        self.lock().trees()
    }

    fn commit(&mut self, writes: &Writes) -> Result<(), BackendError> {
        self.lock().commit(writes)
    }

    fn barrier(&mut self, number: u64) -> Result<(), BackendError> {
        let mut memory = self.lock();
        memory.barriers += 1;
        memory.barrier(number)
    }

    fn size(&self) -> Result<u64, BackendError> {
        self.lock().size()
    }
}
