//! `holdfast service`: one service in this process, exactly as its own binary would run it.

use std::ffi::OsString;
use std::process::ExitCode;

use service_host::run_service;

use crate::args::{ServiceArgs, ServiceName};

/// Runs the service until it is told to stop.
pub(crate) fn run(args: &ServiceArgs) -> ExitCode {
    let mut arguments: Vec<OsString> = vec!["--config".into(), args.config.clone().into()];
    if args.check_config {
        arguments.push("--check-config".into());
    }
    match args.name {
        ServiceName::Planner => run_service::<planner::Planner>(arguments),
        ServiceName::SnapshotWorker => run_service::<snapshot_worker::SnapshotWorker>(arguments),
        ServiceName::CopyReplicator => run_service::<copy_replicator::CopyReplicator>(arguments),
        ServiceName::RestoreWorker => run_service::<restore_worker::RestoreWorker>(arguments),
        ServiceName::Verifier => run_service::<verifier::Verifier>(arguments),
        ServiceName::Gateway => run_service::<gateway::Gateway>(arguments),
    }
}
