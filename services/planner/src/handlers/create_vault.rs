//! `create-vault`: a vault in the catalogue and the order to make its repository.

use job_events::CreateVaultRequest;
use job_model::{Arn, JobDetail, JobId, JobKind, Region, Vault, VaultAccess, VaultState, validation};

use crate::decide::orders::task;
use crate::decide::runs::new_job;
use crate::decide::{Accepted, Refusal, Step};
use crate::handlers::register_resource::absolute_file;
use crate::state::JobRow;

pub(crate) fn handle(step: &mut Step<'_>, request: &CreateVaultRequest) -> Result<Accepted, Refusal> {
    validation::vault_name("name", &request.name)?;
    known_region(step, "region", &request.region)?;
    validation::vault_retention(request.min_retention_days, request.max_retention_days)?;
    location(&request.location)?;
    key_profile(&request.key_profile)?;
    let arn = Arn::vault(&request.region, &step.settings.account, &request.name)
        .map_err(|error| Refusal::invalid("name", error.to_string()))?;
    if step.state.vaults.contains(&arn) {
        return Err(Refusal::exists(
            "name",
            format!("vault `{}` exists already in `{}`", request.name, request.region),
        ));
    }
    let same_place = |vault: &&Vault| {
        vault.region == request.region
            && vault.access.location.trim_end_matches('/') == request.location.trim_end_matches('/')
    };
    if let Some(other) = step.state.vaults.values().find(same_place) {
        let name = &other.name;
        return Err(Refusal::invalid(
            "location",
            format!("`{}` is the location of vault `{name}`; give each vault its own", request.location),
        ));
    }
    let access = VaultAccess {
        arn: arn.clone(),
        location: request.location.clone(),
        key_profile: request.key_profile.clone(),
        repository_id: None,
    };
    let vault = Vault {
        name: request.name.clone(),
        region: request.region.clone(),
        access,
        state: VaultState::Creating,
        state_message: None,
        min_retention_days: request.min_retention_days,
        max_retention_days: request.max_retention_days,
        created_at: step.now,
    };
    step.state.vaults.put(arn.clone(), vault);
    let detail = JobDetail::Maintenance {
        vault: Some(arn.clone()),
        task: task::CREATE_VAULT.to_owned(),
        recovery_point: None,
        restore_job_id: None,
    };
    let id = JobId::new(step.draw);
    let job = new_job(step, id, JobKind::Maintenance, arn.clone(), request.region.clone(), detail);
    step.create(JobRow::new(job));
    Ok(Accepted { job_id: Some(id), result: Some(arn.to_string()) })
}

/// A region with a bus.
pub(crate) fn known_region(step: &Step<'_>, field: &str, region: &Region) -> Result<(), Refusal> {
    if step.settings.regions.contains(region) {
        return Ok(());
    }
    let known: Vec<&str> = step.settings.regions.iter().map(Region::as_str).collect();
    Err(Refusal::invalid(
        field,
        format!("`{region}` is none of this installation's regions (`{}`)", known.join("`, `")),
    ))
}

fn location(location: &str) -> Result<(), Refusal> {
    if let Some(rest) = location.strip_prefix("s3://") {
        let bucket = rest.split('/').next().unwrap_or_default();
        if !bucket.is_empty() && !rest.split('/').any(|part| part == "..") {
            return Ok(());
        }
        return Err(Refusal::invalid("location", format!("`{location}` names no bucket; write `s3://bucket/prefix`")));
    }
    absolute_file("location", location)
}

fn key_profile(name: &str) -> Result<(), Refusal> {
    let fits = (1..=64).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_' || b == b'.');
    if fits {
        return Ok(());
    }
    Err(Refusal::invalid(
        "key_profile",
        format!("`{name}` is not 1 to 64 letters, digits, hyphens, underscores or dots"),
    ))
}
