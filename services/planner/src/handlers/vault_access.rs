//! `put-vault-access-policy`, `delete-vault-access-policy`: what cannot be evaluated is refused, and what is stored is
//! applied to every request about the vault.

use job_events::{DeleteVaultAccessPolicy, PutVaultAccessPolicy};
use job_model::access_policy::AccessPolicy;

use crate::decide::{Accepted, Refusal, Step};

pub(crate) fn put(step: &mut Step<'_>, request: &PutVaultAccessPolicy) -> Result<Accepted, Refusal> {
    let mut vault = step.vault("vault", &request.vault)?.clone();
    step.permitted("backup:PutBackupVaultAccessPolicy", &vault)?;
    AccessPolicy::parse(&request.policy)?;
    vault.access_policy = Some(request.policy.clone());
    step.state.vaults.put(request.vault.clone(), vault);
    Ok(Accepted::result(&request.vault))
}

pub(crate) fn delete(step: &mut Step<'_>, request: &DeleteVaultAccessPolicy) -> Result<Accepted, Refusal> {
    let mut vault = step.vault("vault", &request.vault)?.clone();
    step.permitted("backup:DeleteBackupVaultAccessPolicy", &vault)?;
    if vault.access_policy.take().is_some() {
        step.state.vaults.put(request.vault.clone(), vault);
    }
    Ok(Accepted::result(&request.vault))
}
