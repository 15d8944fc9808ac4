//! The part of a worker's configuration that all workers have.

use job_bus::BusConfig;
use job_events::subjects::{Queue, Service};
use job_model::Region;
use service_host::{CommonConfig, ConfigProblem};

/// More orders at once than this is a typing error: each may use all of the machine's cores and a whole vault writer.
const SLOTS_MAX: usize = 64;

/// What a worker needs to know of its configuration to live.
#[derive(Clone, Copy, Debug)]
pub struct WorkerSettings<'a> {
    /// Who it is.
    pub service: Service,
    /// Whose orders it takes.
    pub queue: Queue,
    /// State directory, health, start wait.
    pub common: &'a CommonConfig,
    /// The region it works for.
    pub region: &'a Region,
    /// The region's bus.
    pub nats: &'a BusConfig,
    /// Orders it works on at once.
    pub slots: usize,
}

impl WorkerSettings<'_> {
    /// The connection, called after the worker where the configuration gives it no name.
    pub(crate) fn bus(&self) -> BusConfig {
        let mut bus = self.nats.clone();
        if bus.name.is_empty() {
            bus.name = format!("{}/{}", self.service, self.common.instance);
        }
        bus
    }
}

/// A bus on this machine, without login; the connection is called after the worker.
#[must_use]
pub fn default_nats() -> BusConfig {
    BusConfig {
        url: "nats://127.0.0.1:4222".to_owned(),
        name: String::new(),
        user: None,
        password_file: None,
        nkey_seed_file: None,
        inbox_prefix: None,
        ca_file: None,
    }
}

/// The region; a worker that guessed one would serve the wrong queue.
///
/// # Errors
/// When there is none.
pub fn check_region(region: Option<&Region>) -> Result<&Region, ConfigProblem> {
    region.ok_or_else(|| ConfigProblem::new("region", "", "name the region this worker serves, `ap-northeast-1`"))
}

/// The number of orders a worker is at at once.
///
/// # Errors
/// When it is none or absurd.
pub fn check_slots(slots: usize) -> Result<(), ConfigProblem> {
    if (1..=SLOTS_MAX).contains(&slots) {
        return Ok(());
    }
    Err(ConfigProblem::new("slots", slots, format!("write how many orders to work on at once, 1 to {SLOTS_MAX}")))
}
