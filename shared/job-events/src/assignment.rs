//! Assignments: what one worker of a region does until it is told otherwise. Published under the recovery point, where only
//! the newest is kept; every worker of the kind reads all of them, and the one that gets the lease carries one out.

use jiff::Timestamp;
use job_model::{Arn, RecoveryPointId, Region, ResourceType, VaultAccess};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::message::message_family;

/// What is to be done about a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FollowTask {
    /// Follow it.
    Follow,
    /// Follow it no longer, and give back what it keeps for whoever follows.
    Release,
    /// Nothing any more.
    Nothing,
}

/// Follow a resource into a vault, so that any instant of it can be restored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FollowResource {
    /// The region whose workers it is for.
    pub region: Region,
    /// The resource.
    pub resource: Arn,
    /// Its type; decides the driver.
    pub resource_type: ResourceType,
    /// Where it lies.
    pub location: String,
    /// Where to.
    pub vault: VaultAccess,
    /// The continuous recovery point.
    pub recovery_point_id: RecoveryPointId,
    /// Its ARN.
    pub recovery_point: Arn,
    /// Any instant of so many days stays restorable; what is older goes. None: nothing goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_days: Option<u32>,
    /// What is to be done.
    pub task: FollowTask,
    /// When the planner decided so.
    pub decided_at: Timestamp,
}

message_family!(
    /// Every assignment.
    Assignment, crate::Family::Assignment, {
        FollowResource => "follow-resource",
    }
);
