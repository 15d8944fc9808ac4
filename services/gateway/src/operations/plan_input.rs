//! The document of a backup plan, as clients send it.

use std::collections::BTreeMap;

use job_events::RuleInput;
use job_model::{AdvancedBackupSetting, CopyAction, Lifecycle};
use serde_json::{Map, Value};

use super::tags::texts;
use super::{Context, strict};
use crate::fault::Fault;

/// What a document says.
#[derive(Debug)]
pub(super) struct PlanInput {
    pub(super) name: String,
    pub(super) rules: Vec<RuleInput>,
    pub(super) advanced_settings: Vec<AdvancedBackupSetting>,
}

/// Members of a rule that AWS has and nothing here applies: given and not empty, they are refused.
const NOT_APPLIED: [&str; 3] = ["TargetLogicallyAirGappedBackupVaultArn", "IndexActions", "ScanActions"];

fn text<'a>(members: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    members.get(name).and_then(Value::as_str)
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.is_empty(),
        Value::String(text) => text.is_empty(),
        other => other.is_null(),
    }
}

/// Reads a document that was held against the model.
pub(super) fn read(context: &Context<'_>, document: &Value) -> Result<PlanInput, Fault> {
    let none = Map::new();
    let document = document.as_object().unwrap_or(&none);
    let name = text(document, "BackupPlanName").ok_or_else(|| Fault::missing("BackupPlan.BackupPlanName"))?;
    if document.get("ScanSettings").is_some_and(|value| !is_empty(value)) {
        return Err(Fault::invalid("BackupPlan.ScanSettings", "there is no malware scanner here; leave it out"));
    }
    let rules = document.get("Rules").and_then(Value::as_array).cloned().unwrap_or_default();
    let rules = rules.iter().enumerate().map(|(index, value)| {
        let path = format!("BackupPlan.Rules[{index}]");
        let members = value.as_object().ok_or_else(|| Fault::missing(&path))?;
        if context.api.config.aws_strict {
            strict::rule(&path, members)?;
        }
        rule(context, &path, members)
    });
    let settings = document.get("AdvancedBackupSettings").and_then(Value::as_array).cloned().unwrap_or_default();
    Ok(PlanInput {
        name: name.to_owned(),
        rules: rules.collect::<Result<_, _>>()?,
        advanced_settings: settings
            .iter()
            .map(|setting| AdvancedBackupSetting {
                resource_type: setting["ResourceType"].as_str().unwrap_or_default().to_owned(),
                options: texts(setting.get("BackupOptions")),
            })
            .collect(),
    })
}

fn rule(context: &Context<'_>, path: &str, members: &Map<String, Value>) -> Result<RuleInput, Fault> {
    for name in NOT_APPLIED {
        if members.get(name).is_some_and(|value| !is_empty(value)) {
            return Err(Fault::invalid(&format!("{path}.{name}"), "nothing here would apply it; leave it out"));
        }
    }
    let vault = text(members, "TargetBackupVaultName")
        .ok_or_else(|| Fault::missing(&format!("{path}.TargetBackupVaultName")))?;
    let copies = members.get("CopyActions").and_then(Value::as_array).cloned().unwrap_or_default();
    let copies = copies.iter().enumerate().map(|(place, copy)| {
        let path = format!("{path}.CopyActions[{place}]");
        let member = format!("{path}.DestinationBackupVaultArn");
        let arn = copy["DestinationBackupVaultArn"].as_str().unwrap_or_default();
        Ok(CopyAction {
            destination_vault: context.arn(&member, arn)?,
            lifecycle: lifecycle(&format!("{path}.Lifecycle"), copy.get("Lifecycle"))?,
        })
    });
    let tags: BTreeMap<String, String> = texts(members.get("RecoveryPointTags"));
    Ok(RuleInput {
        name: text(members, "RuleName").unwrap_or_default().to_owned(),
        target_vault: context.vault_arn(vault)?,
        schedule: text(members, "ScheduleExpression").filter(|text| !text.is_empty()).map(str::to_owned),
        time_zone: text(members, "ScheduleExpressionTimezone").filter(|text| !text.is_empty()).map(str::to_owned),
        start_window_minutes: minutes(path, members, "StartWindowMinutes")?,
        completion_window_minutes: minutes(path, members, "CompletionWindowMinutes")?,
        lifecycle: lifecycle(&format!("{path}.Lifecycle"), members.get("Lifecycle"))?,
        generations: None,
        copy_actions: copies.collect::<Result<_, Fault>>()?,
        recovery_point_tags: tags,
        enable_continuous: members.get("EnableContinuousBackup").and_then(Value::as_bool).unwrap_or(false),
    })
}

/// Minutes of a window.
pub(super) fn minutes(path: &str, members: &Map<String, Value>, name: &str) -> Result<Option<u32>, Fault> {
    let Some(minutes) = members.get(name).and_then(Value::as_i64) else { return Ok(None) };
    let member = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    let wrong = || Fault::invalid(&member, format!("`{minutes}` is no number of minutes"));
    u32::try_from(minutes).map(Some).map_err(|_| wrong())
}

/// A lifecycle; -1 stands for never.
pub(super) fn lifecycle(path: &str, value: Option<&Value>) -> Result<Lifecycle, Fault> {
    let Some(members) = value.and_then(Value::as_object) else { return Ok(Lifecycle::default()) };
    if members.get("OptInToArchiveForSupportedResources").and_then(Value::as_bool) == Some(true) {
        let text = "there is no archive tier here; leave it out";
        return Err(Fault::invalid(&format!("{path}.OptInToArchiveForSupportedResources"), text));
    }
    if members.get("DeleteAfterEvent").is_some_and(|value| !is_empty(value)) {
        return Err(Fault::invalid(&format!("{path}.DeleteAfterEvent"), "only answers have it; leave it out"));
    }
    let days = |name: &str| match members.get(name).and_then(Value::as_i64) {
        None | Some(-1) => Ok(None),
        Some(days) => u32::try_from(days).ok().filter(|days| *days > 0).map(Some).ok_or_else(|| {
            Fault::invalid(
                &format!("{path}.{name}"),
                format!("`{days}` is no number of days; write 1 or more, or -1 for ever"),
            )
        }),
    };
    Ok(Lifecycle {
        delete_after_days: days("DeleteAfterDays")?,
        move_to_cold_after_days: days("MoveToColdStorageAfterDays")?,
    })
}
