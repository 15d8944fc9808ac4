//! The rows of what is to be published.
//!
//! `outbox`: row number (`u64`, big-endian) to [`OutboxRow`]. `outbox-pending`: region, a zero byte, row number to the lane;
//! only rows without an acknowledgement. `outbox-orders`: job (16 bytes), row number; only orders.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use jiff::Timestamp;
use job_bus::Publish;
use job_events::Envelope;
use job_model::{JobId, Region};
use serde::{Deserialize, Serialize};
use state_store::{Record, StoreError, Table, Tx};

use crate::lane::{Lane, Pending};

const OUTBOX: Table<OutboxRow> = Table::new("outbox");
const PENDING: Table<PendingRow> = Table::new("outbox-pending");
const ORDERS: Table<OrderOfJob> = Table::new("outbox-orders");
const COUNTER: &str = "outbox";

/// Index rows read at once while the next messages are looked for.
const PAGE: usize = 500;

/// What a message is to the outbox: how it is published and how long its row stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OutgoingKind {
    /// Something happened; its subject is used once.
    Fact,
    /// The planner tells a worker. Stays until its effect is confirmed.
    Order,
    /// A service asks another one for something.
    Request,
    /// What workers do until they are told otherwise; the newest on its subject counts.
    Assignment,
    /// A job is to stop.
    Stop,
    /// A message that nobody could handle.
    DeadLetter,
}

/// A message on its way out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outgoing {
    /// Whose bus.
    pub region: Region,
    /// The stream that must take it.
    pub stream: String,
    /// Where to.
    pub subject: String,
    /// The message; its `id` and `traceparent` also travel in the headers.
    pub envelope: Envelope,
    /// What it is.
    pub kind: OutgoingKind,
    /// The job it belongs to; an order must have one to be confirmed.
    pub job: Option<JobId>,
}

/// A message that was written down.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OutboxRow {
    /// Its number in this outbox, from 1.
    pub number: u64,
    /// The message.
    pub outgoing: Outgoing,
    /// When it was written down.
    pub enqueued_at: Timestamp,
    /// How often it was issued again after an acknowledgement.
    pub reissued: u32,
    /// Sequence in the stream, once the bus acknowledged it; 0 where the bus had it and did not say where.
    pub published: Option<u64>,
}

impl Record for OutboxRow {
    const VERSION: u8 = 1;
}

#[derive(Debug, Serialize, Deserialize)]
struct PendingRow {
    lane: Lane,
    enqueued_at: Timestamp,
}

impl Record for PendingRow {
    const VERSION: u8 = 1;
}

#[derive(Debug, Serialize, Deserialize)]
struct OrderOfJob {}

impl Record for OrderOfJob {
    const VERSION: u8 = 1;
}

/// How much waits for the bus.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Depth {
    /// Messages without an acknowledgement.
    pub pending: u64,
    /// When the oldest of them was written down.
    pub oldest: Option<Timestamp>,
}

/// How far the facts for a region have come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ToldUpTo {
    /// Number of the message that was written down last, whatever it is and wherever it goes.
    pub written: u64,
    /// The bus of the region has every fact with a number up to this one.
    pub told: u64,
}

impl OutboxRow {
    /// The message as the bus takes it.
    pub(crate) fn publish(&self) -> Result<Publish, serde_json::Error> {
        let Outgoing { stream, subject, envelope, kind, .. } = &self.outgoing;
        // The bus forgets messages that were settled, but not their ids at once: a second issue under the first id would be
        // taken for a repetition and dropped.
        let id = match self.reissued {
            0 => envelope.id.clone(),
            issue => format!("{}:{issue}", envelope.id),
        };
        Ok(Publish {
            subject: subject.clone(),
            id,
            payload: envelope.to_bytes()?.into(),
            traceparent: envelope.traceparent.clone(),
            expect_stream: stream.clone(),
            once_per_subject: *kind == OutgoingKind::Fact,
        })
    }

