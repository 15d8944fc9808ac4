//! Vaults.

use job_events::{CreateVaultRequest, DeleteVault};
use job_model::VaultType;
use serde_json::{Value, json};

use super::Context;
use super::paging::Paging;
use super::tags::tags;
use crate::decode::Input;
use crate::fault::Fault;
use crate::present;
use crate::projection::{Change, Object, key};
use crate::reply::Reply;

pub(super) async fn create(context: &Context<'_>, input: &Input) -> Result<Reply, Fault> {
    make(context, input, VaultType::BackupVault).await
}

pub(super) async fn create_air_gapped(context: &Context<'_>, input: &Input) -> Result<Reply, Fault> {
    make(context, input, VaultType::LogicallyAirGappedBackupVault).await
}

async fn make(context: &Context<'_>, input: &Input, vault_type: VaultType) -> Result<Reply, Fault> {
    let name = input.required("BackupVaultName")?;
    let request = CreateVaultRequest {
        name: name.to_owned(),
        region: context.region.clone(),
        // AWS knows no locations: the planner's configuration says where such vaults go.
        location: String::new(),
        key_profile: key_profile(input)?,
        cold_location: None,
        cold_key_profile: None,
        min_retention_days: days(input, "MinRetentionDays")?,
        max_retention_days: days(input, "MaxRetentionDays")?,
        vault_type,
        tags: tags(input, "BackupVaultTags"),
    };
    let (_, at) = context.request(request).await?;
    let vault = context.vault(&context.vault_arn(name)?).await?;
    let mut output = json!({
        "BackupVaultName": vault.name,
        "BackupVaultArn": vault.access.arn.as_str(),
        "CreationDate": present::epoch(vault.created_at),
    });
    if vault_type == VaultType::LogicallyAirGappedBackupVault {
        output["VaultState"] = json!(vault.state);
    }
    context.refresh(Change::Put(Box::new(Object::Vault(vault))), at).await;
    Ok(Reply::json(output))
}

/// `…:key/<profile>` names a key profile; without it the planner's configuration does.
fn key_profile(input: &Input) -> Result<String, Fault> {
    let Some(arn) = input.text("EncryptionKeyArn") else { return Ok(String::new()) };
    match arn.split_once(":key/") {
        Some((_, profile)) if !profile.is_empty() => Ok(profile.to_owned()),
        _ => Err(Fault::invalid(
            "EncryptionKeyArn",
            format!("`{arn}` names no key profile; write `arn:aws:kms:<region>:<account>:key/<profile>`"),
        )),
    }
}

/// Days of a retention.
pub(super) fn days(input: &Input, member: &str) -> Result<Option<u32>, Fault> {
    let Some(days) = input.number(member) else { return Ok(None) };
    let wrong = || Fault::invalid(member, format!("`{days}` is not 1 to 36500 days"));
    u32::try_from(days).ok().filter(|days| (1..=36_500).contains(days)).map(Some).ok_or_else(wrong)
}

/// Whose vault it is can only be the caller's own.
pub(super) fn own_account_only(context: &Context<'_>, input: &Input) -> Result<(), Fault> {
    match input.text("BackupVaultAccountId") {
        Some(account) if account != context.account().as_str() => {
            Err(Fault::not_found("no vault of that account is shared with this one"))
        }
        _ => Ok(()),
    }
}

pub(super) async fn describe(context: &Context<'_>, input: &Input) -> Result<Reply, Fault> {
    own_account_only(context, input)?;
    let vault = context.vault(&context.vault_arn(input.required("BackupVaultName")?)?).await?;
    let count = context.api.projection.count_in(&vault.access.arn);
    Ok(Reply::json(present::vaults::vault(&vault, count)))
}

pub(super) async fn delete(context: &Context<'_>, input: &Input) -> Result<Reply, Fault> {
    let vault = context.vault_arn(input.required("BackupVaultName")?)?;
    let (_, at) = context.request(DeleteVault { vault: vault.clone() }).await?;
    context.refresh(Change::Remove(key::vault(&vault)), at).await;
    Ok(Reply::empty())
}

pub(super) async fn list(context: &Context<'_>, input: &Input) -> Result<Reply, Fault> {
    let paging = Paging::read(context, "vaults", input)?;
    let wanted = input.text("ByVaultType");
    let shared = input.flag("ByShared");
    let prefix = format!("vault/arn:aws:backup:{}:{}:", context.region, context.account());
    let mut rows: Vec<(String, Value)> = Vec::new();
    for object in context.api.projection.objects(&prefix) {
        let Object::Vault(vault) = object.as_ref() else { continue };
        // Nothing is shared between accounts.
        if !shared && wanted.is_none_or(|wanted| wanted == present::vaults::kind(vault)) {
            let count = context.api.projection.count_in(&vault.access.arn);
            rows.push((vault.name.clone(), present::vaults::vault(vault, count)));
        }
    }
    Ok(context.listed(paging.by_key(context, "BackupVaultList", rows, false)))
}
