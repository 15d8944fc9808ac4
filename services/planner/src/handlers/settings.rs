//! `put-region-settings`, `put-global-settings`: settings of the sender's account. Only what is applied is accepted.

use job_events::{PutGlobalSettings, PutRegionSettings};
use job_model::{CROSS_ACCOUNT_BACKUP, GlobalSettings, RegionSettings, ResourceType};

use crate::decide::{Accepted, Refusal, Step};

/// Settings of AWS Organizations that do not exist here: their only value is `false`.
const ALWAYS_FALSE: [&str; 2] = ["isMpaEnabled", "isDelegatedAdministratorEnabled"];

pub(crate) fn put_region(step: &mut Step<'_>, request: &PutRegionSettings) -> Result<Accepted, Refusal> {
    let account = step.account();
    let region = step.caller.region.clone().or_else(|| step.settings.regions.first().cloned());
    let region = region.ok_or_else(|| Refusal::request("", "the installation has no region"))?;
    for (field, map) in [("opt_in", &request.opt_in), ("management", &request.management)] {
        for name in map.keys() {
            if !ResourceType::ALL.iter().any(|known| known.as_str() == name) {
                let known: Vec<&str> = ResourceType::ALL.iter().map(|known| known.as_str()).collect();
                let text = format!("`{name}` is no type of resource here; known are {}", known.join(", "));
                return Err(Refusal::invalid(&format!("{field}.{name}"), text));
            }
        }
    }
    if let Some((name, _)) = request.management.iter().find(|(_, on)| !**on) {
        let text = "every type is managed fully, so nothing else than `true` can be set";
        return Err(Refusal::invalid(&format!("management.{name}"), text));
    }
    let key = (account.clone(), region.clone());
    let known = step.state.region_settings.get(&key).cloned();
    let mut settings = known.unwrap_or_else(|| RegionSettings::new(account.clone(), region));
    settings.opt_in.extend(request.opt_in.clone());
    settings.management.extend(request.management.clone());
    settings.updated_at = Some(step.now);
    step.state.region_settings.put(key, settings);
    step.state.retain_soon();
    Ok(Accepted::result(account))
}

pub(crate) fn put_global(step: &mut Step<'_>, request: &PutGlobalSettings) -> Result<Accepted, Refusal> {
    let account = step.account();
    for (name, value) in &request.settings {
        let field = format!("settings.{name}");
        if value != "true" && value != "false" {
            return Err(Refusal::invalid(&field, format!("`{value}` is not `true` or `false`")));
        }
        if ALWAYS_FALSE.contains(&name.as_str()) {
            if value == "true" {
                return Err(Refusal::invalid(&field, "does not exist here and stays `false`"));
            }
        } else if name != CROSS_ACCOUNT_BACKUP {
            return Err(Refusal::invalid(&field, format!("`{name}` is no setting; known is `{CROSS_ACCOUNT_BACKUP}`")));
        }
    }
    let known = step.state.global_settings.get(&account).cloned();
    let mut settings = known.unwrap_or_else(|| GlobalSettings::new(account.clone()));
    settings.settings.extend(request.settings.clone());
    settings.updated_at = Some(step.now);
    step.state.global_settings.put(account.clone(), settings);
    Ok(Accepted::result(account))
}
