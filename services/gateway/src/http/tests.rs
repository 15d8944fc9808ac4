//! Whatever is sent: an answer, and never one that says the gateway is at fault.

use axum::http::Request;
use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};
use rand::rngs::SmallRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};
use serde_json::{Map, Value, json};
use state_store::StateStore;

use super::*;
use crate::model::{Kind, Location, Shape};
use crate::scene;

/// Texts that something may stumble over, beside random ones.
const TEXTS: [&str; 16] = [
    "",
    "-",
    "main",
    "..",
    "%",
    "\u{0}",
    "\u{202e}é漢\u{1f4a9}",
    "arn:aws:backup:eu-central-1:000000000000:backup-vault:main",
    "arn:aws:backup:eu-central-1:000000000000:recovery-point:00000000-0000-0000-0000-000000000000",
    "arn:aws:files:::",
    "00000000-0000-0000-0000-000000000000",
    "cron(0 5 * * *)",
    "cron(0 0 30 2 ? *)",
    "9999-12-31T23:59:59Z",
    "-1e400",
    "{\"BackupPlanName\":\"p\",\"Rules\":[{}]}",
];

fn text(random: &mut SmallRng) -> String {
    match random.random_range(0..4) {
        0 => (0..random.random_range(0..300)).map(|_| random.random::<char>()).collect(),
        1 => "a".repeat(random.random_range(0..2000)),
        _ => (*TEXTS.choose(random).unwrap()).to_owned(),
    }
}

fn number(random: &mut SmallRng) -> Value {
    match random.random_range(0..5) {
        0 => json!(i64::MIN),
        1 => json!(u64::MAX),
        2 => json!(random.random::<f64>() * 1e300),
        _ => json!(random.random_range(-2..2000)),
    }
}

/// Any JSON.
fn anything(random: &mut SmallRng, depth: u32) -> Value {
    match random.random_range(0..if depth == 0 { 4 } else { 6 }) {
        0 => Value::Null,
        1 => Value::Bool(random.random()),
        2 => number(random),
        3 => Value::String(text(random)),
        4 => (0..random.random_range(0..4)).map(|_| anything(random, depth - 1)).collect(),
        _ => (0..random.random_range(0..4)).map(|_| (text(random), anything(random, depth - 1))).collect(),
    }
}

/// A value of a shape: mostly as the model wants it, sometimes not.
fn value(random: &mut SmallRng, shape: &Shape, depth: u32) -> Value {
    let of = |name: Option<&String>| self::api().shape(name.map_or("", String::as_str));
    if random.random_ratio(1, 12) {
        return anything(random, 3);
    }
    match shape.kind {
        Kind::Structure if depth > 0 => Value::Object(members(random, shape, Location::Body, depth)),
        Kind::List if depth > 0 => {
            (0..random.random_range(0..3)).map(|_| value(random, of(shape.member.as_ref()), depth - 1)).collect()
        }
        Kind::Map if depth > 0 => {
            let pairs = 0..random.random_range(0..3);
            pairs.map(|_| (text(random), value(random, of(shape.value.as_ref()), depth - 1))).collect()
        }
        Kind::Structure | Kind::Map => json!({}),
        Kind::List => json!([]),
        Kind::String => match shape.allowed.choose(random) {
            Some(allowed) => json!(allowed),
            None => json!(text(random)),
        },
        Kind::Integer | Kind::Long => number(random),
        Kind::Boolean => json!(random.random::<bool>()),
        Kind::Timestamp => {
            if random.random() {
                number(random)
            } else {
                json!(text(random))
            }
        }
    }
}

fn members(random: &mut SmallRng, shape: &Shape, place: Location, depth: u32) -> Map<String, Value> {
    let mut given = Map::new();
    for (name, member) in shape.members.iter().filter(|(_, member)| member.location == place) {
        if shape.required.contains(name) || random.random_ratio(1, 3) {
            given.insert(name.clone(), value(random, self::api().shape(&member.shape), depth.saturating_sub(1)));
        }
    }
    if random.random_ratio(1, 20) {
        given.insert(text(random), anything(random, 2));
    }
    given
}

