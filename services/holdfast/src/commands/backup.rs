//! `holdfast backup` and `holdfast copy`.

use job_events::{StartBackup, StartCopy};
use job_model::{CopyAction, Lifecycle};

use super::{recovery_points, started};
use crate::args::{BackupCommand, CopyCommand};
use crate::client::Client;
use crate::error::CliError;
use crate::names::{pick_resource, pick_vault};
use crate::render::Output;

const fn keep(delete_after_days: Option<u32>) -> Lifecycle {
    Lifecycle { delete_after_days, move_to_cold_after_days: None }
}

pub(super) async fn backup(command: BackupCommand, client: &Client<'_>, output: Output) -> Result<(), CliError> {
    let BackupCommand::Start(args) = command;
    let vaults = client.vaults().await?;
    let resources = client.resources().await?;
    let copy = |vault: &String| -> Result<CopyAction, CliError> {
        let destination_vault = pick_vault(&vaults, vault, None)?.access.arn.clone();
        Ok(CopyAction { destination_vault, lifecycle: keep(args.delete_after_days) })
    };
    let request = StartBackup {
        resource: pick_resource(&resources, &args.resource)?.arn.clone(),
        vault: pick_vault(&vaults, &args.vault, client.chosen_region())?.access.arn.clone(),
        lifecycle: keep(args.delete_after_days),
        start_window_minutes: None,
        completion_window_minutes: None,
        recovery_point_tags: args.tags.iter().map(|t| (t.key.clone(), t.value.clone())).collect(),
        copy_actions: args.copy_to.iter().map(copy).collect::<Result<_, _>>()?,
        iam_role: None,
    };
    let fact = client.request(&request.into()).await?;
    started(client, output, &fact, args.wait, "the backup is started").await
}

pub(super) async fn copy(command: CopyCommand, client: &Client<'_>, output: Output) -> Result<(), CliError> {
    let CopyCommand::Start(args) = command;
    let vaults = client.vaults().await?;
    let request = StartCopy {
        recovery_point: recovery_points::find(client, &args.recovery_point).await?.arn,
        destination_vault: pick_vault(&vaults, &args.to, None)?.access.arn.clone(),
        lifecycle: keep(args.delete_after_days),
        iam_role: None,
    };
    let fact = client.request(&request.into()).await?;
    started(client, output, &fact, args.wait, "the copy is started").await
}
