//! Leaves the processors to a server that uses them up, whatever group of processes it is in.
//!
//! The system lets the threads of a capture run when nobody else wants to ([`crate::priority`]), but among the threads of one
//! group only: beside a server in another session or container, a capture would have half of the machine. So a capture
//! watches what it takes and what is left over, and takes breaks.
//!
//! Two things are seen without asking the server. Threads that stand in line for a processor while others have a good part
//! of them say that others want more. Processors that are idle although it takes breaks say that nobody does; that alone says
//! little, since a server that waits for its disk now and then leaves them idle however much is taken from it. So the share is halved, and
//! doubled again, as a sender on a network does with its rate where it has only losses to go by:
//! <https://www.rfc-editor.org/rfc/rfc5681>, section 3.1.

mod machine;

use std::collections::HashMap;
use std::thread::ThreadId;
use std::time::{Duration, Instant};

use driver_api::{Control, DriverError};
use job_model::{Progress, WaitsFor};
use parking_lot::Mutex;

use super::pace::{self, Schedule};
use crate::priority::Priority;
use machine::{Counted, Machine, ThreadTimes};

/// How long it is watched before it is decided anew.
const WATCHED: Duration = Duration::from_millis(100);

/// Nanoseconds of a second.
const SECOND: u64 = 1_000_000_000;

/// Hundredths of the processors that stay idle where others do not use all of them: who wakes up finds one.
const SPARED_PERCENT: u64 = 5;

/// Of a hundred parts of the time in which a capture's threads could run, those that they wait when others want as much.
const WAITED_PERCENT: u64 = 20;

/// Hundredths of the processors: others who have less than that have all they want, since the system shares with them.
const OTHERS_PERCENT: u64 = 33;

/// What was seen in some time, in nanoseconds of one processor for each second.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    /// What the capture's threads took.
    used: u64,
    /// How long they stood in line.
    waited: u64,
    /// What nobody took.
    idle: u64,
    /// What other processes took.
    others: u64,
}

/// What a capture may take, in the same unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Share {
    /// All processors.
    whole: u64,
    /// What it has under any load, so that it comes to its end.
    least: u64,
    /// None as long as it takes no breaks.
    limit: Option<u64>,
}

impl Share {
    /// Decides anew.
    fn next(self, seen: Seen) -> Self {
        let spared = self.whole * SPARED_PERCENT / 100;
        let stands_in_line = seen.waited * 100 > (seen.used + seen.waited) * WAITED_PERCENT;
        let leaves_nothing = self.limit.is_some() && seen.idle < spared / 2;
        let limit = if seen.others * 100 >= self.whole * OTHERS_PERCENT && (stands_in_line || leaves_nothing) {
            // The first time it is not known how much more they want.
            self.limit.unwrap_or(0) / 2
        } else {
            match self.limit {
                Some(limit) if seen.idle > 2 * spared => limit.max((seen.used + seen.idle - spared).min(2 * limit)),
                _ => return self,
            }
        };
        let is_all = limit >= self.whole.saturating_sub(2 * spared);
        Self { limit: (!is_all).then_some(limit.max(self.least)), ..self }
    }
}

/// A capture that gives way.
pub(super) struct GiveWay {
    machine: Machine,
    state: Mutex<State>,
    began: Instant,
}

struct State {
    share: Share,
    schedule: Schedule,
    /// What each thread had when it was last here.
    threads: HashMap<ThreadId, ThreadTimes>,
    /// Since when it is watched, and what the clocks said then.
    since: Option<(Duration, Counted)>,
    /// What the threads took since then, and how long they stood in line, in nanoseconds.
    used: u64,
    waited: u64,
    told: bool,
}

impl GiveWay {
    /// None where nothing gives way, or the system does not tell what is needed for it.
    pub(super) fn new(priority: Priority) -> Option<Self> {
        let part = priority.least_part()?;
        let machine = Machine::here()?;
        let state = Mutex::new(State::new(machine.processors() * SECOND, part));
        Some(Self { machine, state, began: Instant::now() })
    }

    /// A break, as long as what the calling thread did since its last one asks for.
    ///
    /// # Errors
    /// When the capture is told to stop meanwhile.
    pub(super) fn wait(&self, control: &dyn Control) -> Result<(), DriverError> {
        let now = self.began.elapsed();
        let wait = match ThreadTimes::mine() {
            Some(times) => self.state.lock().wait(now, times, || self.machine.count()),
            None => Duration::ZERO,
        };
        if !wait.is_zero() {
            control.advance(Progress { waits_for: Some(WaitsFor::Processors), ..Progress::default() });
        }
        pace::sleep(wait, control)
    }
}

impl State {
    /// One that may take all of it, and never less than one of so many parts.
    fn new(whole: u64, parts: u64) -> Self {
        Self {
            share: Share { whole, least: whole / parts, limit: None },
            schedule: Schedule::new(whole),
            threads: HashMap::new(),
            since: None,
            used: 0,
            waited: 0,
            told: false,
        }
    }

    /// How long a thread with these times has its break.
    fn wait(&mut self, now: Duration, times: ThreadTimes, count: impl FnOnce() -> Option<Counted>) -> Duration {
        let before = self.threads.insert(std::thread::current().id(), times).unwrap_or(times);
        let used = times.ran.saturating_sub(before.ran);
        self.used += used;
        self.waited += times.waited.saturating_sub(before.waited);
        match self.since {
            Some((since, _)) if now.saturating_sub(since) < WATCHED => {}
            _ => {
                if let Some(counted) = count() {
                    self.decide(now, counted);
                }
            }
        }
        let wait = self.schedule.wait(now, used);
        if self.share.limit.is_some() { wait } else { Duration::ZERO }
    }

    fn decide(&mut self, now: Duration, counted: Counted) {
        let (used, waited) = (std::mem::take(&mut self.used), std::mem::take(&mut self.waited));
        let Some((since, before)) = self.since.replace((now, counted)) else { return };
        let nanos = now.saturating_sub(since).as_nanos().max(1);
        let each_second =
            |amount: u64| u64::try_from(u128::from(amount) * u128::from(SECOND) / nanos).unwrap_or(u64::MAX);
        let idle = each_second(counted.idle.saturating_sub(before.idle));
        let own = each_second(counted.own.saturating_sub(before.own));
        let others = self.share.whole.saturating_sub(idle.saturating_add(own));
        self.share = self.share.next(Seen { used: each_second(used), waited: each_second(waited), idle, others });
        self.schedule.set(self.share.limit.unwrap_or(self.share.whole));
        if self.share.limit.is_some() && !self.told {
            self.told = true;
            tracing::info!("others use the processors up, so the capture leaves most of them to the others");
        }
    }
}

#[cfg(test)]
mod tests;
