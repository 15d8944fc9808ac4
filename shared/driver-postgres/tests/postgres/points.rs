//! Many good recovery points and four kinds of damage: every one of the good is proven, and each damage is named.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::FileExt as _;

use driver_api::SnapshotReader as _;
use driver_api::conformance::MemoryVault;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use super::captures::{Point, capture_from, under_load};
use super::cluster::{Cluster, settings};
use super::proofs::changed_after;
use super::restored::RestoredCopy;
use super::restores::restored_and_proven;

const PAGE_BYTES: u64 = 8192;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Something that happens to databases.
fn live(cluster: &Cluster, random: &mut StdRng, round: u64) {
    let (from, rows) = (random.random_range(1..15_000), random.random_range(1..400));
    let change = match random.random_range(0..7) {
        0 => format!(
            "INSERT INTO orders (customer, amount, note) SELECT 1 + n % 500, n, md5(n::text) FROM generate_series(1, {rows}) n"
        ),
        1 => format!("UPDATE orders SET note = 'round {round}' WHERE id BETWEEN {from} AND {from} + {rows}"),
        2 => format!("DELETE FROM orders WHERE id BETWEEN {from} AND {from} + {rows}"),
        3 => format!("CREATE TABLE made_{round} AS SELECT n, md5(n::text) FROM generate_series(1, {rows}) n"),
        4 => "VACUUM FULL orders".to_owned(),
        5 => format!("TRUNCATE writes; INSERT INTO writes (at) SELECT now() FROM generate_series(1, {rows})"),
        _ => "CHECKPOINT; SELECT pg_switch_wal()".to_owned(),
    };
    cluster.sql("shop", &change);
    cluster.sql("shop", &format!("UPDATE customers SET name = 'round {round}' WHERE id = 1 + {from} % 500"));
}

/// Where a table's rows lie in a data directory.
fn relation(cluster: &Cluster, table: &str) -> String {
    cluster.sql("shop", &format!("SELECT pg_relation_filepath('{table}')")).single().unwrap().to_owned()
}

/// All that is found wrong is this entry's; says what.
fn named(found: &[String], entry: &str) -> String {
    let prefix = format!("{entry}: ");
    assert!(!found.is_empty() && found.iter().all(|finding| finding.starts_with(&prefix)), "{entry}: {found:?}");
    found.join("; ")
}

fn each_damage_is_named(cluster: &Cluster, point: &Point, random: &mut StdRng) {
    let orders = relation(cluster, "orders");

    let copy = RestoredCopy::of(point);
    let file = fs::File::options().read(true).write(true).open(copy.target.join(&orders)).unwrap();
    let pages = file.metadata().unwrap().len() / PAGE_BYTES;
    let page = random.random_range(0..pages);
    let (at, mut byte) = (page * PAGE_BYTES + random.random_range(0..PAGE_BYTES), [0]);
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ (1 << random.random_range(0..8))], at).unwrap();
    let found = named(&copy.failures(), &orders);
    let block: u64 = found.split("(from block ").nth(1).and_then(|rest| rest.split(')').next()?.parse().ok()).unwrap();
    assert!(block <= page, "page {page}: {found}");

    let copy = RestoredCopy::of(point);
    let log = fs::read_dir(copy.target.join("pg_wal")).unwrap();
    let segment =
        log.map(|entry| entry.unwrap().file_name().into_string().unwrap()).find(|name| name.len() == 24).unwrap();
    fs::remove_file(copy.target.join("pg_wal").join(&segment)).unwrap();
    let found = copy.failures();
    assert!(found.contains(&format!("pg_wal/{segment}: it is missing")), "{found:?}");

    let copy = RestoredCopy::of(point);
    let file = fs::File::options().write(true).open(copy.target.join(&orders)).unwrap();
    let (whole, left) = (pages * PAGE_BYTES, random.random_range(0..pages) * PAGE_BYTES);
    file.set_len(left).unwrap();
    let found = named(&copy.failures(), &orders);
    assert!(found.contains(&format!("it has {left} bytes instead of {whole}")), "{found}");

    let rows: u64 = cluster.sql("shop", "SELECT count(*) FROM orders").parse(0, 0).unwrap();
    let found = changed_after(point, "DELETE FROM orders WHERE id = (SELECT min(id) FROM orders)");
    let expected = format!("shop.public.orders: it has {} rows instead of {rows}", rows - 1);
    assert!(found.contains(&expected), "{expected}: {found:?}");
}

#[test]
fn every_good_point_is_proven_and_each_damage_is_named() {
    let seed = number("HOLDFAST_SEED", rand::rng().random_range(0..1_000_000));
    let points = number("HOLDFAST_GOOD_POINTS", 3);
    println!("HOLDFAST_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let cluster = Cluster::with_shop();
    let vault = MemoryVault::new();
    let mut trees = BTreeSet::new();
    let mut last: Option<Point> = None;
    for round in 1..=points {
        live(&cluster, &mut random, round);
        let location = cluster.location(if random.random() { "stream" } else { "files" });
        let parent = last.as_ref().filter(|_| random.random());
        let take = || capture_from(settings(), &vault, &location, parent).unwrap();
        // The last one is damaged afterwards, and what it holds must be known exactly.
        let is_busy = round < points && random.random();
        let point = if is_busy { under_load(&cluster, take) } else { take() };
        assert!(trees.insert(point.snapshot.root()), "seed {seed}: point {round} is one of those before");
        restored_and_proven(&cluster, &point);
        last = Some(point);
    }
    println!("{points} good points are proven");
    each_damage_is_named(&cluster, &last.unwrap(), &mut random);
}
