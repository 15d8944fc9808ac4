//! What the gateway can be told.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use job_bus::BusConfig;
use job_model::{AccountId, Region};
use serde::{Deserialize, Serialize};
use service_host::{CommonConfig, ConfigProblem, HasCommon};

use crate::access::AccessKey;
use crate::notify::{self, TopicConfig};
use crate::reports::ReportBucket;

/// Configuration of a gateway. The sample is `deploy/config/gateway.toml`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Instance, state directory, health, telemetry.
    pub common: CommonConfig,
    /// Where the API is answered: `127.0.0.1:9480`. Anything but the loopback address wants `tls`.
    pub listen: SocketAddr,
    /// The account of things that carry none: the planner's `account_id`.
    pub account_id: String,
    /// AWS's own limits, exactly: schedules of an hour or more, six-field cron, 90 days of cold storage, windows of an
    /// hour or more. Off, what AWS only forbids for reasons of its own is taken.
    pub aws_strict: bool,
    /// How long one call may take before it is answered with a retryable error.
    #[serde(with = "humantime_serde")]
    pub call_timeout: Duration,
    /// Largest body of a request in bytes.
    pub body_bytes_max: usize,
    /// Requests of one access key in a second, and the burst above it; more are answered with `ThrottlingException`.
    pub requests_per_second: u32,
    /// Connections that are served at once; more wait.
    pub connections_max: usize,
    /// Certificate and key, for HTTPS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsConfig>,
    /// All regions it serves: `[regions.ap-northeast-1]`. A request names its region in its signature.
    pub regions: BTreeMap<Region, RegionConfig>,
    /// Access keys by their ids: `[access_keys.HOLDFAST0ADMIN]`.
    pub access_keys: BTreeMap<String, AccessKey>,
    /// What the topics of vault notifications stand for: `[topics."arn:aws:sns:ap-northeast-1:000000000000:backups"]`.
    pub topics: BTreeMap<String, TopicConfig>,
    /// The stores that buckets of report plans stand for: `[report_buckets.daily]`.
    pub report_buckets: BTreeMap<String, ReportBucket>,
}

/// Certificate and key, both PEM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsConfig {
    /// The certificate with its chain.
    pub certificate_file: PathBuf,
    /// Its private key.
    pub key_file: PathBuf,
}

/// One region.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegionConfig {
    /// Its bus.
    pub nats: BusConfig,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            common: CommonConfig::default(),
            listen: SocketAddr::from(([127, 0, 0, 1], 9480)),
            account_id: "000000000000".to_owned(),
            aws_strict: false,
            call_timeout: Duration::from_secs(15),
            body_bytes_max: 1 << 20,
            requests_per_second: 200,
            connections_max: 1024,
            tls: None,
            regions: BTreeMap::new(),
            access_keys: BTreeMap::new(),
            topics: BTreeMap::new(),
            report_buckets: BTreeMap::new(),
        }
    }
}

impl HasCommon for Config {
    fn common(&self) -> &CommonConfig {
        &self.common
    }
}

impl Config {
    /// The account of things that carry none.
    pub(crate) fn own_account(&self) -> Result<AccountId, ConfigProblem> {
        let mend = "not an account id: write twelve digits";
        self.account_id.parse().map_err(|_| ConfigProblem::new("account_id", &self.account_id, mend))
    }

    /// Checks what types cannot say.
    pub(crate) fn check(&self) -> Result<(), ConfigProblem> {
        let problem = |key: &str, value: String, mend: &str| Err(ConfigProblem::new(key, value, mend));
        if self.regions.is_empty() {
            return problem("regions", String::new(), "name at least one, for example `[regions.ap-northeast-1.nats]`");
        }
        self.own_account()?;
        notify::check(&self.topics)?;
        for (name, bucket) in &self.report_buckets {
            bucket.check(name)?;
        }
        if self.access_keys.is_empty() {
            return problem(
                "access_keys",
                String::new(),
                "name at least one, for example `[access_keys.HOLDFAST0ADMIN]`",
            );
        }
        for (id, key) in &self.access_keys {
            let plain = id.bytes().all(|b| b.is_ascii_alphanumeric());
            if !plain || !(3..=128).contains(&id.len()) {
                return problem("access_keys", id.clone(), "use 3 to 128 letters and digits");
            }
            if key.secret_file.is_some() == key.secret_env.is_some() {
                let place = format!("access_keys.{id}");
                return problem(&place, String::new(), "name `secret_file` or `secret_env`, one of them");
            }
        }
        if !(Duration::from_secs(1)..=Duration::from_secs(300)).contains(&self.call_timeout) {
            return problem("call_timeout", format!("{:?}", self.call_timeout), "write `1s` to `5m`");
        }
        if !(1024..=(64 << 20)).contains(&self.body_bytes_max) {
            return problem("body_bytes_max", self.body_bytes_max.to_string(), "write 1024 to 67108864");
        }
        if self.requests_per_second == 0 || self.connections_max == 0 {
            return problem("requests_per_second", "0".to_owned(), "write 1 or more, for `connections_max` too");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_used_is_named_with_its_key() {
        let sample = include_str!("../../../deploy/config/gateway.toml");
        let good: Config = toml::from_str(sample).unwrap();
        good.check().unwrap();
        let key = |change: &dyn Fn(&mut Config)| {
            let mut config = good.clone();
            change(&mut config);
            config.check().unwrap_err().key
        };
        assert_eq!(key(&|c| c.regions.clear()), "regions");
        assert_eq!(key(&|c| c.access_keys.clear()), "access_keys");
        assert_eq!(key(&|c| c.call_timeout = Duration::ZERO), "call_timeout");
        assert_eq!(key(&|c| c.body_bytes_max = 0), "body_bytes_max");
    }
}
