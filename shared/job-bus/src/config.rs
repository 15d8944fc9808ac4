//! Where the server is and how to log in.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How to reach one region's NATS. No secret stands in here, only the files that hold them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BusConfig {
    /// `nats://host:port` or `tls://host:port`; several, separated by commas, for a cluster.
    pub url: String,
    /// How the connection is called in the server's monitoring: `<service>/<instance>`.
    pub name: String,
    /// User name, together with `password_file`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// File that holds the user's password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
    /// File that holds an nkey seed (`SU…`), instead of user and password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nkey_seed_file: Option<PathBuf>,
    /// Prefix of reply subjects, for example `_INBOX.planner`; what the user's permissions allow. `_INBOX` unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inbox_prefix: Option<String>,
    /// File with the certificates that may sign the server's; implies TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
}

/// Times that server and clients have to agree on; they stand in the configuration of the streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// A delivery without a heartbeat for this long goes to somebody else.
    pub ack_wait: Duration,
    /// A lease that was not renewed for this long is free.
    pub lease_ttl: Duration,
}

impl Default for Timing {
    /// Thirty seconds each: ten heartbeats may be lost before work moves, and a dead worker is replaced within a minute.
    fn default() -> Self {
        Self { ack_wait: Duration::from_secs(30), lease_ttl: Duration::from_secs(30) }
    }
}
