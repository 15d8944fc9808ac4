//! A nats-server, a planner, and what talks to it.

mod planner_task;
mod test_clock;
mod workers;

use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use job_bus::server_process::{NatsServer, ServerOptions};
use job_bus::{Bus, BusConfig, Publish, StartAt};
use job_events::subjects::{self, Queue, Service};
use job_events::{
    Answer, AttemptHeader, CreateVaultRequest, Envelope, Fact, OrderBody, Query, RegisterResource, Request,
    RequestAccepted, RequestRejected,
};
use job_model::{Arn, Job, JobId, RecoveryPoint, Region, ResourceType};
use service_host::{Clock as _, Ids as _, SystemClock, SystemIds};
use uuid::Uuid;

use planner_task::{InProcess, Process};
use test_clock::TestClock;
pub(crate) use workers::{Workers, captured, failed};

pub(crate) const NEAR: &str = "ap-northeast-1";
pub(crate) const FAR: &str = "ap-northeast-3";
const PATIENCE: Duration = Duration::from_secs(150);

pub(crate) fn region(name: &str) -> Region {
    name.parse().unwrap()
}

pub(crate) fn resource_arn() -> Arn {
    format!("arn:aws:files:{NEAR}:000000000000:tree/home").parse().unwrap()
}

pub(crate) fn vault_arn(region: &str) -> Arn {
    format!("arn:aws:backup:{region}:000000000000:backup-vault:main").parse().unwrap()
}

/// Facts as they were told, with their envelopes.
type Heard = Arc<Mutex<Vec<(Envelope, Fact)>>>;

pub(crate) struct Stage {
    pub(crate) clock: Arc<TestClock>,
    bus: Bus,
    heard: Heard,
    looked: Mutex<Option<Instant>>,
    in_process: Option<InProcess>,
    process: Option<Process>,
    server: NatsServer,
    dir: tempfile::TempDir,
}

impl Stage {
    /// A planner in this process, whose clock the test turns.
    pub(crate) async fn start() -> Self {
        let mut stage = Self::set().await;
        stage.in_process = Some(InProcess::start(&stage.server.url(), &stage.dir.path().join("first"), &stage.clock));
        stage.ready().await;
        stage
    }

    /// A planner in a process of its own, to be killed.
    pub(crate) async fn start_process() -> Self {
        let mut stage = Self::set().await;
        stage.start_planner();
        stage.ready().await;
        stage
    }

