//! What a service is to its host, and the host to its service.

use std::error::Error;
use std::sync::Arc;

use async_trait::async_trait;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

use crate::{Clock, ConfigProblem, ExitStatus, HasCommon, Health, Ids};

/// A service: its name, its configuration, its life.
#[async_trait]
pub trait Service: Sized + 'static {
    /// As it stands in subjects, logs and the command line: `snapshot-worker`.
    const NAME: &'static str;

    /// Its configuration; `#[serde(deny_unknown_fields, default)]` on every struct of it.
    type Config: Serialize + DeserializeOwned + Default + HasCommon + Send + Sync + 'static;

    /// Checks what types cannot say. The common section is checked by the host.
    ///
    /// # Errors
    /// Names the key, its value and what to write instead.
    fn validate(config: &Self::Config) -> Result<(), ConfigProblem>;

    /// Runs until [`Host::stop`]; brings running work to a safe point first, and leaves it where it stands at
    /// [`Host::hard_stop`]. Returning before it was asked to is taken for a crash.
    ///
    /// # Errors
    /// What keeps it from running, with the exit code it leads to.
    async fn run(config: Self::Config, host: Host) -> Result<(), ServiceError>;
}

/// What a process gives its service.
#[derive(Clone, Debug)]
pub struct Host {
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// Draws ids.
    pub ids: Arc<dyn Ids>,
    /// The first signal: take nothing new, end what runs.
    pub stop: CancellationToken,
    /// The second signal, or the end of the patience: leave everything where it stands.
    pub hard_stop: CancellationToken,
    /// What `/livez` and `/readyz` answer.
    pub health: Health,
}

type Cause = Box<dyn Error + Send + Sync>;

/// Why a service ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServiceError {
    /// The configuration cannot be used after all.
    #[error(transparent)]
    Config(#[from] ConfigProblem),
    /// Something it needs did not answer within the start wait.
    #[error("{action}")]
    Dependency {
        /// What was tried, as a verb phrase.
        action: String,
        /// The answer, with its mend.
        #[source]
        source: Cause,
    },
    /// Its state directory cannot be used.
    #[error("{action}")]
    State {
        /// What was tried, as a verb phrase.
        action: String,
        /// The answer, with its mend.
        #[source]
        source: Cause,
    },
    /// Anything else.
    #[error("{action}")]
    Internal {
        /// What was tried, as a verb phrase.
        action: String,
        /// What happened.
        #[source]
        source: Cause,
    },
}

impl ServiceError {
    /// Something it needs did not answer within the start wait.
    pub fn dependency(action: impl Into<String>, source: impl Into<Cause>) -> Self {
        Self::Dependency { action: action.into(), source: source.into() }
    }

    /// Its state directory cannot be used.
    pub fn state(action: impl Into<String>, source: impl Into<Cause>) -> Self {
        Self::State { action: action.into(), source: source.into() }
    }

    /// Anything else.
    pub fn internal(action: impl Into<String>, source: impl Into<Cause>) -> Self {
        Self::Internal { action: action.into(), source: source.into() }
    }

    /// The exit code it leads to.
    #[must_use]
    pub const fn exit_status(&self) -> ExitStatus {
        match self {
            Self::Config(_) => ExitStatus::Usage,
            Self::Dependency { .. } => ExitStatus::Unavailable,
            Self::State { .. } => ExitStatus::State,
            Self::Internal { .. } => ExitStatus::Internal,
        }
    }
}
