use std::path::Path;

use job_bus::permissions::Role;
use service_host::{HasCommon, Service, check_config};

use super::*;
use crate::up::secrets::{ensure_password, key_profiles};

fn settings(dir: &Path) -> Settings {
    let layout = Layout::create(dir).unwrap();
    for role in Role::ALL {
        ensure_password(&layout.bus_password_file(role.as_str())).unwrap();
    }
    Settings {
        url: "nats://127.0.0.1:4222".to_owned(),
        regions: ["ap-northeast-1", "ap-northeast-3"].map(|r| r.parse().unwrap()).to_vec(),
        postgres: driver_postgres::PostgresSettings::default(),
        profiles: key_profiles(&layout.keys_dir(), &["default".to_owned()]).unwrap(),
        otlp_endpoint: Some("http://127.0.0.1:4317".to_owned()),
        stop_wait: Duration::from_secs(7),
        layout,
        api_listen: "127.0.0.1:9480".parse().unwrap(),
        aws_strict: false,
        follow: FollowConfig { report_seconds: 2, ..FollowConfig::default() },
    }
}

/// The service's own word on the file that `up` writes for it.
fn read_back<S: Service>(settings: &Settings, process: &Process) -> S::Config {
    let file = settings.layout.config_file(&process.name());
    std::fs::write(&file, settings.text(process, "127.0.0.1:9".parse().unwrap()).unwrap()).unwrap();
    check_config::<S>(Some(&file)).unwrap()
}

#[test]
fn every_service_takes_the_configuration_that_is_written_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(dir.path());
    for process in settings.processes() {
        let common = match &process {
            Process::Planner => read_back::<planner::Planner>(&settings, &process).common,
            Process::Verifier => read_back::<verifier::Verifier>(&settings, &process).common,
            Process::Gateway => read_back::<gateway::Gateway>(&settings, &process).common,
            Process::Worker(Worker::Snapshot, region) => {
                let config = read_back::<snapshot_worker::SnapshotWorker>(&settings, &process);
                assert_eq!(config.region(), Some(region.as_str()));
                assert!(config.keys.contains_key("default"));
                assert_eq!(config.follow, settings.follow);
                config.common
            }
            Process::Worker(Worker::Copy, _) => {
                read_back::<copy_replicator::CopyReplicator>(&settings, &process).common
            }
            Process::Worker(Worker::Restore, _) => {
                read_back::<restore_worker::RestoreWorker>(&settings, &process).common
            }
        };
        assert_eq!(common.instance, process.name());
        assert_eq!(common.stop_wait, Duration::from_secs(7));
        assert!(common.state_dir.starts_with(settings.layout.root()));
    }
}

#[test]
fn strictness_is_told_to_the_planner_too_so_that_requests_on_the_bus_meet_it() {
    let dir = tempfile::tempdir().unwrap();
    let lax = settings(dir.path());
    assert!(!read_back::<planner::Planner>(&lax, &Process::Planner).decisions.aws_strict);
    let strict = Settings { aws_strict: true, ..lax };
    assert!(read_back::<planner::Planner>(&strict, &Process::Planner).decisions.aws_strict);
    assert!(read_back::<gateway::Gateway>(&strict, &Process::Gateway).aws_strict);
}

#[test]
fn planner_verifier_and_gateway_run_once_and_workers_once_per_region() {
    let dir = tempfile::tempdir().unwrap();
    let names: Vec<String> = settings(dir.path()).processes().iter().map(Process::name).collect();
    assert_eq!(
        names,
        [
            "planner",
            "verifier",
            "gateway",
            "snapshot-worker-ap-northeast-1",
            "copy-replicator-ap-northeast-1",
            "restore-worker-ap-northeast-1",
            "snapshot-worker-ap-northeast-3",
            "copy-replicator-ap-northeast-3",
            "restore-worker-ap-northeast-3",
        ]
    );
}

#[test]
fn no_configuration_holds_a_secret() {
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(dir.path());
    let layout = &settings.layout;
    let secrets: Vec<String> = std::fs::read_dir(layout.root().join("secrets"))
        .unwrap()
        .chain(std::fs::read_dir(layout.keys_dir()).unwrap())
        .map(|entry| std::fs::read_to_string(entry.unwrap().path()).unwrap().trim().to_owned())
        .collect();
    assert_eq!(secrets.len(), Role::ALL.len() + 1);
    for process in settings.processes() {
        let text = settings.text(&process, "127.0.0.1:9".parse().unwrap()).unwrap();
        for secret in &secrets {
            assert!(!text.contains(secret), "the configuration of {} holds a secret", process.name());
        }
    }
}
