//! The ids of messages that were handled.
//!
//! `inbox`: message id to the instant it was handled. `inbox-times`: that instant (milliseconds, `u64`, big-endian) and the
//! id, for pruning.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use state_store::{Record, StoreError, Table, Tx};

const INBOX: Table<Handled> = Table::new("inbox");
const TIMES: Table<HandledAt> = Table::new("inbox-times");

/// Ids that one call forgets: a transaction stays short.
const PRUNE_MAX: usize = 1000;

#[derive(Debug, Serialize, Deserialize)]
struct Handled {
    at: Timestamp,
}

impl Record for Handled {
    const VERSION: u8 = 1;
}

#[derive(Debug, Serialize, Deserialize)]
struct HandledAt {}

impl Record for HandledAt {
    const VERSION: u8 = 1;
}

/// Instants before 1970 count as 1970; no message is that old.
fn millis(at: Timestamp) -> [u8; 8] {
    u64::try_from(at.as_millisecond()).unwrap_or_default().to_be_bytes()
}

fn time_key(at: Timestamp, id: &str) -> Vec<u8> {
    let mut key = millis(at).to_vec();
    key.extend_from_slice(id.as_bytes());
    key
}

pub(crate) fn seen(tx: &Tx<'_>, id: &str) -> Result<bool, StoreError> {
    Ok(tx.get(&INBOX, id.as_bytes())?.is_some())
}

/// The first time counts.
pub(crate) fn mark_seen(tx: &mut Tx<'_>, id: &str, at: Timestamp) -> Result<(), StoreError> {
    if seen(tx, id)? {
        return Ok(());
    }
    tx.put(&INBOX, id.as_bytes(), &Handled { at })?;
    tx.put(&TIMES, &time_key(at, id), &HandledAt {})
}

pub(crate) fn prune(tx: &mut Tx<'_>, before: Timestamp) -> Result<usize, StoreError> {
    let old = tx.scan_range(&TIMES, vec![0]..millis(before).to_vec(), PRUNE_MAX)?;
    for (key, _) in &old {
        tx.delete(&TIMES, key)?;
        if let Some(id) = key.get(8..) {
            tx.delete(&INBOX, id)?;
        }
    }
    Ok(old.len())
}
