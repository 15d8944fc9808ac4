//! What the relay needs of a bus.

use std::fmt::Debug;
use std::future::Future;
use std::pin::Pin;

use job_bus::{Bus, Publish, PublishError, Published};

/// Why a message is not known to be in its stream. All of them are tried again.
#[derive(Debug, thiserror::Error)]
pub enum PublishFailure {
    /// The subject holds a message and takes no second one. Normal: the resource has an open order.
    #[error("the subject is busy")]
    Busy,
    /// The outcome is unknown, because the bus did not answer.
    #[error("the bus did not answer")]
    Unreachable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The bus said no; somebody has to mend its configuration.
    #[error("the bus refused the message")]
    Refused(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl PublishFailure {
    /// For the attribute `error.type`.
    pub(crate) const fn kind(&self) -> &'static str {
        match self {
            Self::Busy => "busy",
            Self::Unreachable(_) => "unreachable",
            Self::Refused(_) => "refused",
        }
    }
}

/// Puts a message into its stream. [`Bus`] does; tests have others.
pub trait Publisher: Debug + Send + Sync + 'static {
    /// Publishes and waits for the answer. A message that was there already is a success.
    fn publish<'a>(
        &'a self,
        message: &'a Publish,
    ) -> Pin<Box<dyn Future<Output = Result<Published, PublishFailure>> + Send + 'a>>;
}

impl Publisher for Bus {
    fn publish<'a>(
        &'a self,
        message: &'a Publish,
    ) -> Pin<Box<dyn Future<Output = Result<Published, PublishFailure>> + Send + 'a>> {
        Box::pin(async move {
            Bus::publish(self, message).await.map_err(|error| match error {
                PublishError::Busy { .. } => PublishFailure::Busy,
                PublishError::Unreachable { .. } => PublishFailure::Unreachable(Box::new(error)),
                refused => PublishFailure::Refused(Box::new(refused)),
            })
        })
    }
}
