//! The sample configuration can be used, and what cannot be used is named.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};

use service_host::check_config;
use snapshot_worker::SnapshotWorker;

const SAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/config/snapshot-worker.toml");

/// The sample with one line replaced.
fn changed(from: &str, to: &str) -> (tempfile::TempDir, PathBuf) {
    let sample = std::fs::read_to_string(SAMPLE).unwrap();
    assert!(sample.contains(from), "the sample has no `{from}`");
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("changed.toml");
    std::fs::write(&path, sample.replacen(from, to, 1)).unwrap();
    (dir, path)
}

fn refusal(from: &str, to: &str) -> String {
    let (_dir, path) = changed(from, to);
    check_config::<SnapshotWorker>(Some(&path)).unwrap_err().to_string()
}

#[test]
fn the_sample_can_be_used() {
    let config = check_config::<SnapshotWorker>(Some(Path::new(SAMPLE))).unwrap();
    assert_eq!(config.keys.len(), 2);
    assert_eq!(config.nats.user.as_deref(), Some("snapshot-worker"));
}

#[test]
fn a_worker_without_a_region_is_refused() {
    assert!(refusal("region =", "# region =").starts_with("`region`"));
}

#[test]
fn slots_out_of_range_are_refused() {
    assert!(refusal("slots = 2", "slots = 0").starts_with("`slots` is `0`"));
}

#[test]
fn an_unknown_key_of_a_profile_is_refused() {
    let error = refusal("password_file = \"/etc/holdfast/keys", "pasword_file = \"/etc/holdfast/keys");
    assert!(error.contains("pasword_file") && error.contains("changed.toml"), "{error}");
}

#[test]
fn hooks_without_an_absolute_program_are_refused() {
    let error = refusal("pre = [\"/usr/sbin/fsfreeze\"", "pre = [\"fsfreeze\"");
    assert!(error.starts_with("`hooks.home.pre`"), "{error}");
}

#[test]
fn relative_source_roots_are_refused() {
    assert!(refusal("\"/srv\"", "\"srv\"").starts_with("`source_roots`"));
}