    fn lane(&self) -> Lane {
        match (self.outgoing.kind, self.outgoing.job) {
            (OutgoingKind::Order, _) | (_, None) => Lane::Subject(self.outgoing.subject.clone()),
            (_, Some(job)) => Lane::Job(job),
        }
    }
}

fn pending_prefix(region: &Region) -> Vec<u8> {
    let mut key = region.as_str().as_bytes().to_vec();
    key.push(0);
    key
}

fn pending_key(region: &Region, number: u64) -> Vec<u8> {
    let mut key = pending_prefix(region);
    key.extend_from_slice(&number.to_be_bytes());
    key
}

fn order_key(job: JobId, number: u64) -> Vec<u8> {
    let mut key = job.as_uuid().as_bytes().to_vec();
    key.extend_from_slice(&number.to_be_bytes());
    key
}

/// The row number at the end of an index key.
fn number_of(key: &[u8]) -> u64 {
    key.last_chunk::<8>().map_or(0, |number| u64::from_be_bytes(*number))
}

fn put_pending(tx: &mut Tx<'_>, row: &OutboxRow) -> Result<(), StoreError> {
    let pending = PendingRow { lane: row.lane(), enqueued_at: row.enqueued_at };
    tx.put(&PENDING, &pending_key(&row.outgoing.region, row.number), &pending)
}

pub(crate) fn enqueue(tx: &mut Tx<'_>, outgoing: &Outgoing, at: Timestamp) -> Result<u64, StoreError> {
    let number = tx.next_number(COUNTER)?;
    let row = OutboxRow { number, outgoing: outgoing.clone(), enqueued_at: at, reissued: 0, published: None };
    tx.put(&OUTBOX, &number.to_be_bytes(), &row)?;
    if let (OutgoingKind::Order, Some(job)) = (outgoing.kind, outgoing.job) {
        tx.put(&ORDERS, &order_key(job, number), &OrderOfJob {})?;
    }
    put_pending(tx, &row)?;
    Ok(number)
}

/// The rows of a region without an acknowledgement, in order, until `look` has seen enough.
fn visit(
    tx: &Tx<'_>,
    region: &Region,
    mut look: impl FnMut(u64, Lane) -> Result<ControlFlow<()>, StoreError>,
) -> Result<(), StoreError> {
    let mut from = pending_key(region, 0);
    let mut end = pending_prefix(region);
    end.extend_from_slice(&[0xff; 9]);
    loop {
        let page = tx.scan_range(&PENDING, from.clone()..end.clone(), PAGE)?;
        let Some((last, _)) = page.last() else { return Ok(()) };
        from = pending_key(region, number_of(last).saturating_add(1));
        for (key, pending) in page {
            if look(number_of(&key), pending.lane)?.is_break() {
                return Ok(());
            }
        }
    }
}

