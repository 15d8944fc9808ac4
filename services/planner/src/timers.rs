//! Everything that happens because time passes: schedules, windows, retries, retention.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use crate::decide::{issue, runs, upkeep};
use crate::shell::{Cause, Shell, StepError};

/// The shortest time between two looks, whatever the state says.
const BREATH: Duration = Duration::from_millis(100);
/// The longest time between two looks: a clock that was set is noticed within it.
const GLANCE: Duration = Duration::from_secs(30);

/// Runs what is due, until told to stop.
pub(crate) async fn run(shell: Shell, stop: CancellationToken) -> Result<(), StepError> {
    while !stop.is_cancelled() {
        act(&shell).await?;
        let wake = shell.look(|state| upkeep::next_wake(state, shell.settings())).await?;
        let wait = async {
            shell.clock().sleep(BREATH).await;
            match wake {
                Some(at) => tokio::join!(shell.clock().sleep_until(at)).0,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = wait => {}
            () = async { shell.clock().sleep(BREATH).await; shell.stepped().await } => {}
            () = shell.clock().sleep(GLANCE) => {}
            () = stop.cancelled() => {}
        }
    }
    Ok(())
}

/// Everything that is due now. Each firing of a schedule is a step, and the root of a trace, of its own.
async fn act(shell: &Shell) -> Result<(), StepError> {
    let now = shell.now();
    for firing in shell.look(|state| runs::due(state, now)).await? {
        let span = telemetry::new_root(&format!("schedule {}", firing.rule_name));
        let step = shell.step(Cause::default(), move |step| {
            runs::fire(step, &firing);
            issue(step);
        });
        step.instrument(span).await?;
    }
    if shell.look(|state| upkeep::is_due(state, shell.settings(), now)).await? {
        shell.step(Cause::default(), upkeep::tick).instrument(tracing::info_span!("tick")).await?;
    }
    Ok(())
}
