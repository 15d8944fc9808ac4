//! `holdfast plan`.

use std::path::Path;

use job_events::{Answer, CreatePlan, DeletePlan, Query, UpdatePlan};

use super::{accepted, aws_plan, files};
use crate::args::PlanCommand;
use crate::client::{Client, unexpected};
use crate::error::CliError;
use crate::names::pick_plan;
use crate::render::{self, Output};

pub(super) async fn run(command: PlanCommand, client: &Client<'_>, output: Output) -> Result<(), CliError> {
    match command {
        PlanCommand::Create { file } => {
            let plan = read(&file, client).await?;
            let fact = client.request(&plan.into()).await?;
            accepted(output, &fact, "the plan is made")
        }
        PlanCommand::List => {
            let plans = client.plans().await?;
            output.result(&plans, || render::plans(&plans))
        }
        PlanCommand::Show { plan } => {
            let plans = client.plans().await?;
            let plan = pick_plan(&plans, &plan)?;
            output.result(plan, || render::plan_detail(plan))
        }
        PlanCommand::Update { plan, file } => {
            let plans = client.plans().await?;
            let plan_id = pick_plan(&plans, &plan)?.id;
            // Tags are not of a version; they are changed on their own.
            let CreatePlan { name, rules, advanced_settings, tags: _ } = read(&file, client).await?;
            let fact = client.request(&UpdatePlan { plan_id, name, rules, advanced_settings }.into()).await?;
            accepted(output, &fact, "the plan has a new version")
        }
        PlanCommand::Delete { plan } => {
            let plans = client.plans().await?;
            let plan_id = pick_plan(&plans, &plan)?.id;
            let fact = client.request(&DeletePlan { plan_id }.into()).await?;
            accepted(output, &fact, "the plan is deleted")
        }
        PlanCommand::NextRuns { plan, count } => {
            let plans = client.plans().await?;
            let plan_id = pick_plan(&plans, &plan)?.id;
            match client.query(&Query::NextRuns { plan_id, count }).await? {
                Answer::NextRuns(runs) => output.result(&runs, || render::next_runs(&runs)),
                other => Err(unexpected("planner", &other)),
            }
        }
    }
}

/// A plan from a file, with the names of vaults resolved.
async fn read(file: &Path, client: &Client<'_>) -> Result<CreatePlan, CliError> {
    let mut value = aws_plan::native(file, files::read(file)?)?;
    files::resolve_plan(&mut value, &client.vaults().await?, client.chosen_region())?;
    files::decode(file, value)
}
