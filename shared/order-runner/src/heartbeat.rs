//! Keeps an order alive while it waits and runs: renews lease and delivery, looks for stop marks, watches the deadline.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use job_bus::{Bus, Delivery, Lease, LeaseError, uptime};
use job_model::{JobId, Region};
use service_host::Clock;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::{AttemptControl, StopReason};

/// What a keeper looks after.
pub(crate) struct Kept {
    pub(crate) bus: Bus,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) region: Region,
    pub(crate) job: JobId,
    pub(crate) deadline: Option<Timestamp>,
    pub(crate) delivery: Arc<Delivery>,
    pub(crate) control: Arc<AttemptControl>,
    pub(crate) soft_stop: CancellationToken,
    /// How long a running attempt may go on after the soft stop.
    pub(crate) drain: Duration,
}

/// Runs beside an order from its taking to its settling.
pub(crate) struct Keeper {
    lease: Arc<Mutex<Option<Lease>>>,
    end: CancellationToken,
    task: JoinHandle<()>,
}

/// Part of a lease's time in which no side effect may begin any more: it could end too late.
pub(crate) fn margin(ttl: Duration) -> Duration {
    ttl / 3
}

impl Keeper {
    pub(crate) fn start(kept: Kept) -> Self {
        let lease = Arc::new(Mutex::new(None));
        let end = CancellationToken::new();
        let task = tokio::spawn(keep(kept, Arc::clone(&lease), end.clone()));
        Self { lease, end, task }
    }

    /// From now on the lease is renewed too.
    pub(crate) async fn take(&self, lease: Lease, control: &AttemptControl, ttl: Duration) {
        control.act_until(lease.valid_until().saturating_sub(margin(ttl)));
        *self.lease.lock().await = Some(lease);
    }

    /// Stops keeping, and hands the lease back.
    pub(crate) async fn finish(self) -> Option<Lease> {
        self.end.cancel();
        if let Err(error) = self.task.await {
            tracing::error!(%error, "the heartbeat of an order failed");
        }
        self.lease.lock().await.take()
    }
}

async fn keep(kept: Kept, lease: Arc<Mutex<Option<Lease>>>, end: CancellationToken) {
    let timing = kept.bus.timing();
    let period = timing.ack_wait.min(timing.lease_ttl) / 4;
    let deadline = async {
        match kept.deadline {
            Some(deadline) => kept.clock.sleep_until(deadline).await,
            None => std::future::pending().await,
        }
    };
    let shutdown = async {
        kept.soft_stop.cancelled().await;
        // Who has no lease yet has nothing to finish.
        if lease.lock().await.is_some() {
            tokio::time::sleep(kept.drain).await;
        }
    };
    let beats = async {
        let mut delivered_until = uptime() + timing.ack_wait;
        let mut beat = tokio::time::interval(period);
        beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            beat.tick().await;
            let (delivery, leased, ()) = tokio::join!(
                renew_delivery(&kept, period),
                renew_lease(&kept, &lease, period),
                look_for_stop(&kept, period)
            );
            if let Some(from) = delivery {
                delivered_until = from + timing.ack_wait;
            }
            let undelivered = uptime() + margin(timing.ack_wait) >= delivered_until;
            if !leased || undelivered || kept.control.stop_reason() == Some(StopReason::LostLease) {
                kept.control.stop(StopReason::LostLease);
                return;
            }
        }
    };
    let once = async {
        tokio::join!(
            async {
                deadline.await;
                kept.control.stop(StopReason::DeadlinePassed);
            },
            async {
                shutdown.await;
                kept.control.stop(StopReason::Shutdown);
            }
        );
    };
    tokio::select! {
        () = end.cancelled() => {}
        ((), ()) = async { tokio::join!(beats, once) } => {}
    }
}

/// Since when the delivery is certainly this process's again.
async fn renew_delivery(kept: &Kept, within: Duration) -> Option<Duration> {
    let asked = uptime();
    match tokio::time::timeout(within, kept.delivery.in_progress()).await {
        Ok(Ok(())) => Some(asked),
        Ok(Err(error)) => {
            tracing::warn!(job.id = %kept.job, %error, "heartbeat of an order failed");
            None
        }
        Err(_) => {
            tracing::warn!(job.id = %kept.job, "heartbeat of an order had no answer in time");
            None
        }
    }
}

/// Whether the lease may still be ours.
async fn renew_lease(kept: &Kept, lease: &Mutex<Option<Lease>>, within: Duration) -> bool {
    let mut lease = lease.lock().await;
    let Some(lease) = lease.as_mut() else { return true };
    match tokio::time::timeout(within, lease.renew()).await {
        Ok(Ok(())) => {
            let ttl = kept.bus.timing().lease_ttl;
            kept.control.act_until(lease.valid_until().saturating_sub(margin(ttl)));
            true
        }
        Ok(Err(error @ LeaseError::Lost { .. })) => {
            tracing::error!(job.id = %kept.job, %error, "stopping the attempt");
            false
        }
        Ok(Err(error)) => {
            tracing::warn!(job.id = %kept.job, %error, "renewal of a lease failed");
            true
        }
        Err(_) => {
            tracing::warn!(job.id = %kept.job, "renewal of a lease had no answer in time");
            true
        }
    }
}

/// The fast hint may be missed; the mark is there to stay.
async fn look_for_stop(kept: &Kept, within: Duration) {
    match tokio::time::timeout(within, kept.bus.stop_requested(&kept.region, kept.job)).await {
        Ok(Ok(true)) => kept.control.stop(StopReason::Requested),
        Ok(Ok(false)) => {}
        Ok(Err(error)) => tracing::debug!(job.id = %kept.job, %error, "cannot look for a stop mark"),
        Err(_) => tracing::debug!(job.id = %kept.job, "no answer in time about a stop mark"),
    }
}
