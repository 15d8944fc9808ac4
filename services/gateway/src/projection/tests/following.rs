//! The projection beside a real bus, and a planner that is played.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use job_bus::server_process::{NatsServer, ServerOptions};
use job_bus::{Bus, BusConfig, Publish};
use job_events::subjects::{self, Service};
use job_events::{Answer, Envelope, Fact, Query, ScanKind, ScanPage, ScanRow};
use job_model::Region;
use parking_lot::Mutex;
use service_host::{Health, SystemClock, SystemIds};
use state_store::StateStore;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{gone, listed, made};
use crate::backend::Backend;
use crate::projection::{self, Projection};
use crate::scene::{self, REGION, point};

/// A planner's catalogue: what it answers scans with.
#[derive(Debug, Default)]
struct Catalogue {
    installation: String,
    points: Vec<u64>,
}

struct World {
    _dir: tempfile::TempDir,
    _server: NatsServer,
    bus: Bus,
    region: Region,
    catalogue: Arc<Mutex<Catalogue>>,
    facts: u64,
}

impl World {
    async fn new(points: impl Iterator<Item = u64>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let options = ServerOptions { dir: dir.path().join("nats"), ..ServerOptions::default() };
        let server = NatsServer::start(options).unwrap();
        let region: Region = REGION.parse().unwrap();
        let config: BusConfig =
            serde_json::from_value(serde_json::json!({ "url": server.url(), "name": "test" })).unwrap();
        let bus = Bus::connect(&config, Duration::from_secs(10)).await.unwrap();
        bus.provision(&region).await.unwrap();
        let catalogue = Catalogue { installation: "first".to_owned(), points: points.collect() };
        let catalogue = Arc::new(Mutex::new(catalogue));
        let mut questions = bus.serve_queries(&subjects::queries_to(&region, Service::Planner)).await.unwrap();
        let known = catalogue.clone();
        tokio::spawn(async move {
            while let Some(question) = questions.next().await {
                let query: Query = serde_json::from_slice(&question.payload).unwrap();
                let answer = played(&known.lock(), &query);
                question.respond(serde_json::to_vec(&answer).unwrap()).await.unwrap();
            }
        });
        Self { _dir: dir, _server: server, bus, region, catalogue, facts: 0 }
    }

    async fn tell(&mut self, fact: Fact) {
        self.facts += 1;
        let name = fact.name();
        let data = fact.to_value().unwrap();
        let id = format!("fact-{}", self.facts);
        let envelope = Envelope::new(id.clone(), "/planner".to_owned(), fact.event_type(), scene::start(), data);
        let publish = Publish {
            subject: subjects::fact(&self.region, Service::Planner, name, "none", 1, self.facts),
            id,
            payload: envelope.to_bytes().unwrap().into(),
            traceparent: None,
            expect_stream: subjects::fact_stream(&self.region),
            once_per_subject: false,
        };
        self.bus.publish(&publish).await.unwrap();
    }

    /// Follows with this projection until the handle is cancelled.
    fn follow(&self, projection: &Projection) -> (CancellationToken, tokio::task::JoinHandle<()>) {
        let clock = Arc::new(SystemClock::new());
        let buses = BTreeMap::from([(self.region.clone(), self.bus.clone())]);
        let backend = Backend::new(buses, Duration::from_secs(5), clock.clone(), Arc::new(SystemIds));
        let stop = CancellationToken::new();
        let following = projection::follow(projection.clone(), backend, clock, Health::default(), stop.clone());
        (stop, tokio::spawn(following))
    }
}

/// A page of two rows, so that scans have pages.
fn played(catalogue: &Catalogue, query: &Query) -> Answer {
    let Query::Scan { kind, after, .. } = query else {
        return Answer::Refused { code: "Unknown".to_owned(), field: String::new(), message: String::new() };
    };
    let begin = after.as_deref().map_or(0, |text| text.parse::<usize>().unwrap());
    let all: &[u64] = if *kind == ScanKind::RecoveryPoints { &catalogue.points } else { &[] };
    let rows = all.iter().skip(begin).take(2).map(|number| ScanRow::RecoveryPoint(Box::new(point(*number))));
    let next = (begin + 2 < all.len()).then(|| (begin + 2).to_string());
    Answer::Scan(ScanPage { rows: rows.collect(), next, facts_told: 0, installation: catalogue.installation.clone() })
}

/// Waits until these points are listed, newest first.
async fn until_listed(projection: &Projection, numbers: impl Iterator<Item = u64> + Clone) {
    let expected: Vec<Uuid> = numbers.map(|number| point(number).id.as_uuid()).collect();
    let waiting = async {
        while listed(projection).await != expected {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    if tokio::time::timeout(Duration::from_secs(60), waiting).await.is_err() {
        assert_eq!(listed(projection).await, expected);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_rebuilt_from_the_services_and_follows_their_facts() {
    let mut world = World::new(0..5).await;
    let store = StateStore::in_memory();
    let projection = scene::projection(store.clone()).await;
    let (stop, following) = world.follow(&projection);
    until_listed(&projection, (0..5).rev()).await;
    assert_eq!(projection.silence().planner, None);

    world.tell(made(5)).await;
    world.tell(gone(1)).await;
    until_listed(&projection, [5, 4, 3, 2, 0].into_iter()).await;
    stop.cancel();
    following.await.unwrap();

    // While the gateway is away facts go on: it goes on where it was, from what it stored, without a scan.
    world.tell(made(6)).await;
    world.catalogue.lock().points.clear();
    let projection = scene::projection(store.clone()).await;
    let (stop, following) = world.follow(&projection);
    until_listed(&projection, [6, 5, 4, 3, 2, 0].into_iter()).await;
    stop.cancel();
    following.await.unwrap();

    // Another planner's state: what it has not is forgotten, what it has is taken over.
    *world.catalogue.lock() = Catalogue { installation: "second".to_owned(), points: vec![2, 8, 9] };
    let projection = scene::projection(store.clone()).await;
    let (stop, following) = world.follow(&projection);
    until_listed(&projection, [9, 8, 2].into_iter()).await;
    stop.cancel();
    following.await.unwrap();
    until_listed(&scene::projection(store).await, [9, 8, 2].into_iter()).await;
}
