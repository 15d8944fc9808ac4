//! `holdfast vault`.

use std::time::Duration;

use job_events::{CreateVaultRequest, DeleteVault, StartVaultPrune};
use job_model::{Vault, VaultState};

use super::{accepted, class, job_of, vault_upkeep};
use crate::args::{VaultCommand, VaultCreate};
use crate::client::Client;
use crate::error::CliError;
use crate::follow;
use crate::names;
use crate::render::{self, Output};

pub(super) async fn run(command: VaultCommand, client: &Client<'_>, output: Output) -> Result<(), CliError> {
    match command {
        VaultCommand::Create(args) => create(&args, client, output).await,
        VaultCommand::List => {
            let vaults = client.vaults().await?;
            output.result(&vaults, || render::vaults(&vaults))
        }
        VaultCommand::Show { vault } => {
            let vaults = client.vaults().await?;
            let vault = names::pick_vault(&vaults, &vault, client.chosen_region())?;
            output.result(vault, || render::vault_detail(vault))
        }
        VaultCommand::Key(command) => vault_upkeep::key(&command, client, output).await,
        VaultCommand::Keep(command) => vault_upkeep::keep(command, client, output).await,
        VaultCommand::Scrub(args) => vault_upkeep::scrub(&args, client, output).await,
        VaultCommand::Prune { vault, plan, cold } => prune(&vault, plan, cold, client, output).await,
        VaultCommand::Delete { vault } => {
            let vaults = client.vaults().await?;
            let arn = names::pick_vault(&vaults, &vault, client.chosen_region())?.access.arn.clone();
            let fact = client.request(&DeleteVault { vault: arn }.into()).await?;
            accepted(output, &fact, "deleted; its repository is left where it is")
        }
    }
}

async fn create(args: &VaultCreate, client: &Client<'_>, output: Output) -> Result<(), CliError> {
    let location = match (&args.location, &client.destination().endpoint) {
        (Some(location), _) => names::location(location)?,
        (None, Some(endpoint)) => names::path_url(&endpoint.vaults_dir.join(&args.name))?,
        (None, None) => return Err(CliError::usage("say where the vault goes: `--location PATH` or a URL")),
    };
    let request = CreateVaultRequest {
        name: args.name.clone(),
        region: client.region().clone(),
        location,
        key_profile: args.key_profile.clone(),
        cold_location: args.cold_location.as_deref().map(names::location).transpose()?,
        cold_key_profile: args.cold_key_profile.clone(),
        min_retention_days: args.min_retention_days,
        max_retention_days: args.max_retention_days,
        vault_type: job_model::VaultType::BackupVault,
        tags: std::collections::BTreeMap::new(),
    };
    let fact = client.request(&request.into()).await?;
    if args.no_wait {
        return accepted(output, &fact, "the vault is being made");
    }
    if let Some(job) = fact.job_id {
        follow::require_completed(&follow::until_ended(client, job, output).await?)?;
    }
    let vault = settled(client, &args.name).await?;
    output.result(&vault, || render::vaults(std::slice::from_ref(&vault)))?;
    match vault.state {
        VaultState::Available => Ok(()),
        _ => Err(CliError::NotProven {
            message: format!(
                "the vault `{}` could not be made: {}",
                vault.name,
                vault.state_message.as_deref().unwrap_or("no reason was given")
            ),
        }),
    }
}

async fn prune(vault: &str, plan_only: bool, cold: bool, client: &Client<'_>, output: Output) -> Result<(), CliError> {
    let vaults = client.vaults().await?;
    let vault = names::pick_vault(&vaults, vault, client.chosen_region())?.access.arn.clone();
    let fact = client.request(&StartVaultPrune { vault, plan_only, storage_class: class(cold) }.into()).await?;
    let job = follow::until_ended(client, job_of(&fact)?, output).await?;
    output.result(&job, || render::job_detail(&job))?;
    follow::require_completed(&job)
}

/// The vault once it is no longer being made.
async fn settled(client: &Client<'_>, name: &str) -> Result<Vault, CliError> {
    loop {
        let vaults = client.vaults().await?;
        let vault = names::pick_vault(&vaults, name, Some(client.region()))?;
        if vault.state != VaultState::Creating {
            return Ok(vault.clone());
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
