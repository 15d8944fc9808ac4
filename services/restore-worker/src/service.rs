//! Composition: what a restore-worker consists of.

use std::sync::Arc;

use async_trait::async_trait;
use job_events::subjects::{Queue, Service as ServiceName};
use service_host::{ConfigProblem, Host, Service, ServiceError};
use worker_host::{Worker, WorkerSettings, check_region};

use crate::Config;
use crate::sandbox::Sandboxes;
use crate::staging::Stagings;
use crate::sweeper;
use crate::work::{RestoreWork, Tools};

/// The service.
#[derive(Debug)]
pub struct RestoreWorker;

#[async_trait]
impl Service for RestoreWorker {
    const NAME: &'static str = "restore-worker";
    type Config = Config;

    fn validate(config: &Config) -> Result<(), ConfigProblem> {
        config.check()
    }

    async fn run(config: Config, host: Host) -> Result<(), ServiceError> {
        let settings = WorkerSettings {
            service: ServiceName::RestoreWorker,
            queue: Queue::Restore,
            common: &config.common,
            region: check_region(config.region.as_ref())?,
            nats: &config.nats,
            slots: config.slots,
        };
        let worker = Worker::start(&settings, &host).await?;
        let sandboxes = Sandboxes::new(worker.store().clone(), config.sandbox_root.clone());
        let stagings = Stagings::new(worker.store().clone());
        let tools = Tools::new(config, host.clock.clone(), sandboxes, stagings);
        let sweeping = tokio::spawn(sweeper::run(tools.clone(), host.stop.clone()));
        worker.run(Arc::new(RestoreWork::new(tools))).await;
        sweeping.abort();
        Ok(())
    }
}
