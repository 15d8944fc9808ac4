//! `holdfast restore-test`.

use std::time::Duration;

use job_events::{
    Answer, DeleteRestoreTestingPlan, PutRestoreTestingPlan, Query, RequestAccepted, RunRestoreTest, TestRun,
};
use job_model::{RestoreTestingPlan, TestRunId, VerdictStatus};
use serde::Serialize;

use super::{accepted, files};
use crate::args::RestoreTestCommand;
use crate::client::{Client, unexpected};
use crate::error::CliError;
use crate::render::{self, Output, test_run_detail};

/// How often the verifier is asked whether a run ended.
const ASK_EVERY: Duration = Duration::from_millis(500);

/// A plan with its runs.
#[derive(Serialize)]
struct PlanWithRuns<'a> {
    plan: &'a RestoreTestingPlan,
    runs: Vec<TestRun>,
}

pub(super) async fn run(command: RestoreTestCommand, client: &Client<'_>, output: Output) -> Result<(), CliError> {
    match command {
        RestoreTestCommand::Create { file } => {
            let mut value = files::read(&file)?;
            let (vaults, resources) = (client.vaults().await?, client.resources().await?);
            files::resolve_restore_testing_plan(&mut value, &vaults, &resources, client.chosen_region())?;
            let plan: PutRestoreTestingPlan = files::decode(&file, value)?;
            let fact = client.request(&plan.into()).await?;
            accepted(output, &fact, "the restore testing plan is made")
        }
        RestoreTestCommand::List => {
            let plans = list(client).await?;
            output.result(&plans, || render::test_plans(&plans))
        }
        RestoreTestCommand::Run { name, wait } => {
            let fact = client.request(&RunRestoreTest { name }.into()).await?;
            if !wait {
                return accepted(output, &fact, "the restore test runs");
            }
            let run = until_ended(client, &fact, output).await?;
            output.result(&run, || test_run_detail(&run))?;
            require_proven(&run)
        }
        RestoreTestCommand::Show { name } => show(&name, client, output).await,
        RestoreTestCommand::Delete { name } => {
            let fact = client.request(&DeleteRestoreTestingPlan { name, only_empty: false }.into()).await?;
            accepted(output, &fact, "the restore testing plan is deleted; its verdicts stay")
        }
    }
}

async fn list(client: &Client<'_>) -> Result<Vec<RestoreTestingPlan>, CliError> {
    match client.query(&Query::ListRestoreTestingPlans).await? {
        Answer::RestoreTestingPlans(plans) => Ok(plans),
        other => Err(unexpected("verifier", &other)),
    }
}

async fn test_run(client: &Client<'_>, id: TestRunId) -> Result<TestRun, CliError> {
    match client.query(&Query::ShowTestRun { test_run: id }).await? {
        Answer::TestRun(run) => Ok(run),
        other => Err(unexpected("verifier", &other)),
    }
}

async fn show(name: &str, client: &Client<'_>, output: Output) -> Result<(), CliError> {
    if let Ok(id) = name.parse() {
        let run = test_run(client, id).await?;
        return output.result(&run, || test_run_detail(&run));
    }
    let plans = list(client).await?;
    let plan = plans.iter().find(|p| p.name == name).ok_or_else(|| CliError::NotFound {
        what: "restore testing plan",
        name: name.to_owned(),
        look: "holdfast restore-test list",
    })?;
    let runs = match client.query(&Query::ListTestRuns { account: None, limit: None }).await? {
        Answer::TestRuns(runs) => runs.into_iter().filter(|r| r.restore_testing_plan == name).collect(),
        other => return Err(unexpected("verifier", &other)),
    };
    let shown = PlanWithRuns { plan, runs };
    output.result(&shown, || {
        format!("{}\n{}", render::test_plans(std::slice::from_ref(plan)), render::test_runs(&shown.runs))
    })
}

/// Waits until every resource of the run that was accepted has its verdict.
///
/// # Errors
/// When the verifier does not answer or somebody presses Ctrl-C.
pub(crate) async fn until_ended(
    client: &Client<'_>,
    fact: &RequestAccepted,
    output: Output,
) -> Result<TestRun, CliError> {
    let id = fact
        .result
        .as_deref()
        .and_then(|id| id.parse().ok())
        .ok_or_else(|| CliError::BadAnswer { service: "verifier", source: "the answer names no run".into() })?;
    let spinner =
        if output.is_interactive() { indicatif::ProgressBar::new_spinner() } else { indicatif::ProgressBar::hidden() };
    spinner.enable_steady_tick(Duration::from_millis(120));
    loop {
        let run = test_run(client, id).await?;
        if run.ended_at.is_some() {
            spinner.finish_and_clear();
            return Ok(run);
        }
        let judged = run.entries.iter().filter(|e| e.verdict.is_some()).count();
        spinner.set_message(format!("{judged} of {} judged", run.entries.len()));
        tokio::select! {
            () = tokio::time::sleep(ASK_EVERY) => {}
            _ = tokio::signal::ctrl_c() => return Err(CliError::Interrupted),
        }
    }
}

/// Whether a run proved everything.
fn require_proven(run: &TestRun) -> Result<(), CliError> {
    let is_proven =
        |e: &&job_events::TestRunEntry| e.verdict.as_ref().is_some_and(|v| v.status == VerdictStatus::Successful);
    let proven = run.entries.iter().filter(is_proven).count();
    if proven == run.entries.len() && proven > 0 {
        return Ok(());
    }
    Err(CliError::NotProven {
        message: format!(
            "{proven} of {} resources are proven restorable; `holdfast restore-test show {}` has the findings",
            run.entries.len(),
            run.id
        ),
    })
}
