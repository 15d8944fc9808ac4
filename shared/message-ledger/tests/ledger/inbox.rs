//! The memory of what was handled.

use message_ledger::Ledger;
use state_store::{StateStore, StoreError};

use crate::fake::at;

#[tokio::test]
async fn a_message_is_seen_once_it_was_marked_and_until_it_is_pruned() {
    let store = StateStore::in_memory();
    store
        .transact(|tx| {
            for (id, second) in [("old", 10), ("young", 20), ("old", 30)] {
                Ledger::mark_seen(tx, id, at(second))?;
            }
            Ok::<_, StoreError>(())
        })
        .await
        .unwrap();
    let seen = |id: &'static str| {
        let store = store.clone();
        async move { store.read(move |tx| Ledger::seen(tx, id)).await.unwrap() }
    };
    assert!(seen("old").await && seen("young").await && !seen("new").await);
    let pruned = store.transact(|tx| Ledger::prune(tx, at(20))).await.unwrap();
    assert_eq!(pruned, 1, "the first time counts");
    assert!(!seen("old").await && seen("young").await);
}

#[tokio::test]
async fn pruning_goes_in_steps_until_nothing_old_is_left() {
    let store = StateStore::in_memory();
    store
        .transact(|tx| (0..2500).try_for_each(|number| Ledger::mark_seen(tx, &format!("m{number}"), at(number))))
        .await
        .map_err(|error: state_store::TransactError<StoreError>| error)
        .unwrap();
    let mut steps = Vec::new();
    loop {
        match store.transact(|tx| Ledger::prune(tx, at(2400))).await.unwrap() {
            0 => break,
            pruned => steps.push(pruned),
        }
    }
    assert_eq!(steps, [1000, 1000, 400]);
    assert!(store.read(|tx| Ledger::seen(tx, "m2400")).await.unwrap());
    assert!(!store.read(|tx| Ledger::seen(tx, "m2399")).await.unwrap());
}
