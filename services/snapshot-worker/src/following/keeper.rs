//! Beside a follower: what can be restored, which full captures and which log are needed no more, and the word about it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use driver_api::{Control as _, DriverError, ReadError};
use driver_postgres::facts::PhysicalFacts;
use driver_postgres::follow::FollowStatus;
use driver_postgres::ledger::{self, LedgerError, Stored};
use driver_postgres::wal::{Lsn, SegmentSize};
use driver_postgres::window::{Base, Interval, intervals, log_needed_from, retire};
use jiff::SignedDuration;
use job_bus::uptime;
use job_events::LogFollowed;
use job_model::{Continuous, FollowState, LISTED_MAX, LogGap, RestorableInterval};
use service_host::error_chain;
use vault_engine::{Vault, VaultError, read_description};
use vault_format::Id;

use super::Voice;
use super::control::FollowControl;
use super::gauges::Reading;

/// How often it looks whether there is something to do.
const LOOK: Duration = Duration::from_millis(200);
/// Time from a full capture to the heartbeat after it, which makes its first instants restorable.
const AFTER_CAPTURE: Duration = Duration::from_millis(1500);
/// Time to the next look at a window that is expected to open any moment, or after a look that failed.
const SOON: Duration = Duration::from_secs(3);

/// Looks after one followed resource.
pub(super) struct Keeper<'a> {
    voice: &'a Voice<'a>,
    vault: &'a Vault,
    control: &'a FollowControl,
    known: Mutex<Known>,
    over: AtomicBool,
}

#[derive(Default)]
struct Known {
    status: Option<FollowStatus>,
    keep_from: Option<Lsn>,
    /// Full captures by snapshot; none for one that a log cannot bring forward.
    bases: BTreeMap<Id, Option<Base>>,
}

