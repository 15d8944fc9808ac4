//! Turns resources into recovery points.

use std::process::ExitCode;

fn main() -> ExitCode {
    service_host::main::<snapshot_worker::SnapshotWorker>()
}
