//! Backup plans.

use std::collections::{BTreeMap, BTreeSet};

use super::limits::{at_most, within};
use super::{INVALID_PARAMETER_VALUE, Invalid, plan_name, rule_name};
use crate::{AdvancedBackupSetting, BackupPlan, BackupRule, Generations, Lifecycle, Vault};

/// AWS's longest retention of continuous backups.
const CONTINUOUS_DAYS_MAX: u32 = 35;

/// A plan: 1 to 10 rules with different names, each within its bounds.
///
/// # Errors
/// Names the first field that is wrong. The rules' schedules are not looked at; see the `schedule` crate.
pub fn backup_plan(plan: &BackupPlan) -> Result<(), Invalid> {
    plan_name("name", &plan.name)?;
    if plan.rules.is_empty() {
        return Err(Invalid::missing("rules", "a plan needs at least one rule"));
    }
    at_most("rules", plan.rules.len(), 10, "rules")?;
    let mut names = BTreeSet::new();
    for (index, rule) in plan.rules.iter().enumerate() {
        let path = format!("rules[{index}]");
        backup_rule(&path, rule)?;
        if !names.insert(rule.name.as_str()) {
            return Err(Invalid::parameter(
                format!("{path}.name"),
                &rule.name,
                "another rule of the plan has this name; names are unique in a plan",
            ));
        }
    }
    Ok(())
}

fn backup_rule(path: &str, rule: &BackupRule) -> Result<(), Invalid> {
    rule_name(&format!("{path}.name"), &rule.name)?;
    windows(path, rule.start_window_minutes, rule.completion_window_minutes)?;
    lifecycle(&format!("{path}.lifecycle"), &rule.lifecycle)?;
    if rule.enable_continuous && rule.lifecycle.delete_after_days.is_none_or(|days| days > CONTINUOUS_DAYS_MAX) {
        let days = rule.lifecycle.delete_after_days.map_or_else(|| "for ever".to_owned(), |days| days.to_string());
        let problem = format!("continuous backups are kept for 1 to {CONTINUOUS_DAYS_MAX} days");
        return Err(Invalid::parameter(format!("{path}.lifecycle.delete_after_days"), days, problem));
    }
    if let Some(days) = rule.lifecycle.move_to_cold_after_days.filter(|_| rule.enable_continuous) {
        let problem = "continuous backups have no cold storage; leave it out";
        return Err(Invalid::parameter(format!("{path}.lifecycle.move_to_cold_after_days"), days.to_string(), problem));
    }
    if let Some(generations) = &rule.generations {
        some_generation(&format!("{path}.generations"), generations)?;
    }
    at_most(&format!("{path}.copy_actions"), rule.copy_actions.len(), 5, "copy actions")?;
    let mut destinations = BTreeSet::new();
    for (index, copy) in rule.copy_actions.iter().enumerate() {
        let copy_path = format!("{path}.copy_actions[{index}]");
        let destination_field = format!("{copy_path}.destination_vault");
        if copy.destination_vault == rule.target_vault {
            let problem = "is the vault the rule already backs up to; name another one";
            return Err(Invalid::parameter(destination_field, copy.destination_vault.as_str(), problem));
        }
        if !destinations.insert(&copy.destination_vault) {
            let problem = "another copy action of the rule goes there; one is enough";
            return Err(Invalid::parameter(destination_field, copy.destination_vault.as_str(), problem));
        }
        lifecycle(&format!("{copy_path}.lifecycle"), &copy.lifecycle)?;
    }
    tags(&format!("{path}.recovery_point_tags"), &rule.recovery_point_tags)
}

/// Options by type of resource, as AWS has them: `EC2` with `WindowsVSS`, `S3` with `BackupACLs` and `BackupObjectTags`, each
/// `enabled` or `disabled`. They are about AWS's own types of resources, of which there are none here.
///
/// # Errors
/// Names the first option that does not exist.
pub fn advanced_settings(settings: &[AdvancedBackupSetting]) -> Result<(), Invalid> {
    for (place, setting) in settings.iter().enumerate() {
        for (option, value) in &setting.options {
            let known = match setting.resource_type.as_str() {
                "EC2" => option == "WindowsVSS",
                "S3" => option == "BackupACLs" || option == "BackupObjectTags",
                _ => false,
            };
            let path = format!("advanced_settings[{place}].options.{option}");
            if !known {
                let problem = format!("`{}` has no such option", setting.resource_type);
                return Err(Invalid::parameter(path, value, problem));
            }
            if value != "enabled" && value != "disabled" {
                return Err(Invalid::parameter(path, value, "must be `enabled` or `disabled`"));
            }
        }
    }
    Ok(())
}

