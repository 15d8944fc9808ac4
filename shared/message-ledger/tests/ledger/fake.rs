//! A bus in memory that does what a JetStream server does, and fails as it is told.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use job_bus::{Publish, Published};
use job_events::Envelope;
use job_events::subjects::{self, Queue, Service};
use job_model::{JobId, Region};
use message_ledger::{Ledger, Outgoing, OutgoingKind, PublishFailure, Publisher};
use state_store::{StateStore, StoreError};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// How long a publish without an answer takes to give up; as in the real bus.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(10);

/// What goes wrong with one publish.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Fault {
    None,
    /// The message is stored, its acknowledgement is lost.
    AckLost,
    /// The message is lost.
    MessageLost,
    /// The message is stored, and the answer never comes.
    Silent,
    /// The server says no.
    Refused,
}

#[derive(Debug, Default)]
pub(crate) struct State {
    /// Every message that was stored, in order.
    pub(crate) stored: Vec<Publish>,
    /// Every publish that arrived, stored or not.
    pub(crate) attempts: Vec<String>,
    /// Faults of the next publishes, then none.
    pub(crate) faults: VecDeque<Fault>,
    /// Whether nothing comes through at all.
    pub(crate) away: bool,
    /// Whether the server forgets ids, as after a restart.
    pub(crate) forgetful: bool,
    ids: HashSet<String>,
    /// Subjects of open orders.
    open: HashSet<String>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct FakeBus(Arc<Mutex<State>>);

impl FakeBus {
    pub(crate) fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// The ids stored so far.
    pub(crate) fn ids(&self) -> Vec<String> {
        self.state().stored.iter().map(|message| message.id.clone()).collect()
    }

    /// A worker has settled the order on a subject.
    pub(crate) fn settle(&self, subject: &str) {
        self.state().open.remove(subject);
    }

    fn take(&self, message: &Publish) -> (Fault, Result<Published, PublishFailure>) {
        let mut state = self.state();
        state.attempts.push(message.id.clone());
        let fault = state.faults.pop_front().unwrap_or(Fault::None);
        if state.away || fault == Fault::MessageLost {
            return (Fault::MessageLost, Err(PublishFailure::Unreachable(Box::new(io::Error::other("lost")))));
        }
        if fault == Fault::Refused {
            return (fault, Err(PublishFailure::Refused(Box::new(io::Error::other("permissions violation")))));
        }
        let known = state.ids.contains(&message.id) && !state.forgetful;
        let there = state.stored.iter().any(|stored| stored.subject == message.subject);
        if known || message.once_per_subject && there {
            return (fault, Ok(Published { sequence: 0, duplicate: true }));
        }
        let order = message.expect_stream.starts_with("ORDERS");
        if order && !state.open.insert(message.subject.clone()) {
            return (fault, Err(PublishFailure::Busy));
        }
        state.ids.insert(message.id.clone());
        state.stored.push(message.clone());
        (fault, Ok(Published { sequence: state.stored.len() as u64, duplicate: false }))
    }
}

impl Publisher for FakeBus {
    fn publish<'a>(
        &'a self,
        message: &'a Publish,
    ) -> Pin<Box<dyn Future<Output = Result<Published, PublishFailure>> + Send + 'a>> {
        Box::pin(async move {
            // Another lane may go first, as on a network.
            tokio::task::yield_now().await;
            let (fault, answer) = self.take(message);
            match fault {
                Fault::MessageLost => tokio::time::sleep(TIMEOUT).await,
                Fault::AckLost => {
                    tokio::time::sleep(TIMEOUT).await;
                    return Err(PublishFailure::Unreachable(Box::new(io::Error::other("no answer"))));
                }
                Fault::Silent => std::future::pending().await,
                Fault::None | Fault::Refused => {}
            }
            answer
        })
    }
}

/// A service with an outbox: store, bus and a relay that can be killed.
pub(crate) struct Fixture {
    pub(crate) store: StateStore,
    pub(crate) bus: FakeBus,
    pub(crate) ledger: Ledger,
    relay: Option<JoinHandle<()>>,
}

pub(crate) fn region() -> Region {
    "ap-northeast-1".parse().unwrap()
}

pub(crate) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

pub(crate) fn job(number: u128) -> JobId {
    JobId::new(Uuid::from_u128(number))
}

