//! The ladder, both ways: the good pass, and each kind of bad fails with the finding that names it.

use std::collections::BTreeMap;
use std::path::Path;

use driver_api::conformance::MemoryVault;

use super::captures::{Point, capture, under_load};
use super::cluster::{Cluster, Place, connect, program, run};
use super::restores::{check_with, failures, options, restore};

/// A server restored, found good, and then changed behind everybody's back.
fn changed_after(point: &Point, change: &str) -> Vec<String> {
    let place = Place::new();
    let target = place.path("restored");
    restore(point, &target);
    assert_eq!(failures(&check_with(point, &target, &BTreeMap::new())), Vec::<String>::new());
    let socket = place.path("").display().to_string();
    let mut start = program("pg_ctl");
    start.args(["start", "-w", "-s", "-D"]).arg(&target).arg("-l").arg(place.path("log"));
    run(start.arg("-o").arg(format!("-k {socket} -p 5998 -h ''")));
    connect(Path::new(&socket), 5998, "shop").query(change).unwrap();
    let mut stop = program("pg_ctl");
    run(stop.args(["stop", "-w", "-s", "-m", "fast", "-D"]).arg(&target));
    failures(&check_with(point, &target, &BTreeMap::new()))
}

#[test]
fn lost_rows_changed_rows_and_orphans_are_found() {
    let cluster = Cluster::with_shop();
    let vault = MemoryVault::new();
    let point = capture(&vault, &cluster.location("stream"));
    for (change, expected) in [
        ("DELETE FROM orders WHERE id = 77", "shop.public.orders: it has 19999 rows instead of 20000"),
        ("DROP TABLE writes", "shop.public.writes: the table is missing"),
        (
            "UPDATE \"odd \"\"name\".\"t T\" SET t = 'x'",
            "shop.odd \"name.t T: its rows are not those that were captured",
        ),
        (
            "SET session_replication_role = replica; DELETE FROM customers WHERE id = 3",
            "shop.orders.orders_customer_fkey: 40 rows refer to rows that are not there",
        ),
    ] {
        let found = changed_after(&point, change);
        assert!(found.iter().any(|finding| finding == expected), "{change}: {found:?}");
    }
}

#[test]
fn counts_of_a_busy_server_are_neither_too_strict_nor_too_loose() {
    let cluster = Cluster::with_shop();
    let vault = MemoryVault::new();
    let point = under_load(&cluster, || capture(&vault, &cluster.location("stream")));
    let found = changed_after(&point, "DELETE FROM orders WHERE id BETWEEN 5000 AND 12000");
    assert!(found.iter().any(|finding| finding.starts_with("shop.public.orders: it has ")), "{found:?}");
    let found = changed_after(&point, "UPDATE customers SET name = 'forged' WHERE id = 9");
    assert!(found.iter().any(|finding| finding.starts_with("shop.public.customers: ")), "{found:?}");
}

#[test]
fn assertions_of_the_user_are_held_to_and_cannot_do_harm() {
    let cluster = Cluster::with_shop();
    let vault = MemoryVault::new();
    let point = capture(&vault, &cluster.location("stream"));
    let place = Place::new();
    let target = place.path("restored");
    restore(&point, &target);
    let harm = place.path("harm");
    let program = format!("COPY (SELECT 1) TO PROGRAM 'touch {}'", harm.display());
    let check = check_with(
        &point,
        &target,
        &options(&[
            ("Assert.shop.enough", "SELECT count(*) = 20000 FROM orders"),
            ("Assert.shop.wrong", "SELECT count(*) > 20000 FROM orders"),
            ("Assert.shop.broken", "SELECT nonsense"),
            ("Assert.shop.harm", &program),
            ("Assert.shop.writes", "DELETE FROM orders RETURNING true"),
        ]),
    );
    let found = failures(&check);
    assert_eq!(found.len(), 4, "{found:?}");
    assert!(found.contains(&"assertion wrong: it is `f` and not true".to_owned()), "{found:?}");
    assert!(!harm.exists());
}

#[test]
fn a_server_that_does_not_start_is_a_finding_with_its_last_words() {
    let cluster = Cluster::with_shop();
    let vault = MemoryVault::new();
    let point = capture(&vault, &cluster.location("files"));
    let place = Place::new();
    let target = place.path("restored");
    restore(&point, &target);
    // An earlier attempt had found the files right.
    std::fs::write(place.path("restored.holdfast-started"), "").unwrap();
    std::fs::remove_dir_all(target.join("pg_wal")).unwrap();
    let found = failures(&check_with(&point, &target, &BTreeMap::new()));
    assert!(found.iter().any(|finding| finding.contains("does not start") && finding.contains("pg_wal")), "{found:?}");
}

#[test]
fn nothing_of_a_sandbox_stays() {
    let cluster = Cluster::with_shop();
    let vault = MemoryVault::new();
    let point = capture(&vault, &cluster.location("files"));
    let place = Place::new();
    let target = place.path("restored");
    restore(&point, &target);
    check_with(&point, &target, &BTreeMap::new());
    let prefix = format!("holdfast-pg-{}-", std::process::id());
    let left = std::fs::read_dir("/tmp").unwrap();
    let left: Vec<_> =
        left.map(|e| e.unwrap().file_name()).filter(|n| n.to_string_lossy().starts_with(&prefix)).collect();
    assert!(left.is_empty(), "{left:?}");
    assert!(!target.join("postmaster.pid").exists());
}
