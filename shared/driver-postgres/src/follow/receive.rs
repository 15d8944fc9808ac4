//! The stream itself: what the server sends, and what it hears.
//!
//! <https://www.postgresql.org/docs/current/protocol-replication.html>

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use jiff::Timestamp;

use crate::connection::{Connection, Event};
use crate::error::PgError;
use crate::ledger::NewHistory;
use crate::timeline::History;
use crate::wal::{Lsn, SegmentSize};

/// How long to wait for the server before looking whether there is something to tell it.
const WAIT: Duration = Duration::from_millis(50);
/// A server with many small commits sends a message for each. They are left to gather in the socket for so long: to be woken
/// up by each takes the processor from the server.
const NAP: Duration = Duration::from_millis(5);
/// Messages shorter than this are small; longer ones show that the server has more to send than it sends at once.
const SMALL: usize = 16 << 10;
/// How often the server hears of us, whatever happens.
const STATUS_EVERY: Duration = Duration::from_secs(5);
/// A server that says nothing for so long is asked to.
const ASK_AFTER: Duration = Duration::from_secs(20);
/// And after so long it is gone.
const SILENT_MAX: Duration = Duration::from_secs(60);
/// 2000-01-01T00:00:00Z in microseconds of Unix.
const POSTGRES_EPOCH_MICROS: i64 = 946_684_800_000_000;
const DATA: u8 = b'w';
const KEEPALIVE: u8 = b'k';

/// What the stream brings.
pub(super) enum Incoming {
    /// Bytes of the log, in order.
    Data { timeline: u32, start: Lsn, bytes: Bytes, sent_at: Timestamp, server_end: Lsn },
    /// Nothing new; the server's log ends here.
    Quiet { server_end: Lsn },
    /// The timeline ends here, and another one goes on.
    Ends { timeline: u32, at: Lsn, next: u32, history: String },
    /// The log begins with this segment, or goes on there after a hole for which there is a reason.
    GoesOn { timeline: u32, to: Lsn, reason: Option<String>, history: Option<NewHistory> },
}

/// What the receiver is told while it works.
pub(super) struct Acknowledged {
    /// The end of what is durable.
    pub(super) durable: AtomicU64,
    /// How often it was taken up that the log goes on elsewhere.
    pub(super) turns: AtomicU64,
    /// Time to go.
    pub(super) stop: AtomicBool,
}

pub(super) struct Receiver<'a> {
    pub(super) connection: Connection,
    pub(super) slot: &'a str,
    pub(super) acknowledged: &'a Acknowledged,
    pub(super) sender: SyncSender<Incoming>,
    pub(super) now: &'a (dyn Fn() -> Timestamp + Sync),
    pub(super) size: SegmentSize,
}

/// A server about itself.
pub(super) struct Identity {
    pub(super) system_id: String,
    pub(super) timeline: u32,
    pub(super) end: Lsn,
}

pub(super) fn identify(connection: &mut Connection) -> Result<Identity, PgError> {
    let rows = connection.query("IDENTIFY_SYSTEM")?;
    Ok(Identity { system_id: rows.single()?.to_owned(), timeline: rows.parse(0, 1)?, end: rows.parse(0, 2)? })
}

/// The history file of a timeline above 1.
pub(super) fn history(connection: &mut Connection, timeline: u32) -> Result<String, PgError> {
    let rows = connection.query(&format!("TIMELINE_HISTORY {timeline}"))?;
    let text = rows.value(0, 1).unwrap_or_default().to_owned();
    History::parse(timeline, &text).map_err(|error| PgError::Unexpected { problem: error.to_string() })?;
    Ok(text)
}

