//! `holdfast recovery-point`.

use jiff::Timestamp;
use job_events::{Answer, DeleteRecoveryPoint, Query};
use job_model::{Arn, RecoveryPoint, recency_by_vault};
use serde::Serialize;

use super::{browse, started};
use crate::args::RecoveryPointCommand;
use crate::client::{Client, unexpected};
use crate::error::CliError;
use crate::names::{pick_recovery_point, pick_resource, pick_vault};
use crate::render::{self, Output};
use crate::rpo::Rpo;

/// One recovery point with what the planner intends for it.
#[derive(Serialize)]
struct Shown {
    recovery_point: RecoveryPoint,
    kept_because: Vec<String>,
    delete_at: Option<Timestamp>,
    /// What a disaster now would cost, by vault: this one's and those of its copies.
    rpo: Vec<Rpo>,
}

pub(super) async fn run(command: RecoveryPointCommand, client: &Client<'_>, output: Output) -> Result<(), CliError> {
    match command {
        RecoveryPointCommand::List { vault, resource } => {
            let vault = match vault {
                Some(text) => {
                    Some(pick_vault(&client.vaults().await?, &text, client.chosen_region())?.access.arn.clone())
                }
                None => None,
            };
            let resource = match resource {
                // A resource that was removed has recovery points still: a full ARN needs no registry.
                Some(text) => match text.parse() {
                    Ok(arn) => Some(arn),
                    Err(_) => Some(pick_resource(&client.resources().await?, &text)?.arn.clone()),
                },
                None => None,
            };
            let points = list(client, vault, resource).await?;
            output.result(&points, || render::recovery_points(&points))
        }
        RecoveryPointCommand::Show { recovery_point } => {
            let arn = find(client, &recovery_point).await?.arn;
            match client.query(&Query::ShowRecoveryPoint { recovery_point: arn }).await? {
                Answer::RecoveryPoint { recovery_point, kept_because, delete_at } => {
                    let points = list(client, None, Some(recovery_point.resource.clone())).await?;
                    let rpo =
                        recency_by_vault(&points).into_iter().map(|recency| Rpo::of(recency, client.now())).collect();
                    let shown = Shown { recovery_point, kept_because, delete_at, rpo };
                    output.result(&shown, || {
                        let Shown { recovery_point, kept_because, delete_at, rpo } = &shown;
                        render::recovery_point_detail(recovery_point, kept_because, *delete_at, rpo)
                    })
                }
                other => Err(unexpected("planner", &other)),
            }
        }
        RecoveryPointCommand::Browse(args) => browse::run(&args, client, output).await,
        RecoveryPointCommand::Delete { recovery_point, wait } => {
            let arn = find(client, &recovery_point).await?.arn;
            let fact = client.request(&DeleteRecoveryPoint { recovery_point: arn, vault: None }.into()).await?;
            started(client, output, &fact, wait, "the recovery point is being deleted").await
        }
    }
}

/// The recovery point of that ARN or id.
pub(super) async fn find(client: &Client<'_>, text: &str) -> Result<RecoveryPoint, CliError> {
    pick_recovery_point(&list(client, None, None).await?, text).cloned()
}

async fn list(client: &Client<'_>, vault: Option<Arn>, resource: Option<Arn>) -> Result<Vec<RecoveryPoint>, CliError> {
    match client.query(&Query::ListRecoveryPoints { vault, resource }).await? {
        Answer::RecoveryPoints(points) => Ok(points),
        other => Err(unexpected("planner", &other)),
    }
}
