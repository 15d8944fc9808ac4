//! What can go wrong in a driver, in the words of the person who must mend it.

use std::io;

use crate::{ReadError, WriteError};

/// Why a driver could not do its work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DriverError {
    /// The resource is not where the registry says.
    #[error("resource `{location}` is not there; register it with its new place or bring it back")]
    NotFound {
        /// Where it should be.
        location: String,
    },
    /// The location is not one this driver can use.
    #[error("location `{location}` cannot be used: {problem}")]
    BadLocation {
        /// The location.
        location: String,
        /// What is wrong and how to mend it.
        problem: String,
    },
    /// The operating system refused or failed.
    #[error("{action} `{path}`")]
    Io {
        /// What was tried, as a verb phrase: `open`, `set owner of`.
        action: &'static str,
        /// On what.
        path: String,
        /// The operating system's answer.
        #[source]
        source: io::Error,
    },
    /// The target has something already and the policy does not allow to touch it.
    #[error("target `{path}` exists already; choose another target or an overwrite policy")]
    TargetExists {
        /// The target.
        path: String,
    },
    /// An entry of the recovery point would leave the target.
    #[error("entry `{path}` would leave the target: {problem}; nothing of it was written")]
    Escape {
        /// The entry.
        path: String,
        /// How.
        problem: String,
    },
    /// A quiesce hook failed and its policy is to fail.
    #[error("hook `{hook}` failed: {problem}")]
    Hook {
        /// Its name in the configuration.
        hook: String,
        /// What happened.
        problem: String,
    },
    /// The recovery point's own description cannot be read.
    #[error("recovery point is not one of this driver: {problem}")]
    NotOurs {
        /// What is missing or wrong.
        problem: String,
    },
    /// The vault could not take it.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The vault could not give it.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Asked to stop.
    #[error("stopped on request")]
    Stopped,
}
