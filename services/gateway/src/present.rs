//! Things as the AWS Backup API shows them: its names of members, its numbers, its instants. Pure.

pub(crate) mod holds;
pub(crate) mod jobs;
pub(crate) mod plans;
pub(crate) mod points;
pub(crate) mod reports;
pub(crate) mod testing;
pub(crate) mod vaults;

use jiff::Timestamp;
use job_model::{Arn, CreatedBy, Lifecycle, plan_version_id};
use serde_json::{Value, json};

/// An instant: seconds since the epoch, with their fraction.
#[expect(clippy::cast_precision_loss, reason = "milliseconds of this century fit into 53 bits")]
pub(crate) fn epoch(at: Timestamp) -> Value {
    json!(at.as_millisecond() as f64 / 1000.0)
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
pub(crate) fn created_by(by: Option<&CreatedBy>, vault: &Arn) -> Value {
    let Some(by) = by else { return Value::Null };
    let (region, account, id) = (vault.region(), vault.account(), by.plan_id);
    compact(json!({
        "BackupPlanId": id.to_string(),
        "BackupPlanArn": format!("arn:aws:backup:{region}:{account}:backup-plan:{id}"),
        "BackupPlanName": by.plan_name,
        "BackupPlanVersion": plan_version_id(id, by.plan_version).hyphenated().to_string(),
        "BackupRuleId": by.rule_id.to_string(),
        "BackupRuleName": by.rule_name,
        "BackupRuleCron": by.rule_schedule,
        "BackupRuleTimezone": by.rule_time_zone,
    }))
}

/// The key of a vault, in the shape of an ARN whose last part is the key profile.
pub(crate) fn key_arn(vault: &Arn, key_profile: &str) -> String {
    format!("arn:aws:kms:{}:{}:key/{key_profile}", vault.region(), vault.account())
}
