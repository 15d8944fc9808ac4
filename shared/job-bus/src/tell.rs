//! Telling whoever listens: a plain message that nobody keeps.

use async_nats::client::{FlushError, PublishError};

use crate::Bus;

/// Why nobody could be told.
#[derive(Debug, thiserror::Error)]
pub enum TellError {
    /// The connection is closed, or the subject is none.
    #[error("cannot publish on `{subject}`")]
    Publish {
        /// The subject.
        subject: String,
        /// Why.
        #[source]
        source: PublishError,
    },
    /// The message did not leave this process.
    #[error("the message on `{subject}` did not reach the server")]
    Flush {
        /// The subject.
        subject: String,
        /// Why.
        #[source]
        source: FlushError,
    },
}

impl Bus {
    /// Publishes a message for whoever listens now. No stream keeps it; what must not be lost goes through a stream.
    ///
    /// # Errors
    /// When it did not reach the server.
    pub async fn tell(&self, subject: &str, payload: Vec<u8>) -> Result<(), TellError> {
        let told = self.client().publish(subject.to_owned(), payload.into()).await;
        told.map_err(|source| TellError::Publish { subject: subject.to_owned(), source })?;
        self.client().flush().await.map_err(|source| TellError::Flush { subject: subject.to_owned(), source })
    }
}
