//! What topics may be.

use std::collections::BTreeMap;

use super::{TopicConfig, Topics, check};

const TOPIC: &str = "arn:aws:sns:eu-central-1:111122223333:backups";

fn config(name: &str, topic: TopicConfig) -> BTreeMap<String, TopicConfig> {
    BTreeMap::from([(name.to_owned(), topic)])
}

fn subject(subject: &str) -> TopicConfig {
    TopicConfig { webhook_file: None, nats_subject: Some(subject.to_owned()) }
}

#[test]
fn a_topic_is_named_by_its_arn_and_leads_somewhere() {
    check(&config(TOPIC, subject("backup.alerts.main"))).unwrap();
    assert!(check(&config("backups", subject("backup.alerts"))).is_err());
    assert!(check(&config(TOPIC, TopicConfig::default())).is_err());
    for wrong in ["alerts.main", "backup.>", "backup.*", "backup.", "backup..x", "hf.v1.eu-central-1.request.planner.x"]
    {
        let problem = check(&config(TOPIC, subject(wrong))).unwrap_err();
        assert!(problem.key.ends_with("nats_subject"), "{wrong}: {problem:?}");
    }
}

#[test]
fn a_webhook_is_read_from_its_file_and_not_shown() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("webhook");
    let topic = |path: &std::path::Path| TopicConfig { webhook_file: Some(path.to_owned()), nats_subject: None };
    assert!(Topics::load(&config(TOPIC, topic(&path))).is_err(), "there is no such file");
    std::fs::write(&path, "hooks.example.net").unwrap();
    assert!(Topics::load(&config(TOPIC, topic(&path))).is_err(), "that is no URL");
    std::fs::write(&path, "https://hooks.example.net/services/secret\n").unwrap();
    let topics = Topics::load(&config(TOPIC, topic(&path))).unwrap();
    assert!(!format!("{topics:?}").contains("secret/"), "{topics:?}");
    assert!(!format!("{topics:?}").contains("hooks.example.net"), "{topics:?}");
}
