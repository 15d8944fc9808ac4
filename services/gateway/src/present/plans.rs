//! Backup plans and selections.

use job_model::{BackupPlan, BackupRule, Condition, Selection};
use serde_json::{Map, Value, json};

use super::{compact, epoch, lifecycle, maybe, vault_name};

/// The document of a plan.
pub(crate) fn document(plan: &BackupPlan) -> Value {
    json!({
        "BackupPlanName": plan.name,
        "Rules": plan.rules.iter().map(rule).collect::<Vec<_>>(),
    })
}

fn rule(rule: &BackupRule) -> Value {
    let copies = rule.copy_actions.iter().map(|copy| {
        compact(json!({
            "DestinationBackupVaultArn": copy.destination_vault.as_str(),
            "Lifecycle": lifecycle(&copy.lifecycle),
        }))
    });
    let copies: Vec<Value> = copies.collect();
    compact(json!({
        "RuleId": rule.id.to_string(),
        "RuleName": rule.name,
        "TargetBackupVaultName": vault_name(&rule.target_vault),
        "ScheduleExpression": rule.schedule,
        "ScheduleExpressionTimezone": if rule.time_zone == "UTC" { "Etc/UTC" } else { &rule.time_zone },
        "StartWindowMinutes": rule.start_window_minutes,
        "CompletionWindowMinutes": rule.completion_window_minutes,
        "Lifecycle": lifecycle(&rule.lifecycle),
        "RecoveryPointTags": (!rule.recovery_point_tags.is_empty()).then_some(&rule.recovery_point_tags),
        "CopyActions": (!copies.is_empty()).then_some(copies),
        "EnableContinuousBackup": rule.enable_continuous,
    }))
}

/// Options by type of resource; nothing where there are none.
pub(crate) fn advanced(plan: &BackupPlan) -> Value {
    if plan.advanced_settings.is_empty() {
        return Value::Null;
    }
    let setting = plan
        .advanced_settings
        .iter()
        .map(|setting| json!({ "ResourceType": setting.resource_type, "BackupOptions": setting.options }));
    setting.collect()
}

/// A plan in a list, of plans or of versions.
pub(crate) fn summary(plan: &BackupPlan, arn: &str) -> Value {
    compact(json!({
        "BackupPlanArn": arn,
        "BackupPlanId": plan.id.to_string(),
        "BackupPlanName": plan.name,
        "VersionId": plan.version_id(),
        "CreationDate": epoch(plan.updated_at),
        "DeletionDate": maybe(plan.deleted_at),
        "LastExecutionDate": maybe(plan.last_run_at),
        "CreatorRequestId": plan.creator_request_id,
        "AdvancedBackupSettings": advanced(plan),
    }))
}

/// A selection with its document.
pub(crate) fn selection(selection: &Selection) -> Value {
    let mut conditions = Map::new();
    let lists = [
        ("StringEquals", &selection.conditions.string_equals),
        ("StringNotEquals", &selection.conditions.string_not_equals),
        ("StringLike", &selection.conditions.string_like),
        ("StringNotLike", &selection.conditions.string_not_like),
    ];
    for (name, list) in lists.into_iter().filter(|(_, list)| !list.is_empty()) {
        conditions.insert(name.to_owned(), list.iter().map(condition).collect());
    }
    let tags: Vec<Value> = selection
        .list_of_tags
        .iter()
        .map(|tag| json!({ "ConditionType": "STRINGEQUALS", "ConditionKey": tag.key, "ConditionValue": tag.value }))
        .collect();
    compact(json!({
        "BackupPlanId": selection.plan_id.to_string(),
        "SelectionId": selection.id.to_string(),
        "CreationDate": epoch(selection.created_at),
        "CreatorRequestId": selection.creator_request_id,
        "BackupSelection": {
            "SelectionName": selection.name,
            "IamRoleArn": selection.iam_role,
            "Resources": selection.resources,
            "NotResources": selection.not_resources,
            "ListOfTags": tags,
            "Conditions": conditions,
        },
    }))
}

fn condition(condition: &Condition) -> Value {
    json!({ "ConditionKey": condition.key, "ConditionValue": condition.value })
}

/// A selection in a list.
pub(crate) fn selection_summary(selection: &Selection) -> Value {
    compact(json!({
        "SelectionId": selection.id.to_string(),
        "SelectionName": selection.name,
        "BackupPlanId": selection.plan_id.to_string(),
        "CreationDate": epoch(selection.created_at),
        "CreatorRequestId": selection.creator_request_id,
        "IamRoleArn": selection.iam_role,
    }))
}
