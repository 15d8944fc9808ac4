//! Transactions against a model, with crashes.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::*;
use crate::backend::memory::{Memory, Shared};
use crate::config::OnFatal;
use crate::engine::{Engine, Job};
use crate::scan::{self, Verified};
use crate::{StateStore, TransactError};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Text(String);

impl Record for Text {
    const VERSION: u8 = 1;
}

const TABLES: [Table<Text>; 2] = [Table::new("left"), Table::new("right")];

type Model = BTreeMap<(usize, Vec<u8>), Text>;

#[derive(Clone, Debug)]
enum Change {
    Put { table: usize, key: Vec<u8>, length: usize },
    Delete { table: usize, key: Vec<u8> },
}

/// How a transaction ends.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Committed,
    Refused,
    /// Committed, then the power fails before the barrier.
    Crashed,
}

fn key() -> impl Strategy<Value = Vec<u8>> {
    vec(prop_oneof![Just(0_u8), Just(b'a'), Just(0xff)], 1..4)
}

fn change() -> impl Strategy<Value = Change> {
    let table = 0..TABLES.len();
    // Around the limits of one, two and several pieces.
    let length = prop_oneof![0..40_usize, 3050..3080_usize, 6100..6160_usize, Just(20_000)];
    prop_oneof![
        3 => (table.clone(), key(), length).prop_map(|(table, key, length)| Change::Put { table, key, length }),
        2 => (table, key()).prop_map(|(table, key)| Change::Delete { table, key }),
    ]
}

fn transaction() -> impl Strategy<Value = (Vec<Change>, End)> {
    (vec(change(), 0..8), prop_oneof![4 => Just(End::Committed), 1 => Just(End::Refused), 1 => Just(End::Crashed)])
}

fn apply(tx: &mut Tx<'_>, model: &mut Model, change: &Change) {
    match change {
        Change::Put { table, key, length } => {
            let text = Text("x".repeat(*length));
            tx.put(&TABLES[*table], key, &text).unwrap();
            model.insert((*table, key.clone()), text);
        }
        Change::Delete { table, key } => {
            let there = tx.delete(&TABLES[*table], key).unwrap();
            assert_eq!(there, model.remove(&(*table, key.clone())).is_some());
        }
    }
}

fn compare(tx: &Tx<'_>, model: &Model) {
    for (index, table) in TABLES.iter().enumerate() {
        let expected: Vec<_> = model
            .iter()
            .filter(|((t, _), _)| *t == index)
            .map(|((_, key), text)| (key.clone(), text.clone()))
            .collect();
        assert_eq!(tx.scan(table, &[]).unwrap(), expected);
        assert_eq!(tx.last(table).unwrap(), expected.last().cloned());
        for prefix in [&b"\0"[..], b"a", b"a\xff", b"\xff", b"\xff\xff"] {
            let matching: Vec<_> = expected.iter().filter(|(key, _)| key.starts_with(prefix)).cloned().collect();
            assert_eq!(tx.scan(table, prefix).unwrap(), matching);
        }
        for limit in [0, 1, 3] {
            let (start, end) = (b"\0\xff".to_vec(), b"\xff\0".to_vec());
            let matching: Vec<_> =
                expected.iter().filter(|(key, _)| (&start..&end).contains(&key)).take(limit).cloned().collect();
            assert_eq!(tx.scan_range(table, start..end, limit).unwrap(), matching);
        }
        for (key, text) in &expected {
            assert_eq!(tx.get(table, key).unwrap().as_ref(), Some(text));
        }
    }
}

/// Runs changes against store and model side by side.
struct Compared {
    changes: Vec<Change>,
    model: Model,
    end: End,
    answer: std::sync::mpsc::Sender<(Model, Result<(), StoreError>)>,
}

impl Job for Compared {
    fn run(&mut self, tx: &mut Tx<'_>) -> bool {
        compare(tx, &self.model);
        for change in &self.changes {
            apply(tx, &mut self.model, change);
        }
        compare(tx, &self.model);
        self.end != End::Refused
    }

