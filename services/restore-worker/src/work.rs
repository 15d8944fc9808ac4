//! From an order to the fact it leads to.

use std::sync::Arc;

use async_trait::async_trait;
use attempt_control::{Steering, Stopwatch, WorkError, off_the_runtime};
use job_events::{Fact, OrderBody, RestoreRecoveryPoint, SandboxRemoved};
use job_model::{FailureCode, JobId, RestoreTarget};
use order_runner::{Attempt, Work, WorkFailure};
use service_host::{Clock, error_chain};
use state_store::StoreError;
use vault_engine::{Profiles, Surroundings};

use crate::Config;
use crate::orders::{remove_sandbox, restore_recovery_point};
use crate::sandbox::Sandboxes;
use crate::staging::{Stagings, is_given_up};
use crate::sweeper::{self, InUse};

/// What every order needs.
#[derive(Clone, Debug)]
pub(crate) struct Tools {
    pub(crate) config: Arc<Config>,
    pub(crate) profiles: Arc<Profiles>,
    pub(crate) surroundings: Surroundings,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) sandboxes: Sandboxes,
    pub(crate) stagings: Stagings,
    pub(crate) in_use: InUse,
}

impl Tools {
    pub(crate) fn new(config: Config, clock: Arc<dyn Clock>, sandboxes: Sandboxes, stagings: Stagings) -> Self {
        let surroundings = Surroundings::new({
            let clock = clock.clone();
            move || clock.now()
        });
        let profiles = Arc::new(config.profiles());
        Self { config: Arc::new(config), profiles, surroundings, clock, sandboxes, stagings, in_use: InUse::default() }
    }

    /// The region as an attribute of metrics.
    pub(crate) fn region(&self) -> String {
        self.config.region.as_ref().map(ToString::to_string).unwrap_or_default()
    }

    /// Times the phases of a job.
    pub(crate) fn stopwatch(&self) -> Stopwatch {
        Stopwatch::start(self.clock.clone(), "restore", self.region())
    }
}

/// The work of a restore-worker.
#[derive(Debug)]
pub(crate) struct RestoreWork {
    tools: Tools,
}

impl RestoreWork {
    pub(crate) const fn new(tools: Tools) -> Self {
        Self { tools }
    }

    async fn restore(&self, order: &RestoreRecoveryPoint, attempt: &Attempt) -> Result<Fact, WorkFailure> {
        let job = order.order.job_id;
        let sandboxed = order.target == RestoreTarget::Sandbox;
        // Written down before anything of it exists, and held against the sweeper until the attempt is over.
        let _in_use = self.tools.in_use.hold(job);
        if sandboxed {
            self.tools.sandboxes.register(job, self.tools.clock.now()).await.map_err(state_failed)?;
        }
        let (tools, order, running) = (self.tools.clone(), order.clone(), attempt.clone());
        let result = off_the_runtime(move || {
            let steering = Steering::new(running.control());
            let restored = restore_recovery_point::run(&tools, &order, &steering)?;
            Ok(restored.into_fact(running.header(tools.clock.now())).into())
        })
        .await;
        if sandboxed {
            self.tools.sandboxes.register(job, self.tools.clock.now()).await.map_err(state_failed)?;
        } else {
            self.settle_staging(job, &result, attempt).await;
        }
        result
    }

    /// Strikes out what a done restore used, and removes what one that is given up left. What cannot be removed or struck
    /// out now is left to the sweeper: the restore's own outcome is what counts.
    async fn settle_staging(&self, job: JobId, result: &Result<Fact, WorkFailure>, attempt: &Attempt) {
        let control = attempt.control();
        let over = match result {
            Ok(_) => true,
            Err(failure) => is_given_up(failure, control.stop_reason()),
        };
        if !over || control.guard().is_err() {
            return;
        }
        match self.tools.stagings.all().await {
            Ok(rows) => {
                for row in rows.into_iter().filter(|row| row.job_id == job) {
                    sweeper::remove_staging(&self.tools, &row).await;
                }
            }
            Err(error) => tracing::error!(error = error_chain(&error), "the list of stagings cannot be read"),
        }
    }
}

#[async_trait]
impl Work for RestoreWork {
    async fn run(&self, order: &OrderBody, attempt: &Attempt) -> Result<Fact, WorkFailure> {
        match order {
            OrderBody::RestoreRecoveryPoint(order) => self.restore(order, attempt).await,
            OrderBody::RemoveSandbox(order) => {
                let (tools, running, removal) = (self.tools.clone(), attempt.clone(), order.clone());
                off_the_runtime(move || {
                    Steering::new(running.control()).guard()?;
                    remove_sandbox::run(&tools, &removal)
                })
                .await?;
                self.tools.sandboxes.strike_out(order.restore_job_id).await.map_err(state_failed)?;
                let attempt = attempt.header(self.tools.clock.now());
                Ok(SandboxRemoved { attempt, restore_job_id: order.restore_job_id }.into())
            }
            other => Err(WorkError::refused(
                FailureCode::OrderInvalid,
                format!("`{}` is no order for a restore-worker; look at the planner's version", other.name()),
            )
            .into()),
        }
    }
}

fn state_failed(error: StoreError) -> WorkFailure {
    WorkError::refused(FailureCode::Internal, format!("write down the sandbox: {}", error_chain(&error))).into()
}
