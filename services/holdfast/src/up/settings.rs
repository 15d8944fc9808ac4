//! The configuration files of the services that `up` starts. Made of the services' own types, so that they cannot
//! differ from what the services read.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use driver_postgres::PostgresSettings;
use job_bus::BusConfig;
use job_bus::permissions::Role;
use job_events::subjects::Service;
use job_model::Region;
use serde::Serialize;
use service_host::{CommonConfig, TelemetryConfig};
use snapshot_worker::FollowConfig;
use vault_engine::Profiles;

use super::layout::{Layout, instance};
use super::{DEFAULT_KEY, api_keys, server};
use crate::error::CliError;

/// What all configurations are made of.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) url: String,
    pub(super) regions: Vec<Region>,
    pub(super) profiles: Profiles,
    pub(super) postgres: PostgresSettings,
    pub(super) otlp_endpoint: Option<String>,
    pub(super) stop_wait: Duration,
    pub(super) layout: Layout,
    /// Where the AWS Backup API is answered.
    pub(super) api_listen: SocketAddr,
    /// AWS's own limits, exactly.
    pub(super) aws_strict: bool,
    /// How resources are followed.
    pub(super) follow: FollowConfig,
}

/// A process to start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Process {
    /// The only decider; serves all regions.
    Planner,
    /// Serves all regions.
    Verifier,
    /// Answers the AWS Backup API for all regions.
    Gateway,
    /// One per region.
    Worker(Worker, Region),
}

/// The services of which each region has its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Worker {
    Snapshot,
    Copy,
    Restore,
}

impl Process {
    /// The service it is; none for the gateway, which is a client of the others.
    pub(super) const fn service(&self) -> Option<Service> {
        match self {
            Self::Planner => Some(Service::Planner),
            Self::Verifier => Some(Service::Verifier),
            Self::Gateway => None,
            Self::Worker(Worker::Snapshot, _) => Some(Service::SnapshotWorker),
            Self::Worker(Worker::Copy, _) => Some(Service::CopyReplicator),
            Self::Worker(Worker::Restore, _) => Some(Service::RestoreWorker),
        }
    }

    /// Its user on the bus; also the name of its program.
    pub(super) const fn role(&self) -> Role {
        match self.service() {
            Some(service) => Role::Service(service),
            None => Role::Gateway,
        }
    }

    /// Its name in messages, logs and paths.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Worker(_, region) => instance(self.role().as_str(), Some(region)),
            _ => instance(self.role().as_str(), None),
        }
    }
}

impl Settings {
    /// The processes to start.
    pub(super) fn processes(&self) -> Vec<Process> {
        let mut processes = vec![Process::Planner, Process::Verifier, Process::Gateway];
        for region in &self.regions {
            for worker in [Worker::Snapshot, Worker::Copy, Worker::Restore] {
                processes.push(Process::Worker(worker, region.clone()));
            }
        }
        processes
    }

    /// The text of a process's configuration file.
    pub(super) fn text(&self, process: &Process, health: SocketAddr) -> Result<String, CliError> {
        let name = process.name();
        let common = CommonConfig {
            instance: name.clone(),
            state_dir: self.layout.state_dir(&name),
            health_listen: Some(health),
            stop_wait: self.stop_wait,
            telemetry: TelemetryConfig { otlp_endpoint: self.otlp_endpoint.clone(), ..TelemetryConfig::default() },
            ..CommonConfig::default()
        };
        let role = process.role();
        let nats = server::login(&self.layout, &self.url, role, &format!("{}/{name}", role.as_str()));
        let Profiles { keys, stores } = self.profiles.clone();
        match process {
            Process::Planner => toml_text(&planner::PlannerConfig {
                common,
                home_region: self.regions.first().map(Region::to_string),
                regions: self
                    .regions
                    .iter()
                    .map(|region| (region.to_string(), self.planner_region(region, &nats)))
                    .collect(),
                decisions: planner::Decisions { aws_strict: self.aws_strict, ..planner::Decisions::default() },
                ..planner::PlannerConfig::default()
            }),
            Process::Verifier => toml_text(&verifier::Config {
                common,
                regions: self
                    .regions
                    .iter()
                    .map(|region| (region.clone(), verifier::RegionConfig { nats: nats.clone() }))
                    .collect(),
                keys,
                stores,
                postgres: self.postgres.clone(),
                ..verifier::Config::default()
            }),
            Process::Gateway => toml_text(&gateway::Config {
                common,
                listen: self.api_listen,
                aws_strict: self.aws_strict,
                regions: self
                    .regions
                    .iter()
                    .map(|region| (region.clone(), gateway::RegionConfig { nats: nats.clone() }))
                    .collect(),
                access_keys: api_keys::configured(&self.layout),
                report_buckets: self.report_buckets(),
                ..gateway::Config::default()
            }),
            Process::Worker(Worker::Snapshot, region) => toml_text(&snapshot_worker::Config {
                common,
                region: Some(region.clone()),
                nats,
                keys,
                stores,
                postgres: self.postgres.clone(),
                follow: self.follow.clone(),
                ..snapshot_worker::Config::default()
            }),
            Process::Worker(Worker::Copy, region) => toml_text(&copy_replicator::Config {
                common,
                region: Some(region.clone()),
                nats,
                keys,
                stores,
                ..copy_replicator::Config::default()
            }),
            Process::Worker(Worker::Restore, region) => toml_text(&restore_worker::Config {
                common,
                region: Some(region.clone()),
                nats,
                sandbox_root: self.layout.sandbox_dir(region),
                keys,
                stores,
                postgres: self.postgres.clone(),
                ..restore_worker::Config::default()
            }),
        }
    }
}

impl Settings {
    /// The bucket that report plans can name.
    fn report_buckets(&self) -> BTreeMap<String, gateway::ReportBucket> {
        let url = format!("file://{}", self.layout.reports_dir().display());
        BTreeMap::from([("reports".to_owned(), gateway::ReportBucket { url, ..gateway::ReportBucket::default() })])
    }

    /// The AWS Backup API knows no locations: vaults that are made through it lie below the state directory, too.
    fn planner_region(&self, region: &Region, nats: &BusConfig) -> planner::RegionConfig {
        let place = self.layout.vaults_dir().join(region.as_str());
        let cold = self.layout.cold_vaults_dir().join(region.as_str());
        let below = |directory: &Path| format!("file://{}/{{account}}/{{name}}", directory.display());
        let vaults = planner::VaultsConfig {
            location: below(&place),
            key_profile: DEFAULT_KEY.to_owned(),
            cold_location: Some(below(&cold)),
            cold_key_profile: None,
        };
        planner::RegionConfig { nats: nats.clone(), vaults: Some(vaults) }
    }
}

fn toml_text<T: Serialize>(config: &T) -> Result<String, CliError> {
    let text = toml::to_string(config).map_err(|e| CliError::Start {
        step: "write the configuration of a service".to_owned(),
        source: Box::new(e),
    })?;
    Ok(format!("# Written at every start of `holdfast up`; changes are lost.\n{text}"))
}

#[cfg(test)]
mod tests;
