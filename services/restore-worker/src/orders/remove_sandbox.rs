//! Removes what a restore test restored. What is gone already is success.

use attempt_control::WorkError;
use job_events::RemoveSandbox;
use job_model::FailureCode;
use service_host::error_chain;

use crate::removal::{RemovalError, remove_tree};
use crate::work::Tools;

/// Removes the directory; blocking. The caller strikes the sandbox out afterwards.
pub(crate) fn run(tools: &Tools, order: &RemoveSandbox) -> Result<(), WorkError> {
    let directory = tools.sandboxes.directory(order.restore_job_id);
    let was_there = remove_tree(&directory).map_err(|e| failure(&e))?;
    tracing::info!(restore_job = %order.restore_job_id, was_there, "sandbox removed");
    Ok(())
}

fn failure(error: &RemovalError) -> WorkError {
    let code = match error {
        RemovalError::MountPoint { .. } => FailureCode::TargetInvalid,
        RemovalError::Io { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied => {
            FailureCode::PermissionDenied
        }
        RemovalError::Io { .. } => FailureCode::TargetWriteFailed,
    };
    WorkError::refused(code, error_chain(error))
}
