//! Plan files: TOML or JSON with the fields of the request, where vaults and resources may stand by name.

use std::io::Read;
use std::path::Path;

use job_model::{Region, Resource, Vault};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::CliError;
use crate::names;

/// Reads a file as JSON: by its name's ending TOML or JSON; `-` is JSON from standard input.
pub(super) fn read(path: &Path) -> Result<Value, CliError> {
    let read_error = |source| CliError::ReadFile { path: path.to_owned(), source };
    let text = if path == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map_err(read_error)?;
        text
    } else {
        std::fs::read_to_string(path).map_err(read_error)?
    };
    parse(path, &text)
}

fn parse(path: &Path, text: &str) -> Result<Value, CliError> {
    let bad = |problem: String| CliError::BadFile { path: path.to_owned(), problem };
    let is_toml = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("toml"));
    if is_toml {
        toml::from_str(text).map_err(|e: toml::de::Error| bad(format!("no TOML: {}", e.message())))
    } else {
        serde_json::from_str(text).map_err(|e| bad(format!("no JSON: {e} (name a TOML file `….toml`)")))
    }
}

/// The value as a request's body; the error names the field.
pub(super) fn decode<T: DeserializeOwned>(path: &Path, value: Value) -> Result<T, CliError> {
    serde_path_to_error::deserialize(value)
        .map_err(|e| CliError::BadFile { path: path.to_owned(), problem: format!("`{}`: {}", e.path(), e.inner()) })
}

/// Replaces names of vaults by ARNs in a plan's rules.
pub(super) fn resolve_plan(plan: &mut Value, vaults: &[Vault], region: Option<&Region>) -> Result<(), CliError> {
    for rule in array(plan, "rules") {
        resolve_vault(rule.get_mut("target_vault"), vaults, region)?;
        for copy in array(rule, "copy_actions") {
            resolve_vault(copy.get_mut("destination_vault"), vaults, region)?;
        }
    }
    Ok(())
}

/// Replaces names of vaults and resources by ARNs in a restore testing plan; patterns with `*` stay.
pub(super) fn resolve_restore_testing_plan(
    plan: &mut Value,
    vaults: &[Vault],
    resources: &[Resource],
    region: Option<&Region>,
) -> Result<(), CliError> {
    for field in ["include_vaults", "exclude_vaults"] {
        for vault in array(plan, field) {
            resolve_vault(Some(vault), vaults, region)?;
        }
    }
    for selection in array(plan, "selections") {
        for resource in array(selection, "protected_resources") {
            if let Some(name) = plain_name(resource) {
                *resource = Value::from(names::pick_resource(resources, &name)?.arn.as_str());
            }
        }
    }
    Ok(())
}

fn resolve_vault(value: Option<&mut Value>, vaults: &[Vault], region: Option<&Region>) -> Result<(), CliError> {
    if let Some(value) = value
        && let Some(name) = plain_name(value)
    {
        *value = Value::from(names::pick_vault(vaults, &name, region)?.access.arn.as_str());
    }
    Ok(())
}

/// The text of a value that is neither an ARN nor a pattern.
fn plain_name(value: &Value) -> Option<String> {
    value.as_str().filter(|text| !text.starts_with("arn:") && !text.contains('*')).map(str::to_owned)
}

fn array<'v>(value: &'v mut Value, field: &str) -> impl Iterator<Item = &'v mut Value> {
    value.get_mut(field).and_then(Value::as_array_mut).into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use job_events::CreatePlan;
    use job_model::{VaultAccess, VaultState};

    use super::*;

    fn vault(name: &str, region: &str) -> Vault {
        Vault {
            name: name.to_owned(),
            region: region.parse().unwrap(),
            access: VaultAccess {
                arn: format!("arn:aws:backup:{region}:000000000000:backup-vault:{name}").parse().unwrap(),
                location: "file:///v".to_owned(),
                key_profile: "default".to_owned(),
                repository_id: None,
            },
            cold: None,
            state: VaultState::Available,
            state_message: None,
            min_retention_days: None,
            max_retention_days: None,
            created_at: Timestamp::UNIX_EPOCH,
            vault_type: job_model::VaultType::BackupVault,
            creator_request_id: None,
            tags: std::collections::BTreeMap::new(),
            lock: None,
            access_policy: None,
            notifications: None,
            health: Vec::new(),
        }
    }

    const PLAN: &str = r#"
        name = "nightly"
        [[rules]]
        name = "night"
        target_vault = "tokyo"
        schedule = "cron(0 3 ? * * *)"
        lifecycle = { delete_after_days = 35 }
        [[rules.copy_actions]]
        destination_vault = "osaka"
    "#;

    #[test]
    fn a_toml_plan_with_vault_names_becomes_a_request() {
        let path = Path::new("plan.toml");
        let mut value = parse(path, PLAN).unwrap();
        let vaults = [vault("tokyo", "ap-northeast-1"), vault("osaka", "ap-northeast-3")];
        resolve_plan(&mut value, &vaults, None).unwrap();
        let plan: CreatePlan = decode(path, value).unwrap();
        assert_eq!(plan.rules[0].target_vault, vaults[0].access.arn);
        assert_eq!(plan.rules[0].copy_actions[0].destination_vault, vaults[1].access.arn);
        assert_eq!(plan.rules[0].lifecycle.delete_after_days, Some(35));
    }

    #[test]
    fn a_field_nobody_knows_is_named_with_its_path() {
        let path = Path::new("plan.toml");
        let mut value = parse(path, &PLAN.replace("schedule", "shedule")).unwrap();
        let vaults = [vault("tokyo", "ap-northeast-1"), vault("osaka", "ap-northeast-3")];
        resolve_plan(&mut value, &vaults, None).unwrap();
        let error = decode::<CreatePlan>(path, value).unwrap_err().to_string();
        assert!(error.starts_with("`plan.toml`: `rules[0].shedule`: unknown field"), "{error}");
    }

    #[test]
    fn a_vault_that_is_not_there_stops_the_plan_before_it_is_sent() {
        let mut value = parse(Path::new("plan.toml"), PLAN).unwrap();
        let error = resolve_plan(&mut value, &[vault("tokyo", "ap-northeast-1")], None).unwrap_err();
        assert_eq!(error.to_string(), "there is no vault `osaka`; `holdfast vault list` shows what there is");
    }
}
