//! Removes a recovery point's snapshot from the warm repository of its vault, once it is whole in the cold one.
//!
//! May be repeated at any point: what is gone already is success. Whether it is whole there is found out here, whatever the
//! order says.

use attempt_control::{Steering, WorkError};
use fail::fail_point;
use job_events::ForgetWarmSnapshot;
use vault_engine::{MovedSnapshot, Vault};

use super::copy_recovery_point::id;
use crate::work::Tools;

pub(crate) fn run(tools: &Tools, order: &ForgetWarmSnapshot, steering: &Steering) -> Result<(), WorkError> {
    let snapshot = id(&order.warm_snapshot_id, "warm_snapshot_id")?;
    let other_snapshot = id(&order.cold_snapshot_id, "cold_snapshot_id")?;
    let tree = id(&order.tree_id, "tree_id")?;
    let warm = Vault::open(&order.warm, &tools.profiles, &tools.surroundings)?;
    let cold = Vault::open(&order.cold, &tools.profiles, &tools.surroundings)?;
    steering.guard()?;
    fail_point!("copy-replicator::before_forget_warm", |_| std::process::abort());
    let was_there = warm.forget_moved(&MovedSnapshot {
        snapshot,
        tree,
        recovery_point: order.recovery_point_id,
        other: &cold,
        other_snapshot,
        control: steering,
    })?;
    fail_point!("copy-replicator::after_forget_warm", |_| std::process::abort());
    tracing::info!(recovery_point = %order.recovery_point, %snapshot, was_there, "moved to cold storage");
    Ok(())
}
