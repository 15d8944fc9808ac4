//! Things as the AWS Backup API shows them: its names of members, its numbers, its instants. Pure.

pub(crate) mod holds;
pub(crate) mod jobs;
pub(crate) mod plans;
pub(crate) mod points;
pub(crate) mod reports;
pub(crate) mod testing;
pub(crate) mod vaults;

use jiff::Timestamp;
use job_model::{Arn, CreatedBy, Lifecycle, PlanId, RuleId, plan_version_id};
use serde::Serialize;
use serde_json::{Value, json};
use uuid::Uuid;

/// An instant: seconds since the epoch, with their fraction.
#[expect(clippy::cast_precision_loss, reason = "milliseconds of this century fit into 53 bits")]
pub(crate) fn seconds(at: Timestamp) -> f64 {
    at.as_millisecond() as f64 / 1000.0
}

/// An instant as a value.
pub(crate) fn epoch(at: Timestamp) -> Value {
    json!(seconds(at))
}

/// An instant that may be absent.
pub(crate) fn maybe(at: Option<Timestamp>) -> Value {
    at.map_or(Value::Null, epoch)
}

/// Without the members that are null: absent is how the API says nothing.
pub(crate) fn compact(value: Value) -> Value {
    match value {
        Value::Object(members) => members
            .into_iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(name, value)| (name, compact(value)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
        Value::Array(items) => items.into_iter().map(compact).collect(),
        other => other,
    }
}

/// The name of a vault.
pub(crate) fn vault_name(vault: &Arn) -> &str {
    vault.resource().strip_prefix("backup-vault:").unwrap_or_else(|| vault.resource())
}

/// The last part of an ARN, which people know a resource by.
pub(crate) fn resource_name(resource: &Arn) -> &str {
    resource.resource().rsplit(['/', ':']).next().unwrap_or_default()
}

/// A lifecycle; nothing for one that keeps for ever.
pub(crate) fn lifecycle(lifecycle: &Lifecycle) -> Value {
    if *lifecycle == Lifecycle::default() {
        return Value::Null;
    }
    compact(json!({
        "DeleteAfterDays": lifecycle.delete_after_days,
        "MoveToColdStorageAfterDays": lifecycle.move_to_cold_after_days,
    }))
}

/// The plan and rule behind a job or a recovery point.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Origin<'a> {
    backup_plan_id: PlanId,
    backup_plan_arn: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    backup_plan_name: Option<&'a str>,
    backup_plan_version: Uuid,
    backup_rule_id: RuleId,
    backup_rule_name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    backup_rule_cron: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    backup_rule_timezone: Option<&'a str>,
}

/// What is behind a job or a recovery point of a vault.
pub(crate) fn created_by<'a>(by: Option<&'a CreatedBy>, vault: &Arn) -> Option<Origin<'a>> {
    let by = by?;
    let (region, account, id) = (vault.region(), vault.account(), by.plan_id);
    Some(Origin {
        backup_plan_id: id,
        backup_plan_arn: format!("arn:aws:backup:{region}:{account}:backup-plan:{id}"),
        backup_plan_name: by.plan_name.as_deref(),
        backup_plan_version: plan_version_id(id, by.plan_version),
        backup_rule_id: by.rule_id,
        backup_rule_name: &by.rule_name,
        backup_rule_cron: by.rule_schedule.as_deref(),
        backup_rule_timezone: by.rule_time_zone.as_deref(),
    })
}

/// The key of a vault, in the shape of an ARN whose last part is the key profile.
pub(crate) fn key_arn(vault: &Arn, key_profile: &str) -> String {
    format!("arn:aws:kms:{}:{}:key/{key_profile}", vault.region(), vault.account())
}
