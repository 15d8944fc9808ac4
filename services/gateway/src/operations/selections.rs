//! Selections of backup plans.

use job_events::{Answer, CreateSelection, DeleteSelection, Query};
use job_model::{BackupPlan, Condition, Conditions, PlanId, Selection, SelectionId, TagCondition};
use serde_json::{Value, json};

use super::paging::Paging;
use super::tags::list_of;
use super::{Context, unexpected};
use crate::decode::{Input, short};
use crate::fault::Fault;
use crate::present::{self, plans as show};
use crate::projection::{Change, Object, key};
use crate::reply::Reply;

/// The plan of a selection. A plan that is not there is an invalid parameter here: Terraform goes by that.
async fn plan_of(context: &Context<'_>, input: &Input) -> Result<BackupPlan, Fault> {
    let id = input.required("BackupPlanId")?;
    context.plan(id, None).await.map_err(|fault| match fault.code.as_str() {
        "ResourceNotFoundException" => no_plan(id),
        _ => fault,
    })
}

fn no_plan(id: &str) -> Fault {
    let text = format!("Cannot find Backup plan with ID {}", short(id));
    Fault::new("InvalidParameterValueException", text).about("BackupPlanId")
}

fn plan_id_of(input: &Input) -> Result<PlanId, Fault> {
    let id = input.required("BackupPlanId")?;
    id.parse().map_err(|_| no_plan(id))
}

fn conditions(value: Option<&Value>, member: &str) -> Result<Vec<Condition>, Fault> {
    let list = value.and_then(|value| value.get(member)).and_then(Value::as_array).into_iter().flatten();
    list.enumerate()
        .map(|(place, item)| {
            let part = |name: &str| {
                let text = item.get(name).and_then(Value::as_str).map(str::to_owned);
                text.ok_or_else(|| Fault::missing(&format!("BackupSelection.Conditions.{member}[{place}].{name}")))
            };
            Ok(Condition { key: part("ConditionKey")?, value: part("ConditionValue")? })
        })
        .collect()
}

pub(super) async fn create(context: &Context<'_>, input: &Input) -> Result<Reply, Fault> {
    let plan = plan_of(context, input).await?;
    let document = input.get("BackupSelection").ok_or_else(|| Fault::missing("BackupSelection"))?;
    let given = document.get("Conditions");
    let text = |name: &str| document.get(name).and_then(Value::as_str).map(str::to_owned);
    let tags = document.get("ListOfTags").and_then(Value::as_array).into_iter().flatten();
    let request = CreateSelection {
        plan_id: plan.id,
        name: text("SelectionName").unwrap_or_default(),
        resources: list_of(document.get("Resources")),
        not_resources: list_of(document.get("NotResources")),
        list_of_tags: tags
            .map(|tag| TagCondition {
                key: tag["ConditionKey"].as_str().unwrap_or_default().to_owned(),
                value: tag["ConditionValue"].as_str().unwrap_or_default().to_owned(),
            })
            .collect(),
        conditions: Conditions {
            string_equals: conditions(given, "StringEquals")?,
            string_not_equals: conditions(given, "StringNotEquals")?,
            string_like: conditions(given, "StringLike")?,
            string_not_like: conditions(given, "StringNotLike")?,
        },
        iam_role: text("IamRoleArn"),
    };
    let (accepted, at) = context.request(request).await?;
    let id = accepted.result.unwrap_or_default();
    let selection = selection(context, plan.id, &id).await?;
    let output = json!({
        "BackupPlanId": plan.id.to_string(),
        "SelectionId": selection.id.to_string(),
        "CreationDate": present::epoch(selection.created_at),
    });
    context.refresh(Change::Put(Box::new(Object::Selection(selection))), at).await;
    Ok(Reply::json(output))
}

/// A selection, by the planner's word.
async fn selection(context: &Context<'_>, plan_id: PlanId, id: &str) -> Result<Selection, Fault> {
    let none = || Fault::not_found(format!("Cannot find backup selection `{}`", short(id)));
    let selection_id: SelectionId = id.parse().map_err(|_| none())?;
    match context.query(&Query::ShowSelection { plan_id, selection_id }).await? {
        Answer::Selection(selection) => Ok(*selection),
        _ => Err(unexpected()),
    }
}

pub(super) async fn get(context: &Context<'_>, input: &Input) -> Result<Reply, Fault> {
    let plan = plan_of(context, input).await?;
    let selection = selection(context, plan.id, input.required("SelectionId")?).await?;
    Ok(Reply::json(show::selection(&selection)))
}

pub(super) async fn delete(context: &Context<'_>, input: &Input) -> Result<Reply, Fault> {
    let plan_id = plan_id_of(input)?;
    let id = input.required("SelectionId")?;
    let none = || Fault::not_found(format!("Cannot find backup selection `{}`", short(id)));
    let selection_id: SelectionId = id.parse().map_err(|_| none())?;
    let (_, at) = match context.request(DeleteSelection { plan_id, selection_id }).await {
        // Of a plan that is not there, it is the plan that is wrong.
        Err(fault) if fault.code == "ResourceNotFoundException" => {
            plan_of(context, input).await?;
            return Err(fault);
        }
        done => done?,
    };
    context.refresh(Change::Remove(key::selection(plan_id, selection_id)), at).await;
    Ok(Reply::empty())
}

pub(super) async fn list(context: &Context<'_>, input: &Input) -> Result<Reply, Fault> {
    let paging = Paging::read(context, "selections", input)?;
    let plan_id = plan_id_of(input)?;
    let versions = context.api.projection.objects(&key::plan_versions(plan_id));
    let known = versions.iter().rev().find_map(|object| match object.as_ref() {
        Object::Plan(plan) => Some(plan),
        _ => None,
    });
    if !known.is_some_and(|plan| plan.deleted_at.is_none() && context.lists_plan(plan)) {
        return Err(super::ownership::no_plan(input.required("BackupPlanId")?));
    }
    let mut rows = Vec::new();
    for object in context.api.projection.objects(&key::selections(plan_id)) {
        if let Object::Selection(selection) = object.as_ref() {
            rows.push((selection.id.to_string(), show::selection_summary(selection)));
        }
    }
    Ok(context.listed(paging.by_key(context, "BackupSelectionsList", rows, false)))
}
