//! Serves the queries of a region.

use job_bus::{Bus, Incoming, QueryError};
use job_events::subjects::{self, Service};
use job_events::{Answer, Query};
use job_model::Region;
use tokio_util::sync::CancellationToken;

use crate::answer::{answer, refused};
use crate::shell::{Shell, StepError};

/// Answers until told to stop.
pub(crate) async fn run(shell: Shell, bus: Bus, region: Region, stop: CancellationToken) -> Result<(), ServeError> {
    let mut questions = bus.serve_queries(&subjects::queries_to(&region, Service::Planner)).await?;
    loop {
        let question = tokio::select! {
            question = questions.next() => question,
            () = stop.cancelled() => return Ok(()),
        };
        let Some(question) = question else { return Ok(()) };
        respond(&shell, question).await?;
    }
}

/// Why queries are not served any more.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServeError {
    /// The bus does not let this process listen.
    #[error("cannot serve queries")]
    Bus(#[from] QueryError),
    /// The state is lost.
    #[error("cannot look at the state")]
    State(#[from] StepError),
}

async fn respond(shell: &Shell, question: Incoming) -> Result<(), ServeError> {
    let answer = match serde_json::from_slice::<Query>(&question.payload) {
        Ok(query) => {
            let now = shell.now();
            shell.look(|state| answer(state, &query, now)).await?
        }
        Err(error) => refused("InvalidParameterValueException", ".", format!("no query: {error}")),
    };
    let bytes = encode(&answer);
    if let Err(error) = question.respond(bytes).await {
        tracing::warn!(error = %service_host::error_chain(&error), "a query was not answered");
    }
    Ok(())
}

fn encode(answer: &Answer) -> Vec<u8> {
    serde_json::to_vec(answer).unwrap_or_else(|error| {
        tracing::error!(%error, "an answer cannot be written as JSON");
        Vec::new()
    })
}
