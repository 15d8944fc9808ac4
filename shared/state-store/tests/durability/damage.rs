//! Damaged directories: noticed, moved aside, rebuilt from the newest good export. Never silently wrong.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use state_store::{Recovery, StateStore, StoreConfig};

use crate::rows;

/// Rows of the older export, of the newer one, and of the directory.
const ROWS: [u64; 3] = [40, 120, 160];

struct Made {
    base: tempfile::TempDir,
    config: StoreConfig,
    exports: [PathBuf; 2],
    instance: String,
}

async fn made() -> Made {
    let base = tempfile::tempdir().unwrap();
    let config = rows::config(base.path());
    let store = StateStore::open(&config).unwrap().store;
    let at = |second: i64| Timestamp::from_second(1_800_000_000 + second).unwrap();
    rows::put_all(&store, 1..=ROWS[0]).await;
    let older = store.export(at(0)).await.unwrap();
    rows::put_all(&store, ROWS[0] + 1..=ROWS[1]).await;
    let newer = store.export(at(3600)).await.unwrap();
    rows::put_all(&store, ROWS[1] + 1..=ROWS[2]).await;
    let instance = store.instance_id();
    drop(store);
    // sled writes its snapshot when it opens.
    drop(StateStore::open(&config).unwrap());
    Made { base, config, exports: [older, newer], instance }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

fn snapshot(dir: &Path) -> PathBuf {
    let mut entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.find(|path| path.file_name().unwrap().to_string_lossy().starts_with("snap.")).expect("a snapshot")
}

fn cut(path: &Path, bytes: u64) {
    let file = OpenOptions::new().write(true).open(path).unwrap();
    let length = file.metadata().unwrap().len();
    file.set_len(length.saturating_sub(bytes)).unwrap();
}

/// Damages a copy, opens it, and checks that what is there is either everything or the newest export, and that it stays.
/// Returns the reason when it was rebuilt.
async fn reason_after(made: &Made, name: &str, damage: impl FnOnce(&Path)) -> Option<String> {
    let mut config = made.config.clone();
    config.dir = made.base.path().join(name).join("state");
    config.export_dir = Some(made.config.exports());
    copy(&made.config.dir, &config.dir);
    damage(&config.dir);
    let opened = StateStore::open(&config).unwrap();
    let found = rows::count(&opened.store).await;
    let reason = match opened.recovery {
        Recovery::Clean => {
            assert_eq!(found, ROWS[2], "{name}: rows are missing and nobody said so");
            assert_eq!(opened.store.instance_id(), made.instance, "{name}");
            None
        }
        Recovery::Rebuilt { quarantined_to, restored_from, reason } => {
            assert_eq!(found, ROWS[1], "{name}: {reason}");
            assert_eq!(restored_from.as_ref(), Some(&made.exports[1]), "{name}: {reason}");
            assert!(quarantined_to.is_dir(), "{name}: {reason}");
            assert_ne!(opened.store.instance_id(), made.instance, "{name}");
            Some(reason)
        }
        Recovery::Created => panic!("{name}: the state was thrown away"),
    };
    rows::put_all(&opened.store, found + 1..=found + 3).await;
    drop(opened.store);
    let again = StateStore::open(&config).unwrap();
    let kept = rows::count(&again.store).await;
    match again.recovery {
        Recovery::Clean => assert_eq!(kept, found + 3, "{name}: rows are missing and nobody said so"),
        // Damage in a part of the log that the first start had no need to read. Late, but not silent.
        Recovery::Rebuilt { reason: later, .. } if reason.is_none() => {
            assert_eq!(kept, ROWS[1], "{name}: {later}");
            return Some(later);
        }
        other => panic!("{name}: not sound after it was rebuilt: {other:?}"),
    }
    reason
}

#[tokio::test]
async fn a_truncated_snapshot_leads_to_the_newest_export() {
    let made = made().await;
    let reason = reason_after(&made, "empty", |dir| drop(File::create(snapshot(dir)).unwrap())).await;
    assert!(reason.is_some_and(|reason| reason.contains("lost: ")));
}

#[tokio::test]
async fn a_data_file_that_was_cut_is_noticed_whatever_the_length() {
    let made = made().await;
    let length = std::fs::metadata(made.config.dir.join("db")).unwrap().len();
    let mut rebuilt = 0;
    for eighth in 1..=8 {
        // Not on a block's border.
        let bytes = length * eighth / 8 - 100;
        let reason = reason_after(&made, &format!("cut-{eighth}"), |dir| cut(&dir.join("db"), bytes)).await;
        rebuilt += usize::from(reason.is_some());
        let name = format!("cut-{eighth}-no-snapshot");
        let reason = reason_after(&made, &name, |dir| {
            cut(&dir.join("db"), bytes);
            std::fs::remove_file(snapshot(dir)).unwrap();
        });
        rebuilt += usize::from(reason.await.is_some());
    }
    println!("{rebuilt} of 16 cuts led to a rebuild");
    assert!(rebuilt >= 8, "only {rebuilt} of 16 cuts went into the data");
}

#[tokio::test]
async fn a_zeroed_block_is_noticed_wherever_it_lies() {
    let made = made().await;
    let blocks = std::fs::metadata(made.config.dir.join("db")).unwrap().len() >> 12;
    let mut rebuilt = 0;
    let step = usize::try_from(blocks / 24).unwrap().max(1);
    for block in (0..blocks).step_by(step) {
        let name = format!("zero-{block}");
        let reason = reason_after(&made, &name, |dir| {
            let data = OpenOptions::new().write(true).open(dir.join("db")).unwrap();
            data.write_all_at(&[0; 4096], block << 12).unwrap();
        });
        rebuilt += usize::from(reason.await.is_some());
    }
    assert!(rebuilt > 0, "no block of the {blocks} held anything");
}

#[tokio::test]
async fn a_data_file_from_yesterday_is_noticed() {
    let made = made().await;
    let store = StateStore::open(&made.config).unwrap().store;
    let yesterday = made.base.path().join("yesterday");
    copy(&made.config.dir, &yesterday);
    rows::put_all(&store, ROWS[2] + 1..=ROWS[2] + 20).await;
    drop(store);
    for file in ["db", "conf"] {
        std::fs::copy(yesterday.join(file), made.config.dir.join(file)).unwrap();
    }
    std::fs::remove_file(snapshot(&made.config.dir)).unwrap();
    std::fs::copy(snapshot(&yesterday), made.config.dir.join(snapshot(&yesterday).file_name().unwrap())).unwrap();
    let opened = StateStore::open(&made.config).unwrap();
    let Recovery::Rebuilt { reason, .. } = &opened.recovery else { panic!("{:?}", opened.recovery) };
    assert!(reason.contains("was acknowledged"), "{reason}");
    assert_eq!(rows::count(&opened.store).await, ROWS[1]);
}

#[tokio::test]
async fn a_missing_data_file_leads_to_the_newest_export() {
    let made = made().await;
    let reason = reason_after(&made, "no-db", |dir| std::fs::remove_file(dir.join("db")).unwrap()).await;
    assert!(reason.is_some());
}

#[tokio::test]
async fn nonsense_in_the_databases_own_configuration_costs_nothing_or_is_noticed() {
    let made = made().await;
    for (round, nonsense) in [&b""[..], b"nonsense", &[0; 64], &[0xff; 64]].into_iter().enumerate() {
        reason_after(&made, &format!("conf-{round}"), |dir| std::fs::write(dir.join("conf"), nonsense).unwrap()).await;
    }
}

#[tokio::test]
async fn a_lost_mark_of_acknowledged_commits_costs_nothing() {
    let made = made().await;
    let missing = reason_after(&made, "missing", |dir| std::fs::remove_file(dir.join("acknowledged")).unwrap()).await;
    assert_eq!(missing, None);
    let damaged = reason_after(&made, "damaged", |dir| std::fs::write(dir.join("acknowledged"), [9; 4000]).unwrap());
    assert_eq!(damaged.await, None);
}

#[tokio::test]
async fn the_reason_counts_the_transactions_that_are_lost() {
    let made = made().await;
    let reason = reason_after(&made, "counted", |dir| drop(File::create(snapshot(dir)).unwrap())).await.unwrap();
    let lost = format!("lost: {} acknowledged transactions", ROWS[2] - ROWS[1]);
    assert!(reason.contains(&lost), "{reason}");
}

#[tokio::test]
async fn a_damaged_export_is_passed_over_for_an_older_one_and_without_any_the_state_begins_empty() {
    let made = made().await;
    std::fs::write(&made.exports[1], "cut").unwrap();
    File::create(snapshot(&made.config.dir)).unwrap();
    let opened = StateStore::open(&made.config).unwrap();
    let Recovery::Rebuilt { restored_from, reason, .. } = &opened.recovery else { panic!("{:?}", opened.recovery) };
    assert_eq!(restored_from.as_ref(), Some(&made.exports[0]));
    assert!(reason.contains(&made.exports[1].display().to_string()), "{reason}");
    assert_eq!(rows::count(&opened.store).await, ROWS[0]);
    drop(opened);

    std::fs::write(&made.exports[0], "cut").unwrap();
    File::create(snapshot(&made.config.dir)).unwrap();
    let opened = StateStore::open(&made.config).unwrap();
    let Recovery::Rebuilt { quarantined_to, restored_from, reason } = &opened.recovery else {
        panic!("{:?}", opened.recovery)
    };
    assert_eq!(*restored_from, None);
    assert!(quarantined_to.ends_with("state.damaged-2"), "the first one stays for whoever looks into it");
    assert!(reason.contains("lost: everything"), "{reason}");
    assert_eq!(rows::count(&opened.store).await, 0);
}

#[tokio::test]
async fn a_missing_directory_beside_exports_is_no_fresh_start() {
    let made = made().await;
    std::fs::remove_dir_all(&made.config.dir).unwrap();
    let opened = StateStore::open(&made.config).unwrap();
    assert!(
        matches!(&opened.recovery, Recovery::Rebuilt { restored_from: Some(from), .. } if *from == made.exports[1])
    );
    assert_eq!(rows::count(&opened.store).await, ROWS[1]);
}

#[tokio::test]
async fn a_rebuild_that_was_cut_off_after_the_quarantine_is_finished_by_the_next_start() {
    let made = made().await;
    let quarantine = made.base.path().join("state.damaged-1");
    std::fs::rename(&made.config.dir, &quarantine).unwrap();
    for export in &made.exports {
        std::fs::remove_file(export).unwrap();
    }
    let opened = StateStore::open(&made.config).unwrap();
    let Recovery::Rebuilt { quarantined_to, restored_from: None, .. } = &opened.recovery else {
        panic!("{:?}", opened.recovery)
    };
    assert_eq!(*quarantined_to, quarantine);
}
