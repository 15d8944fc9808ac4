//! `vault-protected`: what protects recovery points stands in their vault.

use job_events::VaultProtected;
use job_model::JobDetail;

use crate::decide::{Step, attempt, keeping};

pub(crate) fn handle(step: &mut Step<'_>, fact: &VaultProtected) {
    let Some(row) = attempt::current(step, &fact.attempt) else { return };
    let JobDetail::Maintenance { vault: Some(vault), task, .. } = row.job.detail.clone() else { return };
    keeping::confirmed(step, row, &vault, &task, fact);
}
