//! Protected resources: those that have recovery points.

use job_model::{Arn, JobKind, ResourceType};
use serde_json::{Value, json};

use super::Context;
use super::paging::{Paging, unreadable};
use super::vaults::own_account_only;
use crate::decode::Input;
use crate::fault::Fault;
use crate::present::{epoch, points as show};
use crate::projection::{JobFilter, PointFilter};
use crate::reply::Reply;

fn page(context: &Context<'_>, input: &Input, vault: Option<&Arn>) -> Result<Reply, Fault> {
    let paging = Paging::read(context, "protected-resources", input)?;
    let place = (context.account().as_str(), context.region.as_str());
    let after = paging.after_key().and_then(|key| key.parse().ok());
    // One more than fits says whether there is another page.
    let newest = context.api.projection.protected(place, vault, after.as_ref(), paging.limit + 1);
    let rows = newest.iter().map(|newest| (newest.resource.to_string(), Value::Object(show::protected(newest))));
    Ok(context.listed(paging.by_key(context, "Results", rows.collect(), false)))
}

pub(super) async fn list(context: &Context<'_>, input: &Input) -> Result<Reply, Fault> {
    page(context, input, None)
}

pub(super) async fn list_by_vault(context: &Context<'_>, input: &Input) -> Result<Reply, Fault> {
    own_account_only(context, input)?;
    let vault = context.vault_arn(input.required("BackupVaultName")?)?;
    if context.known_vault(&vault).is_none() {
        context.vault(&vault).await?;
    }
    page(context, input, Some(&vault))
}

pub(super) async fn describe(context: &Context<'_>, input: &Input) -> Result<Reply, Fault> {
    let resource = context.arn("ResourceArn", input.required("ResourceArn")?)?;
    let place = (context.account().as_str(), context.region.as_str());
    let filter = PointFilter { resource: Some(resource.to_string()), ..PointFilter::default() };
    let newest = context.api.projection.points(place, &filter, None, 1).await;
    let newest = newest.rows.into_iter().next();
    let newest = newest.ok_or_else(|| Fault::not_found(format!("`{resource}` has no recovery point here")))?;
    let mut output = show::protected(&newest);
    let filter = JobFilter {
        resource: Some(resource.to_string()),
        state: Some(job_model::JobState::Completed.as_str().to_owned()),
        ..JobFilter::default()
    };
    let place = (context.account(), context.region);
    let restores = context.api.projection.jobs(place, JobKind::Restore, &filter, None, 1).await.map_err(unreadable)?;
    if let Some(restore) = restores.rows.first() {
        output.insert("LatestRestoreJobCreationDate".to_owned(), epoch(restore.created_at));
        if let Some(ended) = restore.ended_at {
            let minutes = (ended.duration_since(restore.created_at).as_secs() + 59) / 60;
            output.insert("LatestRestoreExecutionTimeMinutes".to_owned(), json!(minutes));
        }
    }
    Ok(context.listed(Value::Object(output)))
}

/// The types of resources that can be protected here.
pub(super) async fn types(_context: &Context<'_>, _input: &Input) -> Result<Reply, Fault> {
    let types: Vec<&str> = ResourceType::ALL.iter().map(|kind| kind.as_str()).collect();
    Ok(Reply::json(json!({ "ResourceTypes": types })))
}
