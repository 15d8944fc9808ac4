//! Frees what no recovery point of a vault needs, step by step; or says what would be freed.

use std::time::Duration;

use attempt_control::{Steering, WorkError};
use job_events::{AttemptHeader, PruneVault, VaultPruned};
use job_model::FailureCode;
use vault_engine::{PruneOptions, PrunePlan, PruneReport, Vault};

use crate::work::Tools;

/// Names of packs that a fact carries; a message is no place for a million of them.
const NAMES_MAX: usize = 20;

/// What came of an order.
pub(crate) enum Pruned {
    Planned(PrunePlan),
    Done(PruneReport),
}

pub(crate) fn run(tools: &Tools, order: &PruneVault, steering: &Steering) -> Result<Pruned, WorkError> {
    if order.grace_hours == 0 {
        // Whoever works without locks is protected by nothing else.
        let text = "`grace_hours` is 0, at least 1; look at the planner's version";
        return Err(WorkError::refused(FailureCode::OrderInvalid, text.to_owned()));
    }
    let vault = Vault::open(&order.vault, &tools.profiles, &tools.surroundings)?;
    let grace = Duration::from_secs(u64::from(order.grace_hours) * 3600);
    let options = PruneOptions { grace, ..PruneOptions::new(steering) };
    if order.plan_only {
        return Ok(Pruned::Planned(vault.prune_plan(&options)?));
    }
    let report = vault.prune(&options)?;
    tracing::info!(
        vault = %order.vault.arn,
        removed = report.packs_removed,
        freed = report.bytes_freed,
        marked = report.packs_marked,
        repacked = report.packs_repacked,
        "vault pruned"
    );
    Ok(Pruned::Done(report))
}

impl Pruned {
    pub(crate) fn into_fact(self, attempt: AttemptHeader) -> VaultPruned {
        let plan_only = matches!(self, Self::Planned(_));
        let (plan, done) = match self {
            Self::Planned(plan) => (plan, None),
            Self::Done(report) => (report.plan.clone(), Some(report)),
        };
        let count = |number: fn(&PruneReport) -> u64| done.as_ref().map_or(0, number);
        let damaged = plan.damaged.iter().map(|planned| planned.pack.to_hex());
        let unreadable = done.iter().flat_map(|report| report.packs_unreadable.clone());
        VaultPruned {
            attempt,
            plan_only,
            plan: plan.to_string(),
            packs_removed: count(|report| report.packs_removed),
            bytes_freed: count(|report| report.bytes_freed),
            packs_marked: count(|report| report.packs_marked),
            packs_repacked: count(|report| report.packs_repacked),
            packs_restored: count(|report| report.packs_restored),
            packs_waiting: plan.waiting.len() as u64 + count(|report| report.packs_marked),
            held_up_by: plan.held_up_by.iter().take(NAMES_MAX).cloned().collect(),
            packs_damaged: damaged.chain(unreadable).take(NAMES_MAX).collect(),
        }
    }
}
