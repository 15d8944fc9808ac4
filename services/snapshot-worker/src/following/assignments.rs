//! Reads the assignments of the region and keeps one task for each.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use job_bus::{StartAt, WatchError};
use job_events::subjects::{self, Service};
use job_events::{Assignment, Envelope, FollowResource, FollowTask};
use job_model::RecoveryPointId;
use service_host::error_chain;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{Following, lease};

/// How long to wait before the stream is read again from its beginning.
const PAUSE: Duration = Duration::from_secs(2);

/// One assignment that is being carried out, or waits for its lease.
struct Life {
    follow: FollowResource,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

type Lives = HashMap<RecoveryPointId, Life>;

/// Runs until told to stop, and until all followers have ended.
pub(crate) async fn run(following: Arc<Following>) {
    let mut lives = Lives::new();
    while !following.stop.is_cancelled() {
        if let Err(error) = read_along(&following, &mut lives).await {
            tracing::warn!(error = error_chain(&error), "cannot read the assignments; trying again");
        }
        tokio::select! {
            () = following.tools.clock.sleep(PAUSE) => {}
            () = following.stop.cancelled() => {}
        }
    }
    for (_, life) in lives {
        life.stop.cancel();
        if let Err(error) = life.task.await {
            tracing::error!(%error, "a follower ended badly");
        }
    }
}

async fn read_along(following: &Arc<Following>, lives: &mut Lives) -> Result<(), WatchError> {
    let stream = subjects::assignment_stream(&following.region);
    let filter = subjects::assignments_to(&following.region, Service::SnapshotWorker);
    let mut watch = following.bus.watch(&stream, &filter, StartAt::All).await?;
    loop {
        let message = tokio::select! {
            message = watch.next() => message,
            () = following.stop.cancelled() => return Ok(()),
        };
        let Some(message) = message else { return Ok(()) };
        let message = message?;
        let read = Envelope::from_bytes(&message.payload).and_then(|envelope| envelope.assignment());
        match read {
            Ok(Assignment::FollowResource(follow)) => take(following, lives, follow),
            Err(error) => {
                tracing::error!(subject = message.subject, %error, "an assignment cannot be read; look at the planner's version");
            }
        }
    }
}

/// What is assigned otherwise now is begun anew, after what was has ended.
fn take(following: &Arc<Following>, lives: &mut Lives, follow: FollowResource) {
    let id = follow.recovery_point_id;
    let before = lives.remove(&id);
    if let Some(life) = before.as_ref().filter(|life| is_same(&life.follow, &follow) && !life.task.is_finished()) {
        tracing::trace!(recovery_point = %life.follow.recovery_point, "assigned again as it was");
        lives.extend(before.map(|life| (id, life)));
        return;
    }
    let before = before.map(|life| {
        life.stop.cancel();
        life.task
    });
    if follow.task == FollowTask::Nothing && before.is_none() {
        return;
    }
    let stop = following.stop.child_token();
    let task = tokio::spawn({
        let (following, follow, stop) = (Arc::clone(following), follow.clone(), stop.clone());
        async move {
            if let Some(before) = before
                && let Err(error) = before.await
            {
                tracing::error!(%error, "a follower ended badly");
            }
            if follow.task != FollowTask::Nothing {
                lease::hold(&following, &follow, &stop).await;
            }
        }
    });
    lives.insert(id, Life { follow, stop, task });
}

fn is_same(a: &FollowResource, b: &FollowResource) -> bool {
    FollowResource { decided_at: b.decided_at, ..a.clone() } == *b
}
