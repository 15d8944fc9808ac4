//! `vault-pruned`: what a prune of a vault did. One that found nothing to do, or could not do it, says so.

use job_events::VaultPruned;
use job_model::{JobEvent, MessageCategory};

use crate::decide::{Step, attempt, ends, explain};

pub(crate) fn handle(step: &mut Step<'_>, fact: &VaultPruned) {
    let Some(mut row) = attempt::current(step, &fact.attempt) else { return };
    if !step.advance(&mut row, JobEvent::Succeeded) {
        return;
    }
    // How many packs there were to remove, and how many went: what is left is a reason for the next prune.
    row.job.progress.items_total = Some(fact.packs_removed + fact.packs_waiting);
    row.job.progress.items_done = fact.packs_removed;
    row.job.progress.bytes_done = fact.bytes_freed;
    let (category, text) = told(fact);
    explain(&mut row.job, category, text);
    ends::keep_ended(step, row);
}

fn told(fact: &VaultPruned) -> (MessageCategory, String) {
    if fact.plan_only {
        return (MessageCategory::Success, format!("nothing was changed; the plan: {}", fact.plan.replace('\n', "; ")));
    }
    if !fact.held_up_by.is_empty() {
        let others = fact.held_up_by.join(", ");
        let text = format!("{} packs removed; nothing new was marked while others work: {others}", fact.packs_removed);
        return (MessageCategory::Issues, text);
    }
    if !fact.packs_damaged.is_empty() {
        let first = fact.packs_damaged.first().map_or("", String::as_str);
        let text = format!(
            "{} packs removed; packs that recovery points need are damaged or gone, first `{first}`; run `holdfast check`",
            fact.packs_removed
        );
        return (MessageCategory::Issues, text);
    }
    let done = fact.packs_removed + fact.packs_marked + fact.packs_repacked + fact.packs_restored;
    let waiting = format!("{} unused packs wait for the end of the grace period", fact.packs_waiting);
    if done == 0 {
        return (MessageCategory::Success, format!("nothing was done: there is nothing to free; {waiting}"));
    }
    let text = format!(
        "{} packs with {} bytes removed, {} marked, {} packed anew, {} put back; {waiting}",
        fact.packs_removed, fact.bytes_freed, fact.packs_marked, fact.packs_repacked, fact.packs_restored
    );
    (MessageCategory::Success, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fact() -> VaultPruned {
        let attempt = serde_json::from_value(serde_json::json!({
            "job_id": "00000000-0000-4000-8000-000000000001", "attempt": 1, "epoch": 1, "worker": "w",
            "at": "2026-11-21T00:00:00Z"
        }));
        VaultPruned {
            attempt: attempt.unwrap(),
            plan_only: false,
            plan: "one\ntwo".to_owned(),
            packs_removed: 0,
            bytes_freed: 0,
            packs_marked: 0,
            packs_repacked: 0,
            packs_restored: 0,
            packs_waiting: 4,
            held_up_by: Vec::new(),
            packs_damaged: Vec::new(),
        }
    }

    #[test]
    fn a_prune_that_did_nothing_says_so() {
        assert!(told(&fact()).1.starts_with("nothing was done"), "{:?}", told(&fact()));
        let planned = told(&VaultPruned { plan_only: true, ..fact() }).1;
        assert!(planned.starts_with("nothing was changed") && planned.ends_with("one; two"), "{planned}");
        let held_up = VaultPruned { held_up_by: vec!["process 7 on `h`".to_owned()], ..fact() };
        assert_eq!(told(&held_up).0, MessageCategory::Issues);
        let damaged = VaultPruned { packs_damaged: vec!["ab".to_owned()], ..fact() };
        assert_eq!(told(&damaged).0, MessageCategory::Issues);
        let done = VaultPruned { packs_removed: 3, bytes_freed: 70, ..fact() };
        assert!(told(&done).1.starts_with("3 packs with 70 bytes removed"), "{:?}", told(&done));
    }
}
