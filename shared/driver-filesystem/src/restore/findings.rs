//! What could not be set.

use std::collections::BTreeMap;

use job_model::{Finding, FindingKind, Severity};
use parking_lot::Mutex;

/// Findings of one sort that are listed one by one; the rest is counted.
const LISTED: usize = 50;

#[derive(Debug, Default)]
pub(super) struct Findings {
    by_sort: Mutex<BTreeMap<&'static str, (Vec<Finding>, usize)>>,
}

impl Findings {
    /// Notes that something could not be done; `action` is a verb phrase such as `set owner of`.
    pub(super) fn warn(&self, kind: FindingKind, action: &'static str, subject: String, message: String) {
        let mut by_sort = self.by_sort.lock();
        let (listed, count) = by_sort.entry(action).or_default();
        *count += 1;
        if listed.len() < LISTED {
            let message = format!("could not {action} it: {message}");
            listed.push(Finding { kind, severity: Severity::Warning, subject, message });
        }
    }

    pub(super) fn into_list(self) -> Vec<Finding> {
        let mut list = Vec::new();
        for (action, (mut listed, count)) in self.by_sort.into_inner() {
            let more = count - listed.len();
            let kind = listed.first().map_or(FindingKind::MetadataDiffers, |f| f.kind);
            listed.sort_by(|a, b| a.subject.cmp(&b.subject));
            list.append(&mut listed);
            if more > 0 {
                let message = format!("could not {action} {more} more entries");
                list.push(Finding { kind, severity: Severity::Warning, subject: String::new(), message });
            }
        }
        list
    }
}
