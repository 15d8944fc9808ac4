//! From an order to the fact it leads to.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use async_trait::async_trait;
use attempt_control::{Steering, Stopwatch, WorkError, off_the_runtime};
use job_events::{Fact, OrderBody};
use job_model::FailureCode;
use order_runner::{Attempt, Work, WorkFailure};
use service_host::Clock;
use vault_engine::{Profiles, Surroundings};

use crate::Config;
use crate::kept::Kept;
use crate::orders::{capture_snapshot, check_vault, create_vault, delete_recovery_point, protect_vault, prune_vault};

/// What every order needs.
#[derive(Clone, Debug)]
pub(crate) struct Tools {
    pub(crate) config: Arc<Config>,
    pub(crate) profiles: Arc<Profiles>,
    pub(crate) surroundings: Surroundings,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) kept: Kept,
    /// Counts full captures that were committed, so that followers look at their windows.
    pub(crate) captures: Arc<AtomicU64>,
}

impl Tools {
    /// Times the phases of a job.
    pub(crate) fn stopwatch(&self, kind: &'static str) -> Stopwatch {
        let region = self.config.region.as_ref().map(ToString::to_string).unwrap_or_default();
        Stopwatch::start(self.clock.clone(), kind, region)
    }
}

/// The work of a snapshot-worker.
#[derive(Debug)]
pub(crate) struct SnapshotWork {
    tools: Tools,
}

impl SnapshotWork {
    pub(crate) fn new(config: Config, clock: Arc<dyn Clock>, kept: Kept) -> Self {
        let surroundings = Surroundings::new({
            let clock = clock.clone();
            move || clock.now()
        });
        let profiles = Arc::new(config.profiles());
        let captures = Arc::default();
        Self { tools: Tools { config: Arc::new(config), profiles, surroundings, clock, kept, captures } }
    }

    /// What every order needs, for what runs beside them.
    pub(crate) const fn tools(&self) -> &Tools {
        &self.tools
    }
}

#[async_trait]
impl Work for SnapshotWork {
    async fn run(&self, order: &OrderBody, attempt: &Attempt) -> Result<Fact, WorkFailure> {
        let (tools, order, attempt) = (self.tools.clone(), order.clone(), attempt.clone());
        off_the_runtime(move || {
            let steering = Steering::new(attempt.control());
            let header = || attempt.header(tools.clock.now());
            match &order {
                OrderBody::CaptureSnapshot(order) => {
                    let captured = capture_snapshot::run(&tools, order, &steering)?;
                    Ok(captured.into_fact(header()).into())
                }
                OrderBody::CreateVault(order) => {
                    let repository_id = create_vault::run(&tools, order, &steering)?;
                    Ok(job_events::VaultCreated { attempt: header(), repository_id }.into())
                }
                OrderBody::DeleteRecoveryPointOrder(order) => {
                    delete_recovery_point::run(&tools, order, &steering)?;
                    let recovery_point = order.recovery_point.clone();
                    Ok(job_events::SnapshotForgotten { attempt: header(), recovery_point }.into())
                }
                OrderBody::CheckVault(order) => {
                    let report = check_vault::run(&tools, order, &steering)?;
                    Ok(check_vault::fact(&report, header()).into())
                }
                OrderBody::PruneVault(order) => {
                    Ok(prune_vault::run(&tools, order, &steering)?.into_fact(header()).into())
                }
                OrderBody::ProtectVault(order) => {
                    let keep = protect_vault::run(&tools, order, &steering)?;
                    Ok(protect_vault::fact(order, &keep, header()).into())
                }
                other => Err(WorkError::refused(
                    FailureCode::OrderInvalid,
                    format!("`{}` is no order for a snapshot-worker; look at the planner's version", other.name()),
                )),
            }
        })
        .await
    }
}
