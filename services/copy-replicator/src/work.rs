//! From an order to the fact it leads to.

use std::sync::Arc;

use async_trait::async_trait;
use attempt_control::{Steering, Stopwatch, WorkError, off_the_runtime};
use job_events::{Fact, OrderBody, SnapshotForgotten};
use job_model::FailureCode;
use order_runner::{Attempt, Work, WorkFailure};
use service_host::Clock;
use vault_engine::{Profiles, Surroundings};

use crate::Config;
use crate::orders::{copy_recovery_point, forget_warm_snapshot};

/// What every order needs.
#[derive(Clone, Debug)]
pub(crate) struct Tools {
    pub(crate) config: Arc<Config>,
    pub(crate) profiles: Arc<Profiles>,
    pub(crate) surroundings: Surroundings,
    pub(crate) clock: Arc<dyn Clock>,
}

impl Tools {
    /// The region as an attribute of metrics.
    pub(crate) fn region(&self) -> String {
        self.config.region.as_ref().map(ToString::to_string).unwrap_or_default()
    }

    /// Times the phases of a job.
    pub(crate) fn stopwatch(&self) -> Stopwatch {
        Stopwatch::start(self.clock.clone(), "copy", self.region())
    }
}

/// The work of a copy-replicator.
#[derive(Debug)]
pub(crate) struct CopyWork {
    tools: Tools,
}

impl CopyWork {
    pub(crate) fn new(config: Config, clock: Arc<dyn Clock>) -> Self {
        let surroundings = Surroundings::new({
            let clock = clock.clone();
            move || clock.now()
        });
        let profiles = Arc::new(config.profiles());
        Self { tools: Tools { config: Arc::new(config), profiles, surroundings, clock } }
    }
}

#[async_trait]
impl Work for CopyWork {
    async fn run(&self, order: &OrderBody, attempt: &Attempt) -> Result<Fact, WorkFailure> {
        let (tools, order, attempt) = (self.tools.clone(), order.clone(), attempt.clone());
        off_the_runtime(move || {
            let steering = Steering::new(attempt.control());
            match &order {
                OrderBody::CopyRecoveryPoint(order) => {
                    let copied = copy_recovery_point::run(&tools, order, &steering)?;
                    Ok(copied.into_fact(attempt.header(tools.clock.now())).into())
                }
                OrderBody::ForgetWarmSnapshot(order) => {
                    forget_warm_snapshot::run(&tools, order, &steering)?;
                    let recovery_point = order.recovery_point.clone();
                    Ok(SnapshotForgotten { attempt: attempt.header(tools.clock.now()), recovery_point }.into())
                }
                other => Err(WorkError::refused(
                    FailureCode::OrderInvalid,
                    format!("`{}` is no order for a copy-replicator; look at the planner's version", other.name()),
                )),
            }
        })
        .await
    }
}
