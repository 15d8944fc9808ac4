//! Starts the service.

use std::process::ExitCode;

fn main() -> ExitCode {
    service_host::main::<gateway::Gateway>()
}
