//! Export of the state, pruning of the inbox, and the metrics that are looked at rather than counted.

use std::time::Duration;

use jiff::SignedDuration;
use message_ledger::Ledger;
use state_store::TransactError;
use telemetry::{KeyValue, metrics};
use tokio_util::sync::CancellationToken;

use crate::measure;
use crate::shell::{Shell, StepError};

/// Time between two rounds.
const EVERY: Duration = Duration::from_secs(15);
/// Rounds from one export to the next: an hour.
const EXPORT_ROUNDS: u32 = 240;
/// Rounds from one look at every recovery point to the next: a minute.
const AGES_ROUNDS: u32 = 4;
/// The round of the first export: soon after the start, so that a service that is restarted often has one too.
const FIRST_EXPORT_ROUND: u32 = 4;
/// How long handled messages are remembered: longer than the stream of facts keeps them.
const INBOX_KEPT: SignedDuration = SignedDuration::from_hours(91 * 24);

/// Rounds until told to stop.
pub(crate) async fn run(shell: Shell, stop: CancellationToken) -> Result<(), StepError> {
    let mut round: u32 = 0;
    while !stop.is_cancelled() {
        gauges(&shell).await?;
        if round.is_multiple_of(AGES_ROUNDS) {
            let now = shell.now();
            shell.look(|state| measure::ages(state, now)).await?;
        }
        if round % EXPORT_ROUNDS == FIRST_EXPORT_ROUND {
            prune(&shell).await?;
            export(&shell).await;
        }
        round = round.wrapping_add(1);
        tokio::select! {
            () = shell.clock().sleep(EVERY) => {}
            () = stop.cancelled() => {}
        }
    }
    Ok(())
}

async fn gauges(shell: &Shell) -> Result<(), StepError> {
    shell.look(|state| measure::protected(state, &shell.settings().account)).await?;
    shell.look(measure::damaged).await?;
    let depth = shell.store().read(Ledger::depth_and_oldest).await?;
    let service = [KeyValue::new("service", "planner")];
    metrics().outbox_depth.record(depth.pending, &service);
    let age = depth.oldest.map_or(0, |oldest| shell.now().duration_since(oldest).as_secs());
    metrics().outbox_oldest_age.record(u64::try_from(age).unwrap_or_default(), &service);
    Ok(())
}

/// Small transactions, so that decisions need not wait.
async fn prune(shell: &Shell) -> Result<(), StepError> {
    let Ok(before) = shell.now().checked_sub(INBOX_KEPT) else { return Ok(()) };
    loop {
        let pruned = shell.store().transact(move |tx| Ledger::prune(tx, before)).await;
        let pruned = pruned.map_err(|error| match error {
            TransactError::Refused(error) | TransactError::Store(error) => error,
        })?;
        if pruned == 0 {
            return Ok(());
        }
    }
}

/// A failed export is told and tried again in an hour: the state itself is not touched by it.
async fn export(shell: &Shell) {
    match shell.store().export(shell.now()).await {
        Ok(path) => tracing::info!(path = %path.display(), "state exported"),
        Err(error) => tracing::error!(error = %service_host::error_chain(&error), "the state was not exported"),
    }
}