impl Receiver<'_> {
    /// Streams from there until told to stop; follows the server from timeline to timeline.
    pub(super) fn run(mut self, mut timeline: u32, mut from: Lsn) -> Result<(), PgError> {
        loop {
            self.connection.send(&format!(
                "START_REPLICATION SLOT \"{}\" PHYSICAL {from} TIMELINE {timeline}",
                self.slot.replace('"', "\"\"")
            ))?;
            let Some((next, at)) = self.stream(timeline, from)? else { return Ok(()) };
            let history = history(&mut self.connection, next)?;
            if !self.give(Incoming::Ends { timeline, at, next, history })? {
                return Ok(());
            }
            timeline = next;
            // The new timeline has a segment of its own that begins with what is in the old one's last.
            from = self.size.floor(at);
            if self.wait_until_taken(at) {
                return Ok(());
            }
        }
    }

    /// One timeline. None: told to stop. Otherwise the next timeline and where this one ends.
    fn stream(&mut self, timeline: u32, from: Lsn) -> Result<Option<(u32, Lsn)>, PgError> {
        let mut received = from;
        let mut told = 0;
        let mut told_at: Option<Instant> = None;
        let mut heard_at = Instant::now();
        let mut next = None;
        let mut ended = false;
        let mut naps = false;
        loop {
            if self.acknowledged.stop.load(Ordering::Acquire) {
                return Ok(None);
            }
            let mut asked = false;
            if std::mem::take(&mut naps) && self.connection.is_drained() {
                std::thread::sleep(NAP);
            }
            let event = self.connection.next_within(WAIT)?;
            if event.is_some() {
                heard_at = Instant::now();
            } else if heard_at.elapsed() >= SILENT_MAX {
                return Err(PgError::Broken(std::io::ErrorKind::TimedOut.into()));
            }
            match event {
                Some(Event::CopyData(message)) => match message.first() {
                    Some(&DATA) if message.len() >= 25 => {
                        let start = Lsn(u64_at(&message, 1));
                        let server_end = Lsn(u64_at(&message, 9));
                        let sent_at = time_at(&message, 17)?;
                        let bytes = message.slice(25..);
                        naps = bytes.len() < SMALL;
                        received = Lsn(start.0 + bytes.len() as u64);
                        if !self.give(Incoming::Data { timeline, start, bytes, sent_at, server_end })? {
                            return Ok(None);
                        }
                    }
                    Some(&KEEPALIVE) if message.len() >= 18 => {
                        asked = message[17] == 1;
                        if !self.give(Incoming::Quiet { server_end: Lsn(u64_at(&message, 1)) })? {
                            return Ok(None);
                        }
                    }
                    _ => {
                        return Err(PgError::Unexpected {
                            problem: "a message of the stream is of no known kind".to_owned(),
                        });
                    }
                },
                Some(Event::CopyDone) => {
                    ended = true;
                    self.connection.send_copy_done()?;
                }
                Some(Event::Row(row)) => {
                    let number = row.first().cloned().flatten().and_then(|text| text.parse().ok());
                    let at = row.get(1).cloned().flatten().and_then(|text| text.parse().ok());
                    next = number.zip(at);
                }
                Some(Event::Ready) => {
                    return match next {
                        Some(next) => Ok(Some(next)),
                        None => Err(PgError::Unexpected { problem: "the server ended the stream".to_owned() }),
                    };
                }
                Some(_) | None => {}
            }
            let durable = self.acknowledged.durable.load(Ordering::Acquire);
            let due = told_at.is_none_or(|at| at.elapsed() >= STATUS_EVERY);
            if !ended && (asked || due || durable != told) {
                self.tell(received, Lsn(durable), heard_at.elapsed() >= ASK_AFTER)?;
                (told, told_at) = (durable, Some(Instant::now()));
            }
        }
    }

    /// A standby status update: written, flushed, applied (we apply nothing), clock, whether a reply is wanted.
    fn tell(&mut self, received: Lsn, durable: Lsn, ask: bool) -> Result<(), PgError> {
        let mut message = vec![b'r'];
        let clock = (self.now)().as_microsecond() - POSTGRES_EPOCH_MICROS;
        for number in [received.0, durable.0.min(received.0), 0] {
            message.extend(number.to_be_bytes());
        }
        message.extend(clock.to_be_bytes());
        message.push(u8::from(ask));
        self.connection.send_copy_data(&message)
    }

    /// Hands over; answers the server while the other side is busy. False: time to go.
    fn give(&mut self, incoming: Incoming) -> Result<bool, PgError> {
        let mut waiting = incoming;
        let mut told_at = Instant::now();
        loop {
            match self.sender.try_send(waiting) {
                Ok(()) => return Ok(true),
                Err(TrySendError::Disconnected(_)) => return Ok(false),
                Err(TrySendError::Full(back)) => {
                    if self.acknowledged.stop.load(Ordering::Acquire) {
                        return Ok(false);
                    }
                    waiting = back;
                    std::thread::sleep(Duration::from_millis(5));
                    if told_at.elapsed() >= STATUS_EVERY {
                        told_at = Instant::now();
                        let durable = Lsn(self.acknowledged.durable.load(Ordering::Acquire));
                        self.tell(durable, durable, false)?;
                    }
                }
            }
        }
    }

    /// Waits until all of a timeline was taken, so that positions of two timelines are never mixed up. True: time to go.
    fn wait_until_taken(&self, until: Lsn) -> bool {
        while self.acknowledged.durable.load(Ordering::Acquire) < until.0 {
            if self.acknowledged.stop.load(Ordering::Acquire) {
                return true;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        false
    }
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut number = [0; 8];
    number.copy_from_slice(&bytes[at..at + 8]);
    u64::from_be_bytes(number)
}

fn time_at(bytes: &[u8], at: usize) -> Result<Timestamp, PgError> {
    let micros = i64::from_be_bytes(u64_at(bytes, at).to_be_bytes()).saturating_add(POSTGRES_EPOCH_MICROS);
    Timestamp::from_microsecond(micros).map_err(|error| PgError::Unexpected { problem: format!("a time: {error}") })
}
