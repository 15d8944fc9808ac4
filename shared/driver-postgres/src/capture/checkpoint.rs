//! The checkpoint that a backup begins with. It may take minutes; whoever waits for it says so and can be stopped.

use std::time::Duration;

use driver_api::{Control, DriverError};
use job_model::{Progress, WaitsFor};

use crate::connection::{Connection, Event};
use crate::error::PgError;
use crate::server::{Credentials, ServerAddress};
use crate::settings::Checkpoint;

/// How often to look whether the capture is to stop.
const LOOK_EVERY: Duration = Duration::from_millis(200);

impl Checkpoint {
    /// What the replication protocol calls it.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Fast => "fast",
            Self::Spread => "spread",
        }
    }
}

/// Waits for the first that the server answers to a command that begins a backup: its words, or what is wrong with it.
///
/// # Errors
/// When the capture is told to stop. The server is told, too: it would wait for its checkpoint otherwise before it noticed
/// that nobody is there.
pub(super) fn wait(
    connection: &mut Connection,
    server: &ServerAddress,
    credentials: &Credentials,
    control: &dyn Control,
) -> Result<Result<Event, PgError>, DriverError> {
    control.advance(Progress { waits_for: Some(WaitsFor::Checkpoint), ..Progress::default() });
    let answer = loop {
        match connection.next_within(LOOK_EVERY) {
            Ok(Some(event)) => break Ok(event),
            Ok(None) if control.is_stopped() => {
                if let Err(error) = connection.cancel(server, credentials) {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(error, "the server does not hear that the backup is not wanted any more");
                }
                return Err(DriverError::Stopped);
            }
            Ok(None) => {}
            Err(error) => break Err(error),
        }
    };
    control.advance(Progress::default());
    Ok(answer)
}
