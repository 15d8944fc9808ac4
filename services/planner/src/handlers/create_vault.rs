//! `create-vault`: a vault in the catalogue and the order to make its repository.

use job_events::CreateVaultRequest;
use job_model::{
    Arn, JobDetail, JobId, JobKind, Region, Vault, VaultAccess, VaultLock, VaultState, VaultType, validation,
};

use crate::decide::orders::task;
use crate::decide::runs::new_job;
use crate::decide::{Accepted, Refusal, Step, cold, scope};
use crate::handlers::register_resource::absolute_file;
use crate::state::JobRow;

/// AWS's quota of vaults of an account in a region.
const VAULTS_MAX: usize = 300;

pub(crate) fn handle(step: &mut Step<'_>, request: &CreateVaultRequest) -> Result<Accepted, Refusal> {
    validation::vault_name("name", &request.name)?;
    known_region(step, "region", &request.region)?;
    validation::vault_retention(request.min_retention_days, request.max_retention_days)?;
    scope::check_tags("tags", &request.tags)?;
    if request.vault_type == VaultType::LogicallyAirGappedBackupVault {
        air_gapped(request)?;
    }
    let account = step.account();
    let (place, key) = place_of(step, request, account.as_str())?;
    location("location", &place)?;
    key_profile("key_profile", &key)?;
    let arn = Arn::vault(&request.region, &account, &request.name)
        .map_err(|error| Refusal::invalid("name", error.to_string()))?;
    if let Some(vault) = step.state.vaults.get(&arn) {
        let text = format!("vault `{}` exists already in `{}`", request.name, request.region);
        return Err(Refusal::exists("name", text).of(Some(arn), vault.creator_request_id.clone()));
    }
    let here = |vault: &&Vault| vault.region == request.region && vault.access.arn.account() == account.as_str();
    if step.state.vaults.values().filter(here).count() >= VAULTS_MAX {
        let text = format!("there are {VAULTS_MAX} vaults in `{}` already; delete one first", request.region);
        return Err(Refusal::limit("", text));
    }
    free(step, "location", &request.region, &place)?;
    let cold = cold_access(step, request, &arn, &place, &key)?;
    let access = VaultAccess { arn: arn.clone(), location: place, key_profile: key, repository_id: None };
    let vault = Vault {
        name: request.name.clone(),
        region: request.region.clone(),
        access,
        cold,
        state: VaultState::Creating,
        state_message: None,
        min_retention_days: request.min_retention_days,
        max_retention_days: request.max_retention_days,
        created_at: step.now,
        vault_type: request.vault_type,
        creator_request_id: step.caller.token.clone(),
        tags: request.tags.clone(),
        // An air-gapped vault is locked for good from its first instant.
        lock: (request.vault_type == VaultType::LogicallyAirGappedBackupVault)
            .then_some(VaultLock { lock_date: Some(step.now) }),
        access_policy: None,
        notifications: None,
        health: Vec::new(),
    };
    if let Some(cold) = cold::repository_for(step.settings, &vault) {
        free(step, "name", &vault.region, &cold.location)?;
    }
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

/// A location that no other repository has.
fn free(step: &Step<'_>, field: &str, region: &Region, place: &str) -> Result<(), Refusal> {
    let same = |access: &VaultAccess| access.location.trim_end_matches('/') == place.trim_end_matches('/');
    let has_it = |vault: &&Vault| {
        vault.region == *region
            && (same(&vault.access) || cold::repository_for(step.settings, vault).is_some_and(|c| same(&c)))
    };
    let Some(other) = step.state.vaults.values().find(has_it) else { return Ok(()) };
    let whose =
        if step.sees(other.access.arn.account()) { format!("vault `{}`", other.name) } else { "a vault".to_owned() };
    let text = format!("`{place}` is the location of {whose}; give each vault its own");
    Err(Refusal::invalid(field, text))
}

/// The cold repository that the request names, to be made at once. Where it names none, the configuration may have one, which
/// is made when a recovery point is to move there.
fn cold_access(
    step: &Step<'_>,
    request: &CreateVaultRequest,
    arn: &Arn,
    warm_place: &str,
    warm_key: &str,
) -> Result<Option<VaultAccess>, Refusal> {
    let Some(place) = &request.cold_location else {
        return match request.cold_key_profile {
            Some(_) => Err(Refusal::missing("cold_location", "a key without a place; name both, or neither")),
            None => Ok(None),
        };
    };
    location("cold_location", place)?;
    if place.trim_end_matches('/') == warm_place.trim_end_matches('/') {
        let text = format!("`{place}` is the location of the vault itself; cold storage is another repository");
        return Err(Refusal::invalid("cold_location", text));
    }
    free(step, "cold_location", &request.region, place)?;
    let key = request.cold_key_profile.clone().unwrap_or_else(|| warm_key.to_owned());
    key_profile("cold_key_profile", &key)?;
    Ok(Some(VaultAccess { arn: arn.clone(), location: place.clone(), key_profile: key, repository_id: None }))
}

/// Both bounds, as AWS wants them for an air-gapped vault.
fn air_gapped(request: &CreateVaultRequest) -> Result<(), Refusal> {
    for (field, days) in
        [("min_retention_days", request.min_retention_days), ("max_retention_days", request.max_retention_days)]
    {
        if days.is_none() {
            return Err(Refusal::missing(field, "an air-gapped vault is locked from the beginning; give both bounds"));
        }
    }
    Ok(())
}

/// Location and key: as asked for, or as the configuration says for the region.
fn place_of(step: &Step<'_>, request: &CreateVaultRequest, account: &str) -> Result<(String, String), Refusal> {
    let known = step.settings.vault_places.get(&request.region);
    let missing = |field: &str| {
        let region = &request.region;
        let mend = format!("name one, or set `regions.{region}.vaults` in the planner's configuration");
        Refusal::missing(field, mend)
    };
    let place = match (request.location.as_str(), known) {
        ("", Some(known)) => known.location.replace("{account}", account).replace("{name}", &request.name),
        ("", None) => return Err(missing("location")),
        (given, _) => given.to_owned(),
    };
    let key = match (request.key_profile.as_str(), known) {
        ("", Some(known)) => known.key_profile.clone(),
        ("", None) => return Err(missing("key_profile")),
        (given, _) => given.to_owned(),
    };
    Ok((place, key))
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

fn location(field: &str, location: &str) -> Result<(), Refusal> {
    if let Some(rest) = location.strip_prefix("s3://") {
        let bucket = rest.split('/').next().unwrap_or_default();
        if !bucket.is_empty() && !rest.split('/').any(|part| part == "..") {
            return Ok(());
        }
        return Err(Refusal::invalid(field, format!("`{location}` names no bucket; write `s3://bucket/prefix`")));
    }
    absolute_file(field, location)
}

fn key_profile(field: &str, name: &str) -> Result<(), Refusal> {
    let fits = (1..=64).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_' || b == b'.');
    if fits {
        return Ok(());
    }
    Err(Refusal::invalid(field, format!("`{name}` is not 1 to 64 letters, digits, hyphens, underscores or dots")))
}
