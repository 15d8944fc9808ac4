//! What the verifier can be told.

use std::collections::BTreeMap;
use std::time::Duration;

use driver_postgres::PostgresSettings;
use job_bus::BusConfig;
use job_model::{AccountId, Region};
use serde::{Deserialize, Serialize};
use service_host::{CommonConfig, ConfigProblem, HasCommon};
use vault_engine::{KeyProfile, Profiles, StoreProfile};

/// Configuration of a verifier. The sample is `deploy/config/verifier.toml`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Instance, state directory, health, telemetry.
    pub common: CommonConfig,
    /// All regions it serves: `[regions.ap-northeast-1]`.
    pub regions: BTreeMap<Region, RegionConfig>,
    /// Restores it checks at once in each region.
    pub slots: usize,
    /// Threads of one check; 0 for as many as the machine has cores.
    pub parallelism: usize,
    /// A run whose restores have not all been judged after this long is ended, and what is open in it counts as failed.
    #[serde(with = "humantime_serde")]
    pub run_timeout: Duration,
    /// The account of plans that were put without one: the same as the planner's.
    pub account_id: String,
    /// How long runs of restore tests are remembered after their end; their verdicts stay with the recovery points.
    #[serde(with = "humantime_serde")]
    pub keep_runs: Duration,
    /// Secrets of vaults by name: `[keys.NAME]`.
    pub keys: BTreeMap<String, KeyProfile>,
    /// Remote stores by the same names: `[stores.NAME]`.
    pub stores: BTreeMap<String, StoreProfile>,
    /// PostgreSQL: its programs, who runs restored servers, and who logs in where (`[postgres.profiles.NAME]`).
    pub postgres: PostgresSettings,
}

/// One region.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegionConfig {
    /// Its bus.
    pub nats: BusConfig,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            common: CommonConfig::default(),
            regions: BTreeMap::new(),
            slots: 1,
            parallelism: 0,
            run_timeout: Duration::from_secs(24 * 60 * 60),
            account_id: "000000000000".to_owned(),
            keep_runs: Duration::from_secs(400 * 24 * 60 * 60),
            keys: BTreeMap::new(),
            stores: BTreeMap::new(),
            postgres: PostgresSettings::default(),
        }
    }
}

impl HasCommon for Config {
    fn common(&self) -> &CommonConfig {
        &self.common
    }
}

impl Config {
    /// Checks what types cannot say.
    pub(crate) fn check(&self) -> Result<(), ConfigProblem> {
        if self.regions.is_empty() {
            let mend = "name at least one region with its bus: `[regions.ap-northeast-1.nats]`";
            return Err(ConfigProblem::new("regions", "", mend));
        }
        if !(1..=64).contains(&self.slots) {
            return Err(ConfigProblem::new("slots", self.slots, "write how many restores to check at once, 1 to 64"));
        }
        if self.run_timeout < Duration::from_secs(60) {
            let mend = "give restores at least a minute, for example `24h`";
            return Err(ConfigProblem::new("run_timeout", format!("{:?}", self.run_timeout), mend));
        }
        check_postgres(&self.postgres)?;
        if self.keep_runs < Duration::from_secs(24 * 60 * 60) {
            let mend = "remember runs for at least a day, for example `400days`";
            return Err(ConfigProblem::new("keep_runs", format!("{:?}", self.keep_runs), mend));
        }
        self.account().map(|_| ())
    }

    /// The account of plans that were put without one.
    pub(crate) fn account(&self) -> Result<AccountId, ConfigProblem> {
        let mend = "not an account id: write twelve digits";
        self.account_id.parse().map_err(|_| ConfigProblem::new("account_id", &self.account_id, mend))
    }

    /// Keys and stores as the engine takes them.
    pub(crate) fn profiles(&self) -> Profiles {
        Profiles { keys: self.keys.clone(), stores: self.stores.clone() }
    }

    /// Threads of one check.
    pub(crate) fn threads(&self) -> usize {
        match self.parallelism {
            0 => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            threads => threads,
        }
    }

    /// The connection to a region's bus, called after the verifier where the configuration gives it no name.
    pub(crate) fn bus(&self, region: &RegionConfig) -> BusConfig {
        let mut bus = region.nats.clone();
        if bus.name.is_empty() {
            bus.name = format!("verifier/{}", self.common.instance);
        }
        bus
    }
}

fn check_postgres(settings: &PostgresSettings) -> Result<(), ConfigProblem> {
    settings.validate().map_err(|(key, mend)| ConfigProblem::new(key, "", mend))
}
