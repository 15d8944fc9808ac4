//! What every service can be told, and how configuration errors read.

mod load;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use telemetry::TelemetryConfig;

pub use load::load_config;

/// The `[common]` section of every service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CommonConfig {
    /// Name of this instance, unique among those of the service: letters, digits, `-`, `_` and `.`.
    pub instance: String,
    /// Directory of the durable state; belongs to this instance alone and is no mount point itself, because a damaged one
    /// is renamed. Losing it loses what was not yet published.
    pub state_dir: PathBuf,
    /// Where `/livez` and `/readyz` are answered, for example `127.0.0.1:9601`; nowhere without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health_listen: Option<SocketAddr>,
    /// How long to wait for the bus at the start before giving up with exit code 75: `30s`.
    #[serde(with = "humantime_serde")]
    pub start_wait: Duration,
    /// How long running work may take to come to a safe point after the first signal; then it is cut, as by a second
    /// signal. Cut work is taken up again by another attempt.
    #[serde(with = "humantime_serde")]
    pub stop_wait: Duration,
    /// Logs, traces and metrics.
    pub telemetry: TelemetryConfig,
}

impl Default for CommonConfig {
    fn default() -> Self {
        Self {
            instance: "1".to_owned(),
            state_dir: PathBuf::new(),
            health_listen: None,
            start_wait: Duration::from_secs(30),
            stop_wait: Duration::from_secs(30),
            telemetry: TelemetryConfig::default(),
        }
    }
}

/// A configuration with the common section.
pub trait HasCommon {
    /// It.
    fn common(&self) -> &CommonConfig;

    /// The region the process works for; none where it works for all.
    fn region(&self) -> Option<&str> {
        None
    }
}

/// A value that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{key}` is `{value}`: {mend}")]
pub struct ConfigProblem {
    /// The key with its path: `common.state_dir`.
    pub key: String,
    /// The value given.
    pub value: String,
    /// What is wrong and what to write instead.
    pub mend: String,
}

impl ConfigProblem {
    /// A value that cannot be used.
    pub fn new(key: impl Into<String>, value: impl ToString, mend: impl Into<String>) -> Self {
        Self { key: key.into(), value: value.to_string(), mend: mend.into() }
    }
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// `--config` names a file that is not there.
    #[error("read configuration file `{}`; create it (samples are in deploy/config) or correct `--config`", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The operating system's answer.
        #[source]
        source: std::io::Error,
    },
    /// A key or value is not one of ours.
    #[error("`{key}` in {provider}: {problem}; {mend}")]
    Key {
        /// The key with its path; `.` for the whole.
        key: String,
        /// The file or the environment variable it came from.
        provider: String,
        /// What is wrong.
        problem: String,
        /// What to do.
        mend: String,
    },
    /// A value that is well-formed and cannot be used.
    #[error(transparent)]
    Value(#[from] ConfigProblem),
    /// The telemetry section cannot be used.
    #[error("`common.telemetry` cannot be used")]
    Telemetry(#[from] telemetry::TelemetryError),
}

impl CommonConfig {
    /// Checks what types cannot say.
    ///
    /// # Errors
    /// Names the key, its value and what to write instead.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if self.instance.is_empty() || self.instance.len() > 64 || !self.instance.chars().all(allowed) {
            let mend = "use 1 to 64 letters, digits, `-`, `_` and `.`";
            return Err(ConfigProblem::new("common.instance", &self.instance, mend).into());
        }
        if !self.state_dir.is_absolute() {
            let mend = "name an absolute directory for this instance alone, for example `/var/lib/holdfast/planner`";
            return Err(ConfigProblem::new("common.state_dir", self.state_dir.display(), mend).into());
        }
        Ok(self.telemetry.check()?)
    }
}
