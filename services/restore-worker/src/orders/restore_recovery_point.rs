//! Materialises a recovery point.
//!
//! May be repeated with the same order at any point: the driver goes on where it was. What is damaged in the vault is
//! found before anything that exists is overwritten.

use std::io;
use std::path::{Path, PathBuf};

use attempt_control::{Steering, WorkError};
use driver_api::{DriverError, RestoreRequest, SnapshotReader as _};
use job_events::{AttemptHeader, RecoveryPointRestored, RestoreRecoveryPoint};
use job_model::{FailureCode, Finding, PhaseTiming, Progress, RestoreTarget};
use vault_engine::{Vault, VaultError, read_description};
use vault_format::Id;

use crate::drivers::driver;
use crate::instant;
use crate::staging::StagingRow;
use crate::work::Tools;

/// Findings that a fact carries.
const FINDINGS_MAX: usize = 50;

/// Name of what is restored inside a sandbox.
const RESTORED: &str = "restored";

/// A recovery point that lies where it was ordered to.
pub(crate) struct RestoredPoint {
    location: String,
    findings: Vec<Finding>,
    progress: Progress,
    phases: Vec<PhaseTiming>,
}

impl RestoredPoint {
    pub(crate) fn into_fact(self, attempt: AttemptHeader) -> RecoveryPointRestored {
        RecoveryPointRestored {
            attempt,
            location: self.location,
            findings: self.findings,
            progress: self.progress,
            phases: self.phases,
        }
    }
}

pub(crate) fn run(
    tools: &Tools,
    order: &RestoreRecoveryPoint,
    steering: &Steering,
) -> Result<RestoredPoint, WorkError> {
    let mut watch = tools.stopwatch();
    if order.target == RestoreTarget::Sandbox && order.metadata.contains_key("StartServer") {
        return Err(WorkError::refused(
            FailureCode::TargetInvalid,
            "`StartServer` has no meaning in a restore test, whose check starts a server of its own; leave it out"
                .to_owned(),
        ));
    }
    let driver = driver(order.resource_type, &tools.config.postgres)?;
    let vault = Vault::open(&order.vault, &tools.profiles, &tools.surroundings)?;
    let forward = if order.bases.is_empty() { None } else { Some(instant::plan_of(&vault, order)?) };
    let (snapshot_id, expected) = match &forward {
        Some(forward) => (forward.snapshot_id, forward.tree_id),
        None => (id(&order.snapshot_id, "snapshot_id")?, id(&order.tree_id, "tree_id")?),
    };
    let reader = vault.reader(snapshot_id)?;
    if reader.root() != expected {
        return Err(VaultError::SnapshotDiffers { id: snapshot_id, expected, found: reader.root() }.into());
    }
    let description = read_description(&reader).map_err(|e| WorkError::Target(e.into()))?;
    if description.resource_type != order.resource_type {
        return Err(WorkError::refused(
            FailureCode::OrderInvalid,
            format!(
                "the recovery point is of type `{}`, the order says `{}`; look at the planner's version",
                description.resource_type.as_str(),
                order.resource_type.as_str()
            ),
        ));
    }
    let description = serde_json::to_value(&description).map_err(|e| {
        WorkError::refused(FailureCode::Internal, format!("the description cannot be written as JSON: {e}"))
    })?;
    let target = target(tools, order, steering)?;
    watch.end("open");
    let mut options = order.metadata.clone();
    if forward.is_some() && order.target != RestoreTarget::Sandbox {
        // A server that answers is what a restore to an instant is, unless somebody says otherwise.
        options.entry("StartServer".to_owned()).or_insert_with(|| "true".to_owned());
    }

    let request = RestoreRequest {
        reader: &reader,
        description: &description,
        target: &target,
        overwrite: order.overwrite,
        include: &order.include,
        options: &options,
        parallelism: tools.config.threads(),
        control: steering,
        elapsed_ms: &|| tools.clock.elapsed_ms(),
    };
    if order.target != RestoreTarget::Sandbox {
        // A sandbox is removed with all that is in it.
        register(tools, order, driver.staging(&request))?;
    }
    steering.guard()?;
    fail::fail_point!("restore-worker::before_restore");
    let restored = match &forward {
        Some(forward) => forward.restore(tools, &vault, request),
        None => driver.restore(request),
    };
    let restored = restored.map_err(WorkError::Target)?;
    fail::fail_point!("restore-worker::after_restore");
    watch.take_over(restored.phases);
    let location = driver_api::file_location(&restored.location).ok_or_else(|| {
        WorkError::refused(FailureCode::Internal, format!("`{}` is no absolute path", restored.location.display()))
    })?;
    tracing::info!(recovery_point = %order.recovery_point, location, findings = restored.findings.len(), "restored");
    let findings = restored.findings.into_iter().take(FINDINGS_MAX).collect();
    Ok(RestoredPoint { location, findings, progress: steering.progress(), phases: watch.phases() })
}

/// Writes down where the driver builds, before it does; blocking.
fn register(tools: &Tools, order: &RestoreRecoveryPoint, path: PathBuf) -> Result<(), WorkError> {
    let row = StagingRow { job_id: order.order.job_id, path, used_at: tools.clock.now() };
    tokio::runtime::Handle::current().block_on(tools.stagings.register(row)).map_err(|error| {
        let error = service_host::error_chain(&error);
        WorkError::refused(FailureCode::Internal, format!("write down where the target is built: {error}"))
    })
}

/// Where to restore to: a new place in the job's sandbox, or the ordered location if the configuration allows it.
fn target(tools: &Tools, order: &RestoreRecoveryPoint, steering: &Steering) -> Result<PathBuf, WorkError> {
    match &order.target {
        RestoreTarget::Sandbox => {
            let sandbox = tools.sandboxes.directory(order.order.job_id);
            steering.guard()?;
            make_private_directory(tools.sandboxes.root()).and_then(|()| make_private_directory(&sandbox)).map_err(
                |source| {
                    WorkError::Target(DriverError::Io {
                        action: "make the sandbox",
                        path: sandbox.display().to_string(),
                        source,
                    })
                },
            )?;
            Ok(sandbox.join(RESTORED))
        }
        RestoreTarget::Location { url } => {
            let path = driver_api::file_path(url).map_err(WorkError::Target)?;
            worker_host::within(&tools.config.target_roots, &path, "target_roots")
                .map_err(|e| WorkError::refused(FailureCode::TargetInvalid, service_host::error_chain(&e)))
        }
    }
}

/// A directory only this user can enter: restored data keeps no secrets from those who may enter its parents.
fn make_private_directory(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    match std::fs::DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.symlink_metadata()?.is_dir() => Ok(()),
        other => other,
    }
}

fn id(text: &str, field: &str) -> Result<Id, WorkError> {
    text.parse().map_err(|e| {
        WorkError::refused(FailureCode::OrderInvalid, format!("`{field}`: {e}; look at the planner's version"))
    })
}
