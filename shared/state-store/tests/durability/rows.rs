//! The rows that the tests write: number `n` stands in two tables in the same transaction.

use std::path::Path;

use serde::{Deserialize, Serialize};
use state_store::{Record, StateStore, StoreConfig, StoreError, Table, Tx};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) number: u64,
    filling: String,
}

impl Record for Entry {
    const VERSION: u8 = 1;
}

pub(crate) const LEFT: Table<Entry> = Table::new("left");
pub(crate) const RIGHT: Table<Entry> = Table::new("right");

/// Every fifth row is stored in pieces.
fn entry(number: u64) -> Entry {
    let length = if number.is_multiple_of(5) { 20_000 } else { 200 };
    // Differs from row to row, so that a row in another's place is noticed.
    let filling = format!("{number:08}").repeat(length / 8);
    Entry { number, filling }
}

pub(crate) fn put(tx: &mut Tx<'_>, number: u64) -> Result<(), StoreError> {
    tx.put(&LEFT, &number.to_be_bytes(), &entry(number))?;
    tx.put(&RIGHT, &number.to_be_bytes(), &entry(number))?;
    let drawn = tx.next_number("rows")?;
    assert_eq!(drawn, number);
    Ok(())
}

pub(crate) async fn put_all(store: &StateStore, numbers: std::ops::RangeInclusive<u64>) {
    for number in numbers {
        store.transact(move |tx| put(tx, number)).await.unwrap();
    }
}

/// How many rows there are; they must be 1, 2, 3 and so on, whole and the same in both tables.
pub(crate) async fn count(store: &StateStore) -> u64 {
    let (left, right, next) = store
        .transact(|tx| Ok::<_, StoreError>((tx.scan(&LEFT, &[])?, tx.scan(&RIGHT, &[])?, tx.next_number("unused")?)))
        .await
        .unwrap();
    assert!(next > 0);
    assert_eq!(left, right, "half a transaction");
    for (position, (key, found)) in left.iter().enumerate() {
        let number = position as u64 + 1;
        assert_eq!(key.as_slice(), number.to_be_bytes());
        assert_eq!(*found, entry(number));
    }
    left.len() as u64
}

pub(crate) fn config(base: &Path) -> StoreConfig {
    StoreConfig::new(base.join("state"))
}
