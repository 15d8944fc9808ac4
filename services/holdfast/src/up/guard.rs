//! `holdfast guard`: between the supervisor and a child.
//!
//! Asks the kernel to send SIGTERM to this process when the thread that started it ends, and then becomes the child. The
//! request survives `execve`, so that it also works for programs that are not ours. Children therefore end in order
//! when `holdfast up` is killed in a way it cannot answer.

use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::process::{Signal, getppid, set_parent_process_death_signal};

use crate::args::GuardArgs;
use crate::error::CliError;

/// Becomes the program; returns only when it cannot.
pub(crate) fn guard(args: &GuardArgs) -> CliError {
    let [program, arguments @ ..] = args.program.as_slice() else {
        return CliError::usage("name the program to run");
    };
    if let Err(errno) = set_parent_process_death_signal(Some(Signal::TERM)) {
        return CliError::Io { step: "tie this process to its supervisor".to_owned(), source: errno.into() };
    }
    // The supervisor may have ended before the request was in place; then nobody will send the signal.
    if getppid().map(|pid| pid.as_raw_nonzero().get()) != Some(args.supervisor) {
        return CliError::usage("the supervisor of this process ended; there is nothing to run for");
    }
    let source = Command::new(program).args(arguments).exec();
    CliError::Io { step: format!("run `{}`", program.display()), source }
}
