//! Copies a recovery point into another vault, or into the cold repository of its own.
//!
//! May be repeated at any point: blobs that arrived are not sent again, and a copy that was committed is found by its
//! recovery point's tag.

use attempt_control::{Steering, WorkError};
use fail::fail_point;
use job_events::{AttemptHeader, CopyRecoveryPoint, RecoveryPointCopied};
use job_model::{FailureCode, PhaseTiming, Progress};
use telemetry::KeyValue;
use vault_engine::{CopyRequest, Vault, copy_snapshot, recovery_point_tag};
use vault_format::Id;

use crate::work::Tools;

/// A copy that is durable in the destination.
pub(crate) struct CopiedPoint {
    snapshot_id: Id,
    tree: Id,
    progress: Progress,
    phases: Vec<PhaseTiming>,
}

impl CopiedPoint {
    pub(crate) fn into_fact(self, attempt: AttemptHeader) -> RecoveryPointCopied {
        RecoveryPointCopied {
            attempt,
            snapshot_id: self.snapshot_id.to_hex(),
            tree_id: self.tree.to_hex(),
            progress: self.progress,
            phases: self.phases,
        }
    }
}

pub(crate) fn run(tools: &Tools, order: &CopyRecoveryPoint, steering: &Steering) -> Result<CopiedPoint, WorkError> {
    let snapshot_id = id(&order.source_snapshot_id, "source_snapshot_id")?;
    let tree = id(&order.tree_id, "tree_id")?;
    let mut watch = tools.stopwatch();
    let source = Vault::open(&order.source, &tools.profiles, &tools.surroundings)?;
    let destination = Vault::open(&order.destination, &tools.profiles, &tools.surroundings)?;
    watch.end("open");
    steering.guard()?;
    fail_point!("copy-replicator::before_copy", |_| std::process::abort());
    let copied = copy_snapshot(&CopyRequest {
        source: &source,
        snapshot_id,
        expected_tree: tree,
        destination: &destination,
        tags: vec![recovery_point_tag(order.recovery_point_id)],
        parallelism: tools.config.threads(),
        control: steering,
    })?;
    fail_point!("copy-replicator::after_copy", |_| std::process::abort());
    watch.end("copy");
    tracing::info!(
        recovery_point = %order.recovery_point,
        snapshot = %copied.snapshot_id,
        already_there = copied.already_there,
        bytes_stored = copied.stats.bytes_stored,
        "copied"
    );
    let attributes = [KeyValue::new("kind", "copy"), KeyValue::new("region", tools.region())];
    telemetry::metrics().bytes_new.add(copied.stats.bytes_new, &attributes);
    telemetry::metrics().bytes_stored.add(copied.stats.bytes_stored, &attributes);
    Ok(CopiedPoint {
        snapshot_id: copied.snapshot_id,
        tree,
        progress: Progress {
            bytes_new: copied.stats.bytes_new,
            bytes_stored: copied.stats.bytes_stored,
            ..steering.progress()
        },
        phases: watch.phases(),
    })
}

pub(super) fn id(text: &str, field: &str) -> Result<Id, WorkError> {
    text.parse().map_err(|e| {
        WorkError::refused(FailureCode::OrderInvalid, format!("`{field}`: {e}; look at the planner's version"))
    })
}
