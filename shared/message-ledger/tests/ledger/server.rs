//! The ledger against a real nats-server and a real store.

use std::collections::BTreeMap;
use std::time::Duration;

use job_bus::server_process::{NatsServer, ServerOptions};
use job_bus::{Bus, BusConfig};
use message_ledger::Ledger;
use state_store::{StateStore, StoreConfig, StoreError};
use tokio_util::sync::CancellationToken;

use crate::fake::{at, fact, job, order, region, request};

const WAIT: Duration = Duration::from_secs(20);

async fn connect(server: &NatsServer) -> Bus {
    let config = BusConfig {
        url: server.url(),
        name: "test".to_owned(),
        user: None,
        password_file: None,
        nkey_seed_file: None,
        inbox_prefix: None,
        ca_file: None,
    };
    Bus::connect(&config, WAIT).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_facts_and_requests_reach_their_streams_once_across_a_restart_of_the_service() {
    let dir = tempfile::tempdir().unwrap();
    let server = NatsServer::start(ServerOptions { dir: dir.path().join("nats"), ..Default::default() }).unwrap();
    let bus = connect(&server).await;
    bus.provision(&region()).await.unwrap();
    let config = StoreConfig::new(dir.path().join("state"));
    let (first, second) = (order("o1", "volume-a", job(1)), order("o2", "volume-a", job(2)));
    let streams = [first.stream.clone(), fact("", job(1), 1).stream, request("").stream];
    for round in 0..2 {
        let store = StateStore::open(&config).unwrap().store;
        let ledger =
            Ledger::new(store.clone(), BTreeMap::from([(region(), bus.clone())]), "/holdfast/planner/t".into());
        let stop = CancellationToken::new();
        let relay = tokio::spawn({
            let (ledger, stop) = (ledger.clone(), stop.clone());
            async move { ledger.relay(stop).await }
        });
        // The same messages twice, as a service that lost the end of a transaction's story would write them.
        let rows = store
            .transact({
                let (first, second) = (first.clone(), second.clone());
                move |tx| {
                    let fact = Ledger::enqueue(tx, &fact("f1", job(1), 1), at(0))?;
                    let request = Ledger::enqueue(tx, &request("r1"), at(0))?;
                    let order = Ledger::enqueue(tx, &first, at(0))?;
                    if round == 0 {
                        Ledger::enqueue(tx, &second, at(0))?;
                    }
                    Ok::<_, StoreError>([fact, request, order])
                }
            })
            .await
            .unwrap();
        for row in &rows[..2 + usize::from(round == 0)] {
            tokio::time::timeout(WAIT, ledger.published(*row)).await.unwrap().unwrap();
        }
        stop.cancel();
        relay.await.unwrap();
        store.close().await;
    }
    for stream in &streams {
        assert_eq!(bus.stream_identity(stream).await.unwrap().messages, 1, "{stream}");
    }

    let consumer = bus.consumer(&streams[0], "snapshot-worker").await.unwrap();
    let delivery = consumer.next(WAIT).await.unwrap().unwrap();
    assert_eq!(delivery.traceparent, first.envelope.traceparent);
    delivery.ack().await.unwrap();
    let store = StateStore::open(&config).unwrap().store;
    let ledger = Ledger::new(store.clone(), BTreeMap::from([(region(), bus.clone())]), "/holdfast/planner/t".into());
    let stop = CancellationToken::new();
    let relay = tokio::spawn({
        let (ledger, stop) = (ledger.clone(), stop.clone());
        async move { ledger.relay(stop).await }
    });
    store.transact(|tx| Ledger::confirm(tx, job(1))).await.unwrap();
    let delivery = consumer.next(WAIT).await.unwrap().unwrap();
    assert_eq!(delivery.payload, second.envelope.to_bytes().unwrap(), "the resource is free for the order that waited");
    stop.cancel();
    relay.await.unwrap();
}