/// Why the window is not known.
#[derive(Debug, thiserror::Error)]
enum WindowError {
    #[error(transparent)]
    Vault(#[from] VaultError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

impl<'a> Keeper<'a> {
    pub(super) fn new(voice: &'a Voice<'a>, vault: &'a Vault, control: &'a FollowControl) -> Self {
        Self { voice, vault, control, known: Mutex::default(), over: AtomicBool::new(false) }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The log below is needed no more.
    pub(super) fn keep_from(&self) -> Option<Lsn> {
        self.known().keep_from
    }

    /// Where the follower is.
    pub(super) fn hear(&self, status: &FollowStatus) {
        self.measure(status);
        self.known().status = Some(status.clone());
    }

    /// The follower has ended.
    pub(super) fn end(&self) {
        self.over.store(true, Ordering::Release);
    }

    /// Reports when something changed in kind, and when it is time.
    pub(super) fn run(&self) {
        let tools = &self.voice.following.tools;
        let every = Duration::from_secs(tools.config.follow.report_seconds);
        let mut due = uptime();
        let mut captures = tools.captures.load(Ordering::Acquire);
        let mut kind = None;
        while !self.over.load(Ordering::Acquire) && !self.control.is_stopped() {
            thread::sleep(LOOK);
            let Some(status) = self.known().status.clone() else { continue };
            let captured = tools.captures.load(Ordering::Acquire);
            if captured != captures {
                captures = captured;
                due = due.min(uptime() + AFTER_CAPTURE);
            }
            let is_kind = (status.slot.is_in_danger(), status.no_heartbeat.is_some(), status.notice.is_some());
            if kind != Some(is_kind) {
                kind = Some(is_kind);
                due = uptime();
            }
            if uptime() < due {
                continue;
            }
            due = match self.report(&status) {
                Ok(Report { is_opening: true }) => uptime() + SOON.min(every),
                Ok(Report { is_opening: false }) => uptime() + every,
                Err(error) => {
                    tracing::warn!(error = error_chain(&error), "the window cannot be determined; trying again");
                    uptime() + SOON
                }
            };
        }
    }

    fn report(&self, status: &FollowStatus) -> Result<Report, WindowError> {
        let mut bases = self.bases()?;
        let bases_retired = self.retire(&mut bases)?;
        let stream = self.vault.stream(self.voice.follow.recovery_point_id);
        let size = ledger::load(&stream)?.facts.map_or(SegmentSize::DEFAULT, |facts| facts.segment_size);
        let (stored, log) = ledger::survey(&stream, size)?;
        let window = intervals(&bases, &log);
        self.measure_window(&window);
        // The newest full capture is in no interval until a commit after it is durable.
        let newest = bases.iter().map(|base| base.stop).max();
        let is_opening = newest.is_some_and(|stop| window.last().is_none_or(|last| last.to_lsn <= stop));
        let continuous = describe(status, &bases, &window, &stored);
        if let Some(message) = continuous.message.as_ref().filter(|_| status.slot.is_in_danger()) {
            tracing::error!(resource = %self.voice.follow.resource, message, "the log is in danger");
        }
        let following = self.voice.following;
        let fact = LogFollowed {
            recovery_point: self.voice.follow.recovery_point.clone(),
            resource: self.voice.follow.resource.clone(),
            epoch: self.voice.epoch,
            worker: following.worker.clone(),
            at: following.tools.clock.now(),
            continuous,
            bases_retired,
        };
        self.voice.tell(&fact.into());
        Ok(Report { is_opening })
    }

    /// The full captures that are in the vault.
    fn bases(&self) -> Result<Vec<Base>, WindowError> {
        let parts = self.vault.stream_parts(self.voice.follow.recovery_point_id)?;
        let mut bases = Vec::new();
        for snapshot in &parts.bases {
            let known = self.known().bases.get(&snapshot.id).cloned();
            let base = match known {
                Some(base) => base,
                None => {
                    let base = self.read_base(snapshot.id)?;
                    self.known().bases.insert(snapshot.id, base.clone());
                    base
                }
            };
            bases.extend(base);
        }
        Ok(bases)
    }

    fn read_base(&self, id: Id) -> Result<Option<Base>, WindowError> {
        let description = read_description(&self.vault.reader(id)?)?;
        let facts = serde_json::to_value(&description)
            .map_err(|error| DriverError::NotOurs { problem: error.to_string() })
            .and_then(|value| PhysicalFacts::read(&value));
        Ok(match facts {
            Ok(facts) => Base::of(&id.to_hex(), &facts),
            Err(error) => {
                tracing::warn!(snapshot = %id, error = error_chain(&error), "this full capture is of no use");
                None
            }
        })
    }

    /// Removes full captures that no instant of the window needs, and notes from where the log is needed.
    fn retire(&self, bases: &mut Vec<Base>) -> Result<Vec<String>, WindowError> {
        let Some(days) = self.voice.follow.keep_days else {
            self.known().keep_from = None;
            return Ok(Vec::new());
        };
        let keep = SignedDuration::from_hours(24 * i64::from(days));
        let mut gone = Vec::new();
        for id in retire(bases, self.voice.following.tools.clock.now(), keep) {
            if self.control.is_stopped() {
                break;
            }
            let Ok(snapshot) = id.parse::<Id>() else { continue };
            match self.vault.forget(snapshot) {
                Ok(_) => {}
                // It stays as long as something protects it, and so does what is newer.
                Err(VaultError::Protected { .. }) => break,
                Err(error) => return Err(error.into()),
            }
            tracing::info!(resource = %self.voice.follow.resource, %snapshot, "a full capture is needed no more");
            gone.push(id);
        }
        bases.retain(|base| !gone.contains(&base.id));
        self.known().keep_from = log_needed_from(bases);
        Ok(gone)
    }

    fn measure(&self, status: &FollowStatus) {
        self.note(|reading| {
            reading.lag_bytes = status.lag_bytes();
            reading.delay_ms = milliseconds(status.delay);
            reading.retained_bytes = status.slot.retained_bytes;
            reading.is_in_danger = status.slot.is_in_danger();
        });
    }

    fn measure_window(&self, window: &[Interval]) {
        let seconds: i64 = window.iter().map(|interval| interval.to.duration_since(interval.from).as_secs()).sum();
        self.note(|reading| reading.window_seconds = u64::try_from(seconds).ok());
    }

    fn note(&self, change: impl FnOnce(&mut Reading)) {
        let following = self.voice.following;
        following.gauges.note(&following.region, &self.voice.follow.resource, change);
    }
}

struct Report {
    /// The newest full capture is not part of the window yet.
    is_opening: bool,
}

fn describe(status: &FollowStatus, bases: &[Base], window: &[Interval], stored: &Stored) -> Continuous {
    let gaps = stored.facts.as_ref().map(|facts| facts.gaps.as_slice()).unwrap_or_default();
    let newest = |length: usize| length.saturating_sub(LISTED_MAX);
    Continuous {
        state: FollowState::Following,
        message: message(status),
        window: window.iter().skip(newest(window.len())).map(interval).collect(),
        gap_count: gaps.len() as u64,
        gaps: gaps
            .iter()
            .skip(newest(gaps.len()))
            .map(|gap| LogGap {
                from_position: gap.from.to_string(),
                to_position: gap.to.to_string(),
                noticed_at: gap.noticed_at,
                reason: gap.reason.clone(),
            })
            .collect(),
        bases: bases.len() as u64,
        lag_bytes: status.lag_bytes(),
        delay_ms: milliseconds(status.delay),
        ..Continuous::default()
    }
}

fn interval(interval: &Interval) -> RestorableInterval {
    RestorableInterval {
        from: interval.from,
        to: interval.to,
        from_position: interval.from_lsn.to_string(),
        to_position: interval.to_lsn.to_string(),
    }
}

/// What somebody must know of a resource that is followed all the same.
fn message(status: &FollowStatus) -> Option<String> {
    if status.slot.is_in_danger() {
        return Some(format!(
            "the server keeps {} bytes of log for the slot and is about to give it up (`wal_status` is `{}`); see why the \
             vault takes it slowly, or raise `max_slot_wal_keep_size`",
            status.slot.retained_bytes, status.slot.wal_status
        ));
    }
    let no_heartbeat = status
        .no_heartbeat
        .as_ref()
        .map(|why| format!("no heartbeat can be written, so that the window of an idle database stands still: {why}"));
    let told: Vec<String> = [status.notice.clone(), no_heartbeat].into_iter().flatten().collect();
    (!told.is_empty()).then(|| told.join("; "))
}

fn milliseconds(duration: SignedDuration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(0)
}
