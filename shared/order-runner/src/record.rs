//! What a worker remembers of its attempts, and the transactions that change it.
//!
//! `attempts`: job (16 bytes) and number of the attempt (`u32`, big-endian) to [`AttemptRow`]. `checkpoints`: job to what
//! its work wants to find again, also in a later attempt. `epochs`: lease key to the highest epoch seen.
//! `generations`: region to the highest generation of the planner seen.

use jiff::{SignedDuration, Timestamp};
use job_model::JobId;
use message_ledger::{Ledger, Outgoing};
use serde::{Deserialize, Serialize};
use state_store::{Record, StoreError, Table, Tx};

const ATTEMPTS: Table<AttemptRow> = Table::new("attempts");
const CHECKPOINTS: Table<Checkpoint> = Table::new("checkpoints");
const EPOCHS: Table<Highest> = Table::new("epochs");
const GENERATIONS: Table<Highest> = Table::new("generations");

/// How long an attempt that ended is remembered. The planner re-creates orders within minutes.
const KEEP: SignedDuration = SignedDuration::from_hours(30 * 24);

/// One try at an order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct AttemptRow {
    /// Id of the order's message.
    pub(crate) order_id: String,
    /// Lease it runs under.
    pub(crate) epoch: u64,
    /// When it was last taken up.
    pub(crate) started_at: Timestamp,
    /// Facts it has told under this epoch.
    pub(crate) facts: u64,
    /// Its result, once there is one.
    pub(crate) result: Option<Outgoing>,
}

impl Record for AttemptRow {
    const VERSION: u8 = 1;
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Checkpoint {
    pub(crate) value: serde_json::Value,
}

impl Record for Checkpoint {
    const VERSION: u8 = 1;
}

#[derive(Debug, Serialize, Deserialize)]
struct Highest {
    value: u64,
}

impl Record for Highest {
    const VERSION: u8 = 1;
}

/// Which attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct AttemptKey {
    pub(crate) job: JobId,
    pub(crate) number: u32,
}

impl AttemptKey {
    fn bytes(self) -> Vec<u8> {
        let mut key = self.job.as_uuid().as_bytes().to_vec();
        key.extend_from_slice(&self.number.to_be_bytes());
        key
    }
}

/// What is known of an order when it comes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Known {
    /// Nothing, or that it was begun and not ended: it is to be carried out.
    Open,
    /// It has a result.
    Ended(Box<Outgoing>),
    /// A later attempt of the job, or a later generation of the planner, was seen: it must not be carried out.
    Superseded(String),
}

pub(crate) fn look_up(
    tx: &Tx<'_>,
    key: AttemptKey,
    region: &str,
    generation: Option<u64>,
) -> Result<Known, StoreError> {
    if let Some(AttemptRow { result: Some(result), .. }) = tx.get(&ATTEMPTS, &key.bytes())? {
        return Ok(Known::Ended(Box::new(result)));
    }
    let newest = highest(tx, &GENERATIONS, region)?;
    if generation.is_some_and(|generation| generation < newest) {
        return Ok(Known::Superseded(format!("the planner's generation is `{newest}` by now")));
    }
    let attempts = tx.scan(&ATTEMPTS, key.job.as_uuid().as_bytes())?;
    let newest = attempts.last().and_then(|(key, _)| key.last_chunk::<4>()).map_or(0, |n| u32::from_be_bytes(*n));
    if newest > key.number {
        return Ok(Known::Superseded(format!("attempt `{newest}` of the job was begun")));
    }
    Ok(Known::Open)
}

/// The attempt runs from now on under this epoch.
pub(crate) fn begin(
    tx: &mut Tx<'_>,
    key: AttemptKey,
    order_id: &str,
    epoch: u64,
    at: Timestamp,
) -> Result<(), StoreError> {
    let row = AttemptRow { order_id: order_id.to_owned(), epoch, started_at: at, facts: 0, result: None };
    tx.put(&ATTEMPTS, &key.bytes(), &row)
}

pub(crate) fn note_generation(tx: &mut Tx<'_>, region: &str, generation: Option<u64>) -> Result<(), StoreError> {
    raise(tx, &GENERATIONS, region, generation.unwrap_or_default())
}

pub(crate) fn note_epoch(tx: &mut Tx<'_>, lease_key: &str, epoch: u64) -> Result<(), StoreError> {
    raise(tx, &EPOCHS, lease_key, epoch)
}

pub(crate) fn highest_epoch(tx: &Tx<'_>, lease_key: &str) -> Result<u64, StoreError> {
    highest(tx, &EPOCHS, lease_key)
}

/// The number of the attempt's next fact under its epoch. `None`: it was taken up under another epoch meanwhile, or has
/// its result; this epoch says nothing more.
pub(crate) fn next_fact(tx: &mut Tx<'_>, key: AttemptKey, epoch: u64) -> Result<Option<u64>, StoreError> {
    let Some(mut row) = tx.get(&ATTEMPTS, &key.bytes())? else { return Ok(None) };
    if row.epoch != epoch || row.result.is_some() {
        return Ok(None);
    }
    row.facts += 1;
    tx.put(&ATTEMPTS, &key.bytes(), &row)?;
    Ok(Some(row.facts))
}

