//! `holdfast restore`.

use job_events::StartRestore;
use job_model::RestoreTarget;

use super::{recovery_points, started};
use crate::args::RestoreCommand;
use crate::client::Client;
use crate::error::CliError;
use crate::names;
use crate::render::Output;

pub(super) async fn run(command: RestoreCommand, client: &Client<'_>, output: Output) -> Result<(), CliError> {
    let RestoreCommand::Start(args) = command;
    let request = StartRestore {
        recovery_point: recovery_points::find(client, &args.recovery_point).await?.arn,
        target: RestoreTarget::Location { url: names::location(&args.to)? },
        overwrite: args.overwrite.into(),
        include: args.include,
        test: None,
        metadata: args.metadata.into_iter().map(|pair| (pair.key, pair.value)).collect(),
        iam_role: None,
    };
    let fact = client.request(&request.into()).await?;
    started(client, output, &fact, args.wait, "the restore is started").await
}
