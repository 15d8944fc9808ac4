//! Legal holds.

use job_events::{Answer, CancelLegalHold, CreateLegalHold, Query};
use job_model::HoldSelection;
use serde_json::{Value, json};

use super::paging::Paging;
use super::points::rows;
use super::tags::{list_of, tags};
use super::{Context, unexpected};
use crate::decode::Input;
use crate::fault::Fault;
use crate::present::{holds as show, vault_name};
use crate::projection::{Change, Object};
use crate::reply::Reply;

pub(super) async fn create(context: &Context<'_>, input: &Input) -> Result<Reply, Fault> {
    let given = input.get("RecoveryPointSelection").cloned().unwrap_or_default();
    let instant = |name: &str| given["DateRange"][name].as_str().and_then(|text| text.parse().ok());
    let request = CreateLegalHold {
        title: input.required("Title")?.to_owned(),
        description: input.required("Description")?.to_owned(),
        selection: HoldSelection {
            vault_names: list_of(given.get("VaultNames")),
            resources: list_of(given.get("ResourceIdentifiers")),
            from: instant("FromDate"),
            until: instant("ToDate"),
        },
        tags: tags(input, "Tags"),
    };
    let (accepted, at) = context.request(request).await?;
    let hold = context.hold(&accepted.result.unwrap_or_default()).await?;
    let output = show::hold(&hold);
    context.refresh(Change::Put(Box::new(Object::LegalHold(hold))), at).await;
    Ok(Reply::json(output))
}

pub(super) async fn get(context: &Context<'_>, input: &Input) -> Result<Reply, Fault> {
    Ok(Reply::json(show::hold(&context.hold(input.required("LegalHoldId")?).await?)))
}

pub(super) async fn list(context: &Context<'_>, input: &Input) -> Result<Reply, Fault> {
    let paging = Paging::read(context, "legal-holds", input)?;
    let mut rows = Vec::new();
    for object in context.api.projection.objects("legal-hold/") {
        if let Object::LegalHold(hold) = object.as_ref()
            && hold.account == *context.account()
            && hold.region == *context.region
        {
            rows.push((hold.id.to_string(), show::summary(hold)));
        }
    }
    Ok(context.listed(paging.by_key(context, "LegalHolds", rows, false)))
}

pub(super) async fn cancel(context: &Context<'_>, input: &Input) -> Result<Reply, Fault> {
    let id = input.required("LegalHoldId")?;
    let hold = context.hold(id).await?;
    let days = input.number("RetainRecordInDays");
    let wrong = |days: i64| Fault::invalid("RetainRecordInDays", format!("`{days}` is no number of days"));
    let request = CancelLegalHold {
        id: hold.id,
        cancel_description: input.required("CancelDescription")?.to_owned(),
        retain_record_days: days.map(|days| u32::try_from(days).map_err(|_| wrong(days))).transpose()?,
    };
    let (_, at) = context.request(request).await?;
    if let Ok(hold) = context.hold(id).await {
        context.refresh(Change::Put(Box::new(Object::LegalHold(hold))), at).await;
    }
    Ok(Reply::json(json!({})))
}

pub(super) async fn points(context: &Context<'_>, input: &Input) -> Result<Reply, Fault> {
    let paging = Paging::read(context, "held-points", input)?;
    let hold = context.hold(input.required("LegalHoldId")?).await?;
    let limit = u32::try_from(paging.limit).ok();
    let query = Query::ListHeldRecoveryPoints { id: hold.id, after: paging.after_key(), limit };
    let Answer::HeldRecoveryPoints(page) = context.query(&query).await? else { return Err(unexpected()) };
    let rows = rows(&page.points, |point| -> Value {
        json!({
            "RecoveryPointArn": point.recovery_point.as_str(),
            "ResourceArn": point.resource.as_str(),
            "ResourceType": point.resource_type.as_str(),
            "BackupVaultName": vault_name(&point.vault),
        })
    });
    Ok(Reply::json(paging.passed_on(context, "RecoveryPoints", rows, page.next)))
}
