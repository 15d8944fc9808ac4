//! What the worker can be told.

use std::collections::BTreeMap;
use std::path::PathBuf;

use driver_api::{QuiesceHooks, TrackingSettings};
use driver_postgres::PostgresSettings;
use driver_qemu::QemuSettings;
use job_bus::BusConfig;
use job_model::Region;
use serde::{Deserialize, Serialize};
use service_host::{CommonConfig, ConfigProblem, HasCommon};
use vault_engine::{KeyProfile, Profiles, StoreProfile};
use worker_host::{check_region, check_roots, check_slots, default_nats};

use crate::drivers::DriverSettings;
use crate::following::FollowConfig;

/// Configuration of a snapshot-worker. The sample is `deploy/config/snapshot-worker.toml`.
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
    /// Orders it works on at once; each more takes more memory and reads the sources harder.
    pub slots: usize,
    /// Threads of one capture; 0 for as many as the machine has cores.
    pub parallelism: usize,
    /// Directories below which resources may lie; an order for another place is refused.
    pub source_roots: Vec<PathBuf>,
    /// Secrets of vaults by name: `[keys.NAME]`.
    pub keys: BTreeMap<String, KeyProfile>,
    /// Remote stores by the same names: `[stores.NAME]`.
    pub stores: BTreeMap<String, StoreProfile>,
    /// PostgreSQL: its programs, who runs restored servers, and who logs in where (`[postgres.profiles.NAME]`).
    pub postgres: PostgresSettings,
    /// How resources are followed.
    pub follow: FollowConfig,
    /// Processes of QEMU that serve volumes, by name: `[qemu.profiles.NAME]`.
    pub qemu: QemuSettings,
    /// How changes are found without reading everything.
    pub tracking: TrackingConfig,
    /// Commands that bring a resource to rest, by name: `[hooks.NAME]`.
    pub hooks: BTreeMap<String, QuiesceHooks>,
}

/// Clones of image files that are kept between captures, on file systems that have them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrackingConfig {
    /// Whether any are made. Without them, sources are read live, and in full where metadata says too little.
    pub enabled: bool,
    /// Where they shall lie: the first directory on the same file system as the resource is taken, else the hidden directory
    /// `.holdfast-clones` beside the resource. Each must be the worker's own with mode 0700.
    pub directories: Vec<PathBuf>,
    /// None is made while less of the file system is free, in percent.
    pub min_free_percent: u64,
    /// Days after which one is removed that no newer capture has replaced.
    pub keep_days: u32,
}

impl Default for TrackingConfig {
    fn default() -> Self {
        Self { enabled: true, directories: Vec::new(), min_free_percent: 10, keep_days: 35 }
    }
}

impl TrackingConfig {
    fn check(&self) -> Result<(), ConfigProblem> {
        if !self.directories.is_empty() {
            check_roots(&self.directories, "tracking.directories")?;
        }
        if self.min_free_percent > 99 {
            let problem = "write a percentage from 0 to 99, or `enabled = false`";
            return Err(ConfigProblem::new("tracking.min_free_percent", self.min_free_percent, problem));
        }
        if self.keep_days == 0 {
            return Err(ConfigProblem::new("tracking.keep_days", 0, "write at least 1, or `enabled = false`"));
        }
        Ok(())
    }

    /// What drivers are told.
    pub(crate) fn settings(&self) -> TrackingSettings {
        TrackingSettings { directories: self.directories.clone(), min_free_percent: self.min_free_percent }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            common: CommonConfig::default(),
            region: None,
            nats: default_nats(),
            slots: 2,
            parallelism: 0,
            source_roots: vec![PathBuf::from("/")],
            keys: BTreeMap::new(),
            stores: BTreeMap::new(),
            postgres: PostgresSettings::default(),
            follow: FollowConfig::default(),
            qemu: QemuSettings::default(),
            tracking: TrackingConfig::default(),
            hooks: BTreeMap::new(),
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
        check_roots(&self.source_roots, "source_roots")?;
        check_postgres(&self.postgres)?;
        self.follow.check()?;
        self.qemu.validate().map_err(|(key, value, mend)| ConfigProblem::new(key, value, mend))?;
        self.tracking.check()?;
        for (name, hooks) in &self.hooks {
            let problem = |e: driver_api::InvalidHooks| {
                let value = if e.key == "pre" { hooks.pre.join(" ") } else { hooks.post.join(" ") };
                ConfigProblem::new(format!("hooks.{name}.{}", e.key), value, e.problem)
            };
            hooks.validate().map_err(problem)?;
        }
        Ok(())
    }

    /// Keys and stores as the engine takes them.
    pub(crate) fn profiles(&self) -> Profiles {
        Profiles { keys: self.keys.clone(), stores: self.stores.clone() }
    }

    /// What drivers are made with.
    pub(crate) fn drivers(&self) -> DriverSettings {
        DriverSettings { postgres: self.postgres.clone(), qemu: self.qemu.clone() }
    }

    /// Threads of one capture.
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
