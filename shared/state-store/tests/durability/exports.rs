//! Exports and imports.

use jiff::Timestamp;
use state_store::{ImportError, Recovery, StateStore};

use crate::rows;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

#[tokio::test]
async fn an_import_brings_every_row_back_under_a_new_identity() {
    let base = tempfile::tempdir().unwrap();
    let store = StateStore::open(&rows::config(base.path())).unwrap().store;
    rows::put_all(&store, 1..=50).await;
    let file = store.export(at(0)).await.unwrap();
    let target = rows::config(&base.path().join("other"));
    let summary = StateStore::import(&file, &target).unwrap();
    assert_eq!(summary.exported_from, store.instance_id());
    assert_eq!(summary.exported_at, at(0));
    let opened = StateStore::open(&target).unwrap();
    assert_eq!(opened.recovery, Recovery::Clean);
    assert_eq!(opened.store.instance_id(), summary.instance);
    assert_ne!(summary.instance, summary.exported_from);
    assert_eq!(rows::count(&opened.store).await, 50);
    rows::put_all(&opened.store, 51..=51).await;
}

#[tokio::test]
async fn an_import_never_replaces_state() {
    let base = tempfile::tempdir().unwrap();
    let config = rows::config(base.path());
    let store = StateStore::open(&config).unwrap().store;
    let file = store.export(at(0)).await.unwrap();
    rows::put_all(&store, 1..=3).await;
    let in_use = StateStore::import(&file, &config).unwrap_err();
    assert!(matches!(in_use, ImportError::Open(_)), "{in_use}");
    store.close().await;
    let occupied = StateStore::import(&file, &config).unwrap_err();
    assert!(matches!(occupied, ImportError::Occupied { .. }), "{occupied}");
    assert_eq!(rows::count(&StateStore::open(&config).unwrap().store).await, 3);
}

#[tokio::test]
async fn the_newest_forty_eight_exports_stay() {
    let base = tempfile::tempdir().unwrap();
    let config = rows::config(base.path());
    let store = StateStore::open(&config).unwrap().store;
    let mut files = Vec::new();
    for hour in 0..50 {
        files.push(store.export(at(hour * 3600)).await.unwrap());
    }
    let mut found: Vec<_> = std::fs::read_dir(config.exports()).unwrap().map(|file| file.unwrap().path()).collect();
    found.sort();
    assert_eq!(found, files[2..]);
}

#[tokio::test]
async fn a_changed_or_cut_export_is_refused_at_every_byte() {
    let base = tempfile::tempdir().unwrap();
    let store = StateStore::open(&rows::config(base.path())).unwrap().store;
    rows::put_all(&store, 1..=2).await;
    let file = store.export(at(0)).await.unwrap();
    let good = std::fs::read(&file).unwrap();
    let (bad, target) = (base.path().join("bad.export"), rows::config(&base.path().join("other")));
    for position in 0..good.len() {
        let mut changed = good.clone();
        changed[position] ^= 1;
        for content in [&changed[..], &good[..position]] {
            std::fs::write(&bad, content).unwrap();
            let refused = StateStore::import(&bad, &target);
            assert!(matches!(refused, Err(ImportError::Damaged { .. })), "byte {position}: {refused:?}");
        }
    }
    assert!(!target.dir.exists());
}

#[tokio::test]
async fn an_export_into_a_directory_that_cannot_be_is_an_error_and_the_store_goes_on() {
    let base = tempfile::tempdir().unwrap();
    let mut config = rows::config(base.path());
    config.export_dir = Some(base.path().join("exports"));
    let store = StateStore::open(&config).unwrap().store;
    std::fs::write(base.path().join("exports"), "in the way").unwrap();
    assert!(store.export(at(0)).await.is_err());
    rows::put_all(&store, 1..=3).await;
}
