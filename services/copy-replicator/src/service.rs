//! Composition: what a copy-replicator consists of.

use std::sync::Arc;

use async_trait::async_trait;
use job_events::subjects::{Queue, Service as ServiceName};
use service_host::{ConfigProblem, Host, Service, ServiceError};
use worker_host::{Worker, WorkerSettings, check_region};

use crate::Config;
use crate::work::CopyWork;

/// The service.
#[derive(Debug)]
pub struct CopyReplicator;

#[async_trait]
impl Service for CopyReplicator {
    const NAME: &'static str = "copy-replicator";
    type Config = Config;

    fn validate(config: &Config) -> Result<(), ConfigProblem> {
        config.check()
    }

    async fn run(config: Config, host: Host) -> Result<(), ServiceError> {
        let settings = WorkerSettings {
            service: ServiceName::CopyReplicator,
            queue: Queue::Copy,
            common: &config.common,
            region: check_region(config.region.as_ref())?,
            nats: &config.nats,
            slots: config.slots,
        };
        let worker = Worker::start(&settings, &host).await?;
        let work = CopyWork::new(config, host.clock.clone());
        worker.run(Arc::new(work)).await;
        Ok(())
    }
}
