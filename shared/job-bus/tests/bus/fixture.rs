//! A provisioned server and the few things every test needs.

use std::time::Duration;

use job_bus::server_process::{NatsServer, ServerOptions};
use job_bus::{Bus, BusConfig, Publish, Timing};
use job_events::subjects::{self, Queue};
use job_model::Region;

pub(crate) const WAIT: Duration = Duration::from_secs(20);

pub(crate) struct Fixture {
    pub(crate) server: NatsServer,
    pub(crate) bus: Bus,
    pub(crate) region: Region,
    _dir: tempfile::TempDir,
}

pub(crate) fn region() -> Region {
    "ap-northeast-1".parse().unwrap()
}

pub(crate) fn config(url: &str) -> BusConfig {
    BusConfig {
        url: url.to_owned(),
        name: "test".to_owned(),
        user: None,
        password_file: None,
        nkey_seed_file: None,
        inbox_prefix: None,
        ca_file: None,
    }
}

/// For what must run out while the test waits.
pub(crate) fn quick() -> Timing {
    Timing { ack_wait: Duration::from_secs(1), lease_ttl: Duration::from_secs(1) }
}

/// For what must not run out, however slow the machine is and its disk.
pub(crate) fn patient() -> Timing {
    Timing { ack_wait: Duration::from_secs(300), lease_ttl: Duration::from_secs(300) }
}

/// A server with the region's streams. Nothing runs out.
pub(crate) async fn provisioned() -> Fixture {
    provisioned_with(patient()).await
}

/// The same, and deliveries and leases run out after a second.
pub(crate) async fn provisioned_quick() -> Fixture {
    provisioned_with(quick()).await
}

async fn provisioned_with(timing: Timing) -> Fixture {
    let fixture = empty_with(timing).await;
    fixture.bus.provision(&fixture.region).await.unwrap();
    fixture
}

/// A server with nothing on it.
pub(crate) async fn empty() -> Fixture {
    empty_with(patient()).await
}

async fn empty_with(timing: Timing) -> Fixture {
    let dir = tempfile::tempdir().unwrap();
    let server = NatsServer::start(ServerOptions { dir: dir.path().join("nats"), ..Default::default() }).unwrap();
    let bus = Bus::connect_with(&config(&server.url()), WAIT, timing).await.unwrap();
    Fixture { server, bus, region: region(), _dir: dir }
}

impl Fixture {
    pub(crate) fn orders(&self) -> String {
        Queue::Snapshot.stream(&self.region)
    }

    pub(crate) fn order(&self, resource: &str, id: &str) -> Publish {
        Publish {
            subject: subjects::order(&self.region, Queue::Snapshot, resource),
            id: id.to_owned(),
            payload: format!("order {id}").into(),
            traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned()),
            expect_stream: self.orders(),
            once_per_subject: false,
        }
    }

    /// A client without this crate, to do to the server what nobody should.
    pub(crate) async fn raw(&self) -> async_nats::jetstream::Context {
        async_nats::jetstream::new(async_nats::connect(self.server.url()).await.unwrap())
    }
}
