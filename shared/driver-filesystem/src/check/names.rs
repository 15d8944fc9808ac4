//! Names of one file.

use std::collections::HashMap;

use job_model::{FindingKind, Severity};

use super::{Comparison, Present};
use crate::display;
use crate::plan::{Entry, Window};

/// Further names must lead to the same file, and to no other. Held are only files with several names, here or there.
#[derive(Default)]
pub(super) struct Names {
    /// The first name of each file that has several at the target.
    seen: HashMap<(u64, u64), First>,
    /// Which file is at the target under the first name of each that has several in the recovery point.
    leaders: HashMap<usize, Leader>,
}

struct Leader {
    file: (u64, u64),
    path: Box<[u8]>,
}

struct First {
    number: usize,
    leader: Option<usize>,
    path: Box<[u8]>,
}

impl Names {
    pub(super) fn compare(&mut self, comparison: &Comparison<'_>, window: &Window, present: &Present) {
        let differs = |entry: &Entry, message: String| {
            comparison.find(FindingKind::MetadataDiffers, Severity::Failure, entry.display(), message);
        };
        for entry in window.below_root().iter().filter(|entry| !entry.is_dir()) {
            let Some(place) = present.get(&entry.number) else { continue };
            if place.links > 1 {
                let this = || First { number: entry.number, leader: entry.leader, path: entry.path().into() };
                let first = self.seen.entry(place.file).or_insert_with(this);
                let same = match (first.leader, entry.leader) {
                    (Some(a), Some(b)) => a == b,
                    _ => first.number == entry.number,
                };
                if !same {
                    differs(entry, format!("it is the same file as `{}`", display(&first.path)));
                }
            }
            match entry.leader {
                Some(leader) if leader == entry.number => {
                    self.leaders.insert(leader, Leader { file: place.file, path: entry.path().into() });
                }
                // Leaders come first.
                Some(leader) => {
                    if let Some(first) = self.leaders.get(&leader).filter(|first| first.file != place.file) {
                        differs(entry, format!("it is no longer the same file as `{}`", display(&first.path)));
                    }
                }
                None => {}
            }
        }
    }
}
