//! A server, orders, scripted work, and the facts that came of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use job_bus::server_process::{NatsServer, ServerOptions};
use job_bus::{Bus, BusConfig, Publish, StartAt, Timing, Watch};
use job_events::subjects::{self, Queue};
use job_events::{Envelope, Fact, OrderBody, OrderHeader, RemoveSandbox, SandboxRemoved};
use job_model::{JobId, Region};
use message_ledger::Ledger;
use order_runner::{Attempt, Runner, Work, WorkFailure};
use service_host::{Clock, SystemClock};
use state_store::StateStore;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub(crate) const WAIT: Duration = Duration::from_secs(30);

/// For what must run out while the test waits.
pub(crate) const TIMING: Timing = Timing { ack_wait: Duration::from_secs(2), lease_ttl: Duration::from_secs(2) };

/// For what must not, however slow the machine is and its disk; and less than [`WAIT`], so that who waits for it to run out
/// is noticed.
pub(crate) const PATIENT: Timing = Timing { ack_wait: Duration::from_secs(20), lease_ttl: Duration::from_secs(20) };

pub(crate) const VOLUME: &str = "arn:aws:ec2:ap-northeast-1:123456789012:volume/vol-1";

pub(crate) struct Fixture {
    pub(crate) server: NatsServer,
    pub(crate) bus: Bus,
    pub(crate) region: Region,
    pub(crate) dir: tempfile::TempDir,
}

/// With [`TIMING`].
pub(crate) async fn connect(url: &str) -> Bus {
    connect_with(url, TIMING).await
}

async fn connect_with(url: &str, timing: Timing) -> Bus {
    let config = BusConfig {
        url: url.to_owned(),
        name: "test".to_owned(),
        user: None,
        password_file: None,
        nkey_seed_file: None,
        inbox_prefix: None,
        ca_file: None,
    };
    Bus::connect_with(&config, WAIT, timing).await.unwrap()
}

impl Fixture {
    /// Deliveries and leases run out as [`TIMING`] says.
    pub(crate) async fn new() -> Self {
        Self::with(TIMING).await
    }

    /// The same with [`PATIENT`].
    pub(crate) async fn patient() -> Self {
        Self::with(PATIENT).await
    }

    async fn with(timing: Timing) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let options = ServerOptions { dir: dir.path().join("nats"), ..Default::default() };
        let server = NatsServer::start(options).unwrap();
        let bus = connect_with(&server.url(), timing).await;
        let region: Region = "ap-northeast-1".parse().unwrap();
        bus.provision(&region).await.unwrap();
        Self { server, bus, region, dir }
    }

    pub(crate) fn worker(&self, instance: &str) -> Worker {
        self.worker_on(self.bus.clone(), StateStore::in_memory(), instance)
    }

    pub(crate) fn worker_on(&self, bus: Bus, store: StateStore, instance: &str) -> Worker {
        let source = format!("/holdfast/restore-worker/{instance}");
        let ledger = Ledger::new(store.clone(), BTreeMap::from([(self.region.clone(), bus.clone())]), source);
        let relay_stop = CancellationToken::new();
        let relay = tokio::spawn({
            let (ledger, stop) = (ledger.clone(), relay_stop.clone());
            async move { ledger.relay(stop).await }
        });
        Worker {
            runner: Some(Runner {
                bus,
                store: store.clone(),
                ledger,
                region: self.region.clone(),
                queue: Queue::Restore,
                instance: instance.to_owned(),
                slots: 2,
                clock: Arc::new(SystemClock::new()),
                drain: Duration::from_millis(200),
            }),
            store,
            stop: CancellationToken::new(),
            hard_stop: CancellationToken::new(),
            relay_stop,
            _relay: relay,
            running: None,
        }
    }

    /// Publishes an order as the planner would.
    pub(crate) async fn order(&self, job: u128) -> JobId {
        self.order_with(job, |_, _| {}).await
    }

    pub(crate) async fn order_with(&self, job: u128, change: impl FnOnce(&mut RemoveSandbox, &mut Envelope)) -> JobId {
        let job = JobId::new(Uuid::from_u128(job));
        let mut body = RemoveSandbox {
            order: OrderHeader {
                job_id: job,
                attempt: 1,
                region: self.region.clone(),
                resource: VOLUME.parse().unwrap(),
                issued_at: SystemClock::new().now(),
                deadline: None,
            },
            restore_job_id: job,
        };
        let source = "/holdfast/planner/test".to_owned();
        let mut envelope =
            Envelope::new(String::new(), source, String::new(), Timestamp::UNIX_EPOCH, serde_json::Value::Null);
        envelope.generation = Some(5);
        change(&mut body, &mut envelope);
        envelope.id = format!("order-{job}-{}-{}", body.order.attempt, envelope.generation.unwrap_or_default());
        let order = OrderBody::from(body);
        if envelope.event_type.is_empty() {
            envelope.event_type = order.event_type();
        }
        envelope.data = order.to_value().unwrap();
        self.publish_order(&envelope.id.clone(), envelope.to_bytes().unwrap(), &job.to_string()).await;
        job
    }

    pub(crate) async fn publish_order(&self, id: &str, payload: Vec<u8>, key: &str) {
        let message = Publish {
            subject: subjects::order(&self.region, Queue::Restore, key),
            id: id.to_owned(),
            payload: payload.into(),
            traceparent: None,
            expect_stream: Queue::Restore.stream(&self.region),
            once_per_subject: false,
        };
        assert!(!self.bus.publish(&message).await.unwrap().duplicate);
    }

    pub(crate) async fn stop_job(&self, job: JobId) {
        let message = Publish {
            subject: subjects::stop(&self.region, job),
            id: format!("stop-{job}"),
            payload: "{}".into(),
            traceparent: None,
            expect_stream: subjects::control_stream(&self.region),
            once_per_subject: false,
        };
        self.bus.publish(&message).await.unwrap();
    }

    pub(crate) async fn facts(&self) -> Facts {
        let stream = subjects::fact_stream(&self.region);
        Facts { watch: self.bus.watch(&stream, &subjects::facts(&self.region), StartAt::All).await.unwrap() }
    }

    /// Waits until no order is open any more.
    pub(crate) async fn settled(&self) {
        let stream = Queue::Restore.stream(&self.region);
        until(async || self.bus.stream_identity(&stream).await.is_ok_and(|identity| identity.messages == 0)).await;
    }

    pub(crate) async fn open_orders(&self) -> u64 {
        self.bus.stream_identity(&Queue::Restore.stream(&self.region)).await.unwrap().messages
    }

    pub(crate) async fn facts_told(&self) -> u64 {
        self.bus.stream_identity(&subjects::fact_stream(&self.region)).await.unwrap().last_sequence
    }

    /// The names of all facts so far but progress, in order.
    pub(crate) async fn told(&self) -> Vec<String> {
        let last = self.facts_told().await;
        let mut facts = self.facts().await;
        let mut names = Vec::new();
        for _ in 0..last {
            let name = facts.next().await.1.name().to_owned();
            if name != "attempt-progressed" {
                names.push(name);
            }
        }
        names
    }
}

