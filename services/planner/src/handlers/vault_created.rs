//! `vault-created`: a vault is AVAILABLE, and its repository's identity is known from now on.

use job_events::VaultCreated;
use job_model::{JobDetail, JobEvent, MessageCategory, VaultState};

use crate::decide::{Step, attempt, ends};

pub(crate) fn handle(step: &mut Step<'_>, fact: &VaultCreated) {
    let Some(mut row) = attempt::current(step, &fact.attempt) else { return };
    let JobDetail::Maintenance { vault: Some(arn), .. } = row.job.detail.clone() else { return };
    if let Some(mut vault) = step.state.vaults.get(&arn).cloned() {
        // A result that comes after the job was given up is welcome: the repository is there.
        let known = vault.access.repository_id.is_some();
        if !known {
            vault.state = VaultState::Available;
            vault.state_message = None;
            vault.access.repository_id = Some(fact.repository_id.clone());
            step.state.vaults.put(arn, vault);
        }
    }
    if step.advance(&mut row, JobEvent::Succeeded) {
        row.job.message_category = MessageCategory::Success;
        row.job.status_message = None;
        ends::keep_ended(step, row);
    }
}
