//! A verifier whose state is new or was rebuilt asks the planner for the recovery points there are: its durable consumer
//! only tells it what comes from now on.

use std::time::Duration;

use job_bus::Bus;
use job_events::{Answer, Query, RecoveryPointCreated, ScanKind, ScanRow};
use job_model::Region;
use service_host::{Host, error_chain};
use state_store::StateStore;

use crate::ask::{self, AskError};
use crate::handlers;
use crate::timers::commit;

/// How long to wait before the planner is asked again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Takes over all recovery points the planner knows; asks until it answers, or until told to stop.
pub(crate) async fn recovery_points(state: &StateStore, bus: &Bus, region: &Region, host: &Host) {
    loop {
        match learn(state, bus, region).await {
            Ok(learned) => {
                tracing::info!(%region, learned, "recovery points taken over from the planner");
                return;
            }
            Err(reason) => {
                host.health.not_ready("regions", format!("recovery points are not known yet: {reason}"));
            }
        }
        tokio::select! {
            () = host.stop.cancelled() => return,
            () = host.clock.sleep(RETRY_AFTER) => {}
        }
    }
}

async fn learn(state: &StateStore, bus: &Bus, region: &Region) -> Result<usize, String> {
    let mut learned = 0;
    let mut after = None;
    loop {
        let query = Query::Scan { kind: ScanKind::RecoveryPoints, after, limit: None };
        let page = match ask::planner(bus, region, &query).await {
            Ok(Answer::Scan(page)) => page,
            Ok(_) => return Err(AskError::Another.to_string()),
            Err(error) => return Err(error_chain(&error)),
        };
        learned += page.rows.len();
        let stored = commit(state, move |tx| {
            page.rows.into_iter().try_for_each(|row| match row {
                ScanRow::RecoveryPoint(point) => {
                    handlers::project(tx, RecoveryPointCreated { recovery_point: *point }.into())
                }
                _ => Ok(()),
            })
        });
        stored.await.map_err(|error| error_chain(&error))?;
        match page.next {
            Some(next) => after = Some(next),
            None => return Ok(learned),
        }
    }
}
