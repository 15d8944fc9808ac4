//! The lease of one assignment: waits for it, keeps it while its holder works, and stops the holder when it is lost.

use std::sync::Arc;
use std::time::Duration;

use job_bus::{Lease, LeaseError, uptime};
use job_events::{FollowResource, FollowTask};
use service_host::error_chain;
use tokio_util::sync::CancellationToken;

use super::Following;
use super::carry::{self, End};
use super::control::FollowControl;

/// Longest time between two tries for a lease.
const TRY_EVERY_MAX: Duration = Duration::from_secs(2);
/// How long to wait after a holder ended by itself.
const BREATH: Duration = Duration::from_secs(1);

/// Carries an assignment out whenever its lease is this worker's, until told to stop or there is nothing left to do.
pub(super) async fn hold(following: &Arc<Following>, follow: &FollowResource, stop: &CancellationToken) {
    let mut floor = 0;
    while !stop.is_cancelled() {
        // Who has no place leaves the lease to others. What only gives back needs none.
        let needed = u32::from(follow.task == FollowTask::Follow);
        let place = tokio::select! {
            place = following.places.acquire_many(needed) => place,
            () = stop.cancelled() => return,
        };
        let Ok(_place) = place else { return };
        let Some(lease) = take(following, follow, floor, stop).await else { return };
        tracing::info!(resource = %follow.resource, epoch = lease.epoch(), task = ?follow.task, "assignment taken");
        match with(following, follow, lease, stop).await {
            End::Done => return,
            End::Superseded(epoch) => floor = floor.max(epoch),
            End::Stopped => {}
        }
        tokio::select! {
            () = following.tools.clock.sleep(BREATH) => {}
            () = stop.cancelled() => return,
        }
    }
}

async fn take(following: &Following, follow: &FollowResource, floor: u64, stop: &CancellationToken) -> Option<Lease> {
    // The state's identity in the name: the lock on the state directory says that an earlier life of it is over.
    let holder = format!("{} of {}", following.worker, following.store.instance_id());
    let key = format!("follow-{}", follow.recovery_point_id);
    let pause = (following.bus.timing().lease_ttl / 8).min(TRY_EVERY_MAX);
    let mut told = false;
    loop {
        match following.bus.succeed_lease(&following.region, &key, &holder, floor).await {
            Ok(lease) => return Some(lease),
            Err(LeaseError::Held { holder, .. }) => {
                if !told {
                    tracing::info!(resource = %follow.resource, holder, "another worker follows it");
                }
                told = true;
            }
            Err(error) => tracing::warn!(error = error_chain(&error), key, "cannot take the lease, trying again"),
        }
        tokio::select! {
            () = following.tools.clock.sleep(pause) => {}
            () = stop.cancelled() => return None,
        }
    }
}

async fn with(following: &Arc<Following>, follow: &FollowResource, mut lease: Lease, stop: &CancellationToken) -> End {
    let ttl = following.bus.timing().lease_ttl;
    let control = Arc::new(FollowControl::default());
    control.act_until(lease.valid_until().saturating_sub(ttl / 3));
    let mut work = tokio::task::spawn_blocking({
        let (following, follow, control) = (Arc::clone(following), follow.clone(), Arc::clone(&control));
        let epoch = lease.epoch();
        move || carry::out(&following, &follow, epoch, &control)
    });
    let mut told = false;
    let ended = loop {
        tokio::select! {
            ended = &mut work => break ended,
            () = stop.cancelled(), if !told => {
                told = true;
                control.stop();
            }
            () = tokio::time::sleep(ttl / 4) => match tokio::time::timeout(ttl / 4, lease.renew()).await {
                Ok(Ok(())) => control.act_until(lease.valid_until().saturating_sub(ttl / 3)),
                Ok(Err(error @ LeaseError::Lost { .. })) => {
                    tracing::error!(%error, "stopping the follower");
                    control.stop();
                }
                Ok(Err(error)) => tracing::warn!(error = error_chain(&error), "renewal of a lease failed"),
                Err(_) => tracing::warn!("renewal of a lease had no answer in time"),
            },
        }
    };
    if lease.valid_until() > uptime()
        && let Err(error) = lease.release().await
    {
        tracing::debug!(error = error_chain(&error), "the lease was not given back; it runs out");
    }
    ended.unwrap_or_else(|error| {
        tracing::error!(%error, resource = %follow.resource, "the follower ended with a panic; report it with the log");
        End::Stopped
    })
}
