//! Lock, access policy and notifications of vaults.

use job_events::{
    DeleteVaultAccessPolicy, DeleteVaultLock, DeleteVaultNotifications, PutVaultAccessPolicy, PutVaultLock,
    PutVaultNotifications, Request,
};
use job_model::Arn;
use serde_json::{Value, json};

use super::Context;
use crate::decode::Input;
use crate::fault::Fault;
use crate::present::vault_name;
use crate::projection::{Change, Object};
use crate::reply::Reply;

fn vault_of(context: &Context<'_>, input: &Input) -> Result<Arn, Fault> {
    context.vault_arn(input.required("BackupVaultName")?)
}

/// Sends a request about a vault; the operations here answer nothing.
async fn change(context: &Context<'_>, vault: &Arn, request: impl Into<Request>) -> Result<Reply, Fault> {
    let (_, at) = context.request(request).await?;
    // The change stands; a list that lags a moment is no reason to say that it failed.
    if let Ok(vault) = context.vault(vault).await {
        context.refresh(Change::Put(Box::new(Object::Vault(vault))), at).await;
    }
    Ok(Reply::empty())
}

/// Days that are passed on as they are: the planner says what is wrong with them.
fn days(input: &Input, member: &str) -> Result<Option<u32>, Fault> {
    let Some(days) = input.number(member) else { return Ok(None) };
    u32::try_from(days).map(Some).map_err(|_| Fault::invalid(member, format!("`{days}` is no number of days")))
}

pub(super) async fn put_lock(context: &Context<'_>, input: &Input) -> Result<Reply, Fault> {
    let vault = vault_of(context, input)?;
    let request = PutVaultLock {
        vault: vault.clone(),
        min_retention_days: days(input, "MinRetentionDays")?,
        max_retention_days: days(input, "MaxRetentionDays")?,
        changeable_for_days: days(input, "ChangeableForDays")?,
    };
    change(context, &vault, request).await
}

pub(super) async fn delete_lock(context: &Context<'_>, input: &Input) -> Result<Reply, Fault> {
    let vault = vault_of(context, input)?;
    change(context, &vault, DeleteVaultLock { vault: vault.clone() }).await
}

pub(super) async fn put_policy(context: &Context<'_>, input: &Input) -> Result<Reply, Fault> {
    let vault = vault_of(context, input)?;
    let policy = input.required("Policy")?.to_owned();
    change(context, &vault, PutVaultAccessPolicy { vault: vault.clone(), policy }).await
}

pub(super) async fn get_policy(context: &Context<'_>, input: &Input) -> Result<Reply, Fault> {
    let vault = context.vault(&vault_of(context, input)?).await?;
    let none = || Fault::not_found(format!("Backup vault `{}` has no access policy", vault.name));
    let policy = vault.access_policy.as_ref().ok_or_else(none)?;
    let arn = &vault.access.arn;
    Ok(Reply::json(json!({ "BackupVaultName": vault.name, "BackupVaultArn": arn.as_str(), "Policy": policy })))
}

pub(super) async fn delete_policy(context: &Context<'_>, input: &Input) -> Result<Reply, Fault> {
    let vault = vault_of(context, input)?;
    change(context, &vault, DeleteVaultAccessPolicy { vault: vault.clone() }).await
}

pub(super) async fn put_notifications(context: &Context<'_>, input: &Input) -> Result<Reply, Fault> {
    let vault = vault_of(context, input)?;
    let events = input.get("BackupVaultEvents").and_then(Value::as_array).cloned().unwrap_or_default();
    let request = PutVaultNotifications {
        vault: vault.clone(),
        topic: context.arn("SNSTopicArn", input.required("SNSTopicArn")?)?,
        events: events.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
    };
    change(context, &vault, request).await
}

pub(super) async fn get_notifications(context: &Context<'_>, input: &Input) -> Result<Reply, Fault> {
    let vault = context.vault(&vault_of(context, input)?).await?;
    let arn = &vault.access.arn;
    let none = || Fault::not_found(format!("Backup vault `{}` has no notifications", vault_name(arn)));
    let notifications = vault.notifications.as_ref().ok_or_else(none)?;
    Ok(Reply::json(json!({
        "BackupVaultName": vault.name,
        "BackupVaultArn": arn.as_str(),
        "SNSTopicArn": notifications.topic.as_str(),
        "BackupVaultEvents": notifications.events,
    })))
}

pub(super) async fn delete_notifications(context: &Context<'_>, input: &Input) -> Result<Reply, Fault> {
    let vault = vault_of(context, input)?;
    change(context, &vault, DeleteVaultNotifications { vault: vault.clone() }).await
}
