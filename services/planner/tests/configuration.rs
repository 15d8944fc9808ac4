//! The sample configuration is one the planner accepts, it shows the defaults, and what cannot be used is refused by its key.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::path::Path;

use planner::{Decisions, Planner, PlannerConfig};
use service_host::check_config;

const SAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/config/planner.toml");

fn refusal(from: &str, to: &str) -> String {
    let sample = std::fs::read_to_string(SAMPLE).unwrap();
    assert!(sample.contains(from), "the sample has no `{from}`");
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("changed.toml");
    std::fs::write(&path, sample.replacen(from, to, 1)).unwrap();
    check_config::<Planner>(Some(&path)).unwrap_err().to_string()
}

#[test]
fn the_sample_is_accepted_and_shows_the_defaults() {
    let config = check_config::<Planner>(Some(Path::new(SAMPLE))).unwrap();
    assert_eq!(config.regions.len(), 2);
    assert_eq!(config.decisions, Decisions::default());
    assert_eq!(config.account_id, PlannerConfig::default().account_id);
}

#[test]
fn what_cannot_be_used_is_refused_by_its_key() {
    for (from, to, key) in [
        ("home_region = \"ap-northeast-1\"", "home_region = \"us-west-2\"", "home_region"),
        ("max_attempts = 3", "max_attempts = 0", "decisions.max_attempts"),
        ("\"000000000000\"", "\"42\"", "account_id"),
        ("delete_retry", "delete_later", "delete_later"),
    ] {
        let refusal = refusal(from, to);
        assert!(refusal.contains(&format!("`{key}`")), "{key}: {refusal}");
    }
}
