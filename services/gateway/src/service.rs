//! The gateway as a service: what it opens and runs, in which order, and how it ends.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use job_bus::Bus;
use job_model::Region;
use serde::{Deserialize, Serialize};
use service_host::{ConfigProblem, Host, Service, ServiceError, error_chain};
use state_store::{Opened, Record, Recovery, StateStore, StoreConfig, StoreError, Table};
use tokio_util::sync::CancellationToken;

use crate::access::Keys;
use crate::backend::Backend;
use crate::calls::Calls;
use crate::config::Config;
use crate::http::{self, Api};
use crate::listen::{self, Listener};
use crate::notify::{self, Topics};
use crate::page_token::PageTokens;
use crate::projection::{self, Projection};
use crate::reports;
use crate::throttle::Throttle;

/// How often old calls and jobs are forgotten.
const UPKEEP: Duration = Duration::from_secs(3600);
/// Page cache of the store: rows of jobs are read for pages, rows of recovery points only where they change.
pub(crate) const CACHE_BYTES: u64 = 128 << 20;

/// Answers the AWS Backup API and the native API.
#[derive(Debug)]
pub struct Gateway;

/// What only this gateway knows.
#[derive(Serialize, Deserialize)]
struct OwnSecret {
    /// Key of page tokens, hexadecimal.
    page_tokens: String,
}

impl Record for OwnSecret {
    const VERSION: u8 = 1;
}

const OWN: Table<OwnSecret> = Table::new("own");

#[async_trait]
impl Service for Gateway {
    const NAME: &'static str = "gateway";

    type Config = Config;

    fn validate(config: &Config) -> Result<(), ConfigProblem> {
        config.check()
    }

    async fn run(config: Config, host: Host) -> Result<(), ServiceError> {
        let own = config.own_account()?;
        let topics = Topics::load(&config.topics)?;
        let keys = Keys::load(&config.access_keys, |name| std::env::var(name).ok())?;
        let acceptor = config.tls.as_ref().map(listen::tls).transpose()?;
        if acceptor.is_none() && !config.listen.ip().is_loopback() {
            tracing::warn!(listen = %config.listen, "answers without TLS beyond this machine; put a proxy before it");
        }
        host.health.not_ready("projection", "starting");
        let store = open(&config).await?;
        let buses = connect(&config).await?;
        let Some(home) = buses.keys().next().cloned() else {
            return Err(ConfigProblem::new("regions", "", "name at least one").into());
        };
        let state = |step: &'static str| move |error| ServiceError::state(step, error);
        let loaded = Projection::load(store.clone(), own, home).await;
        let projection = loaded.map_err(state("load the projection"))?;
        let tokens = PageTokens::new(&secret(&store).await.map_err(state("draw a secret"))?);
        let backend = Backend::new(buses, config.call_timeout, host.clock.clone(), host.ids.clone());
        let idle = (config.call_timeout * 2).max(Duration::from_secs(75));
        let (address, most) = (config.listen, config.connections_max);
        let listener = Listener::bind(address, acceptor, most, idle, host.stop.clone()).await;
        let listener =
            listener.map_err(|e| ServiceError::dependency(format!("listen on `listen` = `{address}`"), e))?;
        tracing::info!(%address, "answering the API");
        let api = Arc::new(Api {
            throttle: Throttle::new(config.requests_per_second),
            calls: Calls::new(store.clone()),
            config,
            keys,
            backend,
            projection,
            tokens,
            clock: host.clock.clone(),
            ids: host.ids.clone(),
        });
        let notifier = notify::Around {
            store: store.clone(),
            backend: api.backend.clone(),
            clock: host.clock.clone(),
            topics: Arc::new(topics),
        };
        let ended = live(api, listener, notifier, &host).await;
        store.close().await;
        ended
    }
}