/// The next rows of a region, in order, none of a lane that is held; at most `limit`.
pub(crate) fn next(
    tx: &Tx<'_>,
    region: &Region,
    held: impl Fn(&Lane) -> bool,
    limit: usize,
) -> Result<Vec<Pending>, StoreError> {
    let mut chosen = Vec::new();
    visit(tx, region, |number, lane| {
        if chosen.len() >= limit {
            return Ok(ControlFlow::Break(()));
        }
        if !held(&lane)
            && let Some(row) = tx.get(&OUTBOX, &number.to_be_bytes())?
        {
            chosen.push(Pending { lane, row });
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(chosen)
}

/// Takes note of an acknowledgement. A row that was confirmed meanwhile is gone, one that was issued again meanwhile waits
/// for an acknowledgement of its own.
pub(crate) fn mark_published(tx: &mut Tx<'_>, number: u64, reissued: u32, sequence: u64) -> Result<(), StoreError> {
    let key = number.to_be_bytes();
    let Some(mut row) = tx.get(&OUTBOX, &key)? else { return Ok(()) };
    if row.reissued != reissued {
        return Ok(());
    }
    tx.delete(&PENDING, &pending_key(&row.outgoing.region, number))?;
    if row.outgoing.kind == OutgoingKind::Order && row.outgoing.job.is_some() {
        row.published = Some(sequence);
        tx.put(&OUTBOX, &key, &row)
    } else {
        tx.delete(&OUTBOX, &key).map(|_| ())
    }
}

/// Whether a row waits for its acknowledgement.
pub(crate) fn is_pending(tx: &Tx<'_>, number: u64) -> Result<bool, StoreError> {
    Ok(tx.get(&OUTBOX, &number.to_be_bytes())?.is_some_and(|row| row.published.is_none()))
}

pub(crate) fn confirm(tx: &mut Tx<'_>, job: JobId) -> Result<usize, StoreError> {
    let orders = tx.scan(&ORDERS, job.as_uuid().as_bytes())?;
    for (index, _) in &orders {
        let number = number_of(index);
        if let Some(row) = tx.get(&OUTBOX, &number.to_be_bytes())? {
            tx.delete(&PENDING, &pending_key(&row.outgoing.region, number))?;
            tx.delete(&OUTBOX, &number.to_be_bytes())?;
        }
        tx.delete(&ORDERS, index)?;
    }
    Ok(orders.len())
}

pub(crate) fn unconfirmed(tx: &Tx<'_>) -> Result<Vec<OutboxRow>, StoreError> {
    let mut rows = Vec::new();
    for (index, _) in tx.scan(&ORDERS, &[])? {
        if let Some(row) = tx.get(&OUTBOX, &number_of(&index).to_be_bytes())?
            && row.published.is_some()
        {
            rows.push(row);
        }
    }
    rows.sort_by_key(|row| row.number);
    Ok(rows)
}

pub(crate) fn reissue(tx: &mut Tx<'_>, number: u64) -> Result<bool, StoreError> {
    let key = number.to_be_bytes();
    let Some(mut row) = tx.get(&OUTBOX, &key)? else { return Ok(false) };
    if row.published.take().is_none() {
        return Ok(false);
    }
    row.reissued = row.reissued.saturating_add(1);
    tx.put(&OUTBOX, &key, &row)?;
    put_pending(tx, &row)?;
    Ok(true)
}

pub(crate) fn depth_and_oldest(tx: &Tx<'_>) -> Result<Depth, StoreError> {
    let mut depth = Depth::default();
    for (_, row) in tx.scan(&PENDING, &[])? {
        depth.pending += 1;
        depth.oldest = Some(depth.oldest.map_or(row.enqueued_at, |oldest| oldest.min(row.enqueued_at)));
    }
    Ok(depth)
}

pub(crate) fn told_up_to(tx: &Tx<'_>, region: &Region) -> Result<ToldUpTo, StoreError> {
    let written = tx.last_number(COUNTER)?;
    let mut told = written;
    visit(tx, region, |number, _| {
        let row = tx.get(&OUTBOX, &number.to_be_bytes())?;
        // Orders may wait for hours.
        if row.is_none_or(|row| row.outgoing.kind != OutgoingKind::Fact) {
            return Ok(ControlFlow::Continue(()));
        }
        told = number.saturating_sub(1);
        Ok(ControlFlow::Break(()))
    })?;
    Ok(ToldUpTo { written, told })
}

/// How many messages wait per region.
pub(crate) fn depth_by_region(tx: &Tx<'_>) -> Result<BTreeMap<String, u64>, StoreError> {
    let mut regions = BTreeMap::new();
    for (key, _) in tx.scan(&PENDING, &[])? {
        let region = key.split(|byte| *byte == 0).next().unwrap_or_default();
        *regions.entry(String::from_utf8_lossy(region).into_owned()).or_default() += 1;
    }
    Ok(regions)
}