    fn finish(self: Box<Self>, outcome: Result<(), StoreError>) {
        self.answer.send((self.model, outcome)).unwrap();
    }
}

fn start(disk: &Shared, verified: Verified) -> Engine {
    Engine::new(Box::new(disk.clone()), verified, "test".to_owned(), OnFatal::Report, watch::channel(None).0)
}

fn check(transactions: Vec<(Vec<Change>, End)>) {
    let mut disk = Shared::default();
    let empty = Verified { instance: "test".to_owned(), number: 0, digests: BTreeMap::new() };
    disk.commit(&scan::founding(&empty)).unwrap();
    disk.barrier(0).unwrap();
    let mut engine = start(&disk, empty);
    let mut model = Model::new();
    for (changes, end) in transactions {
        disk.lock().faults.barrier.store(end == End::Crashed, Ordering::SeqCst);
        let (answer, answered) = std::sync::mpsc::channel();
        engine.run_group(vec![Box::new(Compared { changes, model: model.clone(), end, answer })]);
        let (after, outcome) = answered.recv().unwrap();
        match (end, outcome) {
            (End::Committed, Ok(())) => model = after,
            (End::Refused, Ok(())) => {}
            // A transaction that changes nothing has no barrier to fail.
            (End::Crashed, Ok(())) => assert_eq!(after, model),
            (End::Crashed, Err(StoreError::Failed { .. })) => {
                disk.lock().crash();
                let verified = scan::verify(&disk, Some(engine.number() - 1), &|| ());
                engine = start(&disk, verified.unwrap());
            }
            (end, outcome) => panic!("{end:?} ended with {outcome:?}"),
        }
    }
    disk.lock().faults.barrier.store(false, Ordering::SeqCst);
    let verified = scan::verify(&disk, Some(engine.number()), &|| ()).unwrap();
    assert_eq!(verified.number, engine.number());
    compare(&Tx::new(&disk), &model);
    assert_eq!(pieces_in(&disk), model.values().map(pieces_of).sum::<usize>(), "pieces without a row");
}

fn pieces_in(disk: &Shared) -> usize {
    let mut found = 0;
    for table in &TABLES {
        let tree = row::pieces_tree(table.name());
        disk.visit(&tree, crate::backend::ALL_KEYS, Direction::Forward, &mut |_, _| {
            found += 1;
            ControlFlow::Continue(())
        })
        .unwrap();
    }
    found
}

fn pieces_of(text: &Text) -> usize {
    match row::encode(text).unwrap().len() {
        bytes if bytes <= row::PIECE_BYTES => 0,
        bytes => bytes.div_ceil(row::PIECE_BYTES),
    }
}

