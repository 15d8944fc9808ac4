//! Restore testing plans and their selections.

use job_model::{RestoreTestingPlan, RestoreTestingSelection, TagEquality};
use serde_json::{Value, json};

use super::{compact, epoch, maybe};

fn zone(plan: &RestoreTestingPlan) -> &str {
    if plan.time_zone == "UTC" { "Etc/UTC" } else { &plan.time_zone }
}

/// A plan.
pub(crate) fn plan(plan: &RestoreTestingPlan, arn: &str) -> Value {
    compact(json!({
        "RestoreTestingPlanName": plan.name,
        "RestoreTestingPlanArn": arn,
        "CreationTime": epoch(plan.created_at.unwrap_or(plan.updated_at)),
        "LastUpdateTime": epoch(plan.updated_at),
        "LastExecutionTime": maybe(plan.last_started_at),
        "CreatorRequestId": plan.creator_request_id,
        "ScheduleExpression": plan.schedule.as_deref().unwrap_or_default(),
        "ScheduleExpressionTimezone": zone(plan),
        "StartWindowHours": plan.start_window_hours,
        "RecoveryPointSelection": {
            "Algorithm": plan.algorithm,
            "IncludeVaults": plan.include_vaults,
            "ExcludeVaults": plan.exclude_vaults,
            "RecoveryPointTypes": plan.recovery_point_kinds,
            "SelectionWindowDays": plan.selection_window_days,
        },
    }))
}

/// A plan in a list.
pub(crate) fn plan_summary(plan: &RestoreTestingPlan, arn: &str) -> Value {
    compact(json!({
        "RestoreTestingPlanName": plan.name,
        "RestoreTestingPlanArn": arn,
        "CreationTime": epoch(plan.created_at.unwrap_or(plan.updated_at)),
        "LastUpdateTime": epoch(plan.updated_at),
        "LastExecutionTime": maybe(plan.last_started_at),
        "ScheduleExpression": plan.schedule.as_deref().unwrap_or_default(),
        "ScheduleExpressionTimezone": zone(plan),
        "StartWindowHours": plan.start_window_hours,
    }))
}

fn created(plan: &RestoreTestingPlan, selection: &RestoreTestingSelection) -> Value {
    epoch(selection.created_at.or(plan.created_at).unwrap_or(plan.updated_at))
}

/// The role of a selection; one that came without gets the name that stands for the workers' own rights.
fn role(selection: &RestoreTestingSelection) -> &str {
    selection.iam_role.as_deref().unwrap_or("default")
}

/// A selection.
pub(crate) fn selection(plan: &RestoreTestingPlan, selection: &RestoreTestingSelection) -> Value {
    let equal = |list: &[TagEquality]| -> Vec<Value> {
        list.iter().map(|tag| json!({ "Key": tag.key, "Value": tag.value })).collect()
    };
    compact(json!({
        "RestoreTestingPlanName": plan.name,
        "RestoreTestingSelectionName": selection.name,
        "CreationTime": created(plan, selection),
        "CreatorRequestId": selection.creator_request_id,
        "IamRoleArn": role(selection),
        "ProtectedResourceType": selection.resource_type.as_str(),
        "ProtectedResourceArns": selection.protected_resources,
        "ProtectedResourceConditions": {
            "StringEquals": equal(&selection.conditions.string_equals),
            "StringNotEquals": equal(&selection.conditions.string_not_equals),
        },
        "RestoreMetadataOverrides": selection.restore_metadata_overrides,
        "ValidationWindowHours": selection.validation_window_hours,
    }))
}

/// A selection in a list.
pub(crate) fn selection_summary(plan: &RestoreTestingPlan, selection: &RestoreTestingSelection) -> Value {
    json!({
        "RestoreTestingPlanName": plan.name,
        "RestoreTestingSelectionName": selection.name,
        "CreationTime": created(plan, selection),
        "IamRoleArn": role(selection),
        "ProtectedResourceType": selection.resource_type.as_str(),
        "ValidationWindowHours": selection.validation_window_hours,
    })
}
