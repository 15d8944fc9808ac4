//! What a worker does beside its orders: exports of its state, forgetting, gauges, and the health of its bus.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use job_bus::Bus;
use job_events::subjects::Service;
use job_model::Region;
use message_ledger::Ledger;
use service_host::{Clock, Health, error_chain};
use state_store::{StateStore, StoreError};
use telemetry::KeyValue;
use tokio_util::sync::CancellationToken;

/// How often the bus is looked at and gauges are set.
const GLANCE_EVERY: Duration = Duration::from_secs(1);
/// How often the state is exported.
const EXPORT_EVERY: SignedDuration = SignedDuration::from_hours(1);
/// The first export comes soon after the start, so that a worker that is restarted often has one too.
const FIRST_EXPORT_AFTER: SignedDuration = SignedDuration::from_mins(1);
/// How long handled messages are remembered: longer than the bus can deliver one again.
const REMEMBER: SignedDuration = SignedDuration::from_hours(30 * 24);

/// What upkeep is about.
pub(crate) struct Upkeep {
    pub(crate) store: StateStore,
    pub(crate) bus: Bus,
    pub(crate) service: Service,
    pub(crate) region: Region,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) health: Health,
    pub(crate) stop: CancellationToken,
}

/// Runs until told to stop.
pub(crate) async fn run(upkeep: Upkeep) {
    let mut export_at = upkeep.clock.now().saturating_add(FIRST_EXPORT_AFTER).unwrap_or(Timestamp::MAX);
    loop {
        upkeep.glance().await;
        if upkeep.clock.now() >= export_at {
            upkeep.export().await;
            upkeep.forget().await;
            export_at = upkeep.clock.now().saturating_add(EXPORT_EVERY).unwrap_or(Timestamp::MAX);
        }
        tokio::select! {
            () = upkeep.stop.cancelled() => return,
            () = upkeep.clock.sleep(GLANCE_EVERY) => {}
        }
    }
}

impl Upkeep {
    async fn glance(&self) {
        let connected = self.bus.is_connected();
        if connected {
            self.health.ready("bus");
        } else {
            self.health
                .not_ready("bus", "the connection to the bus is down and is being made again; look at nats-server");
        }
        let region = KeyValue::new("region", self.region.to_string());
        telemetry::metrics().bus_connected.record(u64::from(connected), &[region]);
        match self.store.read(Ledger::depth_and_oldest).await {
            Ok(depth) => {
                let service = [KeyValue::new("service", self.service.as_str())];
                let age = depth.oldest.map_or(0, |oldest| self.clock.now().duration_since(oldest).as_secs());
                telemetry::metrics().outbox_depth.record(depth.pending, &service);
                telemetry::metrics().outbox_oldest_age.record(u64::try_from(age).unwrap_or(0), &service);
            }
            Err(error) => tracing::warn!(error = error_chain(&error), "the outbox cannot be looked at"),
        }
    }

    async fn export(&self) {
        match self.store.export(self.clock.now()).await {
            Ok(file) => tracing::debug!(file = %file.display(), "state exported"),
            Err(error) => tracing::error!(error = error_chain(&error), "state cannot be exported; look at the disk"),
        }
    }

    async fn forget(&self) {
        let Ok(before) = self.clock.now().checked_sub(REMEMBER) else { return };
        loop {
            match self.store.transact(move |tx| Ledger::prune(tx, before)).await {
                Ok(0) => return,
                Ok(_) => {}
                Err(error) => {
                    let error: state_store::TransactError<StoreError> = error;
                    tracing::error!(error = error_chain(&error), "old messages cannot be forgotten");
                    return;
                }
            }
        }
    }
}