/// Keeps the result, and writes its fact down to be published. `forget_checkpoint` when no later attempt needs it.
pub(crate) fn end(
    tx: &mut Tx<'_>,
    key: AttemptKey,
    result: &Outgoing,
    forget_checkpoint: bool,
    at: Timestamp,
) -> Result<u64, StoreError> {
    if let Some(mut row) = tx.get(&ATTEMPTS, &key.bytes())? {
        row.result = Some(result.clone());
        tx.put(&ATTEMPTS, &key.bytes(), &row)?;
    }
    if forget_checkpoint {
        tx.delete(&CHECKPOINTS, key.job.as_uuid().as_bytes())?;
    }
    Ledger::enqueue(tx, result, at)
}

pub(crate) fn save_checkpoint(tx: &mut Tx<'_>, job: JobId, value: serde_json::Value) -> Result<(), StoreError> {
    tx.put(&CHECKPOINTS, job.as_uuid().as_bytes(), &Checkpoint { value })
}

pub(crate) fn load_checkpoint(tx: &Tx<'_>, job: JobId) -> Result<Option<serde_json::Value>, StoreError> {
    Ok(tx.get(&CHECKPOINTS, job.as_uuid().as_bytes())?.map(|checkpoint| checkpoint.value))
}

/// Forgets attempts that were begun long ago, with their checkpoints; returns how many. What is still open is not
/// forgotten by it: its order comes again and is taken up anew.
pub(crate) fn prune(tx: &mut Tx<'_>, now: Timestamp) -> Result<usize, StoreError> {
    let before = now.saturating_sub(KEEP).unwrap_or(Timestamp::MIN);
    let mut forgotten = 0;
    for (key, row) in tx.scan(&ATTEMPTS, &[])? {
        if row.started_at < before {
            tx.delete(&ATTEMPTS, &key)?;
            if let Some(job) = key.get(..16) {
                tx.delete(&CHECKPOINTS, job)?;
            }
            forgotten += 1;
        }
    }
    Ok(forgotten)
}

fn highest(tx: &Tx<'_>, table: &Table<Highest>, key: &str) -> Result<u64, StoreError> {
    Ok(tx.get(table, key.as_bytes())?.map_or(0, |highest| highest.value))
}

fn raise(tx: &mut Tx<'_>, table: &Table<Highest>, key: &str, value: u64) -> Result<(), StoreError> {
    if value > highest(tx, table, key)? { tx.put(table, key.as_bytes(), &Highest { value }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use state_store::StateStore;
    use uuid::Uuid;

    fn key(number: u32) -> AttemptKey {
        AttemptKey { job: JobId::new(Uuid::from_u128(1)), number }
    }

    #[tokio::test]
    async fn an_order_of_an_earlier_attempt_or_generation_is_superseded() {
        let store = StateStore::in_memory();
        let known = store
            .transact(|tx| {
                begin(tx, key(2), "o2", 7, Timestamp::UNIX_EPOCH)?;
                note_generation(tx, "r-1", Some(5))?;
                note_generation(tx, "r-1", Some(4))?;
                Ok::<_, StoreError>([
                    look_up(tx, key(1), "r-1", Some(5))?,
                    look_up(tx, key(2), "r-1", Some(5))?,
                    look_up(tx, key(3), "r-1", Some(4))?,
                    look_up(tx, key(3), "r-2", Some(4))?,
                    look_up(tx, key(3), "r-1", None)?,
                ])
            })
            .await
            .unwrap();
        assert!(matches!(known[0], Known::Superseded(_)));
        assert_eq!(known[1], Known::Open);
        assert!(matches!(known[2], Known::Superseded(_)));
        assert_eq!((&known[3], &known[4]), (&Known::Open, &Known::Open));
    }

    #[tokio::test]
    async fn an_epoch_that_was_followed_by_another_says_nothing_more() {
        let store = StateStore::in_memory();
        let numbers = store
            .transact(|tx| {
                begin(tx, key(1), "o1", 7, Timestamp::UNIX_EPOCH)?;
                let first = [next_fact(tx, key(1), 7)?, next_fact(tx, key(1), 7)?];
                begin(tx, key(1), "o1", 8, Timestamp::UNIX_EPOCH)?;
                Ok::<_, StoreError>((first, next_fact(tx, key(1), 7)?, next_fact(tx, key(1), 8)?))
            })
            .await
            .unwrap();
        assert_eq!(numbers, ([Some(1), Some(2)], None, Some(1)));
    }

    #[tokio::test]
    async fn old_attempts_are_forgotten_with_their_checkpoints() {
        let store = StateStore::in_memory();
        let left = store
            .transact(|tx| {
                begin(tx, key(1), "o1", 7, Timestamp::UNIX_EPOCH)?;
                save_checkpoint(tx, key(1).job, serde_json::json!({"at": 3}))?;
                let month = Timestamp::UNIX_EPOCH + KEEP;
                let early = prune(tx, month)?;
                let late = prune(tx, month + SignedDuration::from_secs(1))?;
                Ok::<_, StoreError>((early, late, load_checkpoint(tx, key(1).job)?))
            })
            .await
            .unwrap();
        assert_eq!(left, (0, 1, None));
    }
}
