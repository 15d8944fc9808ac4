//! Questions to the planner.

use std::time::Duration;

use job_bus::{Bus, QueryError};
use job_events::subjects::{self, Service};
use job_events::{Answer, Query};
use job_model::Region;

/// How long one answer may take.
const ANSWER_WAIT: Duration = Duration::from_secs(10);

/// Why there is no answer that helps.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AskError {
    /// The planner is away, or the way to it is.
    #[error("the planner does not answer")]
    Away(#[from] QueryError),
    /// It is no JSON of ours.
    #[error("the planner's answer cannot be read")]
    Unreadable(#[from] serde_json::Error),
    /// The planner does not answer such a question, or not so.
    #[error("the planner refused the question: {code}: {message}")]
    Refused {
        /// AWS's error name.
        code: String,
        /// What is wrong.
        message: String,
    },
    /// It answered something else.
    #[error("the planner answered another question; run planner and verifier of versions that fit together")]
    Another,
}

/// Asks the planner over the bus of a region.
pub(crate) async fn planner(bus: &Bus, region: &Region, query: &Query) -> Result<Answer, AskError> {
    let subject = subjects::query(region, Service::Planner, query.name());
    let bytes = bus.query(&subject, serde_json::to_vec(query)?, ANSWER_WAIT).await?;
    match serde_json::from_slice(&bytes)? {
        Answer::Refused { code, message, .. } => Err(AskError::Refused { code, message }),
        answer => Ok(answer),
    }
}
