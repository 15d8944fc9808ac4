//! Materialises recovery points.

use std::process::ExitCode;

fn main() -> ExitCode {
    service_host::main::<restore_worker::RestoreWorker>()
}
