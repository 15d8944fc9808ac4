//! `vault-created`: a vault is AVAILABLE, and its repository's identity is known from now on.

use job_events::VaultCreated;
use job_model::{JobDetail, JobEvent, MessageCategory, VaultState};

use crate::decide::orders::task;
use crate::decide::{Step, attempt, ends};

pub(crate) fn handle(step: &mut Step<'_>, fact: &VaultCreated) {
    let Some(mut row) = attempt::current(step, &fact.attempt) else { return };
    let JobDetail::Maintenance { vault: Some(arn), task, .. } = row.job.detail.clone() else { return };
    if let Some(mut vault) = step.state.vaults.get(&arn).cloned() {
        // A result that comes after the job was given up is welcome: the repository is there.
        let cold = task == task::CREATE_COLD_TIER;
        let access = if cold { vault.cold.as_mut() } else { Some(&mut vault.access) };
        if let Some(access) = access.filter(|access| access.repository_id.is_none()) {
            access.repository_id = Some(fact.repository_id.clone());
            vault.state = VaultState::Available;
            vault.state_message = None;
            step.state.vaults.put(arn, vault);
            if cold {
                // Recovery points may have waited for it.
                step.state.retain_soon();
            }
        }
    }
    if step.advance(&mut row, JobEvent::Succeeded) {
        row.job.message_category = MessageCategory::Success;
        row.job.status_message = None;
        ends::keep_ended(step, row);
    }
}
