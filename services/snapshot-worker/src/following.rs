//! Following resources: what is written at the source becomes durable in the vault as it comes, for as long as the planner
//! assigns it.
//!
//! Every worker of a region reads all assignments. Who gets the lease of one carries it out, with the lease's epoch as the
//! right to change what the vault holds of it; the others try again, so that a worker that dies is succeeded without anybody
//! deciding so. What a worker says of it goes through its outbox as all facts do.

mod assignments;
mod carry;
mod config;
mod control;
mod gauges;
mod keeper;
mod lease;

use std::path::PathBuf;
use std::sync::Arc;

use job_bus::Bus;
use job_events::subjects::{self, Service};
use job_events::{Envelope, Fact, FollowResource};
use job_model::Region;
use message_ledger::{Ledger, Outgoing, OutgoingKind};
use service_host::error_chain;
use state_store::{StateStore, StoreError, TransactError};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::work::Tools;

pub(crate) use assignments::run;
pub use config::FollowConfig;
pub(crate) use gauges::Gauges;

/// What all followers of a worker share.
#[derive(Debug)]
pub(crate) struct Following {
    pub(crate) tools: Tools,
    pub(crate) bus: Bus,
    pub(crate) ledger: Ledger,
    pub(crate) store: StateStore,
    pub(crate) region: Region,
    /// `snapshot-worker/<instance>`.
    pub(crate) worker: String,
    /// Spools of followers lie below.
    pub(crate) spool: PathBuf,
    /// How many resources are followed at once.
    pub(crate) places: Arc<Semaphore>,
    pub(crate) runtime: Handle,
    pub(crate) stop: CancellationToken,
    pub(crate) gauges: Gauges,
}

/// Numbers what one holder of a lease says.
#[derive(Debug)]
pub(crate) struct Voice<'a> {
    following: &'a Following,
    follow: &'a FollowResource,
    epoch: u64,
    said: std::sync::atomic::AtomicU64,
}

impl<'a> Voice<'a> {
    fn new(following: &'a Following, follow: &'a FollowResource, epoch: u64) -> Self {
        Self { following, follow, epoch, said: std::sync::atomic::AtomicU64::new(0) }
    }

    /// Writes a fact down, to be published. Blocking. What cannot be written down is told with the next fact again.
    fn tell(&self, fact: &Fact) {
        let Following { tools, ledger, store, region, runtime, .. } = self.following;
        let n = self.said.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1;
        let about = self.follow.recovery_point_id.to_string();
        let now = tools.clock.now();
        let data = match fact.to_value() {
            Ok(data) => data,
            Err(error) => return tracing::error!(%error, "a fact cannot be written as JSON"),
        };
        let id = format!("follow-{about}-{}-{n}", self.epoch);
        let mut envelope = Envelope::new(id, ledger.source().to_owned(), fact.event_type(), now, data);
        envelope.subject = Some(self.follow.resource.to_string());
        let outgoing = Outgoing {
            region: region.clone(),
            stream: subjects::fact_stream(region),
            subject: subjects::fact(region, Service::SnapshotWorker, fact.name(), &about, self.epoch, n),
            envelope,
            kind: OutgoingKind::Fact,
            job: None,
        };
        let written = runtime.block_on(store.transact(move |tx| Ledger::enqueue(tx, &outgoing, now).map(|_| ())));
        match written {
            Ok(()) => ledger.kick(),
            Err(TransactError::<StoreError>::Refused(error) | TransactError::Store(error)) => {
                tracing::error!(error = error_chain(&error), "what a follower says cannot be written down");
            }
        }
    }
}