pub(crate) fn ledger(store: &StateStore, buses: &[(Region, FakeBus)]) -> Ledger {
    let publishers = buses.iter().map(|(region, bus)| (region.clone(), Arc::new(bus.clone()) as Arc<dyn Publisher>));
    let random = std::sync::atomic::AtomicU64::new(1);
    let source = "/holdfast/planner/test".to_owned();
    Ledger::with_publishers(store.clone(), publishers.collect::<BTreeMap<_, _>>(), source, move || {
        random.fetch_add(0x9e37_79b9_7f4a_7c15, std::sync::atomic::Ordering::Relaxed)
    })
}

impl Fixture {
    pub(crate) fn new() -> Self {
        let (store, bus) = (StateStore::in_memory_as("test".to_owned()), FakeBus::default());
        let ledger = ledger(&store, &[(region(), bus.clone())]);
        Self { store, bus, ledger, relay: None }
    }

    /// A fixture whose relay runs.
    pub(crate) fn running() -> Self {
        let mut fixture = Self::new();
        fixture.start();
        fixture
    }

    pub(crate) fn start(&mut self) {
        let ledger = self.ledger.clone();
        self.relay = Some(tokio::spawn(async move { ledger.relay(CancellationToken::new()).await }));
    }

    /// The process dies and starts again: the relay and all it knew are gone, store and bus are not.
    pub(crate) async fn crash(&mut self) {
        if let Some(relay) = self.relay.take() {
            relay.abort();
            assert!(relay.await.is_err_and(|end| end.is_cancelled()));
        }
        self.ledger = ledger(&self.store, &[(region(), self.bus.clone())]);
    }

    /// Waits for the relay to die by itself.
    #[cfg(feature = "failpoints")]
    pub(crate) async fn died(&mut self) {
        assert!(self.relay.take().unwrap().await.is_err_and(|end| end.is_panic()));
        self.crash().await;
    }

    pub(crate) async fn enqueue(&self, outgoing: Outgoing) -> u64 {
        self.store.transact(move |tx| Ledger::enqueue(tx, &outgoing, at(0))).await.unwrap()
    }

    pub(crate) async fn confirm(&self, job: JobId) -> usize {
        self.store.transact(move |tx| Ledger::confirm(tx, job)).await.unwrap()
    }

    pub(crate) async fn pending(&self) -> u64 {
        self.store.read(Ledger::depth_and_oldest).await.unwrap().pending
    }

    pub(crate) async fn unconfirmed(&self) -> Vec<u64> {
        let rows = self.store.read(Ledger::unconfirmed).await.unwrap();
        rows.into_iter().map(|row| row.number).collect()
    }

    pub(crate) async fn reissue(&self, row: u64) -> bool {
        self.store.transact::<_, StoreError, _>(move |tx| Ledger::reissue(tx, row)).await.unwrap()
    }
}

fn envelope(id: &str) -> Envelope {
    let source = "/holdfast/planner/test".to_owned();
    let mut envelope = Envelope::new(id.to_owned(), source, "holdfast.test.v1".to_owned(), at(0), id.into());
    envelope.traceparent = Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned());
    envelope
}

pub(crate) fn order(id: &str, resource: &str, job: JobId) -> Outgoing {
    Outgoing {
        region: region(),
        stream: Queue::Snapshot.stream(&region()),
        subject: subjects::order(&region(), Queue::Snapshot, resource),
        envelope: envelope(id),
        kind: OutgoingKind::Order,
        job: Some(job),
    }
}

pub(crate) fn fact(id: &str, job: JobId, n: u64) -> Outgoing {
    Outgoing {
        region: region(),
        stream: subjects::fact_stream(&region()),
        subject: subjects::fact(&region(), Service::Planner, "job-changed", &job.to_string(), 1, n),
        envelope: envelope(id),
        kind: OutgoingKind::Fact,
        job: Some(job),
    }
}

pub(crate) fn request(id: &str) -> Outgoing {
    Outgoing {
        region: region(),
        stream: subjects::request_stream(&region()),
        subject: subjects::request(&region(), Service::Planner, "start-restore"),
        envelope: envelope(id),
        kind: OutgoingKind::Request,
        job: None,
    }
}
