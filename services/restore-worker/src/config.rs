//! What the worker can be told.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use driver_postgres::PostgresSettings;
use job_bus::BusConfig;
use job_model::Region;
use serde::{Deserialize, Serialize};
use service_host::{CommonConfig, ConfigProblem, HasCommon};
use vault_engine::{KeyProfile, Profiles, StoreProfile};
use worker_host::{check_region, check_roots, check_slots, default_nats};

/// Shorter lives would remove sandboxes from under their restore tests, and what a restore built before its next attempt.
const LIFE_MIN: Duration = Duration::from_secs(3600);

/// Configuration of a restore-worker. The sample is `deploy/config/restore-worker.toml`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Instance, state directory, health, telemetry.
    pub common: CommonConfig,
    /// The region whose orders it takes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<Region>,
    /// The region's bus.
    pub nats: BusConfig,
    /// Orders it works on at once; each more takes more memory and writes the targets harder.
    pub slots: usize,
    /// Threads of one restore; 0 for as many as the machine has cores.
    pub parallelism: usize,
    /// Directories below which targets may lie; an order for another place is refused.
    pub target_roots: Vec<PathBuf>,
    /// Directory of the sandboxes of restore tests; belongs to this instance alone. Everything in it may be removed.
    pub sandbox_root: PathBuf,
    /// How long a sandbox may stay after its last use when nobody orders its removal: `7days`.
    #[serde(with = "humantime_serde")]
    pub sandbox_life_max: Duration,
    /// How long what an interrupted restore built beside its target may wait for another attempt: `7days`.
    #[serde(with = "humantime_serde")]
    pub staging_life_max: Duration,
    /// Secrets of vaults by name: `[keys.NAME]`.
    pub keys: BTreeMap<String, KeyProfile>,
    /// Remote stores by the same names: `[stores.NAME]`.
    pub stores: BTreeMap<String, StoreProfile>,
    /// PostgreSQL: its programs, who runs restored servers, and who logs in where (`[postgres.profiles.NAME]`).
    pub postgres: PostgresSettings,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            common: CommonConfig::default(),
            region: None,
            nats: default_nats(),
            slots: 2,
            parallelism: 0,
            target_roots: vec![PathBuf::from("/")],
            sandbox_root: PathBuf::new(),
            sandbox_life_max: Duration::from_secs(7 * 24 * 3600),
            staging_life_max: Duration::from_secs(7 * 24 * 3600),
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

    fn region(&self) -> Option<&str> {
        self.region.as_ref().map(Region::as_str)
    }
}

impl Config {
    /// Checks what types cannot say.
    pub(crate) fn check(&self) -> Result<(), ConfigProblem> {
        check_region(self.region.as_ref())?;
        check_slots(self.slots)?;
        check_roots(&self.target_roots, "target_roots")?;
        if !self.sandbox_root.is_absolute() || self.sandbox_root.parent().is_none() {
            let mend = "name an absolute directory for this instance alone, for example `/var/lib/holdfast/sandboxes`";
            return Err(ConfigProblem::new("sandbox_root", self.sandbox_root.display(), mend));
        }
        let state = &self.common.state_dir;
        if state.starts_with(&self.sandbox_root) || self.sandbox_root.starts_with(state) {
            let mend = "choose a directory apart from `common.state_dir`: what is in it may be removed";
            return Err(ConfigProblem::new("sandbox_root", self.sandbox_root.display(), mend));
        }
        for (key, life) in [("sandbox_life_max", self.sandbox_life_max), ("staging_life_max", self.staging_life_max)] {
            if life < LIFE_MIN {
                return Err(ConfigProblem::new(key, format!("{life:?}"), "write at least `1h`"));
            }
        }
        check_postgres(&self.postgres)?;
        Ok(())
    }

    /// Keys and stores as the engine takes them.
    pub(crate) fn profiles(&self) -> Profiles {
        Profiles { keys: self.keys.clone(), stores: self.stores.clone() }
    }

    /// Threads of one restore.
    pub(crate) fn threads(&self) -> usize {
        match self.parallelism {
            0 => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            threads => threads,
        }
    }
}

fn check_postgres(settings: &PostgresSettings) -> Result<(), ConfigProblem> {
    settings.validate().map_err(|(key, mend)| ConfigProblem::new(key, "", mend))
}