#[test]
fn transactions_read_and_write_as_a_map_would_and_crashes_lose_only_what_was_not_acknowledged() {
    let seed = std::env::var("STATE_STORE_SEED").unwrap_or_else(|_| crate::instance::draw().unwrap());
    println!("STATE_STORE_SEED={seed}");
    let mut bytes = [0; 32];
    for (to, from) in bytes.iter_mut().zip(seed.bytes()) {
        *to = from;
    }
    let config = Config { cases: 200, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    let checked = runner.run(&vec(transaction(), 1..15), |transactions| {
        check(transactions);
        Ok(())
    });
    checked.unwrap();
}

#[test]
fn a_row_that_shrinks_or_goes_leaves_no_pieces_behind() {
    let disk = Shared::default();
    let mut tx = Tx::new(&disk);
    for length in [30_000, 4_000, 10] {
        tx.put(&TABLES[0], b"k", &Text("x".repeat(length))).unwrap();
    }
    let (writes, _) = tx.finish();
    assert!(writes["left~pieces"].values().all(Option::is_none));
    let mut tx = Tx::new(&disk);
    tx.put(&TABLES[0], b"k", &Text("x".repeat(30_000))).unwrap();
    assert!(tx.delete(&TABLES[0], b"k").unwrap());
    let (writes, _) = tx.finish();
    assert!(writes.values().flat_map(BTreeMap::values).all(Option::is_none));
}

#[test]
fn rows_keys_and_names_beyond_the_limits_are_refused_and_change_nothing() {
    let disk = Memory::default();
    let mut tx = Tx::new(&disk);
    let large = tx.put(&TABLES[0], b"k", &Text("x".repeat(ROW_BYTES_MAX)));
    assert!(matches!(large, Err(StoreError::TooLarge { bytes, .. }) if bytes > ROW_BYTES_MAX));
    let fitting = Text("x".repeat(ROW_BYTES_MAX - 7));
    tx.put(&TABLES[0], &[7; KEY_BYTES_MAX], &fitting).unwrap();
    assert_eq!(tx.get(&TABLES[0], &[7; KEY_BYTES_MAX]).unwrap(), Some(fitting));
    for key in [&[][..], &[7; KEY_BYTES_MAX + 1]] {
        assert!(matches!(tx.put(&TABLES[0], key, &Text(String::new())), Err(StoreError::KeySize { .. })));
    }
    for name in ["", "~meta", "a~pieces", "Upper", "1st"] {
        let put = tx.put(&Table::new(name), b"k", &Text(String::new()));
        assert!(matches!(put, Err(StoreError::TableName { .. })), "{name}");
    }
    assert_eq!(tx.scan(&TABLES[0], &[]).unwrap().len(), 1);
}

#[test]
fn an_old_row_is_upgraded_and_a_newer_one_is_refused() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct First {
        name: String,
    }
    impl Record for First {
        const VERSION: u8 = 1;
    }
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Second {
        full_name: String,
    }
    impl Record for Second {
        const VERSION: u8 = 2;
        fn upgrade(from: u8, mut json: serde_json::Value) -> Result<serde_json::Value, String> {
            assert_eq!(from, 1);
            Ok(serde_json::json!({ "full_name": json["name"].take() }))
        }
    }
    let disk = Memory::default();
    let mut tx = Tx::new(&disk);
    tx.put(&Table::new("people"), b"k", &First { name: "Ada".to_owned() }).unwrap();
    assert_eq!(tx.get(&Table::new("people"), b"k").unwrap(), Some(Second { full_name: "Ada".to_owned() }));
    tx.put(&Table::new("people"), b"k", &Second { full_name: "Ada".to_owned() }).unwrap();
    let newer = tx.get(&Table::<First>::new("people"), b"k");
    assert!(matches!(newer, Err(StoreError::Decode { version: 2, .. })), "{newer:?}");
    assert!(tx.finish().1.is_none(), "a row of another version is no damage");
}

#[tokio::test]
async fn counters_begin_at_one_and_a_discarded_number_is_drawn_again() {
    let store = StateStore::in_memory();
    for expected in [1, 2] {
        let drawn = store.transact(|tx| tx.next_number("n")).await.unwrap();
        assert_eq!(drawn, expected);
        let refused: Result<(), TransactError<StoreError>> = store
            .transact(|tx| {
                tx.next_number("n")?;
                Err(StoreError::Closed { store: "refused".to_owned() })
            })
            .await;
        assert!(matches!(refused, Err(TransactError::Refused(StoreError::Closed { .. }))));
    }
    assert_eq!(store.read(|tx| tx.last_number("n")).await.unwrap(), 2);
    assert_eq!(store.read(|tx| tx.last_number("other")).await.unwrap(), 0);
    assert_eq!(store.transact(|tx| tx.next_number("other")).await.unwrap(), 1);
}

#[tokio::test]
async fn a_panic_changes_nothing_and_continues_in_the_caller() {
    let store = StateStore::in_memory();
    let task = tokio::spawn({
        let store = store.clone();
        async move {
            let panicked: Result<(), TransactError<StoreError>> = store
                .transact(|tx| {
                    tx.put(&TABLES[0], b"k", &Text("lost".to_owned()))?;
                    panic!("closure")
                })
                .await;
            drop(panicked);
        }
    });
    assert!(task.await.unwrap_err().is_panic());
    assert_eq!(store.read(|tx| tx.get(&TABLES[0], b"k")).await.unwrap(), None);
}
