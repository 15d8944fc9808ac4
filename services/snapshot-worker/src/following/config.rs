//! `[follow]` in the worker's configuration.

use serde::{Deserialize, Serialize};
use service_host::ConfigProblem;

/// How resources are followed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FollowConfig {
    /// Resources this worker follows at once; more are left to other workers of the region. 0: none.
    pub resources_max: usize,
    /// Seconds from one report of a resource's window to the next. What changes in kind is told at once.
    pub report_seconds: u64,
}

impl Default for FollowConfig {
    fn default() -> Self {
        Self { resources_max: 16, report_seconds: 300 }
    }
}

impl FollowConfig {
    pub(crate) fn check(&self) -> Result<(), ConfigProblem> {
        if self.resources_max > 256 {
            let mend = "each takes threads and a connection; write at most 256 and start more workers";
            return Err(ConfigProblem::new("follow.resources_max", self.resources_max, mend));
        }
        if !(1..=86_400).contains(&self.report_seconds) {
            return Err(ConfigProblem::new("follow.report_seconds", self.report_seconds, "write 1 to 86400 seconds"));
        }
        Ok(())
    }
}
