//! Starts the planner.

use std::process::ExitCode;

fn main() -> ExitCode {
    service_host::main::<planner::Planner>()
}
