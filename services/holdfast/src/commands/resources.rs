//! `holdfast resource`.

use job_events::{DeregisterResource, RegisterResource};
use job_model::{Region, ResourceType};

use super::accepted;
use crate::args::{ResourceAdd, ResourceCommand};
use crate::client::Client;
use crate::error::CliError;
use crate::names;
use crate::render::{self, Output};

pub(super) async fn run(command: ResourceCommand, client: &Client<'_>, output: Output) -> Result<(), CliError> {
    match command {
        ResourceCommand::Add(args) => {
            let request = register(&args, client.region())?;
            let fact = client.request(&request.into()).await?;
            accepted(output, &fact, "registered")
        }
        ResourceCommand::List => {
            let resources = client.resources().await?;
            output.result(&resources, || render::resources(&resources))
        }
        ResourceCommand::Remove { resource } => {
            let resources = client.resources().await?;
            let arn = names::pick_resource(&resources, &resource)?.arn.clone();
            let fact = client.request(&DeregisterResource { arn }.into()).await?;
            accepted(output, &fact, "removed; its recovery points stay until their retention ends")
        }
    }
}

/// The request that registers a resource.
fn register(args: &ResourceAdd, region: &Region) -> Result<RegisterResource, CliError> {
    let resource_type = ResourceType::from(args.resource_type);
    let location = match (&args.location, &args.path) {
        (Some(url), _) => names::location(url)?,
        (None, Some(path)) => names::path_url(path)?,
        (None, None) => return Err(CliError::usage("say where the resource lies: `--path` or `--location`")),
    };
    Ok(RegisterResource {
        arn: names::resource_arn(&args.name, resource_type, region, &args.account)?,
        resource_type,
        region: region.clone(),
        location,
        hooks: args.hooks.clone(),
        tags: args.tags.iter().map(|t| (t.key.clone(), t.value.clone())).collect(),
    })
}