fn encoded(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

/// A request of an operation with everything that may be wrong with it: method, target, body.
fn request(operation: usize, seed: u64) -> (String, String, Vec<u8>) {
    let random = &mut SmallRng::seed_from_u64(seed);
    let (_, operation) = self::api().operations.iter().nth(operation).unwrap();
    let empty = Shape::default();
    let shape = operation.input.as_deref().map_or(&empty, |name| self::api().shape(name));
    let (path, flag) = operation.uri.split_once('?').unwrap_or((&operation.uri, ""));
    let segments = path.split('/').map(|segment| match segment.strip_prefix('{') {
        Some(_) if random.random_ratio(1, 10) => "%FF%".to_owned(),
        Some(_) => encoded(&text(random)),
        None => segment.to_owned(),
    });
    let mut target = segments.collect::<Vec<_>>().join("/") + "?" + flag;
    for (name, member) in shape.members.iter().filter(|(_, member)| member.location == Location::Query) {
        if random.random_ratio(1, 3) {
            let name = member.name.as_deref().unwrap_or(name);
            target.push_str(&format!("&{}={}", encoded(name), encoded(&text(random))));
        }
    }
    if random.random_ratio(1, 20) {
        target.push_str(&format!("&{}", encoded(&text(random))));
    }
    let body = match random.random_range(0..12) {
        0 => Vec::new(),
        1 => (0..random.random_range(0..200)).map(|_| random.random()).collect(),
        // Deeper than any reader should follow.
        2 => "[".repeat(100_000).into_bytes(),
        3 => anything(random, 4).to_string().into_bytes(),
        _ => Value::Object(members(random, shape, Location::Body, 5)).to_string().into_bytes(),
    };
    let methods = ["GET", "PUT", "POST", "DELETE", "HEAD", "PATCH"];
    let method = if random.random_ratio(1, 20) { methods.choose(random).unwrap() } else { operation.method.as_str() };
    (method.to_owned(), target, body)
}

fn seeded(cases: u32) -> TestRunner {
    let seed: u64 = std::env::var("HOLDFAST_SEED").map_or(1, |text| text.parse().expect("a number"));
    println!("HOLDFAST_SEED={seed}");
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes))
}

fn cases() -> u32 {
    std::env::var("HOLDFAST_FUZZ_CASES").map_or(3000, |text| text.parse().expect("a number"))
}

#[test]
fn no_request_makes_the_gateway_panic_or_say_that_it_is_at_fault() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (api, _) = runtime.block_on(scene::api(StateStore::in_memory()));
    let operations = self::api().operations.len();
    let answered = std::cell::RefCell::new(std::collections::BTreeMap::<u16, u32>::new());
    let outcome = seeded(cases()).run(&(0..operations, any::<u64>()), |(operation, seed)| {
        let (method, target, body) = request(operation, seed);
        if Request::builder().method(method.as_str()).uri(&target).body(()).is_err() {
            // No client and no server would let that pass.
            return Ok(());
        }
        let response = runtime.block_on(scene::ask(&api, &method, &target, &body));
        let status = response.status().as_u16();
        *answered.borrow_mut().entry(status).or_default() += 1;
        prop_assert!(status < 500, "{status}: {method} {target} {}", String::from_utf8_lossy(&body));
        if status >= 400 {
            prop_assert!(response.headers().contains_key("x-amzn-errortype"), "{status}: {method} {target}");
        }
        Ok(())
    });
    outcome.unwrap();
    let answered = answered.into_inner();
    // The fuzz gets through to the operations, or it proves nothing.
    assert!(answered.get(&200).is_some_and(|count| *count > 10), "{answered:?}");
    assert!(answered.get(&400).is_some_and(|count| *count > 100), "{answered:?}");
}

#[test]
fn any_path_and_any_bytes_are_routed_and_read_without_a_panic() {
    let strategy = (
        prop_oneof![Just("GET"), Just("PUT"), Just("POST"), Just("DELETE")],
        "(/[a-z%A-F0-9:{}.-]{0,12}){0,8}/?",
        "[a-zA-Z0-9=&%+.:-]{0,60}",
        prop::collection::vec(any::<u8>(), 0..200),
    );
    let outcome = seeded(cases()).run(&strategy, |(method, path, query, body)| {
        if let Ok(route) = route::find(method, &path, &query)
            && let Err(fault) = decode::input(&route, &query, &body)
        {
            prop_assert!(fault.status.is_client_error(), "{fault}: {method} {path}?{query}");
        }
        if let Some(native) = path.strip_prefix("/holdfast/v1/")
            && let Err(fault) = native::find(method, native)
        {
            prop_assert!(fault.status.is_client_error(), "{fault}");
        }
        Ok(())
    });
    outcome.unwrap();
}
