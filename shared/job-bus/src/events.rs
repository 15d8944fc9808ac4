//! What happens on the connection: logged, counted, and told to those who wait for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_nats::{Event, ServerError};
use tokio::sync::broadcast;

/// Counts since the connection was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Times the connection was lost.
    pub disconnects: u64,
    /// Times a subscription was too slow and lost messages.
    pub slow_consumers: u64,
    /// Times the server refused a publish or a subscription.
    pub permission_violations: u64,
    /// Other errors of server or client.
    pub errors: u64,
}

#[derive(Debug)]
pub(crate) struct Events {
    name: String,
    disconnects: AtomicU64,
    slow_consumers: AtomicU64,
    permission_violations: AtomicU64,
    errors: AtomicU64,
    violations: broadcast::Sender<Arc<str>>,
}

impl Events {
    pub(crate) fn new(name: String) -> Self {
        Self {
            name,
            disconnects: AtomicU64::new(0),
            slow_consumers: AtomicU64::new(0),
            permission_violations: AtomicU64::new(0),
            errors: AtomicU64::new(0),
            violations: broadcast::Sender::new(64),
        }
    }

    pub(crate) fn counters(&self) -> Counters {
        Counters {
            disconnects: self.disconnects.load(Ordering::Relaxed),
            slow_consumers: self.slow_consumers.load(Ordering::Relaxed),
            permission_violations: self.permission_violations.load(Ordering::Relaxed),
            errors: self.errors.load(Ordering::Relaxed),
        }
    }

    pub(crate) fn record(&self, event: &Event) {
        let connection = &self.name;
        match event {
            Event::Connected => tracing::info!(connection, "connected to nats"),
            Event::Disconnected => {
                self.disconnects.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(connection, "connection to nats lost, reconnecting");
            }
            Event::LameDuckMode => tracing::warn!(connection, "nats-server is about to shut down"),
            Event::Draining | Event::Closed => tracing::debug!(connection, %event, "nats connection ends"),
            Event::SlowConsumer(subscription) => {
                self.slow_consumers.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(connection, subscription, "a subscription is too slow and lost messages");
            }
            Event::ServerError(ServerError::Other(text)) if is_violation(text) => {
                self.permission_violations.fetch_add(1, Ordering::Relaxed);
                tracing::error!(connection, error = %text, "nats-server refused: compare the user's permissions with deploy/");
                if let Some(subject) = quoted(text) {
                    // Nobody may be waiting for it.
                    let _ = self.violations.send(subject.into());
                }
            }
            Event::ServerError(error) => {
                self.errors.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(connection, %error, "nats-server reports an error");
            }
            Event::ClientError(error) => {
                self.errors.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(connection, %error, "nats client reports an error");
            }
        }
    }

    /// Ends when the server refuses this user a publish on the subject; counts from the call, not from the first poll.
    pub(crate) fn violations_on(&self, subject: &str) -> impl Future<Output = ()> + Send + use<> {
        let mut violations = self.violations.subscribe();
        let subject: Arc<str> = subject.into();
        async move {
            loop {
                match violations.recv().await {
                    Ok(refused) if refused == subject => return,
                    Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {}
                    Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
                }
            }
        }
    }
}

fn is_violation(text: &str) -> bool {
    text.to_ascii_lowercase().starts_with("permissions violation")
}

/// What stands between the quotes of `Permissions Violation for Publish to "a.b"`.
fn quoted(text: &str) -> Option<&str> {
    text.split('"').nth(1).filter(|subject| !subject.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_violation_reaches_the_one_who_publishes_there() {
        let events = Events::new("test".to_owned());
        let mine = events.violations_on("a.b");
        let text = "Permissions Violation for Publish to \"a.b\"".to_owned();
        events.record(&Event::ServerError(ServerError::Other("Permissions Violation for Publish to \"c\"".to_owned())));
        events.record(&Event::ServerError(ServerError::Other(text)));
        mine.await;
        assert_eq!(events.counters().permission_violations, 2);
        assert_eq!(events.counters().errors, 0);
    }
}
