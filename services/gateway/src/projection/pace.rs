//! How fast lists are: pages of 1,000 of a vault's recovery points, through the whole answer of the API (signature, decoding,
//! filter, rows, JSON) but the socket, with a store on disk and facts arriving meanwhile.
//!
//! In CI some thousands of points, to see that it works; `just bench-lists` measures a million, in a release build. What a page
//! takes of the processors is measured apart, with nothing else in the process, so that it can be judged on a machine that
//! does other things too.

use std::fmt::Write as _;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use state_store::{StateStore, StoreConfig};
use tokio_util::sync::CancellationToken;

use super::{Change, Object};
use crate::http::Api;
use crate::scene::{self, point};
use crate::service::CACHE_BYTES;

/// What a page of 1,000 may take at the 99th percentile.
const LIMIT_MS: f64 = 50.0;
/// Where the wall clock of this test begins.
static START: LazyLock<Instant> = LazyLock::new(Instant::now);
const LIST: &str = "/backup-vaults/main/recovery-points/?maxResults=1000";

fn number(variable: &str, usual: u64) -> u64 {
    std::env::var(variable).map_or(usual, |text| text.parse().expect("a number"))
}

/// The largest size this process had, in bytes.
fn peak_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

async fn fill(api: &Arc<Api>, points: u64) {
    api.projection.apply(vec![Change::Put(Box::new(Object::Vault(scene::vault())))], None).await.unwrap();
    for begin in (0..points).step_by(1000) {
        let batch = begin..(begin + 1000).min(points);
        let changes = batch.map(|number| Change::of_point(&point(number))).collect();
        api.projection.apply(changes, None).await.unwrap();
    }
}

