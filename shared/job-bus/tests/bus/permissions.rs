//! The rendered table against a real server: what a role needs works, what it must not do is refused.

use std::time::Duration;

use futures::StreamExt;
use job_bus::permissions::{Credential, Role, User, render};
use job_bus::server_process::{NatsServer, ServerOptions};
use job_bus::{Bus, BusConfig, DeadLetter, Publish, PublishError, QueryError, StartAt};
use job_events::subjects::{self, Queue, Service};
use job_model::{JobId, Region};
use uuid::Uuid;

use crate::fixture::{WAIT, config, patient, region};

struct Guarded {
    server: NatsServer,
    dir: tempfile::TempDir,
    region: Region,
}

impl Guarded {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let users: Vec<User> = Role::ALL
            .iter()
            .map(|role| User {
                name: role.as_str().to_owned(),
                role: *role,
                regions: vec![region()],
                credential: Credential::Password(role.as_str().to_owned().into()),
            })
            .collect();
        let options =
            ServerOptions { dir: dir.path().join("nats"), extra_config: render(&users), ..Default::default() };
        Self { server: NatsServer::start(options).unwrap(), dir, region: region() }
    }

    async fn login(&self, role: Role) -> Bus {
        let secret = self.dir.path().join(role.as_str());
        std::fs::write(&secret, role.as_str()).unwrap();
        let config = BusConfig {
            user: Some(role.as_str().to_owned()),
            password_file: Some(secret),
            inbox_prefix: Some(role.inbox_prefix()),
            ..config(&self.server.url())
        };
        Bus::connect_with(&config, WAIT, patient()).await.unwrap()
    }

    async fn provisioned() -> Self {
        let guarded = Self::start();
        guarded.login(Role::Provisioner).await.provision(&guarded.region).await.unwrap();
        guarded
    }

    fn message(&self, stream: String, subject: String) -> Publish {
        Publish {
            id: subject.clone(),
            subject,
            payload: "{}".into(),
            traceparent: None,
            expect_stream: stream,
            once_per_subject: false,
        }
    }

    fn order(&self, queue: Queue) -> Publish {
        self.message(queue.stream(&self.region), subjects::order(&self.region, queue, "vol1"))
    }

    fn fact(&self, service: Service) -> Publish {
        let subject = subjects::fact(&self.region, service, "attempt-started", "job", 1, 1);
        self.message(subjects::fact_stream(&self.region), subject)
    }

    fn request(&self, service: Service) -> Publish {
        let subject = subjects::request(&self.region, service, "start-backup");
        self.message(subjects::request_stream(&self.region), subject)
    }
}

async fn refused(bus: &Bus, message: &Publish) {
    let before = bus.counters().permission_violations;
    match bus.publish(message).await {
        Err(PublishError::Denied { subject }) => assert_eq!(subject, message.subject),
        other => panic!("{}: {other:?}", message.subject),
    }
    assert_eq!(bus.counters().permission_violations, before + 1);
}

const WORKERS: [(Service, Queue); 4] = [
    (Service::SnapshotWorker, Queue::Snapshot),
    (Service::CopyReplicator, Queue::Copy),
    (Service::RestoreWorker, Queue::Restore),
    (Service::Verifier, Queue::Verify),
];

#[tokio::test]
async fn a_worker_can_do_its_work_and_nothing_of_anybody_else() {
    let g = Guarded::provisioned().await;
    let planner = g.login(Role::Service(Service::Planner)).await;
    for (service, queue) in WORKERS {
        planner.publish(&g.order(queue)).await.unwrap();
        let worker = g.login(Role::Service(service)).await;

        let consumer = worker.consumer(&queue.stream(&g.region), service.as_str()).await.unwrap();
        let delivery = consumer.next(WAIT).await.unwrap().unwrap();
        let job = JobId::new(Uuid::from_u128(queue as u128));
        let mut stops = worker.watch_stops(&g.region).await.unwrap();
        assert!(!worker.stop_requested(&g.region, job).await.unwrap());
        let stop = g.message(subjects::control_stream(&g.region), subjects::stop(&g.region, job));
        planner.publish(&stop).await.unwrap();
        assert_eq!(stops.next().await, Some(job));
        let mut lease = worker.acquire_lease(&g.region, service.as_str(), "me", 0).await.unwrap();
        lease.renew().await.unwrap();
        delivery.in_progress().await.unwrap();
        let letter = DeadLetter::of_delivery(&queue.stream(&g.region), &delivery, "test");
        worker.bury(&g.region, service, &letter).await.unwrap();
        worker.publish(&g.fact(service)).await.unwrap();
        let stream = queue.stream(&g.region);
        assert!(worker.is_stored(&stream, delivery.sequence).await.unwrap());
        delivery.ack().await.unwrap();
        assert!(!worker.is_stored(&stream, delivery.sequence).await.unwrap());
        lease.release().await.unwrap();

        refused(&worker, &g.fact(Service::Planner)).await;
        refused(&worker, &g.order(queue)).await;
        refused(&worker, &stop).await;
        let (other, other_queue) = WORKERS.into_iter().find(|(other, _)| *other != service).unwrap();
        refused(&worker, &g.fact(other)).await;
        // A refused question to the server is silence; a pull is refused as a publish is.
        let pull = format!("$JS.API.CONSUMER.MSG.NEXT.{}.{other}", other_queue.stream(&g.region));
        refused(&worker, &g.message(other_queue.stream(&g.region), pull)).await;
    }
}

