//! Jobs that are to stop: a durable mark, and a fast hint for those who are at it.

use async_nats::Subscriber;
use futures::{Stream, StreamExt};
use job_events::subjects;
use job_model::{JobId, Region};

use crate::{ApiError, Bus};

/// Jobs for which a stop is published from now on. A hint: it may miss some; the mark does not.
#[derive(Debug)]
pub struct StopStream {
    subscriber: Subscriber,
}

impl Bus {
    /// Whether the job has the mark that it is to stop.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn stop_requested(&self, region: &Region, job: JobId) -> Result<bool, ApiError> {
        let stored = self.last_on_subject(&subjects::control_stream(region), &subjects::stop(region, job)).await?;
        Ok(stored.is_some())
    }

    /// Hears of stops as they are published.
    ///
    /// # Errors
    /// When the connection is closed.
    pub async fn watch_stops(&self, region: &Region) -> Result<StopStream, async_nats::SubscribeError> {
        let subscriber = self.client().subscribe(subjects::stops(region)).await?;
        Ok(StopStream { subscriber })
    }
}

impl Stream for StopStream {
    type Item = JobId;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<JobId>> {
        loop {
            let message = std::task::ready!(self.subscriber.poll_next_unpin(context));
            let Some(message) = message else { return std::task::Poll::Ready(None) };
            // Only a subject that ends in a job's id is a stop.
            if let Some(job) = message.subject.rsplit('.').next().and_then(|token| token.parse().ok()) {
                return std::task::Poll::Ready(Some(job));
            }
        }
    }
}
