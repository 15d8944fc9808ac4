//! A worker process for the tests of this crate: makes one file per job, and dies where `FAILPOINTS` says.
//!
//! Arguments: url of the server, region, directory. The directory gets `state`, one file per job below `effects`, and
//! `runs`, a line for each time work ran.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use job_bus::{Bus, BusConfig, Timing};
use job_events::subjects::Queue;
use job_events::{Fact, OrderBody, SandboxRemoved};
use job_model::Region;
use message_ledger::Ledger;
use order_runner::{Attempt, Runner, Work, WorkFailure};
use service_host::{Clock, SystemClock};
use state_store::{StateStore, StoreConfig};
use tokio_util::sync::CancellationToken;

struct MakeFile {
    dir: PathBuf,
    clock: SystemClock,
}

#[async_trait]
impl Work for MakeFile {
    async fn run(&self, _order: &OrderBody, attempt: &Attempt) -> Result<Fact, WorkFailure> {
        let mut runs = OpenOptions::new().create(true).append(true).open(self.dir.join("runs")).unwrap();
        writeln!(runs, "{}", attempt.epoch()).unwrap();
        attempt.control().guard()?;
        let effect = self.dir.join("effects").join(attempt.job_id().to_string());
        match OpenOptions::new().create_new(true).write(true).open(effect) {
            Ok(mut made) => writeln!(made, "{}", attempt.epoch()).unwrap(),
            // An earlier run made it.
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::AlreadyExists),
        }
        let header = attempt.header(self.clock.now());
        Ok(Fact::from(SandboxRemoved { attempt: header, restore_job_id: attempt.job_id() }))
    }
}

#[tokio::main]
async fn main() {
    let scenario = fail::FailScenario::setup();
    let mut arguments = std::env::args().skip(1);
    let mut next = || arguments.next().unwrap();
    let (url, region, dir) = (next(), next().parse::<Region>().unwrap(), PathBuf::from(next()));
    std::fs::create_dir_all(dir.join("effects")).unwrap();
    let config = BusConfig {
        url,
        name: "one-worker".to_owned(),
        user: None,
        password_file: None,
        nkey_seed_file: None,
        inbox_prefix: None,
        ca_file: None,
    };
    let timing = Timing { ack_wait: Duration::from_secs(2), lease_ttl: Duration::from_secs(2) };
    let bus = Bus::connect_with(&config, Duration::from_secs(30), timing).await.unwrap();
    let store = StateStore::open(&StoreConfig::new(dir.join("state"))).unwrap().store;
    let source = "/holdfast/restore-worker/one".to_owned();
    let ledger = Ledger::new(store.clone(), BTreeMap::from([(region.clone(), bus.clone())]), source);
    let stop = CancellationToken::new();
    let relay = tokio::spawn({
        let (ledger, stop) = (ledger.clone(), stop.clone());
        async move { ledger.relay(stop).await }
    });
    let runner = Runner {
        bus,
        store,
        ledger,
        region,
        queue: Queue::Restore,
        instance: "one".to_owned(),
        slots: 1,
        clock: Arc::new(SystemClock::new()),
        drain: Duration::from_secs(1),
    };
    let work = Arc::new(MakeFile { dir, clock: SystemClock::new() });
    runner.run(work, stop.clone(), CancellationToken::new()).await;
    relay.await.unwrap();
    scenario.teardown();
}