/// Points that change, as of a busy planner: a batch of 20 every 50 milliseconds.
async fn facts(api: Arc<Api>, points: u64, stop: CancellationToken) {
    let mut next = 0;
    while !stop.is_cancelled() {
        let changes = (0..20).map(|n| Change::of_point(&point((next + n) % points))).collect();
        api.projection.apply(changes, None).await.unwrap();
        next += 20;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Processor time of all threads of this process.
fn processor_time() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(now.tv_sec.try_into().unwrap(), now.tv_nsec.try_into().unwrap())
}

/// How many processes of the machine ran or waited for a processor, over 1, 5 and 15 minutes.
fn load() -> String {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap();
    load.split_whitespace().take(3).collect::<Vec<_>>().join(" ")
}

/// A page: how long it took, its rows, the token of the next one.
async fn page(api: &Arc<Api>, target: &str, clock: fn() -> Duration) -> (Duration, usize, Option<String>) {
    let began = clock();
    let response = scene::ask(api, "GET", target, b"").await;
    assert_eq!(response.status(), StatusCode::OK, "{target}");
    let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
    let took = clock() - began;
    let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
    let rows = ["RecoveryPoints", "Results"].iter().find_map(|member| body[member].as_array()).unwrap().len();
    (took, rows, body["NextToken"].as_str().map(str::to_owned))
}

/// A filter's name, and its list for a resource.
type Filter = (&'static str, Box<dyn Fn(u64) -> String>);

fn filters(points: u64) -> Vec<Filter> {
    let instant = |n: u64| point(n).created_at.to_string().replace(':', "%3A");
    let resource = |n: u64| scene::resource_arn(n).to_string().replace(':', "%3A").replace('/', "%2F");
    let (early, late) = (instant(points / 10), instant(points - points / 10));
    let between = format!("createdAfter={early}&createdBefore={late}");
    vec![
        ("none", Box::new(|_| LIST.to_owned())),
        ("resource (1 in 1,000)", Box::new(move |n| format!("{LIST}&resourceArn={}", resource(n)))),
        ("type (1 in 4)", Box::new(|_| format!("{LIST}&resourceType=Volume"))),
        ("plan (1 in 20)", Box::new(|n| format!("{LIST}&backupPlanId={}", scene::plan_id(n)))),
        ("created before (the oldest tenth)", Box::new(move |_| format!("{LIST}&createdBefore={early}"))),
        (
            "plan, type, created between",
            Box::new(move |n| format!("{LIST}&backupPlanId={}&resourceType=Files&{between}", scene::plan_id(n))),
        ),
        ("type that none has", Box::new(|_| format!("{LIST}&resourceType=EBS"))),
        (
            "the list of a resource",
            Box::new(move |n| format!("/resources/{}/recovery-points/?maxResults=1000", resource(n))),
        ),
        ("protected resources", Box::new(|_| "/resources/?maxResults=1000".to_owned())),
    ]
}

/// What pages of one filter took, in order.
struct Taken {
    times: Vec<Duration>,
    rows: usize,
}

impl Taken {
    /// In milliseconds.
    fn at(&self, percent: usize) -> f64 {
        self.times[(self.times.len() * percent).div_ceil(100).saturating_sub(1)].as_secs_f64() * 1000.0
    }
}

/// Pages one after the other, as a client reads them; at the end from the start, for another value.
async fn read(
    api: &Arc<Api>,
    target: &dyn Fn(u64) -> String,
    rounds: u64,
    random: &mut SmallRng,
    clock: fn() -> Duration,
) -> Taken {
    let (mut times, mut rows) = (Vec::new(), 0);
    let mut next = None::<(String, String)>;
    for _ in 0..rounds {
        let (first, token) =
            next.take().unwrap_or_else(|| (target(random.random_range(0..scene::RESOURCES)), String::new()));
        let target = if token.is_empty() { first.clone() } else { format!("{first}&nextToken={token}") };
        let (took, count, token) = page(api, &target, clock).await;
        times.push(took);
        rows += count;
        next = token.map(|token| (first, token));
    }
    times.sort();
    Taken { times, rows }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_of_a_large_vault_are_fast_with_any_filter() {
    let (points, rounds) = (number("HOLDFAST_LIST_POINTS", 5_000), number("HOLDFAST_LIST_PAGES", 3));
    let seed = number("HOLDFAST_SEED", 1);
    let mut random = SmallRng::seed_from_u64(seed);
    let dir = tempfile::tempdir().unwrap();
    let mut config = StoreConfig::new(dir.path().join("gateway"));
    config.cache_bytes = CACHE_BYTES;
    let opened = tokio::task::spawn_blocking(move || StateStore::open(&config)).await;
    let store = opened.unwrap().unwrap().store;
    let (api, _) = scene::api(store.clone()).await;
    let before = peak_bytes();
    let began = Instant::now();
    fill(&api, points).await;
    let filled = began.elapsed();
    let began = load();
    let stop = CancellationToken::new();
    let busy = tokio::spawn(facts(api.clone(), points, stop.clone()));
    let mut wall = Vec::new();
    for (_, target) in filters(points) {
        let since_start = || Instant::now().duration_since(*START);
        wall.push(read(&api, &target, rounds, &mut random, since_start).await);
    }
    stop.cancel();
    busy.await.unwrap();
    let mut table = String::from(
        "| filter | pages | rows | p50 ms | p99 ms | processor p50 ms | processor p99 ms |\n|---|--:|--:|--:|--:|--:|--:|\n",
    );
    let mut slow = Vec::new();
    for ((name, target), wall) in filters(points).into_iter().zip(wall) {
        let alone = read(&api, &target, rounds, &mut random, processor_time).await;
        let (pages, rows) = (wall.times.len(), wall.rows);
        let (p50, p99, processor_p50, processor_p99) = (wall.at(50), wall.at(99), alone.at(50), alone.at(99));
        let _ = writeln!(
            table,
            "| {name} | {pages} | {rows} | {p50:.1} | {p99:.1} | {processor_p50:.1} | {processor_p99:.1} |"
        );
        if p99 > LIMIT_MS {
            slow.push(name);
        }
    }
    let peak = peak_bytes();
    println!("{points} recovery points (seed {seed}), filled in {:.0} s\n\n{table}", filled.as_secs_f64());
    println!("load of the machine {began} before, {} after", load());
    println!("peak memory {} MiB; before the first point {} MiB", peak >> 20, before >> 20);
    // A build that is not optimised, on a machine that does other things too, says nothing about time.
    if !cfg!(debug_assertions) {
        assert!(slow.is_empty(), "slower than {LIMIT_MS} ms at the 99th percentile: {slow:?}");
        let allowed = before + 2 * CACHE_BYTES + points * 300;
        assert!(peak <= allowed, "{peak} bytes of memory where {allowed} are allowed");
    }
    drop(api);
    store.close().await;
}
