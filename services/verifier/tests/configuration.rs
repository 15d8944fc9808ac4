//! The sample configuration is one the verifier accepts, and what it cannot work with is refused by its key.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::path::Path;
use std::time::Duration;

use service_host::{Service as _, load_config};
use verifier::{Config, Verifier};

const SAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/config/verifier.toml");

fn sample() -> Config {
    load_config(Some(Path::new(SAMPLE))).unwrap()
}

fn refused_key(config: &Config) -> String {
    Verifier::validate(config).unwrap_err().key
}

#[test]
fn the_sample_is_accepted() {
    let config = sample();
    Verifier::validate(&config).unwrap();
    assert_eq!(config.regions.len(), 2);
    assert_eq!(config.run_timeout, Duration::from_secs(24 * 3_600));
}

#[test]
fn what_cannot_work_is_refused_by_its_key() {
    assert_eq!(refused_key(&Config { regions: Default::default(), ..sample() }), "regions");
    assert_eq!(refused_key(&Config { slots: 0, ..sample() }), "slots");
    assert_eq!(refused_key(&Config { run_timeout: Duration::from_secs(1), ..sample() }), "run_timeout");
}
