//! Which directories a walk has left: nothing of what is below them comes any more.

use std::collections::HashMap;

use crate::plan::{Entry, Window};

/// Directories that were met and not left yet.
#[derive(Default)]
pub(super) struct Left {
    open: HashMap<usize, Open>,
}

struct Open {
    entry: Entry,
    /// Directories in it that were not left yet.
    directories: usize,
}

impl Left {
    /// The directories that are left with this window, each after those below it.
    pub(super) fn after(&mut self, window: &Window) -> Vec<Entry> {
        let mut left = Vec::new();
        for entry in window.entries.iter().filter(|entry| entry.is_dir()) {
            self.open.insert(entry.number, Open { entry: entry.clone(), directories: 0 });
        }
        for directory in &window.directories {
            let below = window.children(directory).iter().filter(|child| child.is_dir()).count();
            if below > 0 {
                if let Some(open) = self.open.get_mut(&directory.number) {
                    open.directories = below;
                }
                continue;
            }
            let mut number = directory.number;
            while let Some(Open { entry, .. }) = self.open.remove(&number) {
                number = entry.holder;
                left.push(entry);
                match self.open.get_mut(&number) {
                    Some(holder) if holder.directories > 1 => {
                        holder.directories -= 1;
                        break;
                    }
                    // This was the last of it.
                    _ => {}
                }
            }
        }
        left
    }
}
