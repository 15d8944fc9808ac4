//! The directories of a recovery point, held from one walk to where their metadata is set, so that another walk is saved.

use crate::plan::{Entry, Window};

/// All directories that were met, while they are few enough to be held.
pub(super) struct Met {
    /// None when they were too many.
    held: Option<Vec<Entry>>,
    bytes_left: usize,
}

impl Met {
    /// For directories of about so many bytes.
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { held: Some(Vec::new()), bytes_left: bytes_max }
    }

    pub(super) fn take_in(&mut self, window: &Window) {
        for entry in window.entries.iter().filter(|entry| entry.is_dir()) {
            match (&mut self.held, self.bytes_left.checked_sub(entry.weight())) {
                (Some(held), Some(left)) => {
                    held.push(entry.clone());
                    self.bytes_left = left;
                }
                _ => self.held = None,
            }
        }
    }

    /// All of them, or none.
    pub(super) fn all(&self) -> Option<&[Entry]> {
        self.held.as_deref()
    }
}
