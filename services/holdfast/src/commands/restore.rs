//! `holdfast restore`.

use job_events::StartRestore;
use job_model::{RESTORE_LSN, RESTORE_POINT, RESTORE_TIME, RestoreTarget, USE_LATEST_RESTORABLE_TIME};

use super::{recovery_points, started};
use crate::args::RestoreCommand;
use crate::client::Client;
use crate::error::CliError;
use crate::names;
use crate::render::Output;

pub(super) async fn run(command: RestoreCommand, client: &Client<'_>, output: Output) -> Result<(), CliError> {
    let RestoreCommand::Start(args) = command;
    let instant = [
        (RESTORE_TIME, args.to_time.map(|at| at.to_string())),
        (RESTORE_LSN, args.to_lsn),
        (RESTORE_POINT, args.to_point),
        (USE_LATEST_RESTORABLE_TIME, args.to_latest.then(|| "true".to_owned())),
    ];
    let instant = instant.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?)));
    let request = StartRestore {
        recovery_point: recovery_points::find(client, &args.recovery_point).await?.arn,
        target: RestoreTarget::Location { url: names::location(&args.to)? },
        overwrite: args.overwrite.into(),
        include: args.include,
        test: None,
        metadata: args.metadata.into_iter().map(|pair| (pair.key, pair.value)).chain(instant).collect(),
        iam_role: None,
    };
    let fact = client.request(&request.into()).await?;
    started(client, output, &fact, args.wait, "the restore is started").await
}
