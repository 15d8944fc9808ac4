//! Where a restore goes and what it may touch there.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where a restore goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum RestoreTarget {
    /// A place of its own below the restore-worker's sandbox directory, removed after the test.
    Sandbox,
    /// A location as the worker sees it, `file:///srv/restored`.
    Location {
        /// The location.
        url: String,
    },
}

/// What a restore may do where something exists already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OverwritePolicy {
    /// The target must not exist (or be an empty directory).
    #[default]
    Refuse,
    /// Existing entries are replaced where their content or metadata differs; others stay.
    IfChanged,
    /// Existing entries are replaced where the recovery point's are newer.
    IfNewer,
    /// Existing entries stay, missing ones are added.
    Never,
    /// As `if-changed`, and entries that the recovery point does not have are deleted.
    Exact,
}
