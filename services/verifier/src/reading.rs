//! Knowing what is known elsewhere: before a recovery point is picked, every fact that was told by then is read.
//!
//! A verifier that was away for a while, or is a moment behind, would otherwise judge a resource by what it knew before.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use job_bus::{ApiError, Bus, ConsumerProgress};
use job_events::subjects::{self, Service};
use job_model::Region;
use service_host::{Clock, error_chain};

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

    /// Returns when every fact that was told before the call is handled, or a region did not come that far in time: then
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

    async fn cover(&self, region: &Region, bus: &Bus) -> Result<(), ApiError> {
        let mut distance = Distance::default();
        let stream = subjects::fact_stream(region);
        while !distance.is_covered(bus.consumer_progress(&stream, Service::Verifier.as_str()).await?) {
            self.clock.sleep(LOOK_EVERY).await;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(waiting: u64, delivered: u64, settled: u64) -> ConsumerProgress {
        ConsumerProgress { waiting, delivered, settled }
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
