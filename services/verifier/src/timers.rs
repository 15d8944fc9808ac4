//! When restore testing plans run by themselves, and when runs are given up.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use job_model::{RestoreTestingPlan, TestRunId};
use message_ledger::Ledger;
use schedule::{Due, Schedule};
use service_host::{Clock, Ids};
use state_store::{StateStore, StoreError, Tx};
use tokio_util::sync::CancellationToken;

use crate::reading::Reading;
use crate::runs::{self, Draw, Rules};
use crate::store::{self, PlanKey};

/// How often timers are looked at. Schedules have minutes, so a start is late by at most this.
const GLANCE: Duration = Duration::from_secs(5);

/// How far after its scheduled instant a plan starts: the same share of its window every time, different between plans, so
/// that tests do not all begin at the full hour.
fn delay(plan: &RestoreTestingPlan) -> SignedDuration {
    schedule::spread(&plan.name, SignedDuration::from_hours(i64::from(plan.start_window_hours)))
}

/// What a plan is due for; none while its next start lies ahead, or without a schedule.
pub(crate) fn due(plan: &RestoreTestingPlan, served_until: Timestamp, now: Timestamp) -> Option<Due> {
    let schedule = Schedule::parse(plan.schedule.as_deref()?, &plan.time_zone).ok()?;
    schedule.due_since(served_until, now.checked_sub(delay(plan)).ok()?)
}

/// What is to be done now.
#[derive(Debug, Default)]
struct Waiting {
    plans: Vec<PlanKey>,
    runs: Vec<TestRunId>,
}

fn waiting(tx: &Tx<'_>, now: Timestamp) -> Result<Waiting, StoreError> {
    let plans = store::all_plans(tx)?;
    let runs = store::open_runs(tx)?;
    Ok(Waiting {
        plans: plans
            .into_iter()
            .filter(|row| due(&row.plan, row.served_until, now).is_some())
            .map(|row| PlanKey::of(&row))
            .collect(),
        runs: runs.into_iter().filter(|run| run.deadline <= now).map(|run| run.id).collect(),
    })
}

/// Starts a plan that is due. The run and the instant it serves are stored together, so that no instant is served twice.
pub(crate) fn start_due(
    tx: &mut Tx<'_>,
    rules: &Rules,
    key: &PlanKey,
    draw: Draw,
    now: Timestamp,
) -> Result<(), StoreError> {
    let Some(mut row) = store::plan(tx, key)? else { return Ok(()) };
    let Some(due) = due(&row.plan, row.served_until, now) else { return Ok(()) };
    if due.missed() > 0 {
        tracing::warn!(plan = key.name, missed = due.missed(), "restore tests were missed; the last one is caught up");
    }
    row.served_until = due.at;
    store::put_plan(tx, &row)?;
    runs::begin(tx, rules, &row, draw, now)
}

/// Serves timers until told to stop.
pub(crate) async fn serve(
    state: StateStore,
    ledger: Ledger,
    rules: Rules,
    reading: Reading,
    (clock, ids): (Arc<dyn Clock>, Arc<dyn Ids>),
    stop: CancellationToken,
) {
    while !stop.is_cancelled() {
        if let Err(error) = glance(&state, &ledger, &rules, &reading, &*clock, &*ids).await {
            tracing::error!(error = service_host::error_chain(&error), "timers could not be served");
        }
        tokio::select! {
            () = clock.sleep(GLANCE) => {}
            () = stop.cancelled() => {}
        }
    }
}

async fn glance(
    state: &StateStore,
    ledger: &Ledger,
    rules: &Rules,
    reading: &Reading,
    clock: &dyn Clock,
    ids: &dyn Ids,
) -> Result<(), StoreError> {
    let now = clock.now();
    let waiting = state.read(move |tx| waiting(tx, now)).await?;
    if !waiting.plans.is_empty() {
        reading.catch_up().await;
    }
    for key in waiting.plans {
        let draw = Draw { id: TestRunId::new(ids.uuid()), random: ids.random_u64() };
        let rules = rules.clone();
        commit(state, move |tx| start_due(tx, &rules, &key, draw, now)).await?;
        ledger.kick();
    }
    for run in waiting.runs {
        let rules = rules.clone();
        commit(state, move |tx| runs::time_out(tx, &rules, run, now)).await?;
        ledger.kick();
    }
    Ok(())
}

/// One transaction whose closure refuses nothing.
pub(crate) async fn commit<F>(state: &StateStore, change: F) -> Result<(), StoreError>
where
    F: FnOnce(&mut Tx<'_>) -> Result<(), StoreError> + Send + 'static,
{
    state.transact(change).await.map_err(|error| match error {
        state_store::TransactError::Refused(error) | state_store::TransactError::Store(error) => error,
    })
}

#[cfg(test)]
mod tests;
