//! A server, a region, a running verifier, and what it says.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use job_bus::server_process::{NatsServer, ServerOptions};
use job_bus::{Bus, BusConfig, Publish, PublishError, StartAt, Watch};
use job_events::subjects::{self, Service as ServiceName};
use job_events::{Answer, Envelope, Fact, Query, Request, ScanPage};
use job_model::Region;
use service_host::{Clock, CommonConfig, Health, Host, Service as _, ServiceError, SystemClock, SystemIds};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use vault_engine::Profiles;
use verifier::{Config, RegionConfig, Verifier};

/// Nothing in these tests takes longer, on a busy machine either.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// The system's clock, set ahead.
#[derive(Debug, Default)]
struct LaterClock {
    system: SystemClock,
    later: SignedDuration,
}

#[async_trait]
impl Clock for LaterClock {
    fn now(&self) -> Timestamp {
        self.system.now() + self.later
    }

    fn elapsed_ms(&self) -> u64 {
        self.system.elapsed_ms()
    }

    async fn sleep(&self, duration: Duration) {
        self.system.sleep(duration).await;
    }

    async fn sleep_until(&self, instant: Timestamp) {
        self.system.sleep_until(instant - self.later).await;
    }
}

#[expect(clippy::disallowed_methods, reason = "the verifier under test runs by the system's clock")]
pub(crate) fn instant() -> Timestamp {
    Timestamp::now()
}

pub(crate) fn region() -> Region {
    "ap-northeast-1".parse().unwrap()
}

/// Everything that a test needs.
pub(crate) struct World {
    pub(crate) bus: Bus,
    pub(crate) dir: TempDir,
    pub(crate) facts: Watch,
    pub(crate) heard: Vec<(Envelope, Fact)>,
    config: Config,
    verifier: Option<(JoinHandle<Result<(), ServiceError>>, CancellationToken)>,
    planner: JoinHandle<()>,
    pub(crate) outbox: Arc<Outbox>,
    _server: NatsServer,
}

/// What the planner has written down and not told: as many messages as the test says, of ten.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    pub(crate) waiting: AtomicU64,
    /// How often the verifier asked.
    asked: AtomicU64,
}

impl Outbox {
    fn answer(&self) -> Answer {
        self.asked.fetch_add(1, Ordering::SeqCst);
        Answer::ToldUpTo { written: 10, told: 10 - self.waiting.load(Ordering::SeqCst) }
    }

    /// Waits until the verifier knows that something waits, and asks once more.
    pub(crate) async fn is_waited_for(&self) {
        let before = self.asked.load(Ordering::SeqCst);
        let asks_again = async {
            while self.asked.load(Ordering::SeqCst) < before + 2 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, asks_again).await.unwrap();
    }
}

fn bus_config(url: String) -> BusConfig {
    BusConfig {
        url,
        name: String::new(),
        user: None,
        password_file: None,
        nkey_seed_file: None,
        inbox_prefix: None,
        ca_file: None,
    }
}

