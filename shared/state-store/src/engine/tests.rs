//! The engine on a database in memory whose commits and barriers can fail.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, Receiver};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::*;
use crate::backend::memory::Shared;
use crate::record::{Record, Table};
use crate::scan::Problem;

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Note(String);

impl Record for Note {
    const VERSION: u8 = 1;
}

const NOTES: Table<Note> = Table::new("notes");

/// A job that runs a closure and tells of its end.
struct Told<F> {
    closure: F,
    ended: mpsc::Sender<Result<(), StoreError>>,
}

impl<F: FnMut(&mut Tx<'_>) -> bool + Send> Job for Told<F> {
    fn run(&mut self, tx: &mut Tx<'_>) -> bool {
        (self.closure)(tx)
    }

    fn finish(self: Box<Self>, outcome: Result<(), StoreError>) {
        self.ended.send(outcome).unwrap();
    }
}

fn job(closure: impl FnMut(&mut Tx<'_>) -> bool + Send + 'static) -> (Box<dyn Job>, Receiver<Result<(), StoreError>>) {
    let (ended, end) = mpsc::channel();
    (Box::new(Told { closure, ended }), end)
}

fn put(key: &'static str) -> (Box<dyn Job>, Receiver<Result<(), StoreError>>) {
    job(move |tx| tx.put(&NOTES, key.as_bytes(), &Note(key.to_owned())).is_ok())
}

fn engine(backend: &Shared) -> (Engine, watch::Receiver<Option<StoreError>>) {
    let verified = Verified { instance: "test".to_owned(), number: 0, digests: BTreeMap::new() };
    let mut founded = backend.clone();
    founded.commit(&scan::founding(&verified)).unwrap();
    founded.barrier(0).unwrap();
    backend.lock().barriers = 0;
    let (failed, watched) = watch::channel(None);
    (Engine::new(Box::new(founded), verified, "test".to_owned(), OnFatal::Report, failed), watched)
}

fn notes(backend: &Shared) -> Vec<String> {
    let tx = Tx::new(backend);
    tx.scan(&NOTES, &[]).unwrap().into_iter().map(|(_, note)| note.0).collect()
}

#[test]
fn a_group_shares_one_barrier_and_is_answered_after_it() {
    let backend = Shared::default();
    let (mut engine, _) = engine(&backend);
    let (jobs, ends): (Vec<_>, Vec<_>) = [put("a"), put("b"), put("c")].into_iter().unzip();
    engine.run_group(jobs);
    assert_eq!(backend.lock().barriers, 1);
    assert!(ends.iter().all(|end| end.recv().unwrap().is_ok()));
    backend.lock().crash();
    assert_eq!(notes(&backend), ["a", "b", "c"]);
}

#[test]
fn reading_alone_needs_no_barrier() {
    let backend = Shared::default();
    let (mut engine, _) = engine(&backend);
    let (read, end) = job(|tx| tx.get(&NOTES, b"a").unwrap().is_none());
    engine.run_group(vec![read]);
    assert!(end.recv().unwrap().is_ok());
    assert_eq!(backend.lock().barriers, 0);
}

#[test]
fn what_a_closure_discards_is_not_there_and_the_others_of_its_group_are() {
    let backend = Shared::default();
    let (mut engine, _) = engine(&backend);
    let (refused, end) = job(|tx| {
        tx.put(&NOTES, b"b", &Note("b".to_owned())).unwrap();
        false
    });
    engine.run_group(vec![put("a").0, refused, put("c").0].into_iter().collect());
    assert!(end.recv().unwrap().is_ok());
    assert_eq!(notes(&backend), ["a", "c"]);
}

#[test]
fn a_failed_barrier_fails_the_whole_group_and_everything_after_it() {
    let backend = Shared::default();
    let (mut engine, failed) = engine(&backend);
    let (first, first_end) = put("a");
    engine.run_group(vec![first]);
    assert!(first_end.recv().unwrap().is_ok());

    backend.lock().faults.barrier.store(true, Ordering::SeqCst);
    let (jobs, ends): (Vec<_>, Vec<_>) = [put("b"), put("c")].into_iter().unzip();
    engine.run_group(jobs);
    assert!(ends.iter().all(|end| matches!(end.recv().unwrap(), Err(StoreError::Failed { .. }))));
    assert!(failed.borrow().is_some());

    backend.lock().faults.barrier.store(false, Ordering::SeqCst);
    let (late, late_end) = put("d");
    engine.run_group(vec![late]);
    assert!(late_end.recv().unwrap().is_err(), "a disk that failed once is not trusted again");
    backend.lock().crash();
    assert_eq!(notes(&backend), ["a"]);
}

#[test]
fn a_failed_commit_fails_the_group_and_runs_none_of_the_closures_behind_it() {
    let backend = Shared::default();
    let (mut engine, failed) = engine(&backend);
    backend.lock().faults.commit.store(true, Ordering::SeqCst);
    let (first, first_end) = put("a");
    let (second, second_end) = job(|_| panic!("must not run"));
    engine.run_group(vec![first, second]);
    assert!(first_end.recv().unwrap().is_err());
    assert!(second_end.recv().unwrap().is_err());
    assert!(failed.borrow().is_some());
}

#[test]
fn a_row_that_was_damaged_fails_the_store_even_if_the_closure_goes_on() {
    let backend = Shared::default();
    let (mut engine, failed) = engine(&backend);
    engine.run_group(vec![put("a").0].into_iter().collect());
    backend.lock().tamper("notes", b"a", Some(b"\x01\"a\"abcd".to_vec()));
    let (blind, end) = job(|tx| {
        assert!(matches!(tx.get(&NOTES, b"a"), Err(StoreError::Damaged { .. })));
        tx.put(&NOTES, b"b", &Note("b".to_owned())).is_ok()
    });
    engine.run_group(vec![blind]);
    assert!(matches!(end.recv().unwrap(), Err(StoreError::Damaged { .. })));
    assert!(failed.borrow().is_some());
}

/// Writes three notes and one in pieces, tampers, and scans.
fn scanned_after(tamper: impl FnOnce(&mut crate::backend::memory::Memory)) -> Result<Verified, Problem> {
    let backend = Shared::default();
    let (mut engine, _) = engine(&backend);
    let (large, _end) = job(|tx| tx.put(&NOTES, b"large", &Note("x".repeat(10_000))).is_ok());
    engine.run_group(vec![put("a").0, put("b").0, large].into_iter().collect());
    tamper(&mut backend.lock());
    scan::verify(&backend, Some(1), &|| ())
}

#[test]
fn the_scan_passes_what_was_written() {
    let verified = scanned_after(|_| ()).unwrap();
    assert_eq!((verified.number, verified.digests["notes"].rows), (3, 3));
}

/// Tree, key and the value it gets behind the store's back.
type Change<'a> = (&'a str, &'a [u8], Option<Vec<u8>>);

#[test]
fn the_scan_notices_a_changed_a_lost_and_a_foreign_row() {
    let good = crate::row::encode(&Note("z".to_owned())).unwrap();
    let changes: [Change<'_>; 7] = [
        ("notes", b"a", Some(b"\x01\"z\"abcd".to_vec())),
        ("notes", b"a", Some(good.clone())),
        ("notes", b"a", None),
        ("notes", b"z", Some(good.clone())),
        ("notes~pieces", b"large\0\0\0\x01", None),
        ("notes~pieces", b"large\0\0\0\x01", Some(vec![0; 3072])),
        ("others", b"z", Some(good)),
    ];
    for (tree, key, value) in changes {
        let scanned = scanned_after(|memory| memory.tamper(tree, key, value.clone()));
        assert!(matches!(scanned, Err(Problem::Damage(_))), "{tree} {} {value:?}", key.escape_ascii());
    }
}

#[test]
fn the_scan_notices_a_damaged_row_of_its_own() {
    for key in ["format", "instance", "number", "digest/notes"] {
        for value in [None, Some(vec![0; 12])] {
            let scanned = scanned_after(|memory| memory.tamper("~meta", key.as_bytes(), value.clone()));
            assert!(matches!(scanned, Err(Problem::Damage(_))), "{key} {value:?}");
        }
    }
}

#[test]
fn the_scan_notices_that_acknowledged_commits_are_missing() {
    let backend = Shared::default();
    let (mut engine, _) = engine(&backend);
    engine.run_group(vec![put("a").0].into_iter().collect());
    assert!(scan::verify(&backend, Some(1), &|| ()).is_ok());
    assert!(matches!(scan::verify(&backend, Some(2), &|| ()), Err(Problem::Damage(_))));
}
