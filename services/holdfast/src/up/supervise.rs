//! Keeps children alive, and ends them in order.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Child;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::backoff::Failures;
use super::child;
use crate::error::CliError;

/// How often children are looked at.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(100);
/// After the second signal a service has five seconds to return; then it is abandoned.
const HARD_STOP_WITHIN: Duration = Duration::from_secs(8);
/// Exit code of a service whose configuration cannot be used: starting it again does not help.
const EXIT_CONFIG: i32 = 64;

/// What a start needs: the command line, and where the process says whether it is ready.
pub(super) struct Start {
    pub(super) program: Vec<OsString>,
    pub(super) health: Option<SocketAddr>,
}

/// Makes what a start needs, anew for each: ports may have been taken meanwhile.
type Prepare = Box<dyn Fn() -> Result<Start, CliError>>;

/// One child: what it is, and whether it runs.
pub(super) struct Managed {
    pub(super) name: String,
    pub(super) log: PathBuf,
    prepare: Prepare,
    failures: Failures,
    state: State,
}

enum State {
    /// Runs, or ended and was not looked at yet.
    Running { child: Child, since: Instant, health: Option<SocketAddr> },
    /// Starts again at the instant.
    Pausing { until: Instant },
    /// Not started yet, or ended for good.
    Down,
}

/// What a look at a child saw.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// Nothing new.
    Nothing,
    /// It ended and will be started again.
    Ended {
        /// In words.
        how: String,
        /// Its configuration is wrong.
        hopeless: bool,
        /// Before the next start.
        pause: Duration,
    },
    /// It was started again.
    Restarted,
    /// It could not be started; will be tried again.
    NotStarted(String),
}

impl Managed {
    pub(super) fn new(name: String, log: PathBuf, prepare: Prepare) -> Self {
        Self { name, log, prepare, failures: Failures::default(), state: State::Down }
    }

    /// Where it answers health checks while it runs.
    pub(super) fn health(&self) -> Option<SocketAddr> {
        match &self.state {
            State::Running { health, .. } => *health,
            _ => None,
        }
    }

    /// Starts it.
    pub(super) fn start(&mut self) -> Result<(), CliError> {
        let Start { program, health } = (self.prepare)()?;
        let child = child::spawn(&program, &self.log).map_err(CliError::io(format!("start {}", self.name)))?;
        self.state = State::Running { child, since: Instant::now(), health };
        Ok(())
    }

    /// Notices an end and starts it again when its pause is over.
    pub(super) fn look(&mut self) -> Seen {
        match &mut self.state {
            State::Running { child, since, .. } => match child.try_wait() {
                Ok(None) => Seen::Nothing,
                ended => {
                    let (failures, pause) = self.failures.ended_after(since.elapsed());
                    self.failures = failures;
                    self.state = State::Pausing { until: Instant::now() + pause };
                    match ended {
                        Ok(Some(status)) => {
                            Seen::Ended { how: status.to_string(), hopeless: status.code() == Some(EXIT_CONFIG), pause }
                        }
                        Ok(None) => Seen::Nothing,
                        Err(error) => Seen::Ended { how: error.to_string(), hopeless: false, pause },
                    }
                }
            },
            State::Pausing { until } if Instant::now() >= *until => match self.start() {
                Ok(()) => Seen::Restarted,
                Err(error) => {
                    let (failures, pause) = self.failures.ended_after(Duration::ZERO);
                    self.failures = failures;
                    self.state = State::Pausing { until: Instant::now() + pause };
                    Seen::NotStarted(error.chain())
                }
            },
            State::Pausing { .. } | State::Down => Seen::Nothing,
        }
    }

    fn signal(&self, signal: Signal) {
        if let State::Running { child, .. } = &self.state {
            child::signal(child, signal);
        }
    }

    /// Whether it has ended; it is not started again.
    fn is_gone(&mut self) -> bool {
        match &mut self.state {
            State::Running { child, .. } => {
                let gone = !matches!(child.try_wait(), Ok(None));
                if gone {
                    self.state = State::Down;
                }
                gone
            }
            State::Pausing { .. } | State::Down => {
                self.state = State::Down;
                true
            }
        }
    }

    /// Kills it, for the ends that are in a hurry.
    pub(super) fn kill(&mut self) {
        if let State::Running { child, .. } = &mut self.state {
            // Fails only when it ended already.
            let _ = child.kill();
            let _ = child.wait();
        }
        self.state = State::Down;
    }
}

impl Drop for Managed {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Ends children: asks, asks again after the patience (or at once when `hurry` resolves), then kills.
pub(super) async fn stop(children: &mut [Managed], patience: Duration, hurry: impl Future<Output = ()>) {
    for child in children.iter() {
        child.signal(Signal::TERM);
    }
    let patient = tokio::time::timeout(patience, gone(children));
    tokio::select! {
        done = patient => if done.is_ok() { return },
        () = hurry => {}
    }
    for child in children.iter() {
        child.signal(Signal::TERM);
    }
    if tokio::time::timeout(HARD_STOP_WITHIN, gone(children)).await.is_err() {
        for child in children.iter_mut() {
            child.kill();
        }
    }
}

async fn gone(children: &mut [Managed]) {
    loop {
        // Every one is looked at, so that none stays a zombie.
        let mut left = 0;
        for child in children.iter_mut() {
            left += usize::from(!child.is_gone());
        }
        if left == 0 {
            return;
        }
        tokio::time::sleep(LOOK_EVERY / 4).await;
    }
}
