//! What each command does: names to ids, one request or query, the result shown.

mod aws_plan;
mod backup;
mod browse;
mod bus;
mod check;
mod files;
mod jobs;
mod plans;
mod recovery_points;
mod resources;
mod restore;
mod restore_tests;
mod selections;
mod vault_upkeep;
mod vaults;

pub(crate) use restore_tests::until_ended as test_run_until_ended;

use job_events::RequestAccepted;
use job_model::{JobId, StorageClass, Vault, VaultAccess};

use crate::args::Command;
use crate::client::Client;
use crate::error::CliError;
use crate::follow;
use crate::render::{Output, job_detail};

/// Runs a command that speaks to the services.
///
/// # Errors
/// See [`CliError`].
pub(crate) async fn run(command: Command, client: &Client<'_>, output: Output) -> Result<(), CliError> {
    match command {
        Command::Resource(command) => resources::run(command, client, output).await,
        Command::Vault(command) => vaults::run(command, client, output).await,
        Command::Plan(command) => plans::run(command, client, output).await,
        Command::Selection(command) => selections::run(command, client, output).await,
        Command::Backup(command) => backup::backup(command, client, output).await,
        Command::Copy(command) => backup::copy(command, client, output).await,
        Command::Restore(command) => restore::run(command, client, output).await,
        Command::RestoreTest(command) => restore_tests::run(command, client, output).await,
        Command::Job(command) => jobs::run(command, client, output).await,
        Command::RecoveryPoint(command) => recovery_points::run(command, client, output).await,
        Command::Bus(command) => bus::run(command, client, output).await,
        Command::Check(args) => check::run(&args, client, output).await,
        Command::Up(_) | Command::Demo(_) | Command::Service(_) | Command::Completions { .. } | Command::Guard(_) => {
            Err(CliError::usage("this command does not speak to a running service"))
        }
    }
}

/// Shows that a request was accepted: for people a sentence, for machines the fact.
fn accepted(output: Output, fact: &RequestAccepted, sentence: &str) -> Result<(), CliError> {
    output.result(fact, || match (&fact.result, fact.job_id) {
        (Some(result), Some(job)) if *result != job.to_string() => format!("{sentence}: {result} (job {job})"),
        (_, Some(job)) => format!("{sentence}: job {job}"),
        (Some(result), None) => format!("{sentence}: {result}"),
        (None, None) => sentence.to_owned(),
    })
}

/// The storage class that `--cold` stands for.
const fn class(cold: bool) -> StorageClass {
    if cold { StorageClass::Cold } else { StorageClass::Warm }
}

/// How a repository of a vault is opened.
fn repository(vault: &Vault, class: StorageClass) -> Result<VaultAccess, CliError> {
    vault.repository(class).cloned().ok_or_else(|| CliError::NotFound {
        what: "cold repository of the vault",
        name: vault.name.clone(),
        look: "holdfast vault list",
    })
}

/// The job that an accepted request made.
///
/// # Errors
/// When the answer names none.
pub(crate) fn job_of(fact: &RequestAccepted) -> Result<JobId, CliError> {
    fact.job_id.ok_or_else(|| CliError::BadAnswer { service: "planner", source: "the answer names no job".into() })
}

/// Shows the job a request made, after waiting for its end where that is wanted.
async fn started(
    client: &Client<'_>,
    output: Output,
    fact: &RequestAccepted,
    wait: bool,
    sentence: &str,
) -> Result<(), CliError> {
    if !wait {
        return accepted(output, fact, sentence);
    }
    let job = follow::until_ended(client, job_of(fact)?, output).await?;
    output.result(&job, || job_detail(&job))?;
    follow::require_completed(&job)
}