/// Waits for a condition.
pub(crate) async fn until(mut condition: impl AsyncFnMut() -> bool) {
    let reached = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(WAIT, reached).await.unwrap();
}

pub(crate) struct Facts {
    watch: Watch,
}

impl Facts {
    pub(crate) async fn next(&mut self) -> (Envelope, Fact) {
        let seen = tokio::time::timeout(WAIT, self.watch.next()).await.unwrap().unwrap().unwrap();
        let envelope = Envelope::from_bytes(&seen.payload).unwrap();
        let fact = envelope.fact().unwrap();
        assert!(seen.subject.contains(fact.name()), "{} names {}", seen.subject, fact.name());
        (envelope, fact)
    }

    /// The next fact of that name; others are passed over.
    pub(crate) async fn named(&mut self, name: &str) -> (Envelope, Fact) {
        loop {
            let (envelope, fact) = self.next().await;
            if fact.name() == name {
                return (envelope, fact);
            }
        }
    }
}

pub(crate) struct Worker {
    pub(crate) runner: Option<Runner>,
    pub(crate) store: StateStore,
    pub(crate) stop: CancellationToken,
    pub(crate) hard_stop: CancellationToken,
    relay_stop: CancellationToken,
    _relay: JoinHandle<()>,
    running: Option<JoinHandle<()>>,
}

impl Worker {
    pub(crate) fn start<F, Fut>(mut self, script: F) -> Self
    where
        F: Fn(OrderBody, Attempt) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Fact, WorkFailure>> + Send + 'static,
    {
        let runner = self.runner.take().unwrap();
        let (stop, hard_stop) = (self.stop.clone(), self.hard_stop.clone());
        self.running = Some(tokio::spawn(runner.run(Arc::new(Script(script)), stop, hard_stop)));
        self
    }

    /// Ends it softly and waits for it.
    pub(crate) async fn end(mut self) -> StateStore {
        self.stop.cancel();
        tokio::time::timeout(WAIT, self.running.take().unwrap()).await.unwrap().unwrap();
        self.store.clone()
    }

    pub(crate) async fn end_hard(mut self) -> StateStore {
        self.hard_stop.cancel();
        tokio::time::timeout(WAIT, self.running.take().unwrap()).await.unwrap().unwrap();
        self.store.clone()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.hard_stop.cancel();
        self.relay_stop.cancel();
    }
}

struct Script<F>(F);

#[async_trait]
impl<F, Fut> Work for Script<F>
where
    F: Fn(OrderBody, Attempt) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Fact, WorkFailure>> + Send + 'static,
{
    async fn run(&self, order: &OrderBody, attempt: &Attempt) -> Result<Fact, WorkFailure> {
        (self.0)(order.clone(), attempt.clone()).await
    }
}

/// What the scripted work returns when all is well.
pub(crate) fn removed(attempt: &Attempt) -> Fact {
    let header = attempt.header(SystemClock::new().now());
    Fact::from(SandboxRemoved { attempt: header, restore_job_id: attempt.job_id() })
}
