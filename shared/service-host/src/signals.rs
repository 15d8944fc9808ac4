//! Signals into cancellation tokens: the first stops softly, the second, or the end of the patience, stops hard.

use std::io;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// The two signals a process is stopped by.
pub(crate) struct StopSignals {
    interrupt: Signal,
    terminate: Signal,
}

impl StopSignals {
    /// Takes the signals over from the operating system's defaults.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
        }
    }

    /// Watches for ever; meant to be dropped with the process.
    pub(crate) async fn watch(mut self, stop: CancellationToken, hard_stop: CancellationToken, patience: Duration) {
        let name = self.next().await;
        tracing::info!(signal = name, "stopping: running work is brought to a safe point");
        stop.cancel();
        tokio::select! {
            name = self.next() => tracing::warn!(signal = name, "stopping now: running work is left where it stands"),
            () = tokio::time::sleep(patience) => {
                tracing::warn!(?patience, "stopping now: running work did not come to a safe point in time");
            }
        }
        hard_stop.cancel();
    }
}