/// Windows of a rule or of a backup on demand: 1 minute to 100 years, and completion not before the end of the start.
///
/// # Errors
/// When they are anything else.
pub fn windows(path: &str, start_minutes: u32, completion_minutes: u32) -> Result<(), Invalid> {
    let member = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    within(&member("start_window_minutes"), start_minutes, 1..=52_560_000, "minutes")?;
    within(&member("completion_window_minutes"), completion_minutes, 1..=52_560_000, "minutes")?;
    if completion_minutes < start_minutes {
        return Err(Invalid::parameter(
            member("completion_window_minutes"),
            completion_minutes.to_string(),
            format!(
                "both windows count from the scheduled time, so it must not be shorter than the start window of \
                 `{start_minutes}`"
            ),
        ));
    }
    Ok(())
}

/// A lifecycle: cold storage after 1 to 36,500 days or never, deletion later than that or never.
///
/// # Errors
/// When it is anything else.
pub fn lifecycle(path: &str, lifecycle: &Lifecycle) -> Result<(), Invalid> {
    if let Some(days) = lifecycle.delete_after_days {
        within(&format!("{path}.delete_after_days"), days, 1..=36_500, "days")?;
    }
    let Some(cold) = lifecycle.move_to_cold_after_days else { return Ok(()) };
    let field = format!("{path}.move_to_cold_after_days");
    within(&field, cold, 1..=36_500, "days")?;
    match lifecycle.delete_after_days {
        Some(delete) if delete <= cold => {
            let problem = format!(
                "it is deleted after `{delete}` days and would never be in cold storage; write fewer days, or leave it out"
            );
            Err(Invalid::parameter(field, cold.to_string(), problem))
        }
        _ => Ok(()),
    }
}

fn some_generation(path: &str, generations: &Generations) -> Result<(), Invalid> {
    let Generations { last, hourly, daily, weekly, monthly, yearly } = *generations;
    let members = [
        ("last", last),
        ("hourly", hourly),
        ("daily", daily),
        ("weekly", weekly),
        ("monthly", monthly),
        ("yearly", yearly),
    ];
    for (name, count) in members {
        within(&format!("{path}.{name}"), count, 0..=100_000, "generations")?;
    }
    if members.iter().all(|(_, count)| *count == 0) {
        return Err(Invalid::parameter(path, "all zero", "keeps nothing; give at least one number, or leave it out"));
    }
    Ok(())
}

/// At most 10 tags for a recovery point; keys of 1 to 128 characters, values of at most 256.
///
/// # Errors
/// When there are more, or a key or value does not fit.
pub fn tags(path: &str, tags: &BTreeMap<String, String>) -> Result<(), Invalid> {
    at_most(path, tags.len(), 10, "tags")?;
    for (key, value) in tags {
        tag(&format!("{path}.{key}"), key, value)?;
    }
    Ok(())
}

/// A tag: a key of 1 to 128 characters that is not AWS's own, a value of at most 256.
///
/// # Errors
/// When it is anything else.
pub fn tag(path: &str, key: &str, value: &str) -> Result<(), Invalid> {
    if key.is_empty() || key.chars().count() > 128 || key.starts_with("aws:") {
        let problem = "a tag's key has 1 to 128 characters and does not begin with `aws:`";
        return Err(Invalid::parameter(path, key, problem));
    }
    if value.chars().count() > 256 {
        return Err(Invalid::parameter(path, value, "a tag's value has at most 256 characters"));
    }
    Ok(())
}

/// Whether a vault takes a recovery point that is kept like this. For ever is longer than any bound.
///
/// # Errors
/// When it would be kept for less than the vault's shortest or more than its longest retention.
pub fn retention_fits_vault(path: &str, lifecycle: &Lifecycle, vault: &Vault) -> Result<(), Invalid> {
    let refuse = |problem: String| {
        let value = lifecycle.delete_after_days.map_or_else(|| "for ever".to_owned(), |days| days.to_string());
        Err(Invalid { field: format!("{path}.delete_after_days"), value, problem, code: INVALID_PARAMETER_VALUE })
    };
    match (lifecycle.delete_after_days, vault.min_retention_days, vault.max_retention_days) {
        (Some(days), Some(min), _) if days < min => {
            refuse(format!("vault `{}` keeps recovery points for at least `{min}` days", vault.name))
        }
        (days, _, Some(max)) if days.is_none_or(|days| days > max) => {
            refuse(format!("vault `{}` keeps recovery points for at most `{max}` days", vault.name))
        }
        _ => Ok(()),
    }
}
