//! `start-vault-check`: a vault read through.

use job_events::StartVaultCheck;
use job_model::{JobDetail, JobId, JobKind, StorageClass, VaultState};

use crate::decide::orders::task;
use crate::decide::runs::new_job;
use crate::decide::{Accepted, Refusal, Step};
use crate::state::JobRow;

pub(crate) fn handle(step: &mut Step<'_>, request: &StartVaultCheck) -> Result<Accepted, Refusal> {
    let gone = || Refusal::not_found("vault", format!("vault `{}` does not exist", request.vault));
    let vault = step.vault("vault", &request.vault).map_err(|_| gone())?;
    if vault.state != VaultState::Available {
        return Err(Refusal::request(
            "vault",
            format!("vault `{}` is not AVAILABLE; there is nothing to check", vault.name),
        ));
    }
    if vault.repository(request.storage_class).is_none() {
        let text = format!("vault `{}` has no cold repository yet; there is nothing to check", vault.name);
        return Err(Refusal::request("storage_class", text));
    }
    let region = vault.region.clone();
    let task = match request.storage_class {
        StorageClass::Warm => task::CHECK_VAULT,
        StorageClass::Cold => task::CHECK_COLD_TIER,
    };
    let detail = JobDetail::Maintenance {
        vault: Some(request.vault.clone()),
        task: task.to_owned(),
        recovery_point: None,
        restore_job_id: None,
    };
    let id = JobId::new(step.draw);
    let job = new_job(step, id, JobKind::Maintenance, request.vault.clone(), region, detail);
    let mut row = JobRow::new(job);
    row.read_data = request.read_data;
    Ok(Accepted::job(step.create(row)))
}
