//! Selections of restore testing plans.

use job_events::{
    CreateRestoreTestingSelection, DeleteRestoreTestingSelection, Request, UpdateRestoreTestingSelection,
};
use job_model::{ProtectedResourceConditions, ResourceType, RestoreTestingPlan, RestoreTestingSelection, TagEquality};
use serde_json::{Value, json};

use super::Context;
use super::paging::Paging;
use super::tags::{list_of, texts};
use crate::decode::{Input, short};
use crate::fault::Fault;
use crate::present::{epoch, testing as show};
use crate::projection::{Change, Object};
use crate::reply::Reply;

const PATH: &str = "RestoreTestingSelection";

fn conditions(document: &Value) -> Option<ProtectedResourceConditions> {
    let given = document.get("ProtectedResourceConditions")?;
    let equal = |name: &str| -> Vec<TagEquality> {
        let list = given.get(name).and_then(Value::as_array).into_iter().flatten();
        let tag = |item: &Value| TagEquality {
            key: item["Key"].as_str().unwrap_or_default().to_owned(),
            value: item["Value"].as_str().unwrap_or_default().to_owned(),
        };
        list.map(tag).collect()
    };
    let all = ProtectedResourceConditions {
        string_equals: equal("StringEquals"),
        string_not_equals: equal("StringNotEquals"),
    };
    // Terraform sends empty lists for what its user did not write.
    (all != ProtectedResourceConditions::default()).then_some(all)
}

fn window(document: &Value) -> Result<Option<u32>, Fault> {
    let Some(hours) = document.get("ValidationWindowHours").and_then(Value::as_i64) else { return Ok(None) };
    let wrong =
        || Fault::invalid("RestoreTestingSelection.ValidationWindowHours", format!("`{hours}` is not 0 to 168"));
    u32::try_from(hours).map(Some).map_err(|_| wrong())
}

fn resource_type(name: &str) -> Result<ResourceType, Fault> {
    ResourceType::ALL.iter().copied().find(|kind| kind.as_str() == name).ok_or_else(|| {
        let known: Vec<&str> = ResourceType::ALL.iter().map(|kind| kind.as_str()).collect();
        let text = format!("`{}` is no type of resource here; there are {}", short(name), known.join(", "));
        Fault::invalid("RestoreTestingSelection.ProtectedResourceType", text)
    })
}

/// Sends a request about a plan's selections and tells the plan afterwards.
async fn change(context: &Context<'_>, plan: &str, request: impl Into<Request>) -> Result<RestoreTestingPlan, Fault> {
    let (_, at) = context.request(request).await?;
    let plan = context.testing_plan(plan).await?;
    context.refresh(Change::Put(Box::new(Object::TestingPlan(plan.clone()))), at).await;
    Ok(plan)
}

fn named<'a>(plan: &'a RestoreTestingPlan, name: &str) -> Result<&'a RestoreTestingSelection, Fault> {
    let none = || {
        let (plan, name) = (&plan.name, short(name));
        Fault::not_found(format!("restore testing plan `{plan}` has no selection `{name}`"))
    };
    plan.selections.iter().find(|selection| selection.name == name).ok_or_else(none)
}

/// What creating and updating answer.
fn made(context: &Context<'_>, plan: &RestoreTestingPlan, name: &str, updated: bool) -> Result<Reply, Fault> {
    let selection = named(plan, name)?;
    let created = selection.created_at.or(plan.created_at).unwrap_or(plan.updated_at);
    let mut output = json!({
        "RestoreTestingPlanName": plan.name,
        "RestoreTestingPlanArn": context.testing_arn(plan)?,
        "RestoreTestingSelectionName": name,
        "CreationTime": epoch(created),
    });
    if updated {
        output["UpdateTime"] = epoch(selection.updated_at.unwrap_or(created));
    }
    Ok(Reply::json(output))
}

pub(super) async fn create(context: &Context<'_>, input: &Input) -> Result<Reply, Fault> {
    let plan = input.required("RestoreTestingPlanName")?;
    let document = input.get(PATH).ok_or_else(|| Fault::missing(PATH))?;
    let text = |name: &str| document.get(name).and_then(Value::as_str).unwrap_or_default();
    let name = text("RestoreTestingSelectionName").to_owned();
    let mut protected_resources = list_of(document.get("ProtectedResourceArns"));
    let conditions = conditions(document);
    if protected_resources.is_empty() {
        if conditions.is_none() {
            let text = "name ARNs, `*`, or conditions";
            return Err(Fault::invalid("RestoreTestingSelection.ProtectedResourceArns", text));
        }
        // Conditions alone choose among all.
        protected_resources.push("*".to_owned());
    }
    let selection = RestoreTestingSelection {
        name: name.clone(),
        resource_type: resource_type(text("ProtectedResourceType"))?,
        protected_resources,
        conditions: conditions.unwrap_or_default(),
        validation_window_hours: window(document)?.unwrap_or(0),
        iam_role: Some(text("IamRoleArn").to_owned()),
        creator_request_id: None,
        created_at: None,
        updated_at: None,
        restore_metadata_overrides: texts(document.get("RestoreMetadataOverrides")),
    };
    let request = CreateRestoreTestingSelection { plan: plan.to_owned(), selection };
    let plan = change(context, plan, request).await?;
    made(context, &plan, &name, false)
}

pub(super) async fn update(context: &Context<'_>, input: &Input) -> Result<Reply, Fault> {
    let plan = input.required("RestoreTestingPlanName")?;
    let name = input.required("RestoreTestingSelectionName")?;
    let document = input.get(PATH).ok_or_else(|| Fault::missing(PATH))?;
    let some = |list: Vec<String>| (!list.is_empty()).then_some(list);
    let request = UpdateRestoreTestingSelection {
        plan: plan.to_owned(),
        name: name.to_owned(),
        iam_role: document.get("IamRoleArn").and_then(Value::as_str).map(str::to_owned),
        protected_resources: some(list_of(document.get("ProtectedResourceArns"))),
        conditions: conditions(document),
        restore_metadata_overrides: document.get("RestoreMetadataOverrides").map(|map| texts(Some(map))),
        validation_window_hours: window(document)?,
    };
    let plan = change(context, plan, request).await?;
    made(context, &plan, name, true)
}

pub(super) async fn get(context: &Context<'_>, input: &Input) -> Result<Reply, Fault> {
    let plan = context.testing_plan(input.required("RestoreTestingPlanName")?).await?;
    let selection = named(&plan, input.required("RestoreTestingSelectionName")?)?;
    Ok(Reply::json(json!({ "RestoreTestingSelection": show::selection(&plan, selection) })))
}

pub(super) async fn delete(context: &Context<'_>, input: &Input) -> Result<Reply, Fault> {
    let plan = input.required("RestoreTestingPlanName")?;
    let name = input.required("RestoreTestingSelectionName")?.to_owned();
    change(context, plan, DeleteRestoreTestingSelection { plan: plan.to_owned(), name }).await?;
    Ok(Reply::empty())
}

pub(super) async fn list(context: &Context<'_>, input: &Input) -> Result<Reply, Fault> {
    let paging = Paging::read(context, "testing-selections", input)?;
    let plan = context.testing_plan(input.required("RestoreTestingPlanName")?).await?;
    let rows = plan.selections.iter().map(|s| (s.name.clone(), show::selection_summary(&plan, s)));
    Ok(Reply::json(paging.by_key(context, "RestoreTestingSelections", rows.collect(), false)))
}
