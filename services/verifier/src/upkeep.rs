//! What the verifier does beside its messages: exports of its state, forgetting, gauges, and the health of its buses.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use job_bus::Bus;
use job_model::Region;
use message_ledger::Ledger;
use service_host::{Host, error_chain};
use state_store::{StateStore, StoreError, TransactError};
use telemetry::KeyValue;

use crate::{runs, store};

/// How often the buses are looked at and gauges are set.
const GLANCE: Duration = Duration::from_secs(1);
/// How often the state is exported.
const EXPORT_EVERY: SignedDuration = SignedDuration::from_hours(1);
/// The first export comes soon after the start, so that a service that is restarted often has one too.
const FIRST_EXPORT_AFTER: SignedDuration = SignedDuration::from_mins(1);
/// How long handled messages are remembered: longer than the stream of facts keeps them.
const REMEMBER: SignedDuration = SignedDuration::from_hours(91 * 24);

/// How long answers to requests are remembered.
const ANSWERS_KEPT: SignedDuration = SignedDuration::from_hours(7 * 24);

/// Runs until told to stop.
pub(crate) async fn run(state: StateStore, buses: BTreeMap<Region, Bus>, host: Host, keep_runs: Duration) {
    let after = |now: Timestamp, wait| now.checked_add(wait).unwrap_or(Timestamp::MAX);
    let mut export_at = after(host.clock.now(), FIRST_EXPORT_AFTER);
    while !host.stop.is_cancelled() {
        look_at_buses(&buses, &host);
        look_at_outbox(&state, &host).await;
        if host.clock.now() >= export_at {
            export_at = after(host.clock.now(), EXPORT_EVERY);
            match state.export(host.clock.now()).await {
                Ok(file) => tracing::debug!(file = %file.display(), "state exported"),
                Err(error) => {
                    tracing::error!(error = error_chain(&error), "state cannot be exported; look at the disk")
                }
            }
            forget(&state, host.clock.now()).await;
            forget_runs(&state, host.clock.now(), keep_runs).await;
        }
        tokio::select! {
            () = host.stop.cancelled() => {}
            () = host.clock.sleep(GLANCE) => {}
        }
    }
}

fn look_at_buses(buses: &BTreeMap<Region, Bus>, host: &Host) {
    for (region, bus) in buses {
        let part = format!("bus {region}");
        let connected = bus.is_connected();
        if connected {
            host.health.ready(&part);
        } else {
            host.health.not_ready(&part, "the connection is down and is being made again; look at nats-server");
        }
        telemetry::metrics().bus_connected.record(u64::from(connected), &[KeyValue::new("region", region.to_string())]);
    }
}

async fn look_at_outbox(state: &StateStore, host: &Host) {
    match state.read(Ledger::depth_and_oldest).await {
        Ok(depth) => {
            let service = [KeyValue::new("service", "verifier")];
            let age = depth.oldest.map_or(0, |oldest| host.clock.now().duration_since(oldest).as_secs());
            telemetry::metrics().outbox_depth.record(depth.pending, &service);
            telemetry::metrics().outbox_oldest_age.record(u64::try_from(age).unwrap_or(0), &service);
        }
        Err(error) => tracing::warn!(error = error_chain(&error), "the outbox cannot be looked at"),
    }
}

async fn forget(state: &StateStore, now: Timestamp) {
    let Ok(before) = now.checked_sub(REMEMBER) else { return };
    loop {
        let pruned: Result<usize, TransactError<StoreError>> =
            state.transact(move |tx| Ledger::prune(tx, before)).await;
        match pruned {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) => {
                tracing::error!(error = error_chain(&error), "old messages cannot be forgotten");
                return;
            }
        }
    }
}

/// Answers to requests are kept for a week, runs for as long as the configuration says.
async fn forget_runs(state: &StateStore, now: Timestamp, keep: Duration) {
    let keep = SignedDuration::try_from(keep).unwrap_or(SignedDuration::MAX);
    let runs_before = now.checked_sub(keep).unwrap_or(Timestamp::MIN);
    let answers_before = now.checked_sub(ANSWERS_KEPT).unwrap_or(Timestamp::MIN);
    loop {
        let forgotten: Result<usize, TransactError<StoreError>> = state
            .transact(move |tx| Ok(runs::forget(tx, runs_before)? + store::forget_answers(tx, answers_before)?))
            .await;
        match forgotten {
            Ok(0) => return,
            Ok(count) => tracing::debug!(count, "old runs and answers forgotten"),
            Err(error) => {
                tracing::error!(error = error_chain(&error), "old runs cannot be forgotten");
                return;
            }
        }
    }
}
