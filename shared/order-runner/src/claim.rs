//! Getting the lease, and waiting for it where somebody else works on the resource.
//!
//! The wait happens here, with the order in hand, and not by giving the order back again and again: each giving back
//! counts as a delivery, and a long restore would use up the deliveries of the snapshot that waits for it.

use std::time::Duration;

use job_bus::{Bus, Lease, LeaseError};
use job_model::{JobId, Region};

use crate::{AttemptControl, StopReason};

/// Longest time between two tries.
const TRY_EVERY_MAX: Duration = Duration::from_secs(2);

/// How the claim ended.
pub(crate) enum Claim {
    /// Ours.
    Leased(Lease),
    /// Told to stop before it was.
    Stopped(StopReason),
}

/// What is claimed, by whom.
pub(crate) struct Wanted<'a> {
    pub(crate) region: &'a Region,
    pub(crate) key: &'a str,
    pub(crate) worker: &'a str,
    pub(crate) job: JobId,
    /// Highest epoch seen for the key.
    pub(crate) floor: u64,
}

/// The holder's name ends in the job, so that two deliveries of one order know of each other.
fn holder(worker: &str, job: JobId) -> String {
    format!("{worker} for job {job}")
}

/// One try.
pub(crate) async fn try_once(bus: &Bus, wanted: &Wanted<'_>) -> Result<Lease, LeaseError> {
    let holder = holder(wanted.worker, wanted.job);
    bus.acquire_lease(wanted.region, wanted.key, &holder, wanted.floor).await
}

/// Tries until the lease is ours or the control says stop. `on_wait` is called once, before the first wait.
pub(crate) async fn claim(bus: &Bus, wanted: &Wanted<'_>, control: &AttemptControl, on_wait: impl FnOnce()) -> Claim {
    let pause = (bus.timing().lease_ttl / 8).min(TRY_EVERY_MAX);
    let mut on_wait = Some(on_wait);
    let mut told = false;
    loop {
        let mine_elsewhere = match try_once(bus, wanted).await {
            Ok(lease) => return Claim::Leased(lease),
            Err(LeaseError::Held { key, holder }) => {
                if !told {
                    tracing::info!(job.id = %wanted.job, key, holder, "waiting for the resource");
                }
                told = true;
                holder.ends_with(&wanted.job.to_string())
            }
            Err(error) => {
                tracing::warn!(job.id = %wanted.job, %error, "cannot take the lease, trying again");
                false
            }
        };
        if let Some(on_wait) = on_wait.take() {
            on_wait();
        }
        match control.stop_reason() {
            // Another delivery of this very order is being carried out: its worker ends it.
            Some(StopReason::Requested | StopReason::DeadlinePassed) if mine_elsewhere => {
                tokio::time::sleep(pause).await;
            }
            Some(reason) => return Claim::Stopped(reason),
            None => {
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = control.stopped() => {}
                }
            }
        }
    }
}
