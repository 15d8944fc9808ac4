//! Serves the queries of a region.

use job_bus::{Bus, Incoming, QueryError};
use job_events::subjects::{self, Service};
use job_events::{Answer, Query};
use job_model::Region;
use message_ledger::{Ledger, ToldUpTo};
use tokio_util::sync::CancellationToken;

use crate::answer::{Around, answer, refused};
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
        Ok(Query::ToldUpTo { region }) => told_up_to(shell, region).await?,
        Ok(query) => {
            let now = shell.now();
            let installation = shell.store().instance_id();
            let around = Around { settings: shell.settings(), installation: &installation, now };
            shell.look(|state| answer(state, &query, around)).await?
        }
        Err(error) => refused("InvalidParameterValueException", ".", format!("no query: {error}")),
    };
    let bytes = encode(&answer);
    if let Err(error) = question.respond(bytes).await {
        tracing::warn!(error = %service_host::error_chain(&error), "a query was not answered");
    }
    Ok(())
}

/// The outbox alone knows it: messages are written down with the decision that causes them.
async fn told_up_to(shell: &Shell, region: Region) -> Result<Answer, ServeError> {
    let read = shell.store().read(move |tx| Ledger::told_up_to(tx, &region)).await;
    let ToldUpTo { written, told } = read.map_err(StepError::Store)?;
    Ok(Answer::ToldUpTo { written, told })
}

/// The largest answer in bytes: NATS's default `max_payload` of 1 MiB, less its headers.
const ANSWER_BYTES_MAX: usize = (1 << 20) - 4096;

/// An answer that fits into one message. One that does not is refused: a list that is cut looks like all there is.
fn encode(answer: &Answer) -> Vec<u8> {
    let fits = serde_json::to_vec(answer).map(|bytes| (bytes.len() <= ANSWER_BYTES_MAX).then_some(bytes));
    match fits {
        Ok(Some(bytes)) => bytes,
        Ok(None) => too_long(),
        Err(error) => {
            tracing::error!(%error, "an answer cannot be written as JSON");
            Vec::new()
        }
    }
}

fn too_long() -> Vec<u8> {
    let message = "the answer is larger than one message; ask for one vault or resource, or for fewer entries";
    serde_json::to_vec(&refused("LimitExceededException", ".", message.to_owned())).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_does_not_fit_is_refused_and_not_cut() {
        let resource = job_model::Resource {
            arn: "arn:aws:files:eu-central-1:000000000000:tree/home".parse().unwrap(),
            resource_type: job_model::ResourceType::Files,
            region: "eu-central-1".parse().unwrap(),
            location: format!("file:///{}", "x".repeat(1000)),
            hooks: None,
            tags: std::collections::BTreeMap::new(),
            registered_at: jiff::Timestamp::UNIX_EPOCH,
            account: None,
        };
        let small: Answer = serde_json::from_slice(&encode(&Answer::Resources(vec![resource.clone(); 10]))).unwrap();
        assert!(matches!(small, Answer::Resources(resources) if resources.len() == 10));
        let large: Answer = serde_json::from_slice(&encode(&Answer::Resources(vec![resource; 1000]))).unwrap();
        assert!(matches!(large, Answer::Refused { code, .. } if code == "LimitExceededException"));
    }
}
