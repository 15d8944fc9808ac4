//! Makes a vault's repository. May be repeated: a repository of the same key without snapshots is taken for its own.

use attempt_control::{Steering, WorkError};
use job_events::CreateVault;
use vault_engine::Vault;

use crate::work::Tools;

/// The repository's id.
pub(crate) fn run(tools: &Tools, order: &CreateVault, steering: &Steering) -> Result<String, WorkError> {
    steering.guard()?;
    fail::fail_point!("snapshot-worker::before_create_vault");
    let vault = Vault::create(&order.vault, &tools.profiles, &tools.surroundings)?;
    tracing::info!(vault = %order.vault.arn, repository = vault.repository_id(), "vault made");
    Ok(vault.repository_id().to_owned())
}
