//! A scrub reads a part each time, in turn, and what it finds damaged heals.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use driver_api::{Control, NoControl};
use job_model::Progress;
use vault_engine::{CheckOptions, PruneOptions, ScrubOptions, ScrubReport, Vault, VaultError};

use crate::support::{Files, Workshop, capture, content, files, read_files};

fn scrub(vault: &Vault, read_bytes: u64) -> ScrubReport {
    vault.scrub(&ScrubOptions { read_bytes, control: &NoControl }).unwrap()
}

fn flip(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    bytes[1000] ^= 1;
    fs::write(path, bytes).unwrap();
}

fn filled(workshop: &Workshop) -> (Vault, Vec<Files>) {
    let vault = workshop.create("v");
    let all: Vec<Files> = (0..4).map(|n| files(&[("a", content(n, 200_000))])).collect();
    for files in &all {
        capture(&vault, files);
    }
    (vault, all)
}

#[test]
fn every_pack_is_read_once_before_one_is_read_again_and_the_coverage_is_told() {
    let workshop = Workshop::new();
    let (vault, _) = filled(&workshop);
    let packs = workshop.files("v", "data").len() as u64;
    for done in 1..=packs {
        let report = scrub(&vault, 1);
        assert!(report.check.is_sound(), "{report:?}");
        assert_eq!((report.check.packs_read, report.packs, report.packs_covered), (1, packs, done));
        assert!(report.bytes_covered <= report.bytes);
    }
    let before = scrub(&vault, 1);
    assert_eq!((before.packs_covered, before.bytes_covered), (packs, before.bytes));
    let all = scrub(&vault, u64::MAX);
    assert_eq!(all.check.packs_read, packs);
    assert!(all.oldest_read > before.oldest_read);
    assert_eq!(workshop.files("v", "holdfast/scrub").len(), 1);
    workshop.restic_agrees("v");
    workshop.rustic_agrees("v");
}

/// Stops after so many packs.
struct StopAfter(AtomicU64);

impl Control for StopAfter {
    fn is_stopped(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 0
    }

    fn advance(&self, progress: Progress) {
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(progress.items_done));
    }
}

#[test]
fn an_interrupted_scrub_goes_on_where_it_was() {
    let workshop = Workshop::new();
    let (vault, _) = filled(&workshop);
    let packs = workshop.files("v", "data").len() as u64;
    let stop = StopAfter(AtomicU64::new(2));
    let stopped = vault.scrub(&ScrubOptions { read_bytes: u64::MAX, control: &stop });
    assert!(matches!(stopped, Err(VaultError::Stopped)));
    let next = scrub(&vault, 1);
    assert!(next.packs_covered >= 3 && next.packs_covered <= packs, "{next:?}");
}

#[test]
fn what_a_scrub_found_damaged_heals_with_the_next_capture_of_its_source() {
    let workshop = Workshop::new();
    let (vault, all) = filled(&workshop);
    let damaged = workshop.files("v", "data").remove(0);
    flip(&damaged);
    assert_eq!(capture(&vault, &all[0]).stats.bytes_new, 0, "nobody knows yet");
    let report = scrub(&vault, u64::MAX);
    assert!(!report.check.is_sound());
    assert!(!report.check.snapshots_affected.is_empty());
    assert_eq!(report.packs_covered, report.packs - 1);
    // Its content is that of one of them.
    let stored: Vec<u64> = all.iter().map(|files| capture(&vault, files).stats.bytes_new).collect();
    assert_eq!(stored.iter().filter(|bytes| **bytes > 0).count(), 1, "{stored:?}");
    let snapshots = vault.snapshots().unwrap().readable;
    for snapshot in &snapshots {
        assert!(read_files(&vault, snapshot.id).is_ok());
    }
    let check = || vault.check(&CheckOptions { read_data: true, control: &NoControl }).unwrap();
    assert!(check().snapshots_affected.is_empty());
    // The healed copy is kept, and the damaged one goes.
    let at_once = PruneOptions { grace: Duration::ZERO, ..PruneOptions::new(&NoControl) };
    vault.prune(&at_once).unwrap();
    vault.prune(&at_once).unwrap();
    assert!(!damaged.exists());
    assert!(check().is_sound());
    for (snapshot, wanted) in snapshots.iter().zip(&all) {
        assert_eq!(read_files(&vault, snapshot.id).unwrap(), *wanted);
    }
    workshop.restic_agrees("v");
}
