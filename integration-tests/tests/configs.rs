//! Every configuration of the composed installation is one that its service accepts.

use std::path::Path;
use std::process::Command;

use integration_tests::installation::program;
use job_events::subjects::Service;

/// The gateway is a client of the services and no service of the bus.
const SERVICES: [&str; 6] = [
    Service::Planner.as_str(),
    Service::SnapshotWorker.as_str(),
    Service::CopyReplicator.as_str(),
    Service::RestoreWorker.as_str(),
    Service::Verifier.as_str(),
    "gateway",
];

/// `restore-worker-osaka.toml` belongs to the restore-worker.
fn service(file_stem: &str) -> Option<&'static str> {
    let of = |name: &&str| file_stem == *name || file_stem.starts_with(&format!("{name}-"));
    SERVICES.into_iter().find(of)
}

#[test]
fn every_service_accepts_its_configuration_of_the_composed_installation() {
    let program = program().unwrap();
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/compose");
    let mut checked = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "toml") {
            continue;
        }
        let stem = path.file_stem().unwrap().to_str().unwrap();
        let service = service(stem).unwrap_or_else(|| panic!("`{stem}.toml` belongs to no service"));
        let command = ["service", service, "--check-config", "--config"];
        let output = Command::new(&program).args(command).arg(&path).env_clear().output().unwrap();
        assert!(output.status.success(), "{stem}: {}", String::from_utf8_lossy(&output.stderr));
        checked.push(service);
    }
    checked.sort_unstable();
    checked.dedup();
    assert_eq!(checked.len(), SERVICES.len(), "a service has no configuration: {checked:?}");
}

#[test]
fn a_configuration_with_an_unknown_key_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("planner.toml");
    let composed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/compose/planner.toml");
    std::fs::write(&path, format!("surplus = 1\n{}", std::fs::read_to_string(composed).unwrap())).unwrap();
    let command = ["service", "planner", "--check-config", "--config"];
    let output = Command::new(program().unwrap()).args(command).arg(&path).env_clear().output().unwrap();
    assert_eq!(output.status.code(), Some(64));
    assert!(String::from_utf8_lossy(&output.stderr).contains("`surplus`"), "{output:?}");
}