impl World {
    /// A region that was provisioned, with a planner that knows of no vaults yet, and no verifier.
    pub(crate) async fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let server =
            NatsServer::start(ServerOptions { dir: dir.path().join("nats"), ..ServerOptions::default() }).unwrap();
        let bus = Bus::connect(&bus_config(server.url()), PATIENCE).await.unwrap();
        bus.provision(&region()).await.unwrap();
        let facts =
            bus.watch(&subjects::fact_stream(&region()), &subjects::facts(&region()), StartAt::All).await.unwrap();
        let config = Config {
            common: CommonConfig { state_dir: dir.path().join("state"), ..CommonConfig::default() },
            regions: BTreeMap::from([(region(), RegionConfig { nats: bus_config(server.url()) })]),
            ..Config::default()
        };
        let outbox = Arc::new(Outbox::default());
        let planner = tokio::spawn(answer_as_planner(bus.clone(), outbox.clone()));
        Self { bus, dir, facts, heard: Vec::new(), config, verifier: None, planner, outbox, _server: server }
    }

    /// Starts the verifier with the keys of a vault.
    pub(crate) async fn start(&mut self, profiles: Profiles, run_timeout: Duration) {
        self.start_later(profiles, run_timeout, Duration::ZERO).await;
    }

    /// The same, at a later time than it is.
    pub(crate) async fn start_later(&mut self, profiles: Profiles, run_timeout: Duration, later: Duration) {
        self.config.keys = profiles.keys;
        self.config.run_timeout = run_timeout;
        let stop = CancellationToken::new();
        let host = Host {
            clock: Arc::new(LaterClock { later: SignedDuration::try_from(later).unwrap(), ..LaterClock::default() }),
            ids: Arc::new(SystemIds),
            stop: stop.clone(),
            hard_stop: CancellationToken::new(),
            health: Health::new(),
        };
        let health = host.health.clone();
        // Health without any part is ready, and the task below may not have said its first word yet.
        health.not_ready("regions", "not started");
        let mut task = tokio::spawn(Verifier::run(self.config.clone(), host));
        let is_ready = async {
            while !health.is_ready() {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            () = is_ready => {}
            ended = &mut task => panic!("the verifier ended: {ended:?}"),
            () = tokio::time::sleep(PATIENCE) => panic!("not ready: {:?}", health.reasons()),
        }
        self.verifier = Some((task, stop));
    }

    /// Stops the verifier softly.
    pub(crate) async fn stop(&mut self) {
        let (task, stop) = self.verifier.take().unwrap();
        stop.cancel();
        tokio::time::timeout(PATIENCE, task).await.unwrap().unwrap().unwrap();
    }

    /// Sends a request to the verifier and waits for its answer.
    pub(crate) async fn ask(&mut self, request: impl Into<Request>) -> Fact {
        let id = self.send(request).await;
        self.answer_to(&id).await
    }

    /// Sends a request to the verifier and tells its id.
    pub(crate) async fn send(&self, request: impl Into<Request>) -> String {
        let id = Uuid::new_v5(&Uuid::NAMESPACE_OID, instant().to_string().as_bytes()).to_string();
        let request = request.into();
        let envelope =
            Envelope::new(id.clone(), "/test".to_owned(), request.event_type(), instant(), request.to_value().unwrap());
        let subject = subjects::request(&region(), ServiceName::Verifier, request.name());
        self.publish(subject, subjects::request_stream(&region()), &envelope).await;
        id
    }

    /// Sends a request in an envelope of the test's own and waits for its answer.
    pub(crate) async fn ask_with(&mut self, request: &Request, envelope: &Envelope) -> Fact {
        self.ask_as(envelope.id.clone(), request, envelope).await
    }

    /// The same under an id of its own for the bus.
    pub(crate) async fn ask_as(&mut self, id: String, request: &Request, envelope: &Envelope) -> Fact {
        let subject = subjects::request(&region(), ServiceName::Verifier, request.name());
        self.publish_as(id, subject, subjects::request_stream(&region()), envelope).await;
        self.answer_to(&envelope.id).await
    }

    /// The next answer to a request.
    pub(crate) async fn answer_to(&mut self, wanted: &str) -> Fact {
        let wanted = wanted.to_owned();
        self.hear(move |fact| match fact {
            Fact::RequestAccepted(accepted) => accepted.request_id == wanted,
            Fact::RequestRejected(rejected) => rejected.request_id == wanted,
            _ => false,
        })
        .await
        .1
    }

    /// The next fact that is wanted; the others are kept in `heard`.
    pub(crate) async fn hear(&mut self, wanted: impl Fn(&Fact) -> bool) -> (Envelope, Fact) {
        let listen = async {
            loop {
                let watched = self.facts.next().await.unwrap().unwrap();
                let envelope = Envelope::from_bytes(&watched.payload).unwrap();
                let fact = envelope.fact().unwrap();
                self.heard.push((envelope.clone(), fact.clone()));
                if wanted(&fact) {
                    return (envelope, fact);
                }
            }
        };
        match tokio::time::timeout(PATIENCE, listen).await {
            Ok(found) => found,
            Err(_) => panic!("not said: {:#?}", self.heard.iter().map(|(_, fact)| fact.name()).collect::<Vec<_>>()),
        }
    }

    /// Publishes a message.
    pub(crate) async fn publish(&self, subject: String, stream: String, envelope: &Envelope) {
        self.publish_as(envelope.id.clone(), subject, stream, envelope).await;
    }

    /// Publishes a message under an id of its own for the bus, which drops what comes twice.
    pub(crate) async fn publish_as(&self, id: String, subject: String, stream: String, envelope: &Envelope) {
        let message = Publish {
            subject,
            id,
            payload: envelope.to_bytes().unwrap().into(),
            traceparent: envelope.traceparent.clone(),
            expect_stream: stream,
            once_per_subject: false,
        };
        // A fact is told before its order is settled, so an order for the same resource may find its subject busy.
        let published = async {
            while let Err(error) = self.bus.publish(&message).await {
                assert!(matches!(error, PublishError::Busy { .. }), "{error}");
            }
        };
        tokio::time::timeout(PATIENCE, published).await.unwrap();
    }

    /// Asks the verifier a question.
    pub(crate) async fn query(&self, query: &Query) -> Answer {
        let subject = subjects::query(&region(), ServiceName::Verifier, query.name());
        let bytes = self.bus.query(&subject, serde_json::to_vec(query).unwrap(), PATIENCE).await.unwrap();
        serde_json::from_slice(&bytes).unwrap()
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.planner.abort();
    }
}

/// A planner that knows of nothing but its outbox.
async fn answer_as_planner(bus: Bus, outbox: Arc<Outbox>) {
    let mut queries = bus.serve_queries(&subjects::queries_to(&region(), ServiceName::Planner)).await.unwrap();
    while let Some(incoming) = queries.next().await {
        let answer = match serde_json::from_slice::<Query>(&incoming.payload).unwrap() {
            Query::Scan { .. } => {
                let installation = "planner".to_owned();
                Answer::Scan(ScanPage { rows: Vec::new(), next: None, facts_told: 0, installation })
            }
            Query::ToldUpTo { .. } => outbox.answer(),
            other => panic!("the verifier does not ask for {other:?}"),
        };
        incoming.respond(serde_json::to_vec(&answer).unwrap()).await.unwrap();
    }
}
