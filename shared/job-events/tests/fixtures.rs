//! One golden file per message type and version: what was once on the bus stays readable, and reads back the same.
//!
//! A file is never changed: a changed shape that still reads it needs no new version; one that does not needs `v2` beside it.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use job_events::{Assignment, Envelope, Fact, OrderBody, Request, reference};

fn directory(family: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(family)
}

fn fixture(family: &str, name: &str) -> (Envelope, serde_json::Value) {
    let path = directory(family).join(format!("{name}.v1.json"));
    let bytes = fs::read(&path).unwrap_or_else(|e| panic!("`{}` is missing: {e}", path.display()));
    (Envelope::from_bytes(&bytes).unwrap(), serde_json::from_slice(&bytes).unwrap())
}

fn files(family: &str) -> BTreeSet<String> {
    fs::read_dir(directory(family)).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

fn expected(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| format!("{name}.v1.json")).collect()
}

/// The envelope as it was written, with what decoding and encoding made of its payload.
fn assert_same(envelope: &Envelope, encoded: serde_json::Value, written: &serde_json::Value) {
    let mut again = envelope.clone();
    again.data = encoded;
    let again: serde_json::Value = serde_json::from_slice(&again.to_bytes().unwrap()).unwrap();
    assert_eq!(&again, written, "{}", envelope.event_type);
}

#[test]
fn every_request_reads_back_the_same() {
    assert_eq!(files("request"), expected(Request::NAMES));
    for name in Request::NAMES {
        let (envelope, written) = fixture("request", name);
        let request = envelope.request().unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!((request.name(), request.event_type()), (*name, envelope.event_type.clone()));
        assert_eq!(reference::service_of_request(name), request.service());
        assert_same(&envelope, request.to_value().unwrap(), &written);
    }
}

#[test]
fn every_order_reads_back_the_same() {
    assert_eq!(files("order"), expected(OrderBody::NAMES));
    for name in OrderBody::NAMES {
        let (envelope, written) = fixture("order", name);
        let order = envelope.order().unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!((order.name(), order.event_type()), (*name, envelope.event_type.clone()));
        assert_eq!(reference::queue_of_order(name), Some(order.queue()));
        assert_same(&envelope, order.to_value().unwrap(), &written);
    }
}

#[test]
fn every_assignment_reads_back_the_same() {
    assert_eq!(files("assignment"), expected(Assignment::NAMES));
    for name in Assignment::NAMES {
        let (envelope, written) = fixture("assignment", name);
        let assignment = envelope.assignment().unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!((assignment.name(), assignment.event_type()), (*name, envelope.event_type.clone()));
        assert_same(&envelope, assignment.to_value().unwrap(), &written);
    }
}

#[test]
fn every_fact_reads_back_the_same() {
    assert_eq!(files("fact"), expected(Fact::NAMES));
    for name in Fact::NAMES {
        let (envelope, written) = fixture("fact", name);
        let fact = envelope.fact().unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!((fact.name(), fact.event_type()), (*name, envelope.event_type.clone()));
        assert_same(&envelope, fact.to_value().unwrap(), &written);
    }
}

#[test]
fn an_unknown_member_of_a_request_is_refused_by_its_name() {
    let (mut envelope, _) = fixture("request", "start-backup");
    envelope.data["resorce"] = serde_json::json!("typo");
    let error = envelope.request().unwrap_err();
    assert!(error.to_string().contains("resorce"), "{error}");
}

#[test]
fn a_wrong_value_is_named_with_its_path() {
    let (mut envelope, _) = fixture("request", "create-plan");
    envelope.data["rules"][0]["lifecycle"]["delete_after_days"] = serde_json::json!("soon");
    assert_eq!(envelope.request().unwrap_err().field_name(), "data.rules[0].lifecycle.delete_after_days");
}

#[test]
fn an_unknown_type_is_named() {
    let (mut envelope, _) = fixture("request", "create-plan");
    envelope.event_type = "holdfast.request.create-plan.v9".to_owned();
    assert_eq!(envelope.request().unwrap_err().field_name(), "type");
}

#[test]
fn an_envelope_of_another_version_is_refused() {
    let (_, mut written) = fixture("request", "create-plan");
    written["specversion"] = serde_json::json!("0.3");
    let error = Envelope::from_bytes(&serde_json::to_vec(&written).unwrap()).unwrap_err();
    assert_eq!(error.field_name(), "specversion");
}
