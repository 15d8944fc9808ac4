//! Facts about resources that are followed: no job stands behind them, only the lease of their worker.

use jiff::Timestamp;
use job_model::{Arn, Continuous};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A resource is followed, or should be: what can be restored of it now. Told when that changed in kind, and every few
/// minutes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LogFollowed {
    /// The continuous recovery point.
    pub recovery_point: Arn,
    /// The resource.
    pub resource: Arn,
    /// The fencing epoch of the worker's lease; what a lower one says is stale.
    pub epoch: u64,
    /// The worker: `<service>/<instance>`.
    pub worker: String,
    /// When.
    pub at: Timestamp,
    /// The window, and how the capture fares. Its retention is the planner's and not looked at; of one that is interrupted
    /// only the message is, because its window stays as it was.
    pub continuous: Continuous,
    /// Snapshots of full captures that no instant of the window needs any more, and that are gone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bases_retired: Vec<String>,
}

/// A resource is no longer followed, as was asked for, and keeps nothing back for it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FollowEnded {
    /// The continuous recovery point.
    pub recovery_point: Arn,
    /// The resource.
    pub resource: Arn,
    /// The fencing epoch of the worker's lease.
    pub epoch: u64,
    /// The worker: `<service>/<instance>`.
    pub worker: String,
    /// When.
    pub at: Timestamp,
    /// What could not be given back at the resource, and has to be by hand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_behind: Option<String>,
}
