//! A bench for the tests of workers: a real nats-server, a provisioned region, orders published by hand, facts read back.
//!
//! Panics where something fails: it is for tests only.

#![expect(clippy::expect_used, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use job_bus::server_process::{NatsServer, ServerOptions};
use job_bus::{Bus, BusConfig, Publish, StartAt, Watch};
use job_events::{Envelope, Fact, OrderBody, OrderHeader, subjects};
use job_model::{Arn, JobId, RecoveryPointId, Region, VaultAccess, resource_key};
use service_host::{Clock, CommonConfig, Host, Ids as _, ManualIds, Service, ServiceError, SystemClock, SystemIds};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// How long a fact may take. Generous: the machine may be busy with other tests, and the lease of somebody who was killed
/// lasts for half a minute of it.
const PATIENCE: Duration = Duration::from_secs(180);

/// The region of the bench.
const REGION: &str = "ap-northeast-1";

/// A server, a region, and a directory for everything else.
#[derive(Debug)]
pub struct Bench {
    dir: tempfile::TempDir,
    server: NatsServer,
    bus: Bus,
    facts: tokio::sync::Mutex<Watch>,
    ids: ManualIds,
}

/// A service that runs as a task of the test.
#[derive(Debug)]
pub struct Running {
    task: JoinHandle<Result<(), ServiceError>>,
    /// Its health.
    pub health: service_host::Health,
    stop: CancellationToken,
}

impl Running {
    /// Asks it to end and waits for it.
    pub async fn stop(self) {
        self.stop.cancel();
        tokio::time::timeout(PATIENCE, self.task).await.expect("it ends").expect("no panic").expect("it ends well");
    }

    /// Ends it where it stands, as far as a task can be killed.
    pub async fn kill(self) {
        self.task.abort();
        let _ = self.task.await;
    }
}

/// The system's clock, set ahead.
#[derive(Debug)]
struct LaterClock {
    system: SystemClock,
    later: Duration,
}

#[async_trait]
impl Clock for LaterClock {
    fn now(&self) -> Timestamp {
        self.system.now() + SignedDuration::try_from(self.later).unwrap()
    }

    fn elapsed_ms(&self) -> u64 {
        self.system.elapsed_ms()
    }

    async fn sleep(&self, duration: Duration) {
        self.system.sleep(duration).await;
    }

    async fn sleep_until(&self, instant: Timestamp) {
        self.system.sleep_until(instant - SignedDuration::try_from(self.later).unwrap()).await;
    }
}

