//! Settings of an account, in a region and everywhere.

use std::collections::BTreeMap;

use job_events::{Answer, PutGlobalSettings, PutRegionSettings, Query};
use job_model::{GlobalSettings, RegionSettings, ResourceType};
use serde_json::{Value, json};

use super::tags::texts;
use super::{Context, unexpected};
use crate::decode::Input;
use crate::fault::Fault;
use crate::present::{compact, maybe};
use crate::reply::Reply;

async fn settings(context: &Context<'_>) -> Result<(RegionSettings, GlobalSettings), Fault> {
    let query = Query::ShowSettings { account: context.account().clone(), region: context.region.clone() };
    match context.query(&query).await? {
        Answer::Settings { region, global } => Ok((region, global)),
        _ => Err(unexpected()),
    }
}

pub(super) async fn describe_region(context: &Context<'_>, _input: &Input) -> Result<Reply, Fault> {
    let (region, _) = settings(context).await?;
    let mut opt_in: BTreeMap<String, bool> =
        ResourceType::ALL.iter().map(|kind| (kind.as_str().to_owned(), true)).collect();
    let mut management = opt_in.clone();
    opt_in.extend(region.opt_in);
    management.extend(region.management);
    Ok(Reply::json(json!({
        "ResourceTypeOptInPreference": opt_in,
        "ResourceTypeManagementPreference": management,
    })))
}

fn flags(value: Option<&Value>) -> BTreeMap<String, bool> {
    let members = value.and_then(Value::as_object).into_iter().flatten();
    members.filter_map(|(key, value)| Some((key.clone(), value.as_bool()?))).collect()
}

pub(super) async fn update_region(context: &Context<'_>, input: &Input) -> Result<Reply, Fault> {
    let request = PutRegionSettings {
        opt_in: flags(input.get("ResourceTypeOptInPreference")),
        management: flags(input.get("ResourceTypeManagementPreference")),
    };
    context.request(request).await?;
    Ok(Reply::empty())
}

pub(super) async fn describe_global(context: &Context<'_>, _input: &Input) -> Result<Reply, Fault> {
    let (_, global) = settings(context).await?;
    let mut shown: BTreeMap<String, String> =
        BTreeMap::from([(job_model::CROSS_ACCOUNT_BACKUP.to_owned(), "false".to_owned())]);
    shown.extend(global.settings);
    Ok(Reply::json(compact(json!({ "GlobalSettings": shown, "LastUpdateTime": maybe(global.updated_at) }))))
}

pub(super) async fn update_global(context: &Context<'_>, input: &Input) -> Result<Reply, Fault> {
    context.request(PutGlobalSettings { settings: texts(input.get("GlobalSettings")) }).await?;
    Ok(Reply::empty())
}
