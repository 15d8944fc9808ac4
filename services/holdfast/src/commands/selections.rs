//! `holdfast selection`.

use job_events::{Answer, CreateSelection, DeleteSelection, Query};
use job_model::{Conditions, PlanId, Resource, Selection, TagCondition};

use super::accepted;
use crate::args::{SelectionCommand, SelectionCreate};
use crate::client::{Client, unexpected};
use crate::error::CliError;
use crate::names::{pick_plan, pick_resource, pick_selection};
use crate::render::{self, Output};

pub(super) async fn run(command: SelectionCommand, client: &Client<'_>, output: Output) -> Result<(), CliError> {
    match command {
        SelectionCommand::Create(args) => {
            let plans = client.plans().await?;
            let plan_id = pick_plan(&plans, &args.plan)?.id;
            let request = selection(&args, plan_id, &client.resources().await?)?;
            let fact = client.request(&request.into()).await?;
            accepted(output, &fact, "the selection is made")
        }
        SelectionCommand::List { plan } => {
            let plan_id = match plan {
                Some(plan) => Some(pick_plan(&client.plans().await?, &plan)?.id),
                None => None,
            };
            let selections = list(client, plan_id).await?;
            output.result(&selections, || render::selections(&selections))
        }
        SelectionCommand::Delete { plan, selection } => {
            let plans = client.plans().await?;
            let plan_id = pick_plan(&plans, &plan)?.id;
            let selections = list(client, Some(plan_id)).await?;
            let selection_id = pick_selection(&selections, &selection)?.id;
            let fact = client.request(&DeleteSelection { plan_id, selection_id }.into()).await?;
            accepted(output, &fact, "the selection is deleted")
        }
    }
}

async fn list(client: &Client<'_>, plan_id: Option<PlanId>) -> Result<Vec<Selection>, CliError> {
    match client.query(&Query::ListSelections { plan_id }).await? {
        Answer::Selections(selections) => Ok(selections),
        other => Err(unexpected("planner", &other)),
    }
}

/// The request that makes a selection; plain names become ARNs, patterns stay.
fn selection(args: &SelectionCreate, plan_id: PlanId, resources: &[Resource]) -> Result<CreateSelection, CliError> {
    let resolve = |texts: &[String]| -> Result<Vec<String>, CliError> {
        let one = |text: &String| {
            if text.starts_with("arn:") || text.contains('*') {
                return Ok(text.clone());
            }
            pick_resource(resources, text).map(|r| r.arn.to_string())
        };
        texts.iter().map(one).collect()
    };
    Ok(CreateSelection {
        plan_id,
        name: args.name.clone(),
        resources: resolve(&args.resources)?,
        not_resources: resolve(&args.not_resources)?,
        list_of_tags: args.tags.iter().map(|t| TagCondition { key: t.key.clone(), value: t.value.clone() }).collect(),
        conditions: Conditions::default(),
        iam_role: None,
    })
}
