//! Who may depend on whom, read from `cargo metadata`: the data side and the job side meet only inside services, services
//! never depend on each other, and each external system is linked by the crates that may.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::{DependencyKind, MetadataCommand};

/// Crates by layer, lowest first. A crate may depend on crates of lower layers, and on those of its own layer that are
/// named in [`SAME_LAYER`].
const LAYERS: &[&[&str]] = &[
    &["job-model", "vault-format", "schedule", "file-clones", "process-memory"],
    &["job-events", "telemetry"],
    &["driver-api", "job-bus", "state-store", "service-host"],
    &[
        "driver-filesystem",
        "driver-postgres",
        "driver-qemu",
        "driver-volume",
        "vault-engine",
        "message-ledger",
        "order-runner",
    ],
    &["attempt-control", "worker-host"],
    &["planner", "snapshot-worker", "copy-replicator", "restore-worker", "verifier", "gateway"],
    &["holdfast"],
    &["integration-tests", "benchmarks"],
];

/// Dependencies inside a layer, each for a reason that ARCHITECTURE.md gives.
const SAME_LAYER: &[(&str, &str)] =
    &[("order-runner", "message-ledger"), ("driver-postgres", "driver-filesystem"), ("driver-qemu", "driver-volume")];

/// The data side must not know the job side, nor the reverse.
const DATA_SIDE: &[&str] = &[
    "driver-api",
    "driver-filesystem",
    "driver-postgres",
    "driver-qemu",
    "driver-volume",
    "file-clones",
    "vault-engine",
    "vault-format",
];
const JOB_SIDE: &[&str] =
    &["job-events", "job-bus", "state-store", "message-ledger", "order-runner", "service-host", "telemetry"];

/// External systems and the crates that may link each: one, unless a decision record says otherwise.
const LINKERS: &[(&str, &[&str])] = &[
    ("sled", &["state-store"]),
    ("async-nats", &["job-bus"]),
    ("figment", &["service-host"]),
    // The gateway writes reports (docs/adr/0014).
    ("object_store", &["vault-engine", "gateway"]),
    ("postgres-protocol", &["driver-postgres"]),
    ("opentelemetry-otlp", &["telemetry"]),
];

fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml");
    let metadata = MetadataCommand::new().manifest_path(manifest).no_deps().exec().unwrap();
    metadata
        .workspace_packages()
        .into_iter()
        .map(|package| {
            let normal = package.dependencies.iter().filter(|d| d.kind == DependencyKind::Normal);
            (package.name.to_string(), normal.map(|d| d.name.clone()).collect())
        })
        .collect()
}

fn layer(name: &str) -> Option<usize> {
    LAYERS.iter().position(|names| names.contains(&name))
}

#[test]
fn every_crate_has_a_layer_and_depends_downwards_only() {
    let all = dependencies();
    let mut wrong = Vec::new();
    for (name, uses) in &all {
        let Some(own) = layer(name) else {
            wrong.push(format!("`{name}` has no layer: add it to LAYERS and to ARCHITECTURE.md"));
            continue;
        };
        for used in uses.iter().filter(|used| all.contains_key(*used)) {
            let allowed =
                layer(used).is_some_and(|other| other < own) || SAME_LAYER.contains(&(name.as_str(), used.as_str()));
            if !allowed {
                wrong.push(format!("`{name}` depends on `{used}`, which is not below it"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn data_side_and_job_side_meet_only_inside_services() {
    let mut wrong = Vec::new();
    for (name, uses) in dependencies() {
        let (own, other) = if DATA_SIDE.contains(&name.as_str()) {
            ("data", JOB_SIDE)
        } else if JOB_SIDE.contains(&name.as_str()) {
            ("job", DATA_SIDE)
        } else {
            continue;
        };
        wrong.extend(
            uses.iter()
                .filter(|used| other.contains(&used.as_str()))
                .map(|used| format!("`{name}` is on the {own} side and depends on `{used}`")),
        );
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn each_external_system_is_linked_by_the_crates_that_may() {
    let mut wrong = Vec::new();
    for (name, uses) in dependencies() {
        for (system, linkers) in LINKERS {
            if uses.contains(*system) && !linkers.contains(&name.as_str()) {
                wrong.push(format!("`{name}` links `{system}`; only {linkers:?} may"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_pure_crate_has_no_runtime_clock_or_io_library() {
    let all = dependencies();
    for pure in ["job-model", "job-events", "vault-format", "schedule"] {
        let Some(uses) = all.get(pure) else { continue };
        for banned in ["tokio", "async-nats", "sled", "object_store", "rand", "rustix", "tracing"] {
            assert!(!uses.contains(banned), "`{pure}` is pure and must not depend on `{banned}`");
        }
    }
}
