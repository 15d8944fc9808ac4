//! Reading along a stream without a trace on it: for people, projections and tests.

use async_nats::jetstream::consumer::pull::{Ordered, OrderedConfig};
use async_nats::jetstream::consumer::{Consumer, DeliverPolicy};
use bytes::Bytes;
use futures::StreamExt;
use jiff::Timestamp;

use crate::Bus;

/// Where a watch begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartAt {
    /// With what is published after the watch was made.
    New,
    /// With the oldest message that is still there.
    All,
    /// With the first message stored at or after this instant.
    Since(Timestamp),
    /// With this sequence.
    Sequence(u64),
}

/// Why a stream cannot be watched.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// No consumer could be made.
    #[error("cannot watch `{subject}` on `{stream}`; see that the stream exists and that this user may make consumers")]
    Start {
        /// The stream.
        stream: String,
        /// The subjects.
        subject: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The instant is outside of what the server takes.
    #[error("`{at}` is no instant to begin at")]
    Instant {
        /// It.
        at: Timestamp,
    },
    /// The reading broke off.
    #[error("the watch on `{stream}` broke off; begin it anew after sequence `{after}`")]
    Broken {
        /// The stream.
        stream: String,
        /// The last message that was seen.
        after: u64,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Messages of a stream in its order, without gaps and without repetitions.
pub struct Watch {
    stream: String,
    after: u64,
    messages: Ordered,
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watch").field("stream", &self.stream).field("after", &self.after).finish_non_exhaustive()
    }
}

/// One message of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watched {
    /// Where it was published.
    pub subject: String,
    /// Its bytes.
    pub payload: Bytes,
    /// Its sequence.
    pub sequence: u64,
    /// When the server stored it.
    pub published_at: Option<Timestamp>,
}

impl Bus {
    /// Begins to read along. On return the server holds the position: nothing published from then on is missed.
    ///
    /// # Errors
    /// When the stream is missing or the server refuses.
    pub async fn watch(&self, stream: &str, subject_filter: &str, start: StartAt) -> Result<Watch, WatchError> {
        let failed = |source: Box<dyn std::error::Error + Send + Sync>| WatchError::Start {
            stream: stream.to_owned(),
            subject: subject_filter.to_owned(),
            source,
        };
        let deliver_policy = match start {
            StartAt::New => DeliverPolicy::New,
            StartAt::All => DeliverPolicy::All,
            StartAt::Sequence(start_sequence) => DeliverPolicy::ByStartSequence { start_sequence },
            StartAt::Since(at) => DeliverPolicy::ByStartTime {
                start_time: async_nats::datetime::from_nanos(at.as_nanosecond())
                    .map_err(|_| WatchError::Instant { at })?,
            },
        };
        let config = OrderedConfig { filter_subject: subject_filter.to_owned(), deliver_policy, ..Default::default() };
        let context = async_nats::jetstream::new(self.client().clone());
        let handle = context.get_stream_no_info(stream).await.map_err(|error| failed(Box::new(error)))?;
        let consumer: Consumer<OrderedConfig> =
            handle.create_consumer(config).await.map_err(|error| failed(Box::new(error)))?;
        let messages = consumer.messages().await.map_err(|error| failed(Box::new(error)))?;
        Ok(Watch { stream: stream.to_owned(), after: 0, messages })
    }
}

impl Watch {
    /// The next message; waits for it. None when the connection ended for good.
    ///
    /// # Errors
    /// When the reading broke off, for example because the stream was deleted.
    pub async fn next(&mut self) -> Option<Result<Watched, WatchError>> {
        let broken = |stream: &str, after, source: Box<dyn std::error::Error + Send + Sync>| WatchError::Broken {
            stream: stream.to_owned(),
            after,
            source,
        };
        match self.messages.next().await? {
            Err(error) => Some(Err(broken(&self.stream, self.after, Box::new(error)))),
            Ok(message) => match message.info() {
                Err(error) => Some(Err(broken(&self.stream, self.after, error))),
                Ok(info) => {
                    self.after = info.stream_sequence;
                    Some(Ok(Watched {
                        subject: message.subject.to_string(),
                        sequence: info.stream_sequence,
                        published_at: Timestamp::from_nanosecond(info.published.unix_timestamp_nanos()).ok(),
                        payload: message.payload.clone(),
                    }))
                }
            },
        }
    }
}