    async fn set() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let options = ServerOptions { dir: dir.path().join("nats"), ..ServerOptions::default() };
        let server = NatsServer::start(options).unwrap();
        let bus = Bus::connect(&bus_config(&server.url(), "test"), Duration::from_secs(10)).await.unwrap();
        for name in [NEAR, FAR] {
            bus.provision(&region(name)).await.unwrap();
        }
        let heard = Heard::default();
        for name in [NEAR, FAR] {
            tokio::spawn(listen(bus.clone(), region(name), heard.clone()));
        }
        let clock = Arc::new(TestClock::default());
        Self { clock, bus, heard, looked: Mutex::new(None), in_process: None, process: None, server, dir }
    }

    async fn ready(&self) {
        let asked = || async {
            let subject = subjects::query(&region(NEAR), Service::Planner, Query::ListVaults.name());
            let query = serde_json::to_vec(&Query::ListVaults).unwrap();
            self.bus.query(&subject, query, Duration::from_secs(1)).await.ok()
        };
        self.until("the planner answers", asked).await;
    }

    pub(crate) fn start_planner(&mut self) {
        self.process = Some(Process::start(&self.server.url(), &self.dir.path().join("process")));
    }

    pub(crate) fn kill_planner(&mut self) {
        self.process.take().expect("a planner of its own process").kill9();
    }

    pub(crate) fn second_planner(&self) -> InProcess {
        InProcess::start(&self.server.url(), &self.dir.path().join("second"), &self.clock)
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.in_process.as_ref().is_some_and(InProcess::is_ready)
    }

    pub(crate) async fn stop_planner(&mut self) {
        if let Some(planner) = self.in_process.take() {
            planner.stop().await;
        }
    }

    /// Ends the planner; it must end well.
    pub(crate) async fn stop(mut self) {
        self.stop_planner().await;
        if let Some(process) = self.process.take() {
            process.stop();
        }
    }

    /// Asks until there is an answer: conditions, not sleeps.
    pub(crate) async fn until<T, F>(&self, what: &str, mut ask: impl FnMut() -> F) -> T
    where
        F: Future<Output = Option<T>>,
    {
        let begin = Instant::now();
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            assert!(
                begin.elapsed() < PATIENCE,
                "waited in vain: {what}; heard {:#?}",
                self.heard.lock().unwrap().last()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Lets the reconciler look, at most twice a second: it needs the time between for its work.
    pub(crate) fn look_again(&self) {
        let mut looked = self.looked.lock().unwrap();
        if looked.is_none_or(|at| at.elapsed() > Duration::from_millis(500)) {
            *looked = Some(Instant::now());
            self.clock.advance(Duration::from_secs(61));
        }
    }

    pub(crate) fn uuid(&self) -> Uuid {
        SystemIds.uuid()
    }

    pub(crate) fn workers(&self) -> Workers {
        Workers::start(&self.bus, &[region(NEAR), region(FAR)])
    }

    /// A resource and a vault in each region, ready.
    pub(crate) async fn protect(&self) {
        self.register().await;
        for region in [NEAR, FAR] {
            let job = self.create_vault(region).await;
            let job = self.ended(job).await;
            assert_eq!(job.state, job_model::JobState::Completed, "{:?}", job.status_message);
        }
    }

    pub(crate) async fn register(&self) {
        self.named(RegisterResource {
            arn: resource_arn(),
            resource_type: ResourceType::Files,
            region: region(NEAR),
            location: "file:///srv/home".to_owned(),
            hooks: None,
            tags: std::collections::BTreeMap::new(),
        })
        .await;
    }

    pub(crate) async fn create_vault(&self, name: &str) -> JobId {
        self.accepted(CreateVaultRequest {
            name: "main".to_owned(),
            region: region(name),
            location: format!("file:///vaults/{name}"),
            key_profile: "main".to_owned(),
            cold_location: None,
            cold_key_profile: None,
            min_retention_days: None,
            max_retention_days: None,
            vault_type: job_model::VaultType::BackupVault,
            tags: std::collections::BTreeMap::new(),
        })
        .await
    }

    /// Sends a request under a name and returns the fact that answers it.
    pub(crate) async fn send_as(&self, id: &str, request: impl Into<Request>) -> Fact {
        let request = request.into();
        let envelope = Envelope::new(
            id.to_owned(),
            "/test".to_owned(),
            request.event_type(),
            SystemClock::new().now(),
            request.to_value().unwrap(),
        );
        self.send(envelope, request.name()).await
    }

    async fn send(&self, envelope: Envelope, name: &str) -> Fact {
        let id = envelope.id.clone();
        let before = self.answers(&id).len();
        let publish = Publish {
            subject: subjects::request(&region(NEAR), Service::Planner, name),
            // The bus is not to recognise what the planner must.
            id: self.uuid().to_string(),
            payload: envelope.to_bytes().unwrap().into(),
            traceparent: None,
            expect_stream: subjects::request_stream(&region(NEAR)),
            once_per_subject: false,
        };
        self.bus.publish(&publish).await.unwrap();
        self.until("an answer", || async { self.answers(&id).into_iter().nth(before) }).await
    }

    fn answers(&self, id: &str) -> Vec<Fact> {
        let heard = self.heard.lock().unwrap();
        let answers = heard.iter().filter(|(_, fact)| match fact {
            Fact::RequestAccepted(answer) => answer.request_id == id,
            Fact::RequestRejected(answer) => answer.request_id == id,
            _ => false,
        });
        answers.map(|(_, fact)| fact.clone()).collect()
    }

    async fn answer(&self, request: impl Into<Request>) -> Fact {
        self.send_as(&self.uuid().to_string(), request).await
    }

    async fn is_accepted(&self, request: impl Into<Request>) -> RequestAccepted {
        match self.answer(request).await {
            Fact::RequestAccepted(accepted) => accepted,
            other => panic!("not accepted: {other:?}"),
        }
    }

    /// The job an accepted request made.
    pub(crate) async fn accepted(&self, request: impl Into<Request>) -> JobId {
        self.is_accepted(request).await.job_id.expect("a job")
    }

    /// The name an accepted request made.
    pub(crate) async fn named(&self, request: impl Into<Request>) -> String {
        self.is_accepted(request).await.result.expect("a name")
    }

    pub(crate) async fn rejected(&self, request: impl Into<Request>) -> RequestRejected {
        match self.answer(request).await {
            Fact::RequestRejected(rejected) => rejected,
            other => panic!("not rejected: {other:?}"),
        }
    }

    pub(crate) async fn send_raw(&self, id: &str, event_type: &str, data: &str) -> RequestRejected {
        let at = SystemClock::new().now();
        let data = serde_json::from_str(data).unwrap();
        let envelope = Envelope::new(id.to_owned(), "/test".to_owned(), event_type.to_owned(), at, data);
        match self.send(envelope, "start-backup").await {
            Fact::RequestRejected(rejected) => rejected,
            other => panic!("not rejected: {other:?}"),
        }
    }

    pub(crate) async fn ask(&self, query: &Query) -> Answer {
        let subject = subjects::query(&region(NEAR), Service::Planner, query.name());
        let bytes = serde_json::to_vec(query).unwrap();
        let answer = self.bus.query(&subject, bytes, Duration::from_secs(10)).await.unwrap();
        serde_json::from_slice(&answer).unwrap()
    }

    pub(crate) async fn job(&self, id: JobId) -> Job {
        match self.ask(&Query::ShowJob { job_id: id }).await {
            Answer::Job(job) => job,
            other => panic!("no job: {other:?}"),
        }
    }

    pub(crate) async fn ended(&self, id: JobId) -> Job {
        let ended = || async {
            // A planner that is restarting does not answer.
            let subject = subjects::query(&region(NEAR), Service::Planner, "show-job");
            let query = serde_json::to_vec(&Query::ShowJob { job_id: id }).unwrap();
            let answer = self.bus.query(&subject, query, Duration::from_secs(1)).await.ok()?;
            match serde_json::from_slice(&answer).unwrap() {
                Answer::Job(job) if job.state.is_terminal() => Some(job),
                _ => None,
            }
        };
        self.until("the job ends", ended).await
    }

    pub(crate) async fn points(&self) -> Vec<RecoveryPoint> {
        match self.ask(&Query::ListRecoveryPoints { vault: None, resource: None }).await {
            Answer::RecoveryPoints(points) => points,
            other => panic!("no recovery points: {other:?}"),
        }
    }

    /// A fact that was told, if it was.
    pub(crate) async fn seen(&self, wanted: impl Fn(&Fact) -> bool) -> Option<Fact> {
        self.heard.lock().unwrap().iter().map(|(_, fact)| fact).find(|fact| wanted(fact)).cloned()
    }

    /// A fact, once it is told.
    pub(crate) async fn fact(&self, wanted: impl Fn(&Fact) -> bool) -> Fact {
        self.until("a fact", || self.seen(&wanted)).await
    }

    /// The highest planner's generation heard of.
    pub(crate) async fn generation(&self) -> u64 {
        self.heard.lock().unwrap().iter().filter_map(|(envelope, _)| envelope.generation).max().unwrap()
    }

    /// The order at hand in a queue of the near region, without taking it.
    pub(crate) async fn order(&self, queue: Queue) -> Option<OrderBody> {
        let stream = queue.stream(&region(NEAR));
        let identity = self.bus.stream_identity(&stream).await.unwrap();
        if identity.messages == 0 {
            return None;
        }
        let message = self.bus.message(&stream, identity.last_sequence).await.unwrap()?;
        Envelope::from_bytes(&message.payload).unwrap().order().ok()
    }

    pub(crate) async fn messages(&self, stream: &str) -> u64 {
        self.bus.stream_identity(stream).await.unwrap().messages
    }

    pub(crate) async fn stop_is_published(&self, job: JobId) -> bool {
        let published = || async { self.bus.stop_requested(&region(NEAR), job).await.unwrap().then_some(()) };
        self.until("the stop", published).await;
        true
    }

    /// The server comes back without one of its streams.
    pub(crate) async fn lose_stream(&mut self, stream: &str) {
        self.server.stop();
        let lost: Vec<_> = walk(self.dir.path()).into_iter().filter(|path| path.ends_with(stream)).collect();
        assert_eq!(lost.len(), 1, "the stream's directory: {lost:?}");
        std::fs::remove_dir_all(&lost[0]).unwrap();
        self.server.restart().unwrap();
    }

    pub(crate) fn attempt(&self, order: &OrderBody, epoch: u64) -> AttemptHeader {
        workers::attempt(order, epoch)
    }

    pub(crate) async fn tell(&self, fact: impl Into<Fact>) {
        workers::tell(&self.bus, &region(NEAR), fact.into()).await;
    }
}

fn bus_config(url: &str, name: &str) -> BusConfig {
    BusConfig {
        url: url.to_owned(),
        name: name.to_owned(),
        user: None,
        password_file: None,
        nkey_seed_file: None,
        inbox_prefix: None,
        ca_file: None,
    }
}

fn walk(dir: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap().flatten() {
        if entry.file_type().unwrap().is_dir() {
            found.push(entry.path());
            found.extend(walk(&entry.path()));
        }
    }
    found
}

/// Hears every fact of a region; begins again when the server was away.
async fn listen(bus: Bus, region: Region, heard: Heard) {
    let mut last = 0;
    loop {
        if let Ok(mut watch) = bus.watch(&subjects::fact_stream(&region), &subjects::facts(&region), StartAt::All).await
        {
            while let Some(Ok(watched)) = watch.next().await {
                if watched.sequence <= last {
                    continue;
                }
                last = watched.sequence;
                let envelope = Envelope::from_bytes(&watched.payload).unwrap();
                let fact = envelope.fact().unwrap();
                heard.lock().unwrap().push((envelope, fact));
            }
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
