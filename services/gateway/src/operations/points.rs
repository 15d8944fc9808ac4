//! Recovery points.

use std::collections::HashMap;

use job_events::{Answer, DeleteRecoveryPoint, DisassociateRecoveryPoint, Query, UpdateRecoveryPointLifecycle};
use job_model::{Arn, RecoveryPoint, RecoveryPointKind, RecoveryPointStatus, Vault, restore_metadata};
use serde_json::{Value, json};

use super::paging::Paging;
use super::plan_input::lifecycle;
use super::vaults::own_account_only;
use super::{Context, strict, unexpected};
use crate::decode::Input;
use crate::fault::Fault;
use crate::present::{self, points as show};
use crate::projection::{Change, ListedPoint, PointFilter};
use crate::reply::Reply;

pub(super) async fn list_by_vault(context: &Context<'_>, input: &Input) -> Result<Reply, Fault> {
    own_account_only(context, input)?;
    let paging = Paging::read(context, "recovery-points", input)?;
    let vault = context.vault_arn(input.required("BackupVaultName")?)?;
    let known = context.known_vault(&vault);
    if known.is_none() {
        // Unknown to the projection: the planner says whether it exists.
        context.vault(&vault).await?;
    }
    if input.text("ByParentRecoveryPointArn").is_some() {
        // Recovery points of parts of a whole do not exist here.
        return Ok(context.listed(json!({ "RecoveryPoints": [] })));
    }
    let filter = PointFilter {
        vault: Some(vault.to_string()),
        resource: input.text("ByResourceArn").map(str::to_owned),
        resource_type: input.text("ByResourceType").map(str::to_owned),
        plan: input.text("ByBackupPlanId").map(str::to_owned),
        created_after: input.instant("ByCreatedAfter"),
        created_before: input.instant("ByCreatedBefore"),
    };
    let place = (context.account().as_str(), context.region.as_str());
    let page = context.api.projection.points(place, &filter, paging.after(), paging.limit).await;
    let rows = page.rows.iter().map(|point| show::in_vault(point, known.as_ref()));
    paging.rows(context, "RecoveryPoints", rows, page.next)
}

pub(super) async fn list_by_resource(context: &Context<'_>, input: &Input) -> Result<Reply, Fault> {
    let paging = Paging::read(context, "recovery-points-of", input)?;
    let resource = context.arn("ResourceArn", input.required("ResourceArn")?)?;
    let filter = PointFilter { resource: Some(resource.to_string()), ..PointFilter::default() };
    let place = (context.account().as_str(), context.region.as_str());
    let page = context.api.projection.points(place, &filter, paging.after(), paging.limit).await;
    let mut vaults: HashMap<&Arn, Option<Vault>> = HashMap::new();
    for point in &page.rows {
        vaults.entry(&point.vault).or_insert_with(|| context.known_vault(&point.vault));
    }
    let rows = page.rows.iter().map(|point| show::of_resource(point, vaults[&point.vault].as_ref()));
    paging.rows(context, "RecoveryPoints", rows, page.next)
}

async fn named(context: &Context<'_>, input: &Input) -> Result<RecoveryPoint, Fault> {
    own_account_only(context, input)?;
    let vault = input.required("BackupVaultName")?;
    context.point(input.required("RecoveryPointArn")?, Some(vault)).await
}

/// The vault that a copy was copied from, while its source exists.
async fn source(context: &Context<'_>, point: &RecoveryPoint) -> Option<Arn> {
    let from = point.copied_from.as_ref()?;
    context.point(from.as_str(), None).await.ok().map(|source| source.vault)
}

pub(super) async fn describe(context: &Context<'_>, input: &Input) -> Result<Reply, Fault> {
    let point = named(context, input).await?;
    let source = source(context, &point).await;
    let vault = context.known_vault(&point.vault);
    let shown = ListedPoint::from(&point);
    Ok(Reply::json(json!(show::described(&shown, point.storage_class, vault.as_ref(), source.as_ref()))))
}

/// Brings the projection up to date with a recovery point that was changed.
async fn refresh(context: &Context<'_>, arn: &Arn, at: jiff::Timestamp) -> Option<RecoveryPoint> {
    let point = context.point(arn.as_str(), None).await.ok()?;
    context.refresh(Change::of_point(&point), at).await;
    Some(point)
}

pub(super) async fn delete(context: &Context<'_>, input: &Input) -> Result<Reply, Fault> {
    let vault = context.vault_arn(input.required("BackupVaultName")?)?;
    let recovery_point = context.arn("RecoveryPointArn", input.required("RecoveryPointArn")?)?;
    // A point that is being deleted already is deleted as asked for.
    if let Ok(point) = named(context, input).await
        && point.status == RecoveryPointStatus::Deleting
    {
        return Ok(Reply::empty());
    }
    let request = DeleteRecoveryPoint { recovery_point: recovery_point.clone(), vault: Some(vault) };
    let (_, at) = context.request(request).await?;
    refresh(context, &recovery_point, at).await;
    Ok(Reply::empty())
}

pub(super) async fn update_lifecycle(context: &Context<'_>, input: &Input) -> Result<Reply, Fault> {
    let point = named(context, input).await?;
    if context.api.config.aws_strict {
        strict::lifecycle("Lifecycle", input.get("Lifecycle"))?;
    }
    let lifecycle = lifecycle("Lifecycle", input.get("Lifecycle"))?;
    let request = UpdateRecoveryPointLifecycle { recovery_point: point.arn.clone(), lifecycle };
    let (_, at) = context.request(request).await?;
    let now = refresh(context, &point.arn, at).await.unwrap_or(RecoveryPoint { lifecycle, ..point });
    Ok(Reply::json(present::compact(json!({
        "BackupVaultArn": now.vault.as_str(),
        "RecoveryPointArn": now.arn.as_str(),
        "Lifecycle": present::lifecycle(&now.lifecycle),
        "CalculatedLifecycle": show::calculated(&ListedPoint::from(&now)),
    }))))
}

pub(super) async fn restore_metadata(context: &Context<'_>, input: &Input) -> Result<Reply, Fault> {
    let point = named(context, input).await?;
    let query = Query::RestoreMetadata { recovery_point: point.arn.clone() };
    let Answer::Metadata(metadata) = context.query(&query).await? else { return Err(unexpected()) };
    Ok(Reply::json(json!({
        "BackupVaultArn": point.vault.as_str(),
        "RecoveryPointArn": point.arn.as_str(),
        "ResourceType": point.resource_type.as_str(),
        "RestoreMetadata": metadata,
    })))
}

pub(super) async fn inferred_metadata(context: &Context<'_>, input: &Input) -> Result<Reply, Fault> {
    let point = named(context, input).await?;
    Ok(Reply::json(json!({ "InferredMetadata": restore_metadata::inferred(&point) })))
}

pub(super) async fn disassociate(context: &Context<'_>, input: &Input) -> Result<Reply, Fault> {
    let point = named(context, input).await?;
    if point.kind != RecoveryPointKind::Continuous {
        return Err(Fault::request("only a continuous recovery point can be disassociated; this one is a snapshot"));
    }
    let (_, at) = context.request(DisassociateRecoveryPoint { recovery_point: point.arn.clone() }).await?;
    refresh(context, &point.arn, at).await;
    Ok(Reply::empty())
}

/// Rows of another list of recovery points.
pub(super) fn rows<T>(points: &[T], show: impl Fn(&T) -> Value) -> Vec<Value> {
    points.iter().map(show).collect()
}
