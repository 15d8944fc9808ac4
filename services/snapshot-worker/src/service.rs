//! Composition: what a snapshot-worker consists of.

use std::sync::Arc;

use async_trait::async_trait;
use job_events::subjects::{Queue, Service as ServiceName};
use service_host::{ConfigProblem, Host, Service, ServiceError};
use tokio::sync::Semaphore;
use worker_host::{Worker, WorkerSettings, check_region};

use crate::Config;
use crate::following::{self, Following, Gauges};
use crate::kept::Kept;
use crate::work::SnapshotWork;

/// Name of the directory of spools in the state directory.
const SPOOL: &str = "spool";

/// The service.
#[derive(Debug)]
pub struct SnapshotWorker;

#[async_trait]
impl Service for SnapshotWorker {
    const NAME: &'static str = "snapshot-worker";
    type Config = Config;

    fn validate(config: &Config) -> Result<(), ConfigProblem> {
        config.check()
    }

    async fn run(config: Config, host: Host) -> Result<(), ServiceError> {
        let settings = WorkerSettings {
            service: ServiceName::SnapshotWorker,
            queue: Queue::Snapshot,
            common: &config.common,
            region: check_region(config.region.as_ref())?,
            nats: &config.nats,
            slots: config.slots,
        };
        let worker = Worker::start(&settings, &host).await?;
        let kept = Kept::new(worker.store().clone(), config.drivers());
        let (sweeping, now, keep_days) = (kept.clone(), host.clock.now(), config.tracking.keep_days);
        // Before the first order: nothing that a capture under way needs is there yet.
        tokio::task::spawn_blocking(move || sweeping.sweep(now, keep_days))
            .await
            .map_err(|e| ServiceError::internal("sweep what earlier captures left", e))?;
        let work = SnapshotWork::new(config, host.clock.clone(), kept);
        let following = Following {
            tools: work.tools().clone(),
            bus: worker.bus().clone(),
            ledger: worker.ledger().clone(),
            store: worker.store().clone(),
            region: worker.region().clone(),
            worker: worker.name(),
            spool: work.tools().config.common.state_dir.join(SPOOL),
            places: Arc::new(Semaphore::new(work.tools().config.follow.resources_max)),
            runtime: tokio::runtime::Handle::current(),
            stop: host.stop.clone(),
            gauges: Gauges::default(),
        };
        worker.run_beside(Arc::new(work), following::run(Arc::new(following))).await;
        Ok(())
    }
}
