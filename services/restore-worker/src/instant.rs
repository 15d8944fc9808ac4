//! Restores to an instant of a continuous recovery point: from the full captures that the order trusts and the log in the
//! vault to the one capture and the part of the log that reach it, or to a refusal that names what can be restored.

use attempt_control::WorkError;
use driver_api::{DriverError, RestoreRequest, Restored};
use driver_postgres::facts::PhysicalFacts;
use driver_postgres::ledger::{self, LedgerError, Stored};
use driver_postgres::wal::SegmentSize;
use driver_postgres::window::{Base, Log, Plan, Target, plan};
use driver_postgres::{Forward, PostgresDriver};
use job_events::{ParentSnapshot, RestoreRecoveryPoint};
use job_model::{FailureCode, RecoveryPointId, ResourceType, RestoreInstant, restore_instant};
use service_host::error_chain;
use vault_engine::{Vault, VaultError, read_description};
use vault_format::Id;

use crate::work::Tools;

/// How an instant is reached.
pub(crate) struct Way {
    /// The full capture.
    pub(crate) snapshot_id: Id,
    /// Its root tree, as it was captured.
    pub(crate) tree_id: Id,
    stored: Stored,
    log: Log,
    plan: Plan,
    point: RecoveryPointId,
}

/// Finds the way to the instant that the order asks for; without one, to the newest.
pub(crate) fn plan_of(vault: &Vault, order: &RestoreRecoveryPoint) -> Result<Way, WorkError> {
    if order.resource_type != ResourceType::Rds {
        return Err(refused(FailureCode::OrderInvalid, "only servers are restored to an instant; upgrade this worker"));
    }
    let wish = restore_instant(&order.metadata)
        .map_err(|error| refused(FailureCode::TargetInvalid, &error.to_string()))?
        .unwrap_or(RestoreInstant::Latest);
    let target = Target::of(&wish).map_err(|error| refused(FailureCode::TargetInvalid, &error_chain(&error)))?;
    let id = order.recovery_point.resource().strip_prefix("recovery-point:").and_then(|id| id.parse().ok());
    let point: RecoveryPointId =
        id.ok_or_else(|| refused(FailureCode::OrderInvalid, "the order names no recovery point"))?;
    let bases = bases(vault, &order.bases)?;
    let stream = vault.stream(point);
    let size = ledger::load(&stream).map_err(log_failed)?.facts.map_or(SegmentSize::DEFAULT, |f| f.segment_size);
    let (stored, log) = ledger::survey(&stream, size).map_err(log_failed)?;
    let known: Vec<Base> = bases.iter().map(|(base, _)| base.clone()).collect();
    let plan =
        plan(&known, &log, &target).map_err(|refusal| refused(FailureCode::TargetInvalid, &refusal.to_string()))?;
    let found = bases.iter().find(|(base, _)| base.id == plan.base.id).and_then(|(_, at)| Some((parsed(at)?, at)));
    let ((snapshot_id, tree_id), _) =
        found.ok_or_else(|| refused(FailureCode::OrderInvalid, "the full capture has no snapshot"))?;
    tracing::info!(base = %snapshot_id, target = %plan.target, until = %plan.until, "way to the instant");
    Ok(Way { snapshot_id, tree_id, stored, log, plan, point })
}

fn parsed(base: &ParentSnapshot) -> Option<(Id, Id)> {
    Some((base.snapshot_id.parse().ok()?, base.tree_id.parse().ok()?))
}

/// The full captures that are there and are what they were when they were captured. One that is gone was retired
/// meanwhile; one that is another is told and left out.
fn bases<'o>(vault: &Vault, ordered: &'o [ParentSnapshot]) -> Result<Vec<(Base, &'o ParentSnapshot)>, WorkError> {
    let mut bases = Vec::new();
    for at in ordered {
        let Some((snapshot_id, tree_id)) = parsed(at) else {
            return Err(refused(FailureCode::OrderInvalid, "`bases` holds what is no snapshot"));
        };
        let reader = match vault.reader(snapshot_id) {
            Ok(reader) => reader,
            Err(VaultError::SnapshotMissing { .. }) => continue,
            Err(error @ VaultError::Damaged { .. }) => {
                tracing::error!(snapshot = %snapshot_id, error = error_chain(&error), "a full capture is left out");
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        let found = driver_api::SnapshotReader::root(&reader);
        if found != tree_id {
            tracing::error!(snapshot = %snapshot_id, %found, expected = %tree_id, "a full capture is another one");
            continue;
        }
        let description = read_description(&reader).map_err(|error| WorkError::Target(error.into()))?;
        let facts = serde_json::to_value(&description)
            .map_err(|error| DriverError::NotOurs { problem: error.to_string() })
            .and_then(|value| PhysicalFacts::read(&value));
        match facts {
            Ok(facts) => bases.extend(Base::of(&at.snapshot_id, &facts).map(|base| (base, at))),
            Err(error) => {
                tracing::error!(snapshot = %snapshot_id, error = error_chain(&error), "a full capture is left out");
            }
        }
    }
    Ok(bases)
}

impl Way {
    /// Restores the full capture and rolls it forward.
    pub(crate) fn restore(
        &self,
        tools: &Tools,
        vault: &Vault,
        request: RestoreRequest<'_>,
    ) -> Result<Restored, DriverError> {
        let stream = vault.stream(self.point);
        let forward = Forward { source: &stream, stored: &self.stored, log: &self.log, plan: &self.plan };
        PostgresDriver::new(tools.config.postgres.clone()).restore_to(request, &forward)
    }
}

fn refused(code: FailureCode, problem: &str) -> WorkError {
    WorkError::refused(code, problem.to_owned())
}

fn log_failed(error: LedgerError) -> WorkError {
    WorkError::Target(DriverError::Service {
        code: FailureCode::SnapshotDiffers,
        problem: format!("the log of the recovery point cannot be read: {}", error_chain(&error)),
        source: Some(Box::new(error)),
    })
}
