//! Knowing what is known elsewhere: before a recovery point is picked, everything that the planner had decided by then is
//! told, and every fact that was told by then is read.
//!
//! A verifier that was away for a while, or is a moment behind, would otherwise judge a resource by what it knew before. And
//! who saw a copy completed, because the planner says so, and tests it at once would be told that it is not there: facts
//! leave the planner's outbox after the decision.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use job_bus::{ApiError, Bus, ConsumerProgress};
use job_events::subjects::{self, Service};
use job_events::{Answer, Query};
use job_model::Region;
use service_host::{Clock, error_chain};

use crate::ask::{self, AskError};

/// Between two looks at the consumers.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How long a region may keep a run waiting, in times of the bus's `ack_wait`: a fact that was handed to a process that
/// died comes again after one of them. A region that is away must not keep the others from being tested for ever.
const PATIENCE_ACK_WAITS: u32 = 2;

/// The facts of all regions, as a reader.
#[derive(Clone, Debug)]
pub(crate) struct Reading {
    buses: Arc<BTreeMap<Region, Bus>>,
    clock: Arc<dyn Clock>,
}

/// Why it is not known how much there is to read.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error("cannot see what the planner has not told yet")]
    Planner(#[from] AskError),
    #[error("cannot see what is read")]
    Consumer(#[from] ApiError),
}

/// How much of one region is still to be told. Pure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Silence {
    /// What was written down last when the planner was asked first.
    end: Option<u64>,
}

impl Silence {
    /// Takes an answer into account; true when everything that was decided before the first one is told.
    fn is_over(&mut self, written: u64, told: u64) -> bool {
        told >= *self.end.get_or_insert(written)
    }
}

/// How much of one region is still to be read. Pure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Distance {
    /// Where the stream ended when this look at it began; none until everything was handed out once.
    end: Option<u64>,
}

impl Distance {
    /// Takes a look into account; true when everything that was there at the first look is settled.
    fn is_covered(&mut self, progress: ConsumerProgress) -> bool {
        if self.end.is_none() && progress.waiting == 0 {
            self.end = Some(progress.delivered);
        }
        self.end.is_some_and(|end| progress.settled >= end)
    }
}

impl Reading {
    pub(crate) fn new(buses: BTreeMap<Region, Bus>, clock: Arc<dyn Clock>) -> Self {
        Self { buses: Arc::new(buses), clock }
    }

    /// Returns when every fact of what was decided before the call is handled, or a region did not come that far in time: then
    /// what is known has to do, and the log says so.
    pub(crate) async fn catch_up(&self) {
        let regions = self.buses.iter().map(|(region, bus)| async move {
            let covered = async {
                loop {
                    match self.cover(region, bus).await {
                        Ok(()) => return,
                        Err(error) => {
                            tracing::debug!(%region, error = error_chain(&error), "cannot see whether all facts are read");
                        }
                    }
                    self.clock.sleep(LOOK_EVERY).await;
                }
            };
            tokio::select! {
                () = covered => {}
                () = self.clock.sleep(bus.timing().ack_wait * PATIENCE_ACK_WAITS) => {
                    tracing::warn!(%region, "not all facts are read yet; recovery points are picked from those that are known");
                }
            }
        });
        futures::future::join_all(regions).await;
    }

    async fn cover(&self, region: &Region, bus: &Bus) -> Result<(), Trouble> {
        match self.hear_out(region, bus).await {
            // A planner of before there was such a question: what it has told has to do.
            Err(AskError::Refused { message, .. }) => {
                tracing::debug!(%region, message, "the planner does not say what it has not told yet");
            }
            heard => heard?,
        }
        let mut distance = Distance::default();
        let stream = subjects::fact_stream(region);
        while !distance.is_covered(bus.consumer_progress(&stream, Service::Verifier.as_str()).await?) {
            self.clock.sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    /// Waits until the planner has told what it had decided when it was asked first.
    async fn hear_out(&self, region: &Region, bus: &Bus) -> Result<(), AskError> {
        let query = Query::ToldUpTo { region: region.clone() };
        let mut silence = Silence::default();
        loop {
            match ask::planner(bus, region, &query).await? {
                Answer::ToldUpTo { written, told } if silence.is_over(written, told) => return Ok(()),
                Answer::ToldUpTo { .. } => self.clock.sleep(LOOK_EVERY).await,
                _ => return Err(AskError::Another),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(waiting: u64, delivered: u64, settled: u64) -> ConsumerProgress {
        ConsumerProgress { waiting, delivered, settled }
    }

    #[test]
    fn what_was_decided_before_the_first_answer_has_to_be_told_and_nothing_later() {
        let mut silence = Silence::default();
        assert!(!silence.is_over(7, 4));
        assert!(!silence.is_over(9, 6));
        assert!(silence.is_over(12, 7), "the planner goes on without end");
        assert!(Silence::default().is_over(7, 7));
    }

    #[test]
    fn facts_that_were_not_handed_out_or_not_settled_are_waited_for() {
        let mut distance = Distance::default();
        assert!(!distance.is_covered(at(3, 10, 10)), "three were never seen");
        assert!(!distance.is_covered(at(0, 13, 12)), "one is being handled");
        assert!(distance.is_covered(at(0, 13, 13)));
    }

    #[test]
    fn facts_told_later_are_not_waited_for() {
        let mut distance = Distance::default();
        assert!(!distance.is_covered(at(0, 13, 12)));
        assert!(distance.is_covered(at(40, 15, 13)), "the stream goes on without end");
    }
}
