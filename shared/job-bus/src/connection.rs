//! Connecting, and refusing servers that are too old.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_nats::{Client, ConnectErrorKind, ConnectOptions, ServerAddr};
use secrecy::{ExposeSecret, SecretString};
use tokio::time::Instant;

use crate::events::Events;
use crate::{BusConfig, Counters, MINIMUM_SERVER, ServerVersion, Timing};

/// Between two attempts to connect at the start.
const RETRY_EVERY: Duration = Duration::from_millis(250);
/// A dead peer is noticed after two of these.
const PING_EVERY: Duration = Duration::from_secs(10);
/// How long one request may wait for its reply.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// A connection to one region's NATS. Cheap to clone; all clones share the connection. It reconnects for ever.
#[derive(Clone, Debug)]
pub struct Bus {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    client: Client,
    events: Arc<Events>,
    timing: Timing,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The URL cannot be read.
    #[error("`{url}` is no address of a nats-server; write `nats://host:port`")]
    Url {
        /// What was given.
        url: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A file with a secret or a certificate cannot be read.
    #[error("cannot read `{}`, which the configuration names for the connection to nats", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The server does not know the user, or the secret is wrong.
    #[error(
        "nats-server at `{url}` refuses the login of `{name}`; compare user and secret file with the server's configuration"
    )]
    Refused {
        /// Where.
        url: String,
        /// The connection.
        name: String,
        /// What the client says.
        #[source]
        source: async_nats::ConnectError,
    },
    /// Nobody answered in time.
    #[error("nats-server at `{url}` was not reachable within {waited_s} s; start it, or correct the url")]
    Unreachable {
        /// Where.
        url: String,
        /// How long, in seconds.
        waited_s: u64,
        /// The last attempt's failure.
        #[source]
        source: async_nats::ConnectError,
    },
    /// The server is too old.
    #[error("nats-server at `{url}` is version `{found}`, but {MINIMUM_SERVER} or newer is needed; upgrade it")]
    TooOld {
        /// Where.
        url: String,
        /// Its version.
        found: String,
    },
}

impl Bus {
    /// Connects within `wait`, and checks the server's version. From then on the connection is kept up for ever.
    ///
    /// # Errors
    /// When a file of the configuration is unreadable, nobody answers in time, the login is refused or the server is
    /// too old.
    pub async fn connect(config: &BusConfig, wait: Duration) -> Result<Self, ConnectError> {
        Self::connect_with(config, wait, Timing::default()).await
    }

    /// As [`Bus::connect`], with other times than the usual ones. All who share a region's streams need the same.
    ///
    /// # Errors
    /// As [`Bus::connect`].
    pub async fn connect_with(config: &BusConfig, wait: Duration, timing: Timing) -> Result<Self, ConnectError> {
        let servers = addresses(&config.url)?;
        let events = Arc::new(Events::new(config.name.clone()));
        let url = || config.url.clone();
        let begin = Instant::now();
        let client = loop {
            let attempt = options(config, &events)?.connect(servers.clone());
            match attempt.await {
                Ok(client) => break client,
                Err(source) if is_refusal(&source) => {
                    return Err(ConnectError::Refused { url: url(), name: config.name.clone(), source });
                }
                Err(source) if begin.elapsed() + RETRY_EVERY >= wait => {
                    return Err(ConnectError::Unreachable { url: url(), waited_s: wait.as_secs(), source });
                }
                Err(error) => tracing::debug!(url = %config.url, %error, "nats-server does not answer yet"),
            }
            tokio::time::sleep(RETRY_EVERY).await;
        };
        let found = client.server_info().version;
        if !found.parse::<ServerVersion>().is_ok_and(|version| version >= MINIMUM_SERVER) {
            return Err(ConnectError::TooOld { url: url(), found });
        }
        Ok(Self { inner: Arc::new(Inner { client, events, timing }) })
    }

    /// Sends what is still in the connection's queue and ends all subscriptions. The last thing a process does.
    pub async fn drain(&self) {
        if let Err(error) = self.client().drain().await {
            tracing::debug!(%error, "nats connection was closed already");
        }
    }

    /// Whether the connection is up at this moment.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.client().connection_state() == async_nats::connection::State::Connected
    }

    /// What happened on the connection so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.events().counters()
    }

    /// The times that stand in the streams' configuration.
    #[must_use]
    pub fn timing(&self) -> Timing {
        self.inner.timing
    }

    pub(crate) fn client(&self) -> &Client {
        &self.inner.client
    }

    pub(crate) fn events(&self) -> &Events {
        &self.inner.events
    }
}

fn addresses(url: &str) -> Result<Vec<ServerAddr>, ConnectError> {
    url.split(',')
        .map(|one| one.trim().parse().map_err(|source| ConnectError::Url { url: one.trim().to_owned(), source }))
        .collect()
}

fn options(config: &BusConfig, events: &Arc<Events>) -> Result<ConnectOptions, ConnectError> {
    let events = Arc::clone(events);
    let mut options = ConnectOptions::new()
        .name(&config.name)
        .ping_interval(PING_EVERY)
        .request_timeout(Some(REQUEST_TIMEOUT))
        .max_reconnects(None)
        .event_callback(move |event| {
            events.record(&event);
            std::future::ready(())
        });
    if let Some(prefix) = &config.inbox_prefix {
        options = options.custom_inbox_prefix(prefix);
    }
    if let Some(path) = &config.nkey_seed_file {
        options = options.nkey(secret(path)?.expose_secret().to_owned());
    }
    if let (Some(user), Some(path)) = (&config.user, &config.password_file) {
        options = options.user_and_password(user.clone(), secret(path)?.expose_secret().to_owned());
    }
    if let Some(path) = &config.ca_file {
        // Read here so that the message names the file; the client reads it again at each connect.
        std::fs::metadata(path).map_err(|source| ConnectError::File { path: path.clone(), source })?;
        options = options.add_root_certificates(path.clone()).require_tls(true);
    }
    Ok(options)
}

fn secret(path: &Path) -> Result<SecretString, ConnectError> {
    let text = std::fs::read_to_string(path).map_err(|source| ConnectError::File { path: path.to_owned(), source })?;
    Ok(SecretString::from(text.trim_end_matches(['\n', '\r']).to_owned()))
}

fn is_refusal(error: &async_nats::ConnectError) -> bool {
    matches!(error.kind(), ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Authentication)
}
