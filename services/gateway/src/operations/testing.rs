//! Restore testing plans.

use job_events::{CreateRestoreTestingPlan, DeleteRestoreTestingPlan, UpdateRestoreTestingPlan};
use job_model::{PointAlgorithm, RecoveryPointKind, RestoreTestingPlan};
use serde_json::{Value, json};

use super::paging::Paging;
use super::tags::{list_of, tags};
use super::{Context, strict};
use crate::decode::Input;
use crate::fault::Fault;
use crate::present::{epoch, testing as show};
use crate::projection::{Change, Object, key};
use crate::reply::Reply;

fn text(document: &Value, name: &str) -> Option<String> {
    document.get(name).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned)
}

fn number(document: &Value, path: &str, name: &str) -> Result<Option<u32>, Fault> {
    let Some(number) = document.get(name).and_then(Value::as_i64) else { return Ok(None) };
    let wrong = || Fault::invalid(&format!("{path}.{name}"), format!("`{number}` is negative"));
    u32::try_from(number).map(Some).map_err(|_| wrong())
}

fn algorithm(selection: &Value) -> Option<PointAlgorithm> {
    match selection.get("Algorithm").and_then(Value::as_str)? {
        "RANDOM_WITHIN_WINDOW" => Some(PointAlgorithm::RandomWithinWindow),
        _ => Some(PointAlgorithm::LatestWithinWindow),
    }
}

fn kinds(selection: &Value) -> Option<Vec<RecoveryPointKind>> {
    let given = list_of(Some(selection.get("RecoveryPointTypes")?));
    let kind = |name: &String| match name.as_str() {
        "CONTINUOUS" => RecoveryPointKind::Continuous,
        _ => RecoveryPointKind::Snapshot,
    };
    Some(given.iter().map(kind).collect())
}

fn check_schedule(context: &Context<'_>, schedule: Option<&String>) -> Result<(), Fault> {
    match schedule.filter(|_| context.api.config.aws_strict) {
        Some(expression) => strict::schedule("RestoreTestingPlan.ScheduleExpression", expression),
        None => Ok(()),
    }
}

/// What creating and updating answer; the latter with the instant of the update.
fn made(context: &Context<'_>, plan: &RestoreTestingPlan, updated: bool) -> Result<Value, Fault> {
    let mut output = json!({
        "RestoreTestingPlanName": plan.name,
        "RestoreTestingPlanArn": context.testing_arn(plan)?,
        "CreationTime": epoch(plan.created_at.unwrap_or(plan.updated_at)),
    });
    if updated {
        output["UpdateTime"] = epoch(plan.updated_at);
    }
    Ok(output)
}

pub(super) async fn create(context: &Context<'_>, input: &Input) -> Result<Reply, Fault> {
    let path = "RestoreTestingPlan";
    let document = input.get(path).ok_or_else(|| Fault::missing(path))?;
    let selection = document.get("RecoveryPointSelection").cloned().unwrap_or_default();
    let inner = "RestoreTestingPlan.RecoveryPointSelection";
    let missing = |name: &str| Fault::missing(&format!("{inner}.{name}"));
    let name = text(document, "RestoreTestingPlanName").unwrap_or_default();
    let schedule = text(document, "ScheduleExpression");
    check_schedule(context, schedule.as_ref())?;
    let request = CreateRestoreTestingPlan {
        name: name.clone(),
        schedule: schedule.ok_or_else(|| Fault::missing("RestoreTestingPlan.ScheduleExpression"))?,
        time_zone: text(document, "ScheduleExpressionTimezone"),
        start_window_hours: number(document, path, "StartWindowHours")?,
        algorithm: algorithm(&selection).ok_or_else(|| missing("Algorithm"))?,
        recovery_point_kinds: kinds(&selection).ok_or_else(|| missing("RecoveryPointTypes"))?,
        include_vaults: selection
            .get("IncludeVaults")
            .map(|list| list_of(Some(list)))
            .ok_or_else(|| missing("IncludeVaults"))?,
        exclude_vaults: list_of(selection.get("ExcludeVaults")),
        selection_window_days: number(&selection, inner, "SelectionWindowDays")?,
        tags: tags(input, "Tags"),
    };
    let (_, at) = context.request(request).await?;
    let plan = context.testing_plan(&name).await?;
    let output = made(context, &plan, false)?;
    context.refresh(Change::Put(Box::new(Object::TestingPlan(plan))), at).await;
    Ok(Reply::json(output))
}

pub(super) async fn update(context: &Context<'_>, input: &Input) -> Result<Reply, Fault> {
    let path = "RestoreTestingPlan";
    let name = input.required("RestoreTestingPlanName")?;
    let document = input.get(path).ok_or_else(|| Fault::missing(path))?;
    let selection = document.get("RecoveryPointSelection").cloned().unwrap_or_default();
    let inner = "RestoreTestingPlan.RecoveryPointSelection";
    let schedule = text(document, "ScheduleExpression");
    check_schedule(context, schedule.as_ref())?;
    let request = UpdateRestoreTestingPlan {
        name: name.to_owned(),
        schedule,
        time_zone: text(document, "ScheduleExpressionTimezone"),
        start_window_hours: number(document, path, "StartWindowHours")?,
        algorithm: algorithm(&selection),
        recovery_point_kinds: kinds(&selection),
        include_vaults: selection.get("IncludeVaults").map(|list| list_of(Some(list))),
        exclude_vaults: selection.get("ExcludeVaults").map(|list| list_of(Some(list))),
        selection_window_days: number(&selection, inner, "SelectionWindowDays")?,
    };
    let (_, at) = context.request(request).await?;
    let plan = context.testing_plan(name).await?;
    let output = made(context, &plan, true)?;
    context.refresh(Change::Put(Box::new(Object::TestingPlan(plan))), at).await;
    Ok(Reply::json(output))
}

pub(super) async fn get(context: &Context<'_>, input: &Input) -> Result<Reply, Fault> {
    let plan = context.testing_plan(input.required("RestoreTestingPlanName")?).await?;
    let arn = context.testing_arn(&plan)?;
    Ok(Reply::json(json!({ "RestoreTestingPlan": show::plan(&plan, &arn) })))
}

pub(super) async fn delete(context: &Context<'_>, input: &Input) -> Result<Reply, Fault> {
    let name = input.required("RestoreTestingPlanName")?;
    let (_, at) = context.request(DeleteRestoreTestingPlan { name: name.to_owned(), only_empty: true }).await?;
    let key = key::testing_plan(context.account(), context.region, name);
    context.refresh(Change::Remove(key), at).await;
    Ok(Reply::empty())
}

pub(super) async fn list(context: &Context<'_>, input: &Input) -> Result<Reply, Fault> {
    let paging = Paging::read(context, "testing-plans", input)?;
    let mut rows = Vec::new();
    for object in context.api.projection.objects(&key::testing_plan(context.account(), context.region, "")) {
        if let Object::TestingPlan(plan) = object.as_ref() {
            rows.push((plan.name.clone(), show::plan_summary(plan, &context.testing_arn(plan)?)));
        }
    }
    Ok(context.listed_of_verifier(paging.by_key(context, "RestoreTestingPlans", rows, false)))
}
