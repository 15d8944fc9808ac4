//! Starts the operator's binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    holdfast::main()
}
