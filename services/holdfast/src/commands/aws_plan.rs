//! Plans in the form that people bring from AWS: `{"BackupPlan": {…}}` as `aws backup create-backup-plan` takes it, or the
//! document alone as `export-backup-plan-template` writes it.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::files;
use crate::error::CliError;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Wrapped {
    backup_plan: Document,
    #[serde(default)]
    backup_plan_tags: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Document {
    backup_plan_name: String,
    rules: Vec<Rule>,
    #[serde(default)]
    advanced_backup_settings: Vec<Setting>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Rule {
    rule_name: String,
    /// A name; exported documents of some tools have the shorter member.
    #[serde(alias = "TargetBackupVault")]
    target_backup_vault_name: String,
    schedule_expression: Option<String>,
    schedule_expression_timezone: Option<String>,
    start_window_minutes: Option<u32>,
    completion_window_minutes: Option<u32>,
    lifecycle: Option<Lifecycle>,
    #[serde(default)]
    copy_actions: Vec<Copy>,
    #[serde(default)]
    recovery_point_tags: BTreeMap<String, String>,
    #[serde(default)]
    enable_continuous_backup: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Copy {
    #[serde(alias = "DestinationBackupVault")]
    destination_backup_vault_arn: String,
    lifecycle: Option<Lifecycle>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Lifecycle {
    move_to_cold_storage_after_days: Option<i64>,
    delete_after_days: Option<i64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Setting {
    resource_type: String,
    #[serde(default)]
    backup_options: BTreeMap<String, String>,
}

/// The native form of a document, whichever of the forms it is in.
pub(super) fn native(path: &Path, value: Value) -> Result<Value, CliError> {
    let wrapped = if value.get("BackupPlan").is_some() {
        files::decode::<Wrapped>(path, value)?
    } else if value.get("BackupPlanName").is_some() {
        Wrapped { backup_plan: files::decode(path, value)?, backup_plan_tags: BTreeMap::new() }
    } else {
        return Ok(value);
    };
    let Document { backup_plan_name, rules, advanced_backup_settings } = wrapped.backup_plan;
    let settings = advanced_backup_settings
        .into_iter()
        .map(|setting| json!({ "resource_type": setting.resource_type, "options": setting.backup_options }));
    Ok(json!({
        "name": backup_plan_name,
        "rules": rules.into_iter().map(rule).collect::<Vec<_>>(),
        "advanced_settings": settings.collect::<Vec<_>>(),
        "tags": wrapped.backup_plan_tags,
    }))
}

fn rule(rule: Rule) -> Value {
    let copies = rule.copy_actions.into_iter().map(|copy| {
        json!({
            "destination_vault": copy.destination_backup_vault_arn,
            "lifecycle": lifecycle(copy.lifecycle.as_ref()),
        })
    });
    let mut native = Map::new();
    let mut put = |name: &str, value: Value| {
        if !value.is_null() {
            native.insert(name.to_owned(), value);
        }
    };
    put("name", json!(rule.rule_name));
    put("target_vault", json!(rule.target_backup_vault_name));
    put("schedule", json!(rule.schedule_expression));
    put("time_zone", json!(rule.schedule_expression_timezone));
    put("start_window_minutes", json!(rule.start_window_minutes));
    put("completion_window_minutes", json!(rule.completion_window_minutes));
    put("lifecycle", lifecycle(rule.lifecycle.as_ref()));
    put("copy_actions", copies.collect());
    put("recovery_point_tags", json!(rule.recovery_point_tags));
    put("enable_continuous", json!(rule.enable_continuous_backup));
    Value::Object(native)
}

/// A lifecycle; AWS writes -1 for never.
fn lifecycle(given: Option<&Lifecycle>) -> Value {
    let mut native = Map::new();
    if let Some(given) = given {
        let members = [
            ("move_to_cold_after_days", given.move_to_cold_storage_after_days),
            ("delete_after_days", given.delete_after_days),
        ];
        for (name, days) in members {
            if let Some(days) = days.filter(|days| *days != -1) {
                native.insert(name.to_owned(), json!(days));
            }
        }
    }
    Value::Object(native)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(vault: &str) -> Value {
        json!({
            "BackupPlanName": "nightly",
            "Rules": [{
                "RuleName": "night",
                vault: "tokyo",
                "ScheduleExpression": "cron(0 5 * * *)",
                "ScheduleExpressionTimezone": "Asia/Tokyo",
                "StartWindowMinutes": 60,
                "Lifecycle": { "MoveToColdStorageAfterDays": 7, "DeleteAfterDays": 30 },
                "RecoveryPointTags": { "team": "storage" },
                "CopyActions": [{ "DestinationBackupVaultArn": "osaka", "Lifecycle": { "DeleteAfterDays": -1 } }],
            }],
        })
    }

    #[test]
    fn a_plan_as_aws_takes_it_becomes_a_native_one() {
        let expected = json!({
            "name": "nightly",
            "rules": [{
                "name": "night",
                "target_vault": "tokyo",
                "schedule": "cron(0 5 * * *)",
                "time_zone": "Asia/Tokyo",
                "start_window_minutes": 60,
                "lifecycle": { "move_to_cold_after_days": 7, "delete_after_days": 30 },
                "copy_actions": [{ "destination_vault": "osaka", "lifecycle": {} }],
                "recovery_point_tags": { "team": "storage" },
                "enable_continuous": false,
            }],
            "advanced_settings": [],
            "tags": { "made": "elsewhere" },
        });
        for member in ["TargetBackupVault", "TargetBackupVaultName"] {
            let wrapped = json!({ "BackupPlan": document(member), "BackupPlanTags": { "made": "elsewhere" } });
            assert_eq!(native(Path::new("plan.json"), wrapped).unwrap(), expected);
        }
        let alone = native(Path::new("plan.json"), document("TargetBackupVaultName")).unwrap();
        assert_eq!(alone["rules"], expected["rules"]);
    }

    #[test]
    fn a_native_plan_stays_as_it_is() {
        let plan = json!({ "name": "nightly", "rules": [] });
        assert_eq!(native(Path::new("plan.json"), plan.clone()).unwrap(), plan);
    }

    #[test]
    fn what_nobody_would_apply_is_named_with_its_path() {
        let mut wrapped = json!({ "BackupPlan": document("TargetBackupVault") });
        wrapped["BackupPlan"]["Rules"][0]["IndexActions"] = json!([]);
        let error = native(Path::new("plan.json"), wrapped).unwrap_err().to_string();
        assert!(error.starts_with("`plan.json`: `BackupPlan.Rules[0].IndexActions`: unknown field"), "{error}");
        let mut wrapped = json!({ "BackupPlan": document("TargetBackupVault") });
        wrapped["BackupPlan"]["Rules"][0]["TargetBackupVaultName"] = json!("twice");
        let error = native(Path::new("plan.json"), wrapped).unwrap_err().to_string();
        assert!(error.contains("duplicate field"), "{error}");
    }
}
