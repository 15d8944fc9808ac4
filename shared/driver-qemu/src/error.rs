//! Why QEMU did not do what it was asked.

use std::io;

/// See the module.
#[derive(Debug, thiserror::Error)]
pub(crate) enum QemuError {
    /// Nobody listens, the process ended, or it took too long.
    #[error("{action} at `{socket}`")]
    Connection {
        action: &'static str,
        socket: String,
        #[source]
        source: io::Error,
    },
    /// It refused.
    #[error("QEMU refused `{command}` ({class}): {problem}")]
    Refused { command: String, class: String, problem: String },
    /// It said something that is not its protocol.
    #[error("unexpected answer of QEMU: {problem}")]
    Protocol { problem: String },
    /// What was asked of it ended badly.
    #[error("{problem}")]
    Failed { problem: String },
}

impl QemuError {
    /// Whether there is no process to talk to.
    pub(crate) fn is_absent(&self) -> bool {
        use io::ErrorKind::{ConnectionRefused, NotFound};
        matches!(self, Self::Connection { source, .. } if matches!(source.kind(), ConnectionRefused | NotFound))
    }

    pub(crate) fn into_io(self) -> io::Error {
        io::Error::other(self)
    }
}

pub(crate) fn protocol(problem: impl Into<String>) -> QemuError {
    QemuError::Protocol { problem: problem.into() }
}

/// An error with its causes.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}
