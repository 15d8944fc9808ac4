//! `holdfast check`: a vault is read through by a worker that reaches it, and the findings are shown.

use job_bus::StartAt;
use job_events::{Envelope, Fact, StartVaultCheck, VaultChecked, subjects};
use job_model::{Job, Severity};
use serde::Serialize;

use super::{class, job_of};
use crate::args::CheckArgs;
use crate::client::{Client, bus, within};
use crate::error::CliError;
use crate::follow;
use crate::names::pick_vault;
use crate::render::{Output, Table, bytes, job_detail};

/// What a check gave.
#[derive(Serialize)]
struct Checked {
    job: Job,
    /// What was read and found; none when the check could not be carried out.
    result: Option<VaultChecked>,
}

pub(super) async fn run(args: &CheckArgs, client: &Client<'_>, output: Output) -> Result<(), CliError> {
    // What the worker found is told on the bus; without it the check would be for nothing.
    client.bus()?;
    let vaults = client.vaults().await?;
    let vault = pick_vault(&vaults, &args.vault, client.chosen_region())?;
    let request =
        StartVaultCheck { vault: vault.access.arn.clone(), read_data: args.read_data, storage_class: class(args.cold) };
    let fact = client.request(&request.into()).await?;
    let job = follow::until_ended(client, job_of(&fact)?, output).await?;
    let result = result_of(client, &job).await?;
    let checked = Checked { job, result };
    output.result(&checked, || text(&checked))?;
    let damaged = checked.result.iter().flat_map(|r| &r.findings).any(|f| f.severity == Severity::Failure);
    if damaged {
        return Err(CliError::NotProven {
            message: format!("the vault `{}` is damaged; restore from a copy meanwhile", vault.name),
        });
    }
    follow::require_completed(&checked.job)
}

/// The worker's fact about the check, from the stream of facts.
async fn result_of(client: &Client<'_>, job: &Job) -> Result<Option<VaultChecked>, CliError> {
    let subject = subjects::facts_of_job(&job.region, job.id);
    let mut facts = client
        .bus()?
        .watch(&subjects::fact_stream(&job.region), &subject, StartAt::All)
        .await
        .map_err(bus("read the result of the check"))?;
    let found = async {
        while let Some(Ok(watched)) = facts.next().await {
            match Envelope::from_bytes(&watched.payload).ok().and_then(|e| e.fact().ok()) {
                Some(Fact::VaultChecked(checked)) => return Some(checked),
                // The planner's word that the job ended comes after the worker's.
                Some(Fact::JobChanged(changed)) if changed.job.state.is_terminal() => return None,
                _ => {}
            }
        }
        None
    };
    Ok(within(client.destination().timeout, found).await.flatten())
}

fn text(checked: &Checked) -> String {
    let Some(result) = &checked.result else { return job_detail(&checked.job) };
    let mut text = format!(
        "{} snapshots, {} packs and {} read in {} attempt(s)\n",
        result.snapshots,
        result.packs_read,
        bytes(result.bytes_read),
        checked.job.attempt
    );
    let mut table = Table::new(&["severity", "what", "about", "message"], "no damage found");
    for f in &result.findings {
        let word = |v: serde_json::Result<serde_json::Value>| {
            v.ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default()
        };
        table.row(vec![
            word(serde_json::to_value(f.severity)),
            word(serde_json::to_value(f.kind)),
            f.subject.clone(),
            f.message.clone(),
        ]);
    }
    text.push_str(&table.render());
    text
}
