//! Opening, closing, identity, and who may have the directory.

use rustix::fs::{FlockOperation, flock};
use state_store::{OnFatal, OpenError, Recovery, StateStore, StoreError};

use crate::child::Writer;
use crate::rows;

#[tokio::test]
async fn a_store_that_is_opened_again_is_clean_and_keeps_rows_and_identity() {
    let base = tempfile::tempdir().unwrap();
    let first = StateStore::open(&rows::config(base.path())).unwrap();
    assert_eq!(first.recovery, Recovery::Created);
    rows::put_all(&first.store, 1..=20).await;
    let identity = first.store.instance_id();
    drop(first);
    let second = StateStore::open(&rows::config(base.path())).unwrap();
    assert_eq!(second.recovery, Recovery::Clean);
    assert_eq!(second.store.instance_id(), identity);
    assert_eq!(rows::count(&second.store).await, 20);
}

#[tokio::test]
async fn two_directories_have_two_identities() {
    let base = tempfile::tempdir().unwrap();
    let open = |name: &str| StateStore::open(&rows::config(&base.path().join(name))).unwrap().store;
    assert_ne!(open("a").instance_id(), open("b").instance_id());
}

#[tokio::test]
async fn a_second_store_on_the_same_directory_is_refused_by_name() {
    let base = tempfile::tempdir().unwrap();
    let config = rows::config(base.path());
    let first = StateStore::open(&config).unwrap();
    let second = StateStore::open(&config).unwrap_err();
    assert!(matches!(second, OpenError::InUse { .. }), "{second}");
    assert!(second.to_string().contains(&config.dir.display().to_string()));
    drop(first);
    StateStore::open(&config).unwrap();
}

#[test]
fn a_directory_that_another_process_has_is_refused_and_stays_as_it_is() {
    let base = tempfile::tempdir().unwrap();
    let mut writer = Writer::start(base.path());
    assert!(writer.read(3));
    let refused = StateStore::open(&rows::config(base.path()));
    assert!(matches!(refused, Err(OpenError::InUse { .. })), "{refused:?}");
    assert!(writer.read(3), "the first process is not disturbed");
    writer.kill();
}

/// sled lets go of its file when its last I/O thread is through, which on a busy machine is after the handle is gone. A
/// worker that took that for another process ended at its first start, and its orders waited for ever.
#[test]
fn a_data_file_that_an_earlier_handle_still_locks_is_waited_for() {
    let base = tempfile::tempdir().unwrap();
    let config = rows::config(base.path());
    drop(StateStore::open(&config).unwrap());
    let held = std::fs::File::open(config.dir.join("db")).unwrap();
    // The earlier handle may have the lock for a moment more, too.
    flock(&held, FlockOperation::LockExclusive).unwrap();
    let opening = std::thread::spawn(move || StateStore::open(&config));
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert!(!opening.is_finished(), "it waits");
    drop(held);
    assert_eq!(opening.join().unwrap().unwrap().recovery, Recovery::Clean);
}

#[tokio::test]
async fn a_closed_store_refuses_and_its_directory_is_free() {
    let base = tempfile::tempdir().unwrap();
    let config = rows::config(base.path());
    let first = StateStore::open(&config).unwrap().store;
    let clone = first.clone();
    rows::put_all(&first, 1..=1).await;
    first.close().await;
    let late = clone.read(|tx| tx.get(&rows::LEFT, b"k")).await;
    assert!(matches!(late, Err(StoreError::Closed { .. })), "{late:?}");
    let second = StateStore::open(&config).unwrap();
    assert_eq!(rows::count(&second.store).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_that_come_together_are_all_served() {
    let base = tempfile::tempdir().unwrap();
    let store = StateStore::open(&rows::config(base.path())).unwrap().store;
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..500 {
        let store = store.clone();
        callers.spawn(async move { store.transact(|tx| tx.next_number("callers")).await.unwrap() });
    }
    let mut numbers = callers.join_all().await;
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=500).collect::<Vec<u64>>());
}

#[test]
fn a_directory_with_other_files_is_refused() {
    let base = tempfile::tempdir().unwrap();
    let mut config = rows::config(base.path());
    config.on_fatal = OnFatal::Report;
    std::fs::create_dir(&config.dir).unwrap();
    std::fs::write(config.dir.join("thesis.txt"), "do not touch").unwrap();
    let refused = StateStore::open(&config).unwrap_err();
    assert!(matches!(refused, OpenError::Foreign { .. }), "{refused}");
    assert_eq!(std::fs::read(config.dir.join("thesis.txt")).unwrap(), b"do not touch");
}

#[test]
fn an_empty_directory_becomes_a_store() {
    let base = tempfile::tempdir().unwrap();
    let config = rows::config(base.path());
    std::fs::create_dir(&config.dir).unwrap();
    assert_eq!(StateStore::open(&config).unwrap().recovery, Recovery::Created);
}

#[test]
fn a_creation_that_was_cut_off_is_begun_again() {
    let base = tempfile::tempdir().unwrap();
    let config = rows::config(base.path());
    std::fs::create_dir(base.path().join("state.new")).unwrap();
    std::fs::write(base.path().join("state.new/db"), vec![0; 700]).unwrap();
    assert_eq!(StateStore::open(&config).unwrap().recovery, Recovery::Created);
}