async fn live(api: Arc<Api>, listener: Listener, notifier: notify::Around, host: &Host) -> Result<(), ServiceError> {
    let stop = CancellationToken::new();
    let mut tasks = tokio::task::JoinSet::new();
    for region in api.backend.regions() {
        tasks.spawn(api.backend.clone().listen(region.clone(), stop.clone()));
    }
    let (projection, backend) = (api.projection.clone(), api.backend.clone());
    tasks.spawn(projection::follow(projection, backend, host.clock.clone(), host.health.clone(), stop.clone()));
    tasks.spawn(notify::run(notifier, stop.clone()));
    tasks.spawn(upkeep(api.clone(), stop.clone()));
    tasks.spawn(reports::run(api.clone(), stop.clone()));
    let (graceful, hard) = (host.stop.clone(), host.hard_stop.clone());
    let serving =
        axum::serve(listener, http::router(api)).with_graceful_shutdown(async move { graceful.cancelled().await });
    let served = tokio::select! {
        served = serving.into_future() => served,
        () = hard.cancelled() => Ok(()),
    };
    stop.cancel();
    while tasks.join_next().await.is_some() {}
    served.map_err(|e| ServiceError::internal("answer the API", e))
}

async fn upkeep(api: Arc<Api>, stop: CancellationToken) {
    while !stop.is_cancelled() {
        tokio::select! {
            () = api.clock.sleep(UPKEEP) => {}
            () = stop.cancelled() => return,
        }
        let now = api.clock.now();
        match api.calls.forget_old(now).await {
            Ok(count) => tracing::debug!(count, "old calls are forgotten"),
            Err(error) => tracing::warn!(error = %error_chain(&error), "old calls stay"),
        }
        if let Err(error) = api.projection.prune(now).await {
            tracing::warn!(error = %error_chain(&error), "old jobs stay in lists");
        }
    }
}

async fn open(config: &Config) -> Result<StateStore, ServiceError> {
    let mut store = StoreConfig::new(config.common.state_dir.clone());
    store.cache_bytes = CACHE_BYTES;
    let opened = tokio::task::spawn_blocking(move || StateStore::open(&store)).await;
    let opened = opened.map_err(|e| ServiceError::internal("open the state", e))?;
    let Opened { store, recovery } = opened.map_err(|e| ServiceError::state("open the state", e))?;
    match recovery {
        Recovery::Created => tracing::info!("new state"),
        Recovery::Clean => {}
        rebuilt @ Recovery::Rebuilt { .. } => {
            tracing::warn!(?rebuilt, "the state was damaged; the projection is brought up to date from the services");
        }
    }
    Ok(store)
}

async fn connect(config: &Config) -> Result<BTreeMap<Region, Bus>, ServiceError> {
    let mut buses = BTreeMap::new();
    for (region, settings) in &config.regions {
        let connected = Bus::connect(&settings.nats, config.common.start_wait).await;
        let connected =
            connected.map_err(|e| ServiceError::dependency(format!("connect to the bus of `{region}`"), e))?;
        buses.insert(region.clone(), connected);
    }
    Ok(buses)
}

/// The key of page tokens, drawn once.
async fn secret(store: &StateStore) -> Result<[u8; 32], StoreError> {
    let mut drawn = [0; 32];
    // Documented to fail only where the machine has no source of randomness; zeros would be no secret.
    if aws_lc_rs::rand::fill(&mut drawn).is_err() {
        tracing::error!("this machine has no randomness");
        std::process::abort();
    }
    let kept = store.transact(move |tx| {
        let known = tx.get(&OWN, b"secret")?.and_then(|row: OwnSecret| hex::decode(row.page_tokens).ok());
        if let Some(known) = known.and_then(|bytes| <[u8; 32]>::try_from(bytes).ok()) {
            return Ok::<_, StoreError>(known);
        }
        tx.put(&OWN, b"secret", &OwnSecret { page_tokens: hex::encode(drawn) })?;
        Ok(drawn)
    });
    kept.await.map_err(|error| match error {
        state_store::TransactError::Refused(e) | state_store::TransactError::Store(e) => e,
    })
}
