//! `start-vault-prune`: what no recovery point needs is freed, or it is said what would be.

use job_events::StartVaultPrune;
use job_model::VaultState;

use crate::decide::{Accepted, Refusal, Step, pruning};

pub(crate) fn handle(step: &mut Step<'_>, request: &StartVaultPrune) -> Result<Accepted, Refusal> {
    let Some(vault) = step.state.vaults.get(&request.vault) else {
        return Err(Refusal::not_found("vault", format!("vault `{}` does not exist", request.vault)));
    };
    if vault.state != VaultState::Available {
        return Err(Refusal::request(
            "vault",
            format!("vault `{}` is not AVAILABLE; there is nothing to prune", vault.name),
        ));
    }
    if vault.repository(request.storage_class).is_none() {
        let text = format!("vault `{}` has no cold repository yet; there is nothing to prune", vault.name);
        return Err(Refusal::request("storage_class", text));
    }
    let vault = vault.clone();
    Ok(Accepted::job(pruning::start(step, &vault, request.storage_class, request.plan_only)))
}
