//! `holdfast bus`.

use serde_json::json;

use crate::args::BusCommand;
use crate::client::{self, Client};
use crate::error::CliError;
use crate::render::{Output, Table, moment};

pub(super) async fn run(command: BusCommand, client: &Client<'_>, output: Output) -> Result<(), CliError> {
    match command {
        BusCommand::Provision => provision(client, output).await,
        BusCommand::DeadLetters { limit } => dead_letters(limit, client, output).await,
    }
}

async fn provision(client: &Client<'_>, output: Output) -> Result<(), CliError> {
    let region = client.region();
    client.bus()?.provision(region).await.map_err(client::bus("set the streams up"))?;
    output.result(&json!({ "region": region, "provisioned": true }), || {
        format!("the streams of {region} are as they have to be")
    })
}

async fn dead_letters(limit: usize, client: &Client<'_>, output: Output) -> Result<(), CliError> {
    let letters =
        client.bus()?.dead_letters(client.region(), limit).await.map_err(client::bus("read the dead letters"))?;
    let document: Vec<_> = letters
        .iter()
        .map(|buried| json!({ "sequence": buried.sequence, "buried_at": buried.buried_at, "letter": buried.letter }))
        .collect();
    output.result(&document, || {
        let mut table = Table::new(&["BURIED", "SUBJECT", "REASON"], "no dead letters");
        for buried in &letters {
            let (subject, reason) = match &buried.letter {
                Some(letter) => (letter.subject.clone(), letter.reason.clone()),
                None => (String::new(), "not a dead letter of a service".to_owned()),
            };
            table.row(vec![moment(buried.buried_at), subject, reason]);
        }
        table.render()
    })
}
