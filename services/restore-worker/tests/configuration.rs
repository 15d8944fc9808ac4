//! The sample configuration can be used, and what cannot be used is named.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};

use restore_worker::RestoreWorker;
use service_host::check_config;

const SAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/config/restore-worker.toml");

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
    check_config::<RestoreWorker>(Some(&path)).unwrap_err().to_string()
}

#[test]
fn the_sample_can_be_used() {
    let config = check_config::<RestoreWorker>(Some(Path::new(SAMPLE))).unwrap();
    assert_eq!(config.keys.len(), 2);
    assert_eq!(config.nats.user.as_deref(), Some("restore-worker"));
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
fn a_sandbox_root_that_holds_the_state_is_refused() {
    let error = refusal("sandbox_root = \"/var/lib/holdfast-sandboxes\"", "sandbox_root = \"/var/lib/holdfast\"");
    assert!(error.starts_with("`sandbox_root`"), "{error}");
}

#[test]
fn sandboxes_that_live_too_short_are_refused() {
    assert!(refusal("\"7days\"", "\"5min\"").starts_with("`sandbox_life_max`"));
}