impl Bench {
    /// A bench whose region is provisioned.
    pub async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let options = ServerOptions { dir: dir.path().join("nats"), ..ServerOptions::default() };
        let server = tokio::task::spawn_blocking(|| NatsServer::start(options)).await.unwrap().expect("nats-server");
        let (bus, facts) = provision(&server).await;
        Self { dir, server, bus, facts: facts.into(), ids: ManualIds::default() }
    }

    /// Starts the server anew with nothing of what it knew, as after the loss of its disk: no order, no fact, and no lease
    /// that somebody who was killed still has. Blocks.
    pub async fn lose_the_bus(&mut self) {
        self.server.stop();
        std::fs::remove_dir_all(self.path("nats/jetstream")).unwrap();
        self.server.restart().expect("nats-server");
        let (bus, facts) = provision(&self.server).await;
        (self.bus, self.facts) = (bus, facts.into());
    }

    /// The region.
    #[must_use]
    pub fn region(&self) -> Region {
        REGION.parse().unwrap()
    }

    /// The bus's address.
    #[must_use]
    pub fn nats(&self) -> BusConfig {
        BusConfig { url: self.server.url(), ..crate::default_nats() }
    }

    /// A directory or file of the bench; removed with it.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The common section for an instance with its own state.
    #[must_use]
    pub fn common(&self, instance: &str) -> CommonConfig {
        CommonConfig {
            instance: instance.to_owned(),
            state_dir: self.path(&format!("state-{instance}")),
            stop_wait: Duration::from_secs(5),
            ..CommonConfig::default()
        }
    }

    /// A file with a password, for a key profile.
    #[must_use]
    pub fn password_file(&self) -> PathBuf {
        let path = self.path("password");
        std::fs::write(&path, "correct horse battery staple\n").unwrap();
        path
    }

    /// A vault in a directory of the bench, opened with the key profile `main`.
    #[must_use]
    pub fn vault(&self, name: &str) -> VaultAccess {
        VaultAccess {
            arn: format!("arn:aws:backup:{REGION}:000000000000:backup-vault:{name}").parse().unwrap(),
            location: location(&self.path(name)),
            key_profile: "main".to_owned(),
            repository_id: None,
        }
    }

    /// The header of a new order.
    #[must_use]
    pub fn header(&self, resource: &Arn) -> OrderHeader {
        OrderHeader {
            job_id: JobId::new(SystemIds.uuid()),
            attempt: 1,
            region: self.region(),
            resource: resource.clone(),
            issued_at: self.now(),
            deadline: None,
        }
    }

    /// A new recovery point and its ARN.
    #[must_use]
    pub fn recovery_point(&self) -> (RecoveryPointId, Arn) {
        let id = RecoveryPointId::new(self.ids.uuid());
        let account = "000000000000".parse().unwrap();
        (id, Arn::recovery_point(&self.region(), &account, id).unwrap())
    }

    /// The time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        SystemClock::new().now()
    }

    /// Starts a service as a task.
    #[must_use]
    pub fn run<S: Service>(&self, config: S::Config) -> Running {
        Self::run_with::<S>(config, Arc::new(SystemClock::new()))
    }

    /// Starts a service whose wall clock is ahead of the real one.
    #[must_use]
    pub fn run_later<S: Service>(&self, config: S::Config, later: Duration) -> Running {
        Self::run_with::<S>(config, Arc::new(LaterClock { system: SystemClock::new(), later }))
    }

    fn run_with<S: Service>(config: S::Config, clock: Arc<dyn Clock>) -> Running {
        let (stop, health) = (CancellationToken::new(), service_host::Health::new());
        let host = Host {
            clock,
            ids: Arc::new(SystemIds),
            stop: stop.clone(),
            hard_stop: CancellationToken::new(),
            health: health.clone(),
        };
        S::validate(&config).expect("a configuration that can be used");
        Running { task: tokio::spawn(S::run(config, host)), health, stop }
    }

    /// Publishes an order as the planner would.
    pub async fn order(&self, body: impl Into<OrderBody>) -> JobId {
        let body = body.into();
        let header = body.header().clone();
        let id = format!("{}:{}:{}", header.job_id, header.attempt, self.ids.uuid());
        let mut envelope = Envelope::new(
            id.clone(),
            "/holdfast/planner/bench".to_owned(),
            body.event_type(),
            self.now(),
            body.to_value().unwrap(),
        );
        envelope.generation = Some(1);
        let publish = Publish {
            subject: subjects::order(&header.region, body.queue(), &resource_key(&header.resource)),
            id,
            payload: envelope.to_bytes().unwrap().into(),
            traceparent: None,
            expect_stream: body.queue().stream(&header.region),
            once_per_subject: false,
        };
        // The subject is free again once the worker's acknowledgement of the last order arrived.
        let published = async {
            while let Err(error) = self.bus.publish(&publish).await {
                assert!(matches!(error, job_bus::PublishError::Busy { .. }), "{error}");
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, published).await.expect("the order is taken");
        header.job_id
    }

    /// The next fact of the job that ends its attempt: a result, a failure or a stop.
    pub async fn outcome(&self, job: JobId) -> Fact {
        self.outcome_of_any(&[job]).await.1
    }

    /// The next fact that ends an attempt of one of these jobs, and which. What is said of others meanwhile is passed over.
    pub async fn outcome_of_any(&self, jobs: &[JobId]) -> (JobId, Fact) {
        let mut facts = self.facts.lock().await;
        loop {
            let next = tokio::time::timeout(PATIENCE, facts.next()).await;
            let watched = next.expect("a fact in time").expect("the bus").expect("the stream");
            let fact = Envelope::from_bytes(&watched.payload).unwrap().fact().unwrap();
            let job = jobs.iter().find(|job| watched.subject.contains(&job.to_string()));
            let is_end = !matches!(fact, Fact::AttemptStarted(_) | Fact::AttemptProgressed(_));
            if let Some(job) = job.filter(|_| is_end) {
                return (*job, fact);
            }
        }
    }
}

/// A connection to a server with the region's streams, and all facts.
async fn provision(server: &NatsServer) -> (Bus, Watch) {
    let config = BusConfig { url: server.url(), name: "bench".to_owned(), ..crate::default_nats() };
    let bus = Bus::connect(&config, PATIENCE).await.expect("connect");
    let region: Region = REGION.parse().unwrap();
    bus.provision(&region).await.expect("provision");
    let facts = bus.watch(&subjects::fact_stream(&region), &subjects::facts(&region), StartAt::All).await;
    (bus, facts.expect("the facts"))
}

/// A path as a location.
#[must_use]
pub fn location(path: &Path) -> String {
    format!("file://{}", path.display())
}

/// Waits until the condition holds.
pub async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let held = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, held).await.is_ok(), "waited in vain: {what}");
}