#[tokio::test]
async fn the_planner_can_do_its_work_and_cannot_speak_for_a_worker() {
    let g = Guarded::provisioned().await;
    let planner = g.login(Role::Service(Service::Planner)).await;
    let operator = g.login(Role::Operator).await;
    planner.provision(&g.region).await.unwrap();
    operator.publish(&g.request(Service::Planner)).await.unwrap();
    let requests = planner.consumer(&subjects::request_stream(&g.region), "planner").await.unwrap();
    requests.next(WAIT).await.unwrap().unwrap().ack().await.unwrap();
    planner.publish(&g.fact(Service::Planner)).await.unwrap();
    let facts = planner.consumer(&subjects::fact_stream(&g.region), "planner").await.unwrap();
    facts.next(WAIT).await.unwrap().unwrap().ack().await.unwrap();
    for queue in Queue::ALL {
        let published = planner.publish(&g.order(queue)).await.unwrap();
        let stream = queue.stream(&g.region);
        planner.sweep_stuck(&stream, queue.service().as_str()).await.unwrap();
        planner.stream_identity(&stream).await.unwrap();
        assert!(planner.remove_message(&stream, published.sequence).await.unwrap());
    }
    refused(&planner, &g.fact(Service::SnapshotWorker)).await;
    refused(&planner, &g.request(Service::Planner)).await;
    assert!(planner.provision(&"eu-central-1".parse().unwrap()).await.is_err(), "another region is not its own");
}

#[tokio::test]
async fn the_operator_asks_and_watches_and_cannot_order() {
    let g = Guarded::provisioned().await;
    let planner = g.login(Role::Service(Service::Planner)).await;
    let operator = g.login(Role::Operator).await;
    let mut served = planner.serve_queries(&subjects::queries_to(&g.region, Service::Planner)).await.unwrap();
    let answering = tokio::spawn(async move { served.next().await.unwrap().respond("42").await.unwrap() });
    let asked = subjects::query(&g.region, Service::Planner, "list-jobs");
    // The subscription and the question travel on two connections; the first answer to the planner's own question on
    // the subscribing one would prove the order, but it may not ask itself.
    let answer = loop {
        match operator.query(&asked, Vec::new(), WAIT).await {
            Err(QueryError::NobodyAnswers { .. }) => {}
            other => break other.unwrap(),
        }
    };
    assert_eq!(&answer[..], b"42");
    answering.await.unwrap();

    let stream = subjects::fact_stream(&g.region);
    let mut watch = operator.watch(&stream, &subjects::facts(&g.region), StartAt::All).await.unwrap();
    planner.publish(&g.fact(Service::Planner)).await.unwrap();
    watch.next().await.unwrap().unwrap();
    assert!(operator.dead_letters(&g.region, 10).await.unwrap().is_empty());

    for queue in Queue::ALL {
        refused(&operator, &g.order(queue)).await;
    }
    refused(&operator, &g.fact(Service::Planner)).await;
    refused(&operator, &g.message("X".to_owned(), format!("$JS.API.STREAM.DELETE.{stream}"))).await;
}

#[tokio::test]
async fn replies_to_one_role_are_not_for_another() {
    let g = Guarded::provisioned().await;
    let url = g.server.url();
    let login = async_nats::ConnectOptions::with_user_and_password("snapshot-worker".into(), "snapshot-worker".into());
    let (told, mut heard) = tokio::sync::mpsc::unbounded_channel();
    let client = login
        .event_callback(move |event| {
            let _ = told.send(event.to_string());
            std::future::ready(())
        })
        .connect(url)
        .await
        .unwrap();
    let _spying = client.subscribe("_INBOX.planner.>").await.unwrap();
    let refusal = tokio::time::timeout(Duration::from_secs(20), async {
        loop {
            let event = heard.recv().await.unwrap();
            if event.contains("Permissions Violation for Subscription") {
                break event;
            }
        }
    });
    assert!(refusal.await.unwrap().contains("_INBOX.planner.>"));
}
